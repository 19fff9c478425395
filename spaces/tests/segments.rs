//! What the log promises when something goes wrong: the power goes in the middle of a write, the index is lost, late or
//! damaged, the disk loses what it had.

mod common;

use common::{Random, born, newest, number, set, step};
use ibgib::{Addr, IbGib, Verified};
use ibgib_spaces::{
    Commit, CommitError, Follow, Kind, SegmentSpace, Space, SpaceError, Store, Tip, durable, forget, forget::Forget,
    fsck, repair,
};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const INDEX: &str = "index.redb";
const SEGMENT: &str = "log/00000000.log";
/// Where the first record of a segment stands, and how long the head of a record is.
const FIRST: usize = 64;
const HEAD: usize = 24;

/// All that a store answers.
#[derive(Clone, Debug, PartialEq)]
struct State {
    revision: u64,
    count: u64,
    nodes: Vec<Addr>,
    tips: Vec<Tip>,
    records: Vec<(String, Vec<u8>)>,
    moved: Vec<Vec<Tip>>,
    staged: BTreeMap<&'static str, Vec<Addr>>,
}

const OWNERS: [&str; 2] = ["one", "two"];

async fn state(space: &dyn Space) -> State {
    let revision = space.revision().await.unwrap();
    let scanned = space.scan(None, usize::MAX).await.unwrap();
    let nodes: Vec<Addr> = scanned.into_iter().map(|entry| entry.node.unwrap().addr().clone()).collect();
    let mut moved = Vec::new();
    for since in 0..=revision {
        moved.push(space.changes(since).await.unwrap().tips);
    }
    let mut staged = BTreeMap::new();
    for owner in OWNERS {
        let mut addrs = space.staged_addrs(owner).await.unwrap();
        addrs.sort();
        assert!(space.staged(owner, &addrs).await.unwrap().iter().all(Option::is_some));
        staged.insert(owner, addrs);
    }
    let (tips, records) = (space.tips(None).await.unwrap(), space.records("").await.unwrap());
    State { revision, count: space.count().await.unwrap(), nodes, tips, records, moved, staged }
}

/// A commit that forgets a timeline.
async fn forgetting(space: &dyn Space, tjp: &Addr) -> Commit {
    let tip = space.tip(tjp).await.unwrap().unwrap().addr;
    Commit { forget: vec![Forget { tjp: tjp.clone(), tip, beside: Vec::new() }], ..Commit::default() }
}

/// Edits, records, timelines that end, staged nodes that are published, forgotten, or left: whatever a random number says.
/// After each step `look` is called.
async fn play(space: &dyn Space, seed: u64, steps: usize, mut look: impl AsyncFnMut(&dyn Space)) {
    let mut random = Random(seed);
    let mut tjps: Vec<Addr> = Vec::new();
    look(space).await;
    forget::prepare(space, |_| ()).await.unwrap();
    look(space).await;
    for nth in 0..steps {
        match random.below(8) {
            7 => {
                let sagas: Vec<usize> = (0..tjps.len()).filter(|at| tjps[*at].ib().starts_with("saga")).collect();
                if sagas.len() > 1 {
                    let tjp = tjps.remove(sagas[random.below(sagas.len())]);
                    space.commit(forgetting(space, &tjp).await).await.unwrap();
                } else {
                    let first = born(&format!("saga {nth} of {seed}"));
                    space.commit(step(space, None, &first).await).await.unwrap();
                    tjps.push(first.frame.addr().clone());
                }
            }
            0 | 1 => {
                let first = born(&format!("note {nth} of {seed}"));
                space.commit(step(space, None, &first).await).await.unwrap();
                tjps.push(first.frame.addr().clone());
            }
            2 | 3 if !tjps.is_empty() => {
                let now = newest(space, &tjps[random.below(tjps.len())]).await;
                let next = set(&now, "text", format!("{} of step {nth}", "some words ".repeat(random.below(40))));
                let mut commit = step(space, Some(now.addr()), &next).await;
                commit.records = vec![(format!("step/{}", random.below(5)), Some(vec![nth as u8; random.below(900)]))];
                space.commit(commit).await.unwrap();
            }
            4 => {
                let key = format!("step/{}", random.below(5));
                space.commit(Commit { records: vec![(key, None)], ..Commit::default() }).await.unwrap();
            }
            5 => {
                let nodes: Vec<Verified<IbGib>> = (0..1 + random.below(40))
                    .flat_map(|i| born(&format!("staged {nth} {i} of {seed}")).nodes())
                    .collect();
                space.stage(OWNERS[random.below(2)], &nodes).await.unwrap();
            }
            _ => {
                let owner = OWNERS[random.below(2)];
                let mut staged = space.staged_addrs(owner).await.unwrap();
                if random.below(3) == 0 {
                    space.unstage(owner).await.unwrap();
                } else if !staged.is_empty() {
                    // A graph is whole: frames of first generation need their dna only.
                    staged.retain(|addr| addr.ib() == "fork" || random.below(2) == 0);
                    space.commit(Commit { publish: Some((owner.into(), staged)), ..Commit::default() }).await.unwrap();
                }
            }
        }
        look(space).await;
    }
}

