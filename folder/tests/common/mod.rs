//! People with devices: a temporary directory, a space and the folder that binds them.
#![allow(dead_code, reason = "each test binary uses a part")]

use ibgib::transform::Moment;
use ibgib::{Addr, IbGib, Verified};
use ibgib_folder::{CheckoutOpts, CheckoutReport, EntryPath, Folder, SnapshotReport};
use ibgib_spaces::{Advance, Commit, Follow, Kind, MemorySpace, Space, history};
use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A clock that ticks once per look, the same for all devices, so that no two edits have the same time.
pub(crate) fn moments() -> impl FnMut() -> Moment + Send {
    static NOW: AtomicI64 = AtomicI64::new(1_767_225_600_000);
    || {
        let now_ms = NOW.fetch_add(7, Ordering::Relaxed);
        let mut random = [0; 16];
        random[..8].copy_from_slice(&now_ms.to_le_bytes());
        Moment { now_ms, random }
    }
}

/// The same `cases` random plays each time; with `PROPTEST_CASES` that many other ones.
#[allow(clippy::disallowed_methods, reason = "the environment chooses how long it runs")]
pub(crate) fn plays(cases: u32) -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig { cases, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() },
    }
}

pub(crate) fn path(text: &str) -> EntryPath {
    EntryPath::from_key(&format!("/{text}")).unwrap()
}

pub(crate) fn texts(paths: &[EntryPath]) -> Vec<&str> {
    paths.iter().map(EntryPath::as_str).collect()
}

/// As `sync` checks out.
pub(crate) fn keep() -> CheckoutOpts {
    CheckoutOpts { keep_unsaved: true, ..CheckoutOpts::default() }
}

pub(crate) struct Device {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) space: Arc<dyn Space>,
    pub(crate) folder: Folder,
}

impl Device {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("alice"));
        let folder = Folder::create(Arc::clone(&space), dir.path(), &mut moments()).await.unwrap();
        Self { dir, space, folder }
    }

    /// Another device that has joined the folder and has nothing yet.
    pub(crate) async fn new_joining(other: &Self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("bob"));
        let folder = Folder::join(Arc::clone(&space), dir.path(), other.folder.tjp().clone()).await.unwrap();
        Self { dir, space, folder }
    }

    /// Another device that has joined the folder and has synced once.
    pub(crate) async fn joined(&self) -> Self {
        let device = Self::new_joining(self).await;
        device.pull(self).await;
        device.checkout().await;
        device
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        String::from_utf8(std::fs::read(self.at(path)).unwrap()).unwrap()
    }

    pub(crate) fn chmod(&self, path: &str, mode: u32) {
        std::fs::set_permissions(self.at(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) async fn snapshot(&self) -> SnapshotReport {
        self.folder.snapshot(&mut moments()).await.unwrap()
    }

    pub(crate) async fn checkout(&self) -> CheckoutReport {
        self.folder.checkout(&CheckoutOpts::default()).await.unwrap()
    }

    /// Takes over all living timelines of `other`, merging where both moved.
    pub(crate) async fn pull(&self, other: &Self) {
        for tip in other.space.tips(Some(Kind::Living)).await.unwrap() {
            let addrs = other
                .space
                .reach(std::slice::from_ref(&tip.addr), Follow::All, &HashSet::new(), 1_000_000)
                .await
                .unwrap();
            let nodes = other.space.get(&addrs).await.unwrap().into_iter().flatten();
            let overlay: HashMap<Addr, Verified<IbGib>> = nodes.map(|n| (n.addr().clone(), n)).collect();
            publish(&*self.space, overlay, &tip.addr, &tip.tjp).await;
        }
    }

    /// Both take over what the other has, and check it out.
    pub(crate) async fn sync(&self, other: &Self) {
        self.snapshot().await;
        other.snapshot().await;
        self.pull(other).await;
        other.pull(self).await;
        self.checkout().await;
        other.checkout().await;
    }
}

/// Joins `new` into the timeline `tjp` of `space`.
pub(crate) async fn publish(space: &dyn Space, mut overlay: HashMap<Addr, Verified<IbGib>>, new: &Addr, tjp: &Addr) {
    let old = space.tip(tjp).await.unwrap().map(|t| t.addr);
    let mut to = new.clone();
    if let Some(old) = &old {
        let joined = history::join(space, &overlay, old, new).await.unwrap();
        overlay.extend(joined.nodes.into_iter().map(|n| (n.addr().clone(), n)));
        to = joined.tip;
    }
    let mut commit = Commit { nodes: overlay.values().cloned().collect(), ..Commit::default() };
    if old.as_ref() != Some(&to) {
        let advance = history::advance(space, &overlay, old.as_ref(), &to).await.unwrap();
        commit.tips.push(Advance::Timeline(advance));
    }
    space.commit(commit).await.unwrap();
}

/// Every file below `root` but those of `.ibgib`: bytes, and whether its owner may execute it.
pub(crate) fn tree(root: &Path) -> BTreeMap<PathBuf, (Vec<u8>, bool)> {
    let mut out = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && entry.file_name() != ".ibgib" {
                dirs.push(entry.path());
            } else if kind.is_file() {
                let exec = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
                let path = entry.path().strip_prefix(root).unwrap().to_owned();
                out.insert(path, (std::fs::read(entry.path()).unwrap(), exec));
            }
        }
    }
    out
}

pub(crate) fn noise(len: usize, mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Both devices have the same files.
pub(crate) fn assert_same(a: &Device, b: &Device) {
    let (a, b) = (tree(a.dir.path()), tree(b.dir.path()));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (path, file) in &a {
        assert!(b[path] == *file, "{path:?} differs");
    }
}
