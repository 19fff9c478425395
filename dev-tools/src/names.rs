//! What people call a timeline: the path of a folder's file, the name that data gives itself.

use crate::answer::ToolError;
use ibgib::{Addr, IbGib, Value, Verified};
use ibgib_spaces::{Kind, Space};
use std::collections::HashMap;

/// Nodes loaded at once.
const BATCH: usize = 64;

/// The names of a space's living timelines, by the timeline.
pub(crate) struct Names(HashMap<Addr, Name>);

/// What one timeline is called.
pub(crate) struct Name {
    /// A file's path as reports spell it, or what `name` or `title` of the data says.
    pub(crate) name: String,
    /// What the file's folder calls itself, or the folder's address.
    pub(crate) folder: Option<String>,
}

impl Names {
    pub(crate) fn of(&self, tjp: &Addr) -> Option<&Name> {
        self.0.get(tjp)
    }

    /// All of them, in any order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Addr, &Name)> {
        self.0.iter()
    }

    /// Reads the tips of everything but files and shards first, then the shards, which hold the files' paths.
    pub(crate) async fn read(space: &dyn Space) -> Result<Self, ToolError> {
        let tips = space.tips(Some(Kind::Living)).await?;
        let (mut names, mut folder_of) = (HashMap::new(), HashMap::new());
        let others = tips.iter().filter(|tip| !matches!(tip.tjp.ib(), "file" | "shard"));
        for (tjp, frame) in frames(space, others.map(|tip| (&tip.tjp, &tip.addr)).collect()).await {
            let said = ["name", "title"].iter().find_map(|part| frame.datum(part)?.as_str());
            if let Some(said) = said {
                names.insert(tjp.clone(), Name { name: said.to_owned(), folder: None });
            }
            if tjp.ib() == "folder" {
                let folder = said.map_or_else(|| tjp.to_string(), str::to_owned);
                folder_of.extend(frame.rel8n_addrs("shard").into_iter().map(|shard| (shard, folder.clone())));
            }
        }
        let shards = tips.iter().filter(|tip| tip.tjp.ib() == "shard");
        for (tjp, frame) in frames(space, shards.map(|tip| (&tip.tjp, &tip.addr)).collect()).await {
            let Some(entries) = frame.datum("entries").and_then(Value::as_object) else { continue };
            for (key, entry) in entries.iter() {
                let file = entry.get("file").and_then(Value::as_str).and_then(|file| file.parse().ok());
                let (Some(file), Some(path)) = (file, key.strip_prefix('/')) else { continue };
                names.insert(file, Name { name: path.to_owned(), folder: folder_of.get(tjp).cloned() });
            }
        }
        Ok(Self(names))
    }
}

/// The nodes at some addresses, each with the timeline it is of. A damaged one gives no names: that it is damaged is for
/// fsck to tell, and the timelines beside it are to be seen all the same.
async fn frames<'a>(space: &dyn Space, tips: Vec<(&'a Addr, &Addr)>) -> Vec<(&'a Addr, Verified<IbGib>)> {
    let mut out = Vec::new();
    for tips in tips.chunks(BATCH) {
        let addrs: Vec<Addr> = tips.iter().map(|(_, addr)| (*addr).clone()).collect();
        let nodes = match space.get(&addrs).await {
            Ok(nodes) => nodes,
            Err(_) => {
                let mut nodes = Vec::new();
                for addr in &addrs {
                    nodes.push(space.node(addr).await.unwrap_or(None));
                }
                nodes
            }
        };
        out.extend(tips.iter().zip(nodes).filter_map(|((tjp, _), node)| Some((*tjp, node?))));
    }
    out
}
