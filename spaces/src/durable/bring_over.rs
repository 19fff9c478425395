//! Bringing a store of an earlier version over.

use crate::error::SpaceError;
use crate::redb::{DurableSpace, FILE};
use crate::repair;
use crate::segments::{Change, SegmentSpace};
use crate::store::{Nodes, Records, Store, Tips, View};
use crate::tip::Tip;
use ibgib::{Addr, IbGib, Verified};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;

/// Where the log is written until it is whole.
const FRESH: &str = ".log.new";
/// Nodes written at once.
const BATCH: usize = 256;

/// Makes a log of the file in `dir`. `at` is called between the steps, where whoever dies leaves one whole store.
pub(super) fn bring_over(dir: &Path, at: &(dyn Fn() + Sync)) -> Result<(), SpaceError> {
    // Whoever has it open works on it alone, so that nobody else brings it over meanwhile.
    let old = match (DurableSpace::open(dir), SegmentSpace::is_in(dir)) {
        (Ok(old), _) => old,
        // Somebody else was faster.
        (Err(SpaceError::NotFound(_)), _) => return Ok(()),
        (Err(error @ SpaceError::Locked(_)), _) | (Err(error), false) => return Err(error),
        (Err(error), true) => {
            tracing::warn!(%error, "{FILE} beside the log is of no use; take it away");
            return Ok(());
        }
    };
    if SegmentSpace::is_in(dir) {
        return leave(dir, old);
    }
    tracing::info!(dir = %dir.display(), "bringing the store of an earlier version over");
    let fresh = dir.join(FRESH);
    let failed = |e: io::Error| io_error(dir, &e);
    match fs::remove_dir_all(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let written = write(&old, &fresh, at).and_then(|()| {
        // The index follows from the log: one beside another store is of no harm. With the log it is the store.
        fs::rename(fresh.join(SegmentSpace::INDEX), dir.join(SegmentSpace::INDEX)).map_err(failed)?;
        at();
        fs::rename(fresh.join(SegmentSpace::LOG), dir.join(SegmentSpace::LOG)).map_err(failed)?;
        sync(dir)
    });
    if let Err(error) = written {
        // What could not be written takes no room; the first error is the one to tell.
        let _ = fs::remove_dir_all(&fresh);
        return Err(error);
    }
    at();
    remove(dir, old)
}

/// Of somebody who died before the old file was gone.
fn leave(dir: &Path, old: DurableSpace) -> Result<(), SpaceError> {
    let new = SegmentSpace::open(dir)?;
    let is_the_same = on_own_thread(async {
        Ok(new.id() == old.id() && new.view().await?.head().await?.revision >= old.view().await?.head().await?.revision)
    })?;
    if is_the_same {
        return remove(dir, old);
    }
    tracing::warn!(dir = %dir.display(), "{FILE} beside the log is another store, which is not used; take it away");
    Ok(())
}

/// Removes the old file, while it is still locked, after all else that is of no use any more.
fn remove(dir: &Path, old: DurableSpace) -> Result<(), SpaceError> {
    let _ = fs::remove_dir_all(dir.join(FRESH));
    match fs::remove_file(dir.join(FILE)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error(dir, &e)),
        _ => {}
    }
    drop(old);
    sync(dir)
}

fn sync(dir: &Path) -> Result<(), SpaceError> {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| io_error(dir, &e))
}

fn io_error(dir: &Path, error: &io::Error) -> SpaceError {
    crate::segments::io_error(dir, error)
}

/// Questions to a view need a runtime of their own: who opens a store may be inside another one.
fn on_own_thread<T: Send>(work: impl Future<Output = Result<T, SpaceError>> + Send) -> Result<T, SpaceError> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.map_err(|e| SpaceError::Io(e.to_string()))?.block_on(work)
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap_or(Err(SpaceError::Closed)))
}

