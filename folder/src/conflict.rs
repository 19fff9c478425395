//! Conflicts that merges recorded: listing them and settling them.

use crate::checkout::CheckoutReport;
use crate::content::node_at;
use crate::error::FolderError;
use crate::folder::{Folder, Moments};
use crate::frames::{NewContent, Node, drop_conflicts, edit_file};
use crate::path::EntryPath;
use crate::whole::{TEXT, WholeFile, kinds};
use ibgib::conflict::{Conflict as Recorded, Resolution, settle};
use ibgib::json::pointer;
use ibgib::transform::Moment;
use ibgib::{Addr, Value};
use ibgib_spaces::{Kind, Space, Tip, leads};
use std::collections::HashMap;

/// One open conflict. The values are what the merge saw; `None` where there was none. Where both sides replaced the
/// same lines of a text, they are those lines; inside a document they are JSON text.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// The timeline, named by its first frame.
    pub timeline: Addr,
    /// Its tip, which still has the conflict.
    pub frame: Addr,
    /// The constant that records it.
    pub stone: Addr,
    /// Where in the frame: a JSON pointer; after `/data/text#` one into the document that the text is.
    pub path: String,
    /// The file that the conflict is about, if it is one of the folder's.
    pub file: Option<EntryPath>,
    /// What both sides had.
    pub ancestor: Option<Value>,
    /// What the merge's base had.
    pub base: Option<Value>,
    /// What the other side had.
    pub orphan: Option<Value>,
    /// What stands there now, the whole text where only some of its lines are in conflict.
    pub now: Option<Value>,
    /// What it is about, where that is all of a file: then this decides, and not the values.
    pub whole: Option<WholeFile>,
}

/// Lists the open conflicts of all living timelines of a space, sorted by timeline.
///
/// # Errors
/// A failing space.
pub async fn conflicts(space: &dyn Space) -> Result<Vec<Conflict>, FolderError> {
    match leads::that_may_have_conflicts(space).await? {
        Some(tips) => open_of(space, tips.iter().filter(|tip| tip.kind == Kind::Living)).await,
        None => conflicts_of(space, &space.tips(Some(Kind::Living)).await?).await,
    }
}

/// The open conflicts of these timelines only, in their order: for whoever knows which ones moved.
///
/// # Errors
/// A failing space.
pub async fn conflicts_of(space: &dyn Space, tips: &[Tip]) -> Result<Vec<Conflict>, FolderError> {
    let all: Vec<&Tip> = tips.iter().collect();
    // Of a folder of many files most have none, and each may be as large as its limit.
    let some = leads::that_may_lead(space, &all).await?.unwrap_or(all);
    open_of(space, some.into_iter()).await
}

async fn open_of(space: &dyn Space, tips: impl Iterator<Item = &Tip>) -> Result<Vec<Conflict>, FolderError> {
    let mut out = Vec::new();
    for tip in tips {
        out.extend(open(space, tip).await?);
    }
    Ok(out)
}

/// The open conflicts of one timeline.
async fn open(space: &dyn Space, tip: &Tip) -> Result<Vec<Conflict>, FolderError> {
    let node = node_at(space, &tip.addr).await?;
    let stones = node.rel8n_addrs("conflict");
    let mut out = Vec::with_capacity(stones.len());
    for stone in stones {
        let told = Recorded::of(&node_at(space, &stone).await?);
        out.push(Conflict {
            whole: WholeFile::of_file(space, &node, &told).await?,
            timeline: tip.tjp.clone(),
            frame: tip.addr.clone(),
            now: told.now(&node),
            stone,
            path: told.path,
            file: None,
            ancestor: told.ancestor,
            base: told.base,
            orphan: told.orphan,
        });
    }
    Ok(out)
}

impl Folder {
    /// As [`conflicts`], with the files named.
    ///
    /// # Errors
    /// A failing space.
    pub async fn conflicts(&self) -> Result<Vec<Conflict>, FolderError> {
        self.with_files(conflicts(&*self.space).await?).await
    }

    /// As [`conflicts_of`], with the files named.
    ///
    /// # Errors
    /// A failing space.
    pub async fn conflicts_of(&self, tips: &[Tip]) -> Result<Vec<Conflict>, FolderError> {
        self.with_files(conflicts_of(&*self.space, tips).await?).await
    }