/// The places of a segment's records, and where the last ends.
fn records(log: &[u8]) -> Vec<usize> {
    let (mut at, mut out) = (FIRST, vec![FIRST]);
    while log.get(at..at + 4) == Some(b"ibRc") {
        at += HEAD + u32::from_le_bytes(log[at + 4..at + 8].try_into().unwrap()) as usize;
        out.push(at);
    }
    out
}

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let space = dir.path().join("space");
    (dir, space)
}

/// A store with this log and, if any, this index.
fn laid_out(dir: &Path, log: &[u8], index: Option<&[u8]>) {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir.join("log")).unwrap();
    fs::write(dir.join(SEGMENT), log).unwrap();
    if let Some(index) = index {
        fs::write(dir.join(INDEX), index).unwrap();
    }
}

#[tokio::test]
async fn a_store_is_the_same_when_it_is_opened_again_with_and_without_its_index() {
    for seed in 0..6 {
        let (_dir, dir) = fresh();
        let space = SegmentSpace::create(&dir).unwrap();
        play(&space, seed, 60, async |_| {}).await;
        let (id, before) = (space.id().to_owned(), state(&space).await);
        drop(space);
        for index in ["as it was", "lost", "damaged", "empty"] {
            match index {
                "lost" => fs::remove_file(dir.join(INDEX)).unwrap(),
                "damaged" => {
                    let mut bytes = fs::read(dir.join(INDEX)).unwrap();
                    bytes[..4096].fill(0x5a);
                    fs::write(dir.join(INDEX), bytes).unwrap();
                }
                "empty" => fs::write(dir.join(INDEX), b"").unwrap(),
                _ => {}
            }
            let space = SegmentSpace::open(&dir).unwrap();
            assert_eq!((space.id(), &state(&space).await), (id.as_str(), &before), "seed {seed}, index {index}");
            assert!(fsck(&space).await.unwrap().is_clean());
        }
        let reader = SegmentSpace::open_read_only(&dir).unwrap();
        assert_eq!(state(&reader).await, before);
    }
}

/// The power goes at every point of the log: what is there then is what was there after the last whole record.
#[tokio::test]
async fn wherever_the_log_is_torn_it_ends_with_the_last_whole_record() {
    let (_dir, dir) = fresh();
    let space = SegmentSpace::create(&dir).unwrap();
    // After each step: how long the log is, what the store answers, and the index as it is on the disk.
    let mut states: Vec<(usize, State, Vec<u8>)> = Vec::new();
    play(&space, 11, 40, async |space| {
        let log = fs::read(dir.join(SEGMENT)).unwrap();
        let end = *records(&log).last().unwrap();
        states.push((end, state(space).await, fs::read(dir.join(INDEX)).unwrap()));
    })
    .await;
    let log = fs::read(dir.join(SEGMENT)).unwrap();
    drop(space);
    let (_again, again) = fresh();
    let mut random = Random(5);
    let places = records(&log);
    for (nth, window) in places.windows(2).enumerate() {
        let (start, end) = (window[0], window[1]);
        for torn in [0, 1, HEAD - 1, HEAD, HEAD + random.below(end - start - HEAD), end - start - 1] {
            let mut bytes = log[..start + torn].to_vec();
            // The rest of what was being written never came, or only zeros did.
            bytes.resize(start + torn + random.below(2) * 5_000, 0);
            // Where it ended with zeros anyway, it is whole.
            let whole = if bytes.get(..end) == Some(&log[..end]) { end } else { start };
            // A step may be there in part: then some of what it staged is staged.
            let at = states.iter().rposition(|(len, ..)| *len <= whole).unwrap();
            let (len, expected, index) = &states[at];
            laid_out(&again, &bytes, (nth % 2 == 0).then_some(index));
            let space = SegmentSpace::open(&again).unwrap();
            let mut found = state(&space).await;
            if whole > *len {
                found.staged = expected.staged.clone();
            }
            assert_eq!(&found, expected, "record {nth}, cut at {torn}");
            assert!(fsck(&space).await.unwrap().is_clean());
            // And it goes on.
            let first = born("after");
            space.commit(step(&space, None, &first).await).await.unwrap();
            let after = state(&space).await;
            assert_eq!(after.revision, expected.revision + 1);
            drop(space);
            assert_eq!(state(&SegmentSpace::open(&again).unwrap()).await, after);
        }
    }
    assert!(places.len() > 40, "{} records are too few", places.len());
}

