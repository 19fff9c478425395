//! Conflicts that merges recorded: listing them and settling them.

use crate::checkout::{CheckoutOpts, CheckoutReport};
use crate::content::node_at;
use crate::error::FolderError;
use crate::folder::{Folder, Moments};
use crate::frames::{Node, drop_conflicts, mutate};
use crate::path::EntryPath;
use crate::writer::Writer;
use ibgib::{Addr, Map, Value};
use ibgib_spaces::{Kind, Space};
use std::collections::HashMap;

/// One open conflict. The values are what the merge saw; `None` where there was none. Where both sides replaced the
/// same lines of a text, they are those lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// The timeline, named by its first frame.
    pub timeline: Addr,
    /// Its tip, which still has the conflict.
    pub frame: Addr,
    /// The constant that records it.
    pub stone: Addr,
    /// Where in the frame: a JSON pointer.
    pub path: String,
    /// The file that the conflict is about, if it is one of the folder's.
    pub file: Option<EntryPath>,
    /// What both sides had.
    pub ancestor: Option<Value>,
    /// What the merge's base had.
    pub base: Option<Value>,
    /// What the other side had.
    pub orphan: Option<Value>,
}

/// How a conflict is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolution {
    /// What stands there now is right.
    Keep,
    /// The base's value.
    Base,
    /// The other side's value.
    Orphan,
    /// The value from before.
    Ancestor,
}

/// Lists the open conflicts of all living timelines of a space, sorted by timeline.
///
/// # Errors
/// A failing space.
pub async fn conflicts(space: &dyn Space) -> Result<Vec<Conflict>, FolderError> {
    let mut out = Vec::new();
    for tip in space.tips(Some(Kind::Living)).await? {
        let node = node_at(space, &tip.addr).await?;
        for stone in node.rel8n_addrs("conflict") {
            let told = node_at(space, &stone).await?;
            let value = |name| told.datum(name).cloned();
            out.push(Conflict {
                timeline: tip.tjp.clone(),
                frame: tip.addr.clone(),
                path: told.datum("path").and_then(Value::as_str).unwrap_or_default().to_owned(),
                file: None,
                ancestor: value("ancestor"),
                base: value("base"),
                orphan: value("orphan"),
                stone,
            });
        }
    }
    Ok(out)
}

impl Folder {
    /// As [`conflicts`], with the files named.
    ///
    /// # Errors
    /// A failing space.
    pub async fn conflicts(&self) -> Result<Vec<Conflict>, FolderError> {
        let mut out = conflicts(&*self.space).await?;
        if out.is_empty() {
            return Ok(out);
        }
        let listing = self.listing().await?;
        let files: HashMap<&Addr, &EntryPath> = listing.entries.values().map(|e| (&e.file, &e.path)).collect();
        for conflict in &mut out {
            // A conflict about an entry stands in the shard, under the entry's key.
            let entry = || match &pointer(&conflict.path)?[..] {
                [data, entries, key, ..] if data == "data" && entries == "entries" => EntryPath::from_key(key).ok(),
                _ => None,
            };
            conflict.file = files.get(&conflict.timeline).map(|path| (*path).clone()).or_else(entry);
        }
        Ok(out)
    }

    /// Settles a conflict: a new frame with the value chosen and without the conflict, then a checkout of the file.
    /// Choosing between lines looks for both sides' lines, one after the other, as the merge left them; where they
    /// were edited since, only [`Resolution::Keep`] is possible.
    ///
    /// # Errors
    /// [`FolderError::NoConflict`] when it is settled already or cannot be settled so; [`FolderError::Unsaved`]; a
    /// failing space or directory.
    pub async fn resolve(
        &self,
        conflict: &Conflict,
        resolution: Resolution,
        moments: &mut Moments<'_>,
    ) -> Result<CheckoutReport, FolderError> {
        let none = || FolderError::NoConflict(conflict.stone.clone());
        let tip = self.space.tip(&conflict.timeline).await?.ok_or_else(none)?;
        let tip = node_at(&*self.space, &tip.addr).await?;
        if !tip.rel8n("conflict").any(|stone| stone == conflict.stone.as_str()) {
            return Err(none());
        }
        if let Some(file) = &conflict.file {
            self.ensure_saved(&[file.clone()].into()).await?;
        }
        let mut nodes = Vec::new();
        let mut on = tip.clone();
        if resolution != Resolution::Keep {
            let (remove, patch) = choose(&tip, conflict, resolution).ok_or_else(none)?;
            on = mutate(&tip, remove, patch, &moments(), &mut nodes)?;
        }
        nodes.extend(drop_conflicts(&on, std::slice::from_ref(&conflict.stone), &moments())?);
        let mut writer = Writer::new(&*self.space);
        writer.edit(conflict.timeline.clone(), Some(&tip), nodes);
        writer.flush().await?;
        match &conflict.file {
            Some(file) => self.checkout(&CheckoutOpts { paths: vec![file.clone()], ..CheckoutOpts::default() }).await,
            None => Ok(CheckoutReport::default()),
        }
    }
}

/// What to remove from and to patch into `data`.
fn choose(tip: &Node, conflict: &Conflict, resolution: Resolution) -> Option<(Option<Map>, Map)> {
    let path = pointer(&conflict.path)?;
    let (data, path) = path.split_first()?;
    let (last, above) = path.split_last()?;
    if data != "data" {
        return None;
    }
    let chosen = match resolution {
        Resolution::Base => &conflict.base,
        Resolution::Orphan => &conflict.orphan,
        Resolution::Ancestor => &conflict.ancestor,
        Resolution::Keep => return None,
    };
    let mut now = tip.data.as_ref();
    for part in path {
        now = now.and_then(|v| v.get(part));
    }
    let nest = |leaf: Value| {
        let mut value = Map::from_iter([(last.clone(), leaf)]);
        for part in above.iter().rev() {
            value = Map::from_iter([(part.clone(), value)]);
        }
        value
    };
    let lines = match (now, &conflict.base, &conflict.orphan, chosen) {
        (
            Some(Value::String(now)),
            Some(Value::String(base)),
            Some(Value::String(orphan)),
            Some(Value::String(new)),
        ) if now != base && now != orphan => Some(replace_lines(now, base, orphan, new)?),
        _ => None,
    };
    match lines.map(Value::String).or_else(|| chosen.clone()) {
        Some(value) => Some((None, nest(value))),
        None => Some((Some(nest(Value::from(""))), Map::new())),
    }
}

/// Replaces base's lines followed by orphan's with `new`; `None` when they do not stand there like that.
fn replace_lines(now: &str, base: &str, orphan: &str, new: &str) -> Option<String> {
    let lines: Vec<&str> = now.split('\n').collect();
    let both: Vec<&str> = base.split('\n').chain(orphan.split('\n')).collect();
    let at = lines.windows(both.len()).position(|window| window == both)?;
    let (before, after) = (&lines[..at], &lines[at + both.len()..]);
    Some(before.iter().copied().chain([new]).chain(after.iter().copied()).collect::<Vec<_>>().join("\n"))
}

/// The parts of a JSON pointer.
fn pointer(text: &str) -> Option<Vec<String>> {
    let rest = text.strip_prefix('/')?;
    Some(rest.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
}