    async fn with_files(&self, mut out: Vec<Conflict>) -> Result<Vec<Conflict>, FolderError> {
        if out.is_empty() {
            return Ok(out);
        }
        let listing = self.listing().await?;
        let files: HashMap<&Addr, &EntryPath> = listing.entries.values().map(|e| (&e.file, &e.path)).collect();
        for conflict in &mut out {
            // A conflict about an entry stands in the shard, under the entry's key.
            let entry = || match &pointer::names(&conflict.path)?[..] {
                [data, entries, key, ..] if data == "data" && entries == "entries" => EntryPath::from_key(key).ok(),
                _ => None,
            };
            conflict.file = files.get(&conflict.timeline).map(|path| (*path).clone()).or_else(entry);
            if let Some(path) = conflict.file_of_kind()
                && let Some(tip) = self.space.tip(&self.file_tjp(path)?).await?
            {
                let tip = node_at(&*self.space, &tip.addr).await?;
                conflict.whole = WholeFile::of_kinds(&*self.space, &tip, &conflict.recorded()).await?;
            }
        }
        Ok(out)
    }

    /// Settles a conflict: a new frame with the value chosen and without the conflict, then a checkout of the file.
    /// Choosing between lines, elements or values looks for what the merge left of both sides; where that was edited
    /// since, only [`Resolution::Keep`] is possible.
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
        let report = self.resolve_all(&[(conflict, resolution)], moments).await?;
        match report.left.into_iter().next() {
            Some(stone) => Err(FolderError::NoConflict(stone)),
            None => Ok(report.checkout),
        }
    }
}

impl Conflict {
    /// As its stone tells it.
    fn recorded(&self) -> Recorded {
        Recorded {
            stone: self.stone.clone(),
            path: self.path.clone(),
            ancestor: self.ancestor.clone(),
            base: self.base.clone(),
            orphan: self.orphan.clone(),
        }
    }

    /// The file whose kind it is about: it stands in the entry of the file, not in its timeline.
    pub(crate) fn file_of_kind(&self) -> Option<&EntryPath> {
        let names = pointer::names(&self.path)?;
        let kind = matches!(&names[..], [_, entries, _, kind] if entries == "entries" && kind == "kind");
        self.file.as_ref().filter(|_| kind && self.timeline.ib() == "shard")
    }