/// Writes all that a store holds into a new one.
fn write(old: &DurableSpace, fresh: &Path, at: &(dyn Fn() + Sync)) -> Result<(), SpaceError> {
    let new = SegmentSpace::create_as(fresh, old.id())?;
    at();
    let (moves, owners) = (old.moves()?, old.owners()?);
    on_own_thread(async {
        let view = old.view().await?;
        let mut lost = Copying { view: &*view, new: &new, at, done: HashSet::new(), nodes: Vec::new() }.all().await?;
        stage(&*view, &new, &owners, &mut lost).await?;
        let revision = view.head().await?.revision;
        let tips: HashMap<Addr, Tip> =
            view.tips(Tips::Kind(None)).await?.into_iter().map(|tip| (tip.tjp.clone(), tip)).collect();
        let mut changes = BTreeMap::from([(revision, Change::default())]);
        for (moved_at, tjp) in moves {
            changes.entry(moved_at).or_default().tips.extend(tips.get(&tjp).cloned());
        }
        let records = &mut changes.entry(revision).or_default().records;
        records.extend(view.records(Records::Prefix("")).await?.into_iter().map(|(key, value)| (key, Some(value))));
        // What is damaged is asked of others with the next sync.
        records.extend(
            lost.iter().filter(|addr| addr.contains('^')).map(|addr| (repair::damaged(addr), Some(Vec::new()))),
        );
        for (revision, change) in changes {
            for part in (Change { revision: Some(revision), ..change }).parts() {
                new.take(&[], part)?;
            }
        }
        Ok(())
    })?;
    at();
    new.finish()?;
    sync(fresh)?;
    at();
    Ok(())
}

/// Copies committed nodes, each after what it relates to: of that a log takes the least room.
struct Copying<'a> {
    view: &'a dyn View,
    new: &'a SegmentSpace,
    at: &'a (dyn Fn() + Sync),
    done: HashSet<[u8; 32]>,
    nodes: Vec<Verified<IbGib>>,
}