/// What was told to be durable and is lost is told, not left out.
#[tokio::test]
async fn a_hole_in_what_was_durable_is_told() {
    let (_dir, dir) = fresh();
    let space = SegmentSpace::create(&dir).unwrap();
    play(&space, 3, 30, async |_| {}).await;
    drop(space);
    let (log, index) = (fs::read(dir.join(SEGMENT)).unwrap(), fs::read(dir.join(INDEX)).unwrap());
    let places = records(&log);
    // The record of a commit; without one of nodes, the rest can be read.
    let hole = *places[places.len() / 2..].iter().find(|place| log[**place + 12] == 2).unwrap();
    let mut damaged = log.clone();
    damaged[hole + HEAD] ^= 1;
    laid_out(&dir, &damaged, None);
    assert!(matches!(SegmentSpace::open(&dir), Err(SpaceError::Damaged(_))));
    // The log is shorter than what the index knows of it.
    laid_out(&dir, &log[..places[places.len() - 2]], Some(&index));
    let told = SegmentSpace::open(&dir).unwrap_err();
    assert!(matches!(&told, SpaceError::Damaged(why) if why.contains(INDEX)), "{told}");
    fs::remove_file(dir.join(INDEX)).unwrap();
    assert!(fsck(&SegmentSpace::open(&dir).unwrap()).await.unwrap().is_clean());
    // A segment in the middle that is not there, or another store's.
    laid_out(&dir, &log, None);
    fs::write(dir.join("log/00000001.log"), &log).unwrap();
    assert!(matches!(SegmentSpace::open(&dir), Err(SpaceError::Damaged(_))));
    // One that was being made when the power went.
    for torn in [&[][..], &[0; 64], &log[..30]] {
        fs::write(dir.join("log/00000001.log"), torn).unwrap();
        assert!(SegmentSpace::open(&dir).is_ok());
        assert!(!dir.join("log/00000001.log").exists());
    }
}

/// Bits that flip while the store is closed: whatever is answered has its address, and a good copy takes the place of what
/// is damaged.
#[tokio::test]
async fn damaged_blocks_are_told_and_mended() {
    let (_dir, dir) = fresh();
    let space = SegmentSpace::create(&dir).unwrap();
    play(&space, 8, 50, async |_| {}).await;
    let before = state(&space).await;
    let nodes: Vec<Verified<IbGib>> =
        space.scan(None, usize::MAX).await.unwrap().into_iter().map(|entry| entry.node.unwrap()).collect();
    drop(space);
    let (log, index) = (fs::read(dir.join(SEGMENT)).unwrap(), fs::read(dir.join(INDEX)).unwrap());
    let places = records(&log);
    let (mut told, mut missing) = (0, 0);
    for window in places.windows(2).filter(|window| log[window[0] + 12] == 1) {
        for has_index in [true, false] {
            let mut damaged = log.clone();
            damaged[window[0] + HEAD + (window[1] - window[0] - HEAD) / 2] ^= 0x10;
            laid_out(&dir, &damaged, has_index.then_some(&index));
            // Whoever only reads goes by the log alone.
            drop(SegmentSpace::open_read_only(&dir).unwrap());
            let space = SegmentSpace::open(&dir).unwrap();
            let found = repair::check(&space).await.unwrap();
            told += found.corrupt.len();
            missing += found.missing.len();
            assert!(found.corrupt.is_empty() || has_index);
            repair::mend(&space, "mender", &nodes).await.unwrap();
            assert!(fsck(&space).await.unwrap().is_clean());
            assert_eq!(state(&space).await.nodes, before.nodes);
            drop(space);
            fs::remove_file(dir.join(INDEX)).unwrap();
        }
    }
    assert!(told > 10 && missing > 10, "only {told} nodes were told, and {missing} missing");
}

/// Damage in the record that was written last: the index knows what it said.
#[tokio::test]
async fn a_damaged_end_is_passed_over_by_an_index_that_knows_it() {
    let (_dir, dir) = fresh();
    let space = SegmentSpace::create(&dir).unwrap();
    play(&space, 5, 30, async |_| {}).await;
    let before = state(&space).await;
    drop(space);
    let (log, index) = (fs::read(dir.join(SEGMENT)).unwrap(), fs::read(dir.join(INDEX)).unwrap());
    let places = records(&log);
    let last = places[..places.len() - 1].iter().rfind(|place| log[**place + 12] == 2).unwrap();
    for place in [*last, places[places.len() - 2]] {
        let mut damaged = log.clone();
        damaged[place + 5] ^= 1;
        laid_out(&dir, &damaged, Some(&index));
        let space = SegmentSpace::open(&dir).unwrap();
        assert_eq!(state(&space).await.tips, before.tips);
        let first = born("after");
        space.commit(step(&space, None, &first).await).await.unwrap();
        drop(space);
        assert!(SegmentSpace::open(&dir).unwrap().tip(first.frame.addr()).await.unwrap().is_some());
    }
}