    /// The frames after `tip` with the value chosen and without the stone; `None` when what the merge left does not
    /// stand there any more.
    pub(crate) fn settled(
        &self,
        tip: &Node,
        resolution: Resolution,
        moment: &Moment,
    ) -> Result<Option<Vec<Node>>, FolderError> {
        let is_file = tip.ib == "file";
        if let Some(whole) = self.whole.as_ref().filter(|_| is_file) {
            let Some(chosen) = whole.chosen(resolution) else { return Ok(None) };
            let mut nodes = Vec::new();
            // Kept as it stands, but as that alone.
            if resolution != Resolution::Keep || kinds(tip).len() > 1 {
                nodes = edit_file(tip, chosen.renew(), None, moment)?;
            }
            let on = nodes.last().unwrap_or(tip).clone();
            nodes.extend(drop_conflicts(&on, std::slice::from_ref(&self.stone), moment)?);
            return Ok(Some(nodes));
        }
        // Where no text is, the lines of a side would be taken for all of it: the file was removed, or has another name.
        if is_file && self.path == TEXT && resolution != Resolution::Keep && tip.datum("text").is_none() {
            return Ok(None);
        }
        let resolution = match &self.whole {
            // The kind of what is kept, which need not be the one that the merge chose.
            Some(whole) if resolution == Resolution::Keep => match &whole.now {
                now if *now == whole.base => Resolution::Base,
                now if *now == whole.orphan => Resolution::Orphan,
                _ => Resolution::Keep,
            },
            _ => resolution,
        };
        let Some(mut nodes) = settle(tip, &self.recorded(), resolution, moment)? else { return Ok(None) };
        // A file has one content: the text chosen takes the place of a blob that another side made of the file.
        if is_file
            && resolution != Resolution::Keep
            && self.path.starts_with(TEXT)
            && let Some(frame) = nodes.last().filter(|frame| frame.datum("blob").is_some()).cloned()
            && let Some(text) = frame.datum("text").and_then(Value::as_str)
        {
            nodes.extend(edit_file(&frame, NewContent::Text(text.to_owned()), None, moment)?);
        }
        Ok(Some(nodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer::Writer;
    use ibgib::transform::{ForkOpts, fork, revise};
    use ibgib::{IbGib, Map};
    use ibgib_spaces::MemorySpace;
    use ibgib_spaces::fault::{FaultPlan, FaultSpace, Op};
    use std::sync::Arc;

    #[tokio::test]
    async fn of_a_list_only_the_elements_in_conflict_are_settled() {
        let moment = |now_ms| Moment { now_ms, random: [7; 16] };
        for (resolution, wanted) in
            [(Resolution::Base, true), (Resolution::Orphan, true), (Resolution::Ancestor, false)]
        {
            let space: Arc<dyn Space> = Arc::new(MemorySpace::new("alice"));
            ibgib_spaces::begin(&*space).await.unwrap();
            let dir = tempfile::tempdir().unwrap();
            let folder = Folder::create(Arc::clone(&space), dir.path(), &mut || moment(1)).await.unwrap();
            let opts = ForkOpts::timeline("list");
            let first = fork(&IbGib::primitive("list").unwrap(), &opts, &moment(2)).unwrap();
            let tjp = first.frame.addr().clone();
            let list = |middle: &str| vec![Value::from("first"), Value::from(middle), Value::from("last")];
            let edit = |frame: &Node, middle: &str| {
                revise(frame, &Map::from_iter([("items", list(middle))]), &moment(3)).unwrap().unwrap()
            };
            let old = edit(&first.frame, "milk");
            let mut writer = Writer::new(&*space);
            writer.edit(tjp.clone(), None, first.nodes().into_iter().chain(old.nodes()).collect());
            writer.flush().await.unwrap();
            for middle in ["apples", "bread"] {
                writer.edit(tjp.clone(), Some(&old.frame), edit(&old.frame, middle).nodes());
                writer.flush().await.unwrap();
            }
            let conflict = folder.conflicts().await.unwrap().pop().unwrap();
            assert_eq!(conflict.path, "/data/items");
            let side = conflict.base.as_ref().filter(|_| resolution == Resolution::Base).or(conflict.orphan.as_ref());
            assert_eq!(side.unwrap().as_array().unwrap().len(), 1, "the stone tells only what is in conflict");
            folder.resolve(&conflict, resolution, &mut || moment(9)).await.unwrap();
            let tip = space.tip(&tjp).await.unwrap().unwrap();
            let now = node_at(&*space, &tip.addr).await.unwrap().datum("items").cloned().unwrap();
            let chosen = if wanted { side.unwrap().as_array().unwrap()[0].as_str().unwrap() } else { "milk" };
            assert_eq!(now, Value::from(list(chosen)), "{resolution:?}");
            assert_eq!(folder.conflicts().await.unwrap(), []);
        }
    }

    /// A folder's files have none, most of the time, and each may be as large as its limit.
    #[tokio::test]
    async fn timelines_without_conflicts_are_not_read() {
        let mut questions = Vec::new();
        for lists in [2, 200] {
            let space: Arc<dyn Space> = Arc::new(MemorySpace::new("alice"));
            ibgib_spaces::begin(&*space).await.unwrap();
            let mut writer = Writer::new(&*space);
            for nth in 0..lists {
                let moment = Moment { now_ms: nth, random: [7; 16] };
                let first = fork(&IbGib::primitive("list").unwrap(), &ForkOpts::timeline("list"), &moment).unwrap();
                writer.edit(first.frame.addr().clone(), None, first.nodes());
            }
            writer.flush().await.unwrap();
            let counted = FaultSpace::new(space, FaultPlan::default());
            assert_eq!(counted.tips(None).await.unwrap().len(), usize::try_from(lists).unwrap());
            assert_eq!(conflicts(&counted).await.unwrap(), []);
            questions.push(counted.calls(Op::Read));
        }
        assert_eq!(questions[0], questions[1]);
    }
}