impl Copying<'_> {
    /// Answers the addresses of what is damaged.
    async fn all(mut self) -> Result<Vec<String>, SpaceError> {
        for tip in self.view.tips(Tips::Kind(None)).await? {
            self.below(tip.addr).await?;
        }
        // What no tip leads to, and what is damaged.
        let (mut after, mut lost) = (None, Vec::new());
        loop {
            let batch = self.view.scan(after, BATCH).await?;
            let Some(last) = batch.last() else { break };
            after = Some(last.key);
            for entry in batch {
                match entry.node {
                    Ok(node) if self.done.insert(entry.key) => self.put(node)?,
                    Ok(_) => {}
                    Err(SpaceError::Corrupt { addr, why }) => {
                        tracing::error!(addr, why, "a damaged node is left behind");
                        lost.push(addr);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        self.flush()?;
        Ok(lost)
    }

    /// What is below a tip and the tip itself, depth first, without recursion.
    async fn below(&mut self, tip: Addr) -> Result<(), SpaceError> {
        // Nodes on the way down, and what of their targets was not looked at.
        let mut path: Vec<(Option<Addr>, Vec<Addr>)> = vec![(None, vec![tip])];
        while let Some((addr, targets)) = path.last_mut() {
            match (targets.pop(), addr.take()) {
                (Some(target), above) => {
                    *addr = above;
                    let Some(key) = target.key() else { continue };
                    if !self.done.contains(&key)
                        && let Some(node) = self.node(&target).await?
                    {
                        self.done.insert(key);
                        let mut below = node.targets();
                        below.reverse();
                        path.push((Some(target), below));
                    }
                }
                (None, Some(addr)) => {
                    path.pop();
                    if let Some(node) = self.node(&addr).await? {
                        self.put(node)?;
                    }
                }
                (None, None) => break,
            }
        }
        Ok(())
    }

    /// A node that is there and whole.
    async fn node(&self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SpaceError> {
        match self.view.nodes(Nodes::Committed(std::slice::from_ref(addr))).await {
            Err(SpaceError::Corrupt { .. }) => Ok(None),
            found => Ok(found?.pop().flatten()),
        }
    }

    fn put(&mut self, node: Verified<IbGib>) -> Result<(), SpaceError> {
        self.nodes.push(node);
        if self.nodes.len() < BATCH { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), SpaceError> {
        if self.nodes.is_empty() {
            return Ok(());
        }
        self.new.take(&std::mem::take(&mut self.nodes), Change::default())?;
        (self.at)();
        Ok(())
    }
}

/// Stages what was staged.
async fn stage(
    view: &dyn View,
    new: &SegmentSpace,
    owners: &[String],
    lost: &mut Vec<String>,
) -> Result<(), SpaceError> {
    for owner in owners {
        for addr in view.staged(owner).await? {
            match view.nodes(Nodes::Staged(owner, std::slice::from_ref(&addr))).await {
                Err(SpaceError::Corrupt { addr, .. }) => lost.push(addr),
                found => {
                    let found: Vec<_> = found?.into_iter().flatten().collect();
                    new.stage(owner, &found).await?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable;
    use crate::fsck::fsck;
    use crate::rules::Commit;
    use crate::space::Space;
    use ibgib::{Map, strings};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tempfile::TempDir;

    /// A store that an earlier version made, with as many more nodes, each with the one before.
    async fn earlier(more: usize) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/space/space.redb"), dir.path().join(FILE))
            .unwrap();
        let mut nodes: Vec<Verified<IbGib>> = Vec::new();
        for nth in 0..more {
            let mut rel8ns = Map::new();
            if let Some(before) = nodes.last() {
                rel8ns.insert("to", strings([before.addr().as_str()]));
            }
            let stone = IbGib { ib: format!("stone {nth}"), rel8ns: Some(rel8ns.into()), ..IbGib::default() };
            nodes.push(stone.seal().unwrap());
        }
        DurableSpace::open(dir.path()).unwrap().commit(Commit { nodes, ..Commit::default() }).await.unwrap();
        dir
    }

    async fn state(space: &dyn Space) -> String {
        assert!(fsck(space).await.unwrap().is_clean());
        let revision = space.revision().await.unwrap();
        let mut out = vec![format!("{} {revision} {}", space.id(), space.count().await.unwrap())];
        for since in 0..=revision {
            out.push(format!("{:?}", space.changes(since).await.unwrap()));
        }
        let addrs = space.scan(None, usize::MAX).await.unwrap().into_iter().map(|entry| entry.node.unwrap());
        out.extend(addrs.map(|node| node.to_json()));
        out.push(format!("{:?} {:?}", space.tips(None).await.unwrap(), space.records("").await.unwrap()));
        for owner in ["one", "two"] {
            let mut staged = space.staged_addrs(owner).await.unwrap();
            staged.sort();
            assert_eq!(staged.len(), 2);
            assert!(space.staged(owner, &staged).await.unwrap().iter().all(Option::is_some));
            out.push(format!("{staged:?}"));
        }
        out.join("\n")
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            match entry.path().is_dir() {
                true => copy(&entry.path(), &to),
                false => drop(fs::copy(entry.path(), to).unwrap()),
            }
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn whoever_dies_anywhere_leaves_one_whole_store() {
        let dir = earlier(2 * BATCH + 1).await;
        let expected = state(&DurableSpace::open(dir.path()).unwrap()).await;
        let images = tempfile::tempdir().unwrap();
        let steps = AtomicUsize::new(0);
        bring_over(dir.path(), &|| {
            let nth = steps.fetch_add(1, Ordering::Relaxed);
            copy(dir.path(), &images.path().join(nth.to_string()));
        })
        .unwrap();
        let steps = steps.into_inner();
        assert!(steps >= 7, "{steps}");
        for image in (0..steps).map(|nth| images.path().join(nth.to_string())).chain([dir.path().to_owned()]) {
            let space = durable::open(&image).unwrap();
            assert_eq!(state(&*space).await, expected, "{}", image.display());
            assert_eq!(names(&image), [SegmentSpace::INDEX, SegmentSpace::LOG]);
            assert!(matches!(durable::open(&image), Err(SpaceError::Locked(_))));
            drop(space);
            fs::remove_file(image.join(SegmentSpace::INDEX)).unwrap();
            assert_eq!(state(&*durable::open(&image).unwrap()).await, expected);
        }
    }

    #[tokio::test]
    async fn more_records_than_one_of_the_log_holds_come_over() {
        let dir = earlier(0).await;
        let old = DurableSpace::open(dir.path()).unwrap();
        let mut noise = 1_u64;
        let mut incompressible = || {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (noise >> 33) as u8
        };
        let value = |_| (0..1 << 20).map(|_| incompressible()).collect::<Vec<_>>();
        let values: Vec<Vec<u8>> = (0..45).map(value).collect();
        let records = (0..).zip(&values).map(|(nth, value)| (format!("noise/{nth:02}"), Some(value.clone()))).collect();
        old.commit(Commit { records, ..Commit::default() }).await.unwrap();
        let (revision, count) = (old.revision().await.unwrap(), old.count().await.unwrap());
        drop(old);
        let space = durable::open(dir.path()).unwrap();
        let kept: Vec<Vec<u8>> = space.records("noise/").await.unwrap().into_iter().map(|(_, value)| value).collect();
        assert!(kept == values);
        assert_eq!((space.revision().await.unwrap(), space.count().await.unwrap()), (revision, count));
    }

    #[tokio::test]
    async fn nobody_brings_over_what_another_one_has_open() {
        let dir = earlier(1).await;
        let other = DurableSpace::open(dir.path()).unwrap();
        assert!(matches!(durable::open(dir.path()), Err(SpaceError::Locked(_))));
        assert_eq!(names(dir.path()), [FILE]);
        drop(other);
        // Only to read, it stays what it is.
        let reader = durable::open_read_only(dir.path()).unwrap();
        let read = state(&*reader).await;
        assert!(matches!(durable::open(dir.path()), Err(SpaceError::Locked(_))));
        drop(reader);
        assert_eq!(names(dir.path()), [FILE]);
        assert_eq!(state(&*durable::open(dir.path()).unwrap()).await, read);
    }

    #[tokio::test]
    async fn another_store_beside_the_log_stays() {
        let (dir, other) = (earlier(0).await, tempfile::tempdir().unwrap());
        drop(DurableSpace::create(other.path()).unwrap());
        let expected = state(&*durable::open(dir.path()).unwrap()).await;
        fs::copy(other.path().join(FILE), dir.path().join(FILE)).unwrap();
        assert_eq!(state(&*durable::open(dir.path()).unwrap()).await, expected);
        fs::write(dir.path().join(FILE), "no store").unwrap();
        assert_eq!(state(&*durable::open(dir.path()).unwrap()).await, expected);
        assert!(dir.path().join(FILE).exists());
    }

    #[tokio::test]
    async fn damaged_nodes_are_left_behind_and_remembered() {
        let dir = earlier(3).await;
        let old = DurableSpace::open(dir.path()).unwrap();
        let tip = old.tips(None).await.unwrap().remove(1).addr;
        let count = old.count().await.unwrap();
        drop(old);
        let damaged = [&(tip.as_str().len() as u32).to_le_bytes(), tip.as_str().as_bytes(), b"no node"].concat();
        let db = redb::Database::open(dir.path().join(FILE)).unwrap();
        let txn = db.begin_write().unwrap();
        txn.open_table(redb::TableDefinition::<[u8; 32], &[u8]>::new("nodes"))
            .unwrap()
            .insert(tip.key().unwrap(), &*damaged)
            .unwrap();
        txn.commit().unwrap();
        drop(db);
        let space = durable::open(dir.path()).unwrap();
        assert_eq!(repair::known(&*space).await.unwrap(), std::slice::from_ref(&tip));
        let found = fsck(&*space).await.unwrap();
        assert!(found.corrupt.is_empty() && found.nodes == count - 1, "{found:?}");
        assert_eq!(found.missing, [(tip.to_string(), "tip".to_owned())]);
    }
}