/// One text, edited often: the history takes little more than the text, and every frame is read back.
#[tokio::test]
async fn a_history_of_a_large_text_takes_little_more_than_the_text() {
    let (_dir, dir) = fresh();
    let space = SegmentSpace::create(&dir).unwrap();
    let mut random = Random(1);
    let mut lines: Vec<String> = (0..2_000).map(|n| format!("line {n}: {}", random.below(1 << 40))).collect();
    let first = born("text");
    let tjp = first.frame.addr().clone();
    space.commit(step(&space, None, &first).await).await.unwrap();
    for nth in 0..100 {
        lines[random.below(2_000)] = format!("line of edit {nth}");
        let now = newest(&space, &tjp).await;
        let next = set(&now, "text", lines.join("\n"));
        space.commit(step(&space, Some(now.addr()), &next).await).await.unwrap();
    }
    let tip = [space.tip(&tjp).await.unwrap().unwrap().addr];
    drop(space);
    let (text, log) = (lines.join("\n").len() as u64, fs::metadata(dir.join(SEGMENT)).unwrap().len());
    assert!(log < 6 * text, "{log} bytes for a text of {text}");
    let space = SegmentSpace::open(&dir).unwrap();
    let history = space.reach(&tip, Follow::History, &HashSet::new(), usize::MAX).await.unwrap();
    assert_eq!(history.len(), 101);
    assert!(fsck(&space).await.unwrap().is_clean());
}

/// A long text of words that come again and again, and its dna, which says all of it as well: here edit by edit, and at
/// another store as they come in a saga.
#[tokio::test]
async fn a_history_of_a_long_text_and_its_dna_takes_less_than_the_text() {
    let (_dir, dir) = fresh();
    let space = SegmentSpace::create(&dir).unwrap();
    let mut random = Random(1);
    let mut line = || -> String {
        let words = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"];
        (0..12).map(|_| words[random.below(words.len())]).collect::<Vec<_>>().join(" ")
    };
    let mut lines: Vec<String> = (0..4_000).map(|_| line()).collect();
    let first = born("text");
    let tjp = first.frame.addr().clone();
    space.commit(step(&space, None, &first).await).await.unwrap();
    for nth in 0..80 {
        lines[nth * 37] = line();
        let now = newest(&space, &tjp).await;
        let next = set(&now, "text", lines.join("\n"));
        space.commit(step(&space, Some(now.addr()), &next).await).await.unwrap();
    }
    let tip = [space.tip(&tjp).await.unwrap().unwrap().addr];
    let all = space.reach(&tip, Follow::All, &HashSet::new(), usize::MAX).await.unwrap();
    assert!(all.len() > 160);
    let (_other_dir, other_dir) = fresh();
    let other = SegmentSpace::create(&other_dir).unwrap();
    for addr in &all {
        other.stage("one", &[space.node(addr).await.unwrap().unwrap()]).await.unwrap();
    }
    assert!(other.staged("one", &all).await.unwrap().iter().all(Option::is_some));
    drop((space, other));
    let text = lines.join("\n").len() as u64;
    for dir in [&dir, &other_dir] {
        let log = log_bytes(dir);
        assert!(log < text, "{log} bytes for a text of {text}");
    }
    let space = SegmentSpace::open(&dir).unwrap();
    assert!(fsck(&space).await.unwrap().is_clean());
    space.give_back(true).await.unwrap();
    assert_eq!(space.get(&all).await.unwrap().into_iter().flatten().count(), all.len());
    assert!(SegmentSpace::open(&other_dir).unwrap().staged("one", &all).await.unwrap().iter().all(Option::is_some));
}

/// Writers that come together are written together, and each is told of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_that_come_together_each_have_their_revision() {
    let (_dir, dir) = fresh();
    let space = std::sync::Arc::new(SegmentSpace::create(&dir).unwrap());
    let counter = born("counter");
    space.commit(step(&*space, None, &counter).await).await.unwrap();
    let mut tasks = Vec::new();
    for nth in 0..16 {
        let (space, first) = (space.clone(), counter.frame.clone());
        tasks.push(tokio::spawn(async move {
            let own = born(&format!("own {nth}"));
            let mut revisions = vec![space.commit(step(&*space, None, &own).await).await.unwrap()];
            // Of those who move one tip from where it is one wins.
            let next = set(&first, "count", nth);
            match space.commit(step(&*space, Some(first.addr()), &next).await).await {
                Ok(revision) => revisions.push(revision),
                Err(CommitError::TipsMoved(_)) => {}
                Err(error) => panic!("{error}"),
            }
            revisions
        }));
    }
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.extend(task.await.unwrap());
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (2..=18).collect::<Vec<u64>>());
    assert_eq!(space.revision().await.unwrap(), 18);
    let now = newest(&*space, counter.frame.addr()).await;
    assert!(number(&now, "count") < 16 && now.n() == Some(1));
}

/// Text that nothing makes shorter by more than a quarter.
fn noise(random: &mut Random, bytes: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..bytes).map(|_| char::from(LETTERS[random.below(64)])).collect()
}

