//! What people call a folder and its devices.
//!
//! The folder's own timeline says it: `name`, and `devices`, a member for each device under the address of its identity.
//! A device writes itself in with the first edit that it makes. Folders made before that have neither.

use crate::content::node_at;
use crate::error::FolderError;
use crate::folder::{Device, Folder, Moments};
use crate::frames::{Node, mutate};
use crate::writer::Writer;
use ibgib::transform::attribute;
use ibgib::{Addr, IbGib, Map, Value, object};
use std::collections::BTreeMap;

/// What a folder's frame says of names. Whoever edits the folder may write anything there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The folder's.
    pub folder: Option<String>,
    /// Its devices', by their identities.
    pub devices: BTreeMap<Addr, String>,
}

impl Names {
    /// Reads what stands in a frame of a folder's timeline.
    pub fn of(frame: &IbGib) -> Self {
        let name = |value: &Value| value.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        let devices = frame.datum("devices").and_then(Value::as_object).into_iter().flat_map(Map::iter);
        let device = |(identity, value): (&str, &Value)| Some((identity.parse().ok()?, name(value.get("name")?)?));
        Self { folder: frame.datum("name").and_then(name), devices: devices.filter_map(device).collect() }
    }

    /// What a device is called; nothing when it never wrote itself in.
    pub fn device(&self, identity: &Addr) -> Option<&str> {
        self.devices.get(identity).map(String::as_str)
    }
}

impl Folder {
    /// Lets frames say that this device made them, and writes its name into the folder with the first of them.
    #[must_use]
    pub fn by(mut self, device: Device) -> Self {
        self.device = Some(device);
        self
    }

    /// The names that the folder's newest frame tells; none while that is not here.
    ///
    /// # Errors
    /// A failing space.
    pub async fn names(&self) -> Result<Names, FolderError> {
        let Some(tip) = self.space.tip(self.tjp()).await? else { return Ok(Names::default()) };
        Ok(Names::of(&*node_at(&*self.space, &tip.addr).await?))
    }

    /// Gives the folder a name. Its first frame must be here.
    ///
    /// # Errors
    /// [`FolderError::NotFound`]; a failing space.
    pub async fn set_name(&self, name: &str, moments: &mut Moments<'_>) -> Result<(), FolderError> {
        let not_here = || FolderError::NotFound(self.tjp().clone());
        let tip = self.space.tip(self.tjp()).await?.ok_or_else(not_here)?;
        let tip = node_at(&*self.space, &tip.addr).await?;
        let mut patch = self.introduction(&tip).unwrap_or_default();
        patch.insert("name", name);
        let mut nodes = Vec::new();
        mutate(&tip, None, patch, &moments(), &mut nodes)?;
        let mut writer = Writer::new(&*self.space);
        writer.edit(self.tjp().clone(), Some(&tip), self.attributed(nodes)?);
        writer.flush().await
    }

    /// What the folder's frame does not say of this device yet.
    pub(crate) fn introduction(&self, frame: &Node) -> Option<Map> {
        let Device { identity, name } = self.device.as_ref()?;
        if Names::of(frame).device(identity) == Some(name) {
            return None;
        }
        let device = object([(identity.as_str(), object([("name", name.as_str().into())]))]);
        Some(Map::from_iter([("devices", device)]))
    }

    /// Edits, saying who made them.
    pub(crate) fn attributed(&self, nodes: Vec<Node>) -> Result<Vec<Node>, FolderError> {
        Ok(attribute(nodes, self.device.as_ref().map(|device| &device.identity))?)
    }
}