/// More than fits into one file: what stands before, behind and around the boundary is read, written on and found again.
#[tokio::test]
async fn a_log_of_several_segments_is_one_log() {
    let (_dir, dir) = fresh();
    let space = SegmentSpace::create(&dir).unwrap();
    let second = dir.join("log/00000001.log");
    let (mut random, first) = (Random(4), born("text"));
    space.commit(step(&space, None, &first).await).await.unwrap();
    let mut before = None;
    while !second.exists() {
        let now = newest(&space, first.frame.addr()).await;
        let next = set(&now, "text", noise(&mut random, 3_000_000));
        space.commit(step(&space, Some(now.addr()), &next).await).await.unwrap();
        before = Some(now);
    }
    // What follows is compressed beside what stands in the first segment.
    for nth in 0..3 {
        let now = newest(&space, first.frame.addr()).await;
        let next = set(&now, "nth", nth);
        space.commit(step(&space, Some(now.addr()), &next).await).await.unwrap();
    }
    let end = fs::metadata(dir.join(SEGMENT)).unwrap().len();
    assert!(end < 64 * 1024 * 1024 && fs::read(&second).unwrap().starts_with(b"ibgib segment 1\n"));
    let expected = (space.count().await.unwrap(), space.changes(0).await.unwrap());
    drop(space);
    fs::remove_file(dir.join(INDEX)).unwrap();
    for space in [SegmentSpace::open_read_only(&dir).unwrap(), SegmentSpace::open(&dir).unwrap()] {
        assert_eq!((space.count().await.unwrap(), space.changes(0).await.unwrap()), expected);
        let tip = newest(&space, first.frame.addr()).await;
        assert_eq!(number(&tip, "nth"), 2);
    }
    assert!(fsck(&SegmentSpace::open(&dir).unwrap()).await.unwrap().is_clean());
    // The power goes while the second one is begun: the first has all that was told.
    fs::remove_file(dir.join(INDEX)).unwrap();
    fs::write(&second, [0; 20]).unwrap();
    let space = SegmentSpace::open(&dir).unwrap();
    assert!(!second.exists());
    assert_eq!(newest(&space, first.frame.addr()).await, before.unwrap());
    let next = set(&newest(&space, first.frame.addr()).await, "nth", 4);
    let commit = step(&space, Some(next.frame.past().as_ref().unwrap()), &next).await;
    space.commit(commit).await.unwrap();
}

/// A small file system, where this user may mount one.
struct Small(PathBuf);

impl Small {
    fn mount(path: &Path, size: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(path);
        mount.output().is_ok_and(|out| out.status.success()).then(|| Self(path.to_owned()))
    }

    fn grow(&self, size: &str) {
        let how = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &how]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The directory is temporary anyway.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The disk gets full at every kind of write: what was told is kept, and with room the same space goes on.
#[tokio::test]
async fn a_full_disk_loses_nothing_and_the_space_goes_on_with_room() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = Small::mount(place.path(), "4m") else {
        println!("not run: only root can mount a small file system");
        return;
    };
    let dir = place.path().join("space");
    let space = SegmentSpace::create(&dir).unwrap();
    let mut random = Random(6);
    play(&space, 1, 30, async |_| {}).await;
    for (round, staging) in [true, false, true].into_iter().enumerate() {
        let mut expected = state(&space).await;
        let full = loop {
            let first = born(&format!("filler {}", random.below(usize::MAX)));
            let second = set(&first.frame, "text", noise(&mut random, 100_000));
            let nodes = [first.nodes(), second.nodes()].concat();
            let done = match staging {
                true => space.stage("filler", &nodes).await.map_err(CommitError::from),
                false => space.commit(Commit { nodes, ..Commit::default() }).await.map(drop),
            };
            match done {
                Ok(()) => expected = state(&space).await,
                Err(error) => break error,
            }
        };
        assert!(matches!(full, CommitError::Space(SpaceError::Full(_))), "{full}");
        // Still full: what is there is read.
        assert_eq!(state(&space).await, expected, "round {round}");
        assert!(fsck(&space).await.unwrap().is_clean());
        disk.grow(&format!("{}m", 8 + 4 * round));
        let first = born(&format!("after {round}"));
        space.commit(step(&space, None, &first).await).await.unwrap();
        let after = state(&space).await;
        assert_eq!(after.revision, expected.revision + 1);
        space.unstage("filler").await.unwrap();
    }
    let expected = state(&space).await;
    drop(space);
    assert_eq!(state(&SegmentSpace::open(&dir).unwrap()).await, expected);
}

/// Whoever reads beside the one who writes sees a moment of it, and no half of anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_reads_beside_a_writer_sees_one_moment() {
    let (_dir, dir) = fresh();
    let space = SegmentSpace::create(&dir).unwrap();
    let mut states = Vec::new();
    play(&space, 9, 60, async |space| {
        let reader = SegmentSpace::open_read_only(&dir).unwrap();
        let now = state(space).await;
        assert_eq!(state(&reader).await, now);
        assert!(fsck(&reader).await.unwrap().is_clean());
        let refused = reader.commit(Commit::default()).await;
        assert!(matches!(refused, Err(CommitError::Space(SpaceError::Permission(_)))), "{refused:?}");
        states.push((reader, now));
    })
    .await;
    for (reader, then) in &states {
        assert_eq!(&state(reader).await, then, "it stays at its moment");
    }
    drop(space);
    fs::remove_file(dir.join(INDEX)).unwrap();
    let before = fs::read(dir.join(SEGMENT)).unwrap();
    assert_eq!(state(&SegmentSpace::open_read_only(&dir).unwrap()).await, states.last().unwrap().1);
    assert!(!dir.join(INDEX).exists() && fs::read(dir.join(SEGMENT)).unwrap() == before);

    // While it is written as fast as it goes.
    let space = std::sync::Arc::new(SegmentSpace::open(&dir).unwrap());
    let counter = born("counter");
    space.commit(step(&*space, None, &counter).await).await.unwrap();
    let (writer, tjp) = (space.clone(), counter.frame.addr().clone());
    let writing = tokio::spawn(async move {
        for count in 1..=300 {
            let now = newest(&*writer, &tjp).await;
            let next = set(&now, "count", count);
            let mut commit = step(&*writer, Some(now.addr()), &next).await;
            commit.records = vec![("count".into(), Some(count.to_string().into_bytes()))];
            writer.commit(commit).await.unwrap();
        }
    });
    let mut last = 0;
    while !writing.is_finished() {
        let reader = SegmentSpace::open_read_only(&dir).unwrap();
        let tip = newest(&reader, counter.frame.addr()).await;
        let count = number(&tip, "count");
        let record = reader.record("count").await.unwrap().unwrap_or_else(|| b"0".to_vec());
        assert_eq!(record, count.to_string().into_bytes());
        assert!(count >= last, "it went back");
        last = count;
        assert!(fsck(&reader).await.unwrap().is_clean());
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn a_backup_is_the_store_as_it_was_at_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("store"), dir.path().join("copies/copy"));
    fs::create_dir(dir.path().join("copies")).unwrap();
    let space = SegmentSpace::create(&from).unwrap();
    play(&space, 5, 60, async |_| ()).await;
    fs::write(from.join("tls.key"), "a key").unwrap();
    let before = state(&space).await;
    let mut told = Vec::new();
    // While somebody has it open to write.
    let bytes = durable::back_up(&from, &to, |done, of| told.push((done, of))).unwrap();
    assert_eq!(told.last(), Some(&(bytes, bytes)));
    play(&space, 6, 20, async |_| ()).await;
    assert_ne!(state(&space).await, before);
    let copy = SegmentSpace::open(&to).unwrap();
    assert_eq!((copy.id(), state(&copy).await), (space.id(), before));
    assert!(fsck(&copy).await.unwrap().is_clean());
    assert_eq!(fs::read_to_string(to.join("tls.key")).unwrap(), "a key");
    // Nothing takes the place of what is there, and what fails leaves nothing.
    assert!(matches!(durable::back_up(&from, &to, |_, _| ()), Err(SpaceError::Io(_))));
    let nothing = durable::back_up(&dir.path().join("nothing"), &dir.path().join("copies/other"), |_, _| ());
    assert!(matches!(nothing, Err(SpaceError::NotFound(_))));
    let nowhere = durable::back_up(&from, &dir.path().join("no/where"), |_, _| ());
    assert!(nowhere.is_err());
    assert_eq!(fs::read_dir(dir.path().join("copies")).unwrap().count(), 1);
}

/// A store in which many sagas ended, among what is kept.
async fn after_many_sagas(dir: &Path, seed: u64) -> SegmentSpace {
    let space = SegmentSpace::create(dir).unwrap();
    play(&space, seed, 50, async |_| {}).await;
    for nth in 0..40 {
        let first = born(&format!("saga of many {nth}"));
        let tjp = first.frame.addr().clone();
        space.commit(step(&space, None, &first).await).await.unwrap();
        let next = set(&first.frame, "text", format!("{:x}", Random(nth).below(usize::MAX)).repeat(40));
        space.commit(step(&space, Some(&tjp), &next).await).await.unwrap();
        if nth % 4 > 0 {
            space.commit(forgetting(&space, &tjp).await).await.unwrap();
        }
    }
    space
}

fn log_bytes(dir: &Path) -> u64 {
    fs::read_dir(dir.join("log")).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

/// What a store's folder holds.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_log_that_is_written_anew_is_the_same_store_and_smaller() {
    for seed in 0..6 {
        let (_dir, dir) = fresh();
        let space = after_many_sagas(&dir, seed).await;
        let (id, before, bytes) = (space.id().to_owned(), state(&space).await, log_bytes(&dir));
        let view = space.view().await.unwrap();
        let reader = SegmentSpace::open_read_only(&dir).unwrap();
        let given_back = space.give_back(true).await.unwrap();
        assert!(given_back > 0 && given_back <= bytes, "{given_back} of {bytes}");
        assert_eq!((space.id(), &state(&space).await), (id.as_str(), &before), "seed {seed}");
        assert_eq!(names(&dir), ["index.redb", "log"]);
        assert_eq!(space.give_back(true).await.unwrap(), 0);
        // Who looks at the old one goes on doing so.
        assert_eq!(view.head().await.unwrap().nodes, before.count);
        assert_eq!(state(&reader).await, before);
        drop(view);
        assert!(matches!(SegmentSpace::open(&dir), Err(SpaceError::Locked(_))));
        // It goes on, and is the same when it is opened again, with and without its index.
        play(&space, seed + 100, 20, async |_| {}).await;
        let after = state(&space).await;
        drop(space);
        assert!(log_bytes(&dir) < bytes);
        assert_eq!(state(&SegmentSpace::open_read_only(&dir).unwrap()).await, after);
        for has_index in [true, false] {
            if !has_index {
                fs::remove_file(dir.join(INDEX)).unwrap();
            }
            let space = SegmentSpace::open(&dir).unwrap();
            assert_eq!((space.id(), &state(&space).await), (id.as_str(), &after), "seed {seed}, index {has_index}");
            assert!(fsck(&space).await.unwrap().is_clean());
        }
    }
}

/// A little is not worth writing everything for.
#[tokio::test]
async fn room_is_given_back_by_itself_only_where_it_is_much() {
    let (_dir, dir) = fresh();
    let space = after_many_sagas(&dir, 1).await;
    assert!(space.give_back(false).await.unwrap() > 0);
    let first = born("saga of one");
    space.commit(step(&space, None, &first).await).await.unwrap();
    space.commit(forgetting(&space, first.frame.addr()).await).await.unwrap();
    assert_eq!(space.give_back(false).await.unwrap(), 0);
    drop(space);
    // What is forgotten and still there is counted anew from the log.
    fs::remove_file(dir.join(INDEX)).unwrap();
    let space = SegmentSpace::open(&dir).unwrap();
    assert_eq!(space.give_back(false).await.unwrap(), 0);
    assert!(space.give_back(true).await.unwrap() > 0);
}

/// Signed frames take a hundred times the room of an edit, so that few of them are most of a log.
#[tokio::test]
async fn a_few_nodes_that_take_much_room_are_much() {
    let (_dir, dir) = fresh();
    let space = SegmentSpace::create(&dir).unwrap();
    forget::prepare(&space, |_| ()).await.unwrap();
    let small = |n: u32| IbGib { ib: format!("leaf {n}"), ..IbGib::default() }.seal().unwrap();
    space.commit(Commit { nodes: (0..900).map(small).collect(), ..Commit::default() }).await.unwrap();
    let sign_and_forget = async |nth: u64| {
        let first = born(&format!("saga of {nth}"));
        let tjp = first.frame.addr().clone();
        space.commit(step(&space, None, &first).await).await.unwrap();
        let mut random = Random(nth);
        let text: String = (0..1_000).map(|_| format!("{:x}", random.below(usize::MAX))).collect();
        space.commit(step(&space, Some(&tjp), &set(&first.frame, "text", text)).await).await.unwrap();
        space.commit(forgetting(&space, &tjp).await).await.unwrap();
    };
    let mut given_back = Vec::new();
    for nth in 0..100 {
        sign_and_forget(nth).await;
        if space.give_back(false).await.unwrap() > 0 {
            given_back.push(nth);
        }
    }
    // Written anew a few times, and not each time.
    assert!((2..20).contains(&given_back.len()), "{given_back:?}");
    drop(space);
    assert!(log_bytes(&dir) < 1_000_000, "{}", log_bytes(&dir));
}

/// Writers, stagers and readers beside somebody who writes the log anew, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn others_go_on_while_the_log_is_written_anew() {
    const EDITS: u64 = 60;
    let (_dir, dir) = fresh();
    let space = std::sync::Arc::new(after_many_sagas(&dir, 2).await);
    let mut tasks = Vec::new();
    for nth in 0..4_u64 {
        let space = space.clone();
        tasks.push(tokio::spawn(async move {
            let first = born(&format!("note of {nth}"));
            space.commit(step(&*space, None, &first).await).await.unwrap();
            let mut now = first.frame;
            for edit in 0..EDITS {
                let next = set(&now, "text", format!("edit {edit} of {nth}"));
                let mut commit = step(&*space, Some(now.addr()), &next).await;
                if edit % 2 == 0 {
                    // Half of them are staged first.
                    let owner = format!("owner {nth}");
                    space.stage(&owner, &commit.nodes).await.unwrap();
                    let addrs = commit.nodes.drain(..).map(|node| node.addr().clone()).collect();
                    commit.publish = Some((owner, addrs));
                }
                commit.records = vec![(format!("record/{nth}"), Some(edit.to_string().into_bytes()))];
                space.commit(commit).await.unwrap();
                assert_eq!(space.node(next.frame.addr()).await.unwrap().as_ref(), Some(&next.frame));
                now = next.frame;
            }
            now.addr().clone()
        }));
    }
    let mut given_back = 0;
    for nth in 0.. {
        let first = born(&format!("saga beside {nth}"));
        space.commit(step(&*space, None, &first).await).await.unwrap();
        space.commit(forgetting(&*space, first.frame.addr()).await).await.unwrap();
        space.give_back(true).await.unwrap();
        given_back += 1;
        drop(SegmentSpace::open_read_only(&dir).unwrap());
        if tasks.iter().all(tokio::task::JoinHandle::is_finished) {
            break;
        }
    }
    assert!(given_back > 1);
    let mut tips = Vec::new();
    for task in tasks {
        tips.push(task.await.unwrap());
    }
    let before = state(&*space).await;
    for tip in &tips {
        assert!(before.tips.iter().any(|found| found.addr == *tip));
    }
    for nth in 0..4 {
        let value = space.record(&format!("record/{nth}")).await.unwrap();
        assert_eq!(value, Some((EDITS - 1).to_string().into_bytes()));
    }
    drop(std::sync::Arc::into_inner(space).unwrap());
    fs::remove_file(dir.join(INDEX)).unwrap();
    let space = SegmentSpace::open(&dir).unwrap();
    assert_eq!(state(&space).await, before);
    assert!(fsck(&space).await.unwrap().is_clean());
}

/// A log and, if any, its index.
type Log<'a> = (&'a [u8], Option<&'a [u8]>);

/// Whoever dies while he writes a log anew leaves the old one or the new one.
#[tokio::test]
async fn a_log_that_was_not_written_anew_to_the_end_is_the_old_one() {
    let (_dir, dir) = fresh();
    let space = after_many_sagas(&dir, 3).await;
    let before = state(&space).await;
    drop(space);
    let (old, index) = (fs::read(dir.join(SEGMENT)).unwrap(), fs::read(dir.join(INDEX)).unwrap());
    let space = SegmentSpace::open(&dir).unwrap();
    assert!(space.give_back(true).await.unwrap() > 0);
    drop(space);
    let (new, new_index) = (fs::read(dir.join(SEGMENT)).unwrap(), fs::read(dir.join(INDEX)).unwrap());
    assert!(new.len() < old.len());
    let fresh = dir.join(".log.new");
    // The log and its index in place, and what is left beside them.
    let states: [(Log<'_>, Log<'_>); 4] = [
        ((&old, Some(&index)), (&new[..new.len() / 2], None)),
        ((&old, None), (&new, Some(&new_index))),
        ((&new, None), (&old, Some(&new_index))),
        ((&new, Some(&new_index)), (&old, None)),
    ];
    for (nth, ((log, index), (beside, beside_index))) in states.into_iter().enumerate() {
        laid_out(&dir, log, index);
        laid_out(&fresh, beside, beside_index);
        assert_eq!(state(&SegmentSpace::open_read_only(&dir).unwrap()).await, before, "state {nth}");
        let space = SegmentSpace::open(&dir).unwrap();
        assert_eq!(state(&space).await, before, "state {nth}");
        assert_eq!(names(&dir), ["index.redb", "log"]);
        space.give_back(true).await.unwrap();
        assert_eq!(state(&space).await, before, "state {nth}");
    }
}

/// What cannot be read is not left behind: the log stays as it is.
#[tokio::test]
async fn a_damaged_log_is_not_written_anew() {
    let (_dir, dir) = fresh();
    let space = after_many_sagas(&dir, 4).await;
    let tips = space.tips(Some(Kind::Living)).await.unwrap();
    drop(space);
    let (log, index) = (fs::read(dir.join(SEGMENT)).unwrap(), fs::read(dir.join(INDEX)).unwrap());
    let mut damaged = 0;
    for place in records(&log).windows(2).filter(|window| log[window[0] + 12] == 1).map(|window| window[1] - 1) {
        let mut bytes = log.clone();
        bytes[place] ^= 1;
        laid_out(&dir, &bytes, Some(&index));
        let space = SegmentSpace::open(&dir).unwrap();
        let is_damaged = !fsck(&space).await.unwrap().is_clean();
        let given_back = space.give_back(true).await;
        assert_eq!(matches!(given_back, Err(SpaceError::Damaged(_))), is_damaged, "{given_back:?}");
        assert_eq!(space.tips(Some(Kind::Living)).await.unwrap(), tips);
        assert_eq!(names(&dir), ["index.redb", "log"]);
        damaged += usize::from(is_damaged);
    }
    assert!(damaged > 10, "{damaged}");
}
