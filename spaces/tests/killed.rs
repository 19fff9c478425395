//! A process killed in the middle of committing: what it was told is done stays done, and nothing is half done.

mod common;

use common::{Random, born, newest, number, set, step};
use ibgib::Addr;
use ibgib_spaces::{Commit, DurableSpace, Follow, SegmentSpace, Space, SpaceError, fsck};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const KILLS: u64 = 20;
const DIR: &str = "IBGIB_KILLED_DIR";

/// The directory, in the child only.
#[allow(clippy::disallowed_methods, reason = "the test starts itself as the child that is killed")]
fn child_dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

/// Commits until it is killed. Each commit moves the tip, sets a record to the frame's count, publishes a stone
/// staged just before, and stages one that nobody publishes.
async fn commit_for_ever(space: &dyn Space) {
    let first = born("counter");
    let tjp = first.frame.addr().clone();
    if space.tip(&tjp).await.unwrap().is_none() {
        space.commit(step(space, None, &first).await).await.unwrap();
    }
    loop {
        let now = newest(space, &tjp).await;
        let count = number(&now, "count") + 1;
        let next = set(&now, "count", count);
        let mut commit = step(space, Some(now.addr()), &next).await;
        let (staged, never) = (born(&format!("staged {count}")).dnas, born(&format!("never {count}")).dnas);
        space.stage("child", &staged).await.unwrap();
        space.stage("nobody", &never).await.unwrap();
        commit.publish = Some(("child".into(), staged.iter().map(|n| n.addr().clone()).collect()));
        commit.records = vec![("count".into(), Some(count.to_string().into_bytes()))];
        let revision = space.commit(commit).await.unwrap();
        // One write per line: a line is acknowledged whole or not at all.
        let line = format!("acknowledged {revision} {count} {}\n", next.frame.addr());
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
}

/// Starts this test as a child, kills it after `lines` acknowledged commits and a little more, and answers what it
/// acknowledged: revision, count, address.
fn run_and_kill(test: &str, dir: &Path, lines: usize, more: Duration) -> Vec<(u64, u32, Addr)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut acknowledged = Vec::new();
    let mut read = |out: &mut BufReader<_>| {
        let mut line = String::new();
        let there = out.read_line(&mut line).unwrap() > 0;
        // The test harness writes lines of its own, and perhaps before ours on the same line.
        if let Some((_, rest)) = line.trim_end().split_once("acknowledged ") {
            let mut words = rest.splitn(3, ' ');
            let mut word = || words.next().unwrap();
            acknowledged.push((word().parse().unwrap(), word().parse().unwrap(), word().parse().unwrap()));
        }
        (there, acknowledged.len())
    };
    loop {
        let (there, len) = read(&mut out);
        assert!(there, "the child ended by itself: {:?}", child.wait());
        if len >= lines {
            break;
        }
    }
    std::thread::sleep(more);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "it was killed, it did not end");
    // What it had written before is still in the pipe.
    while read(&mut out).0 {}
    acknowledged
}

async fn check(space: &dyn Space, tjp: &Addr, acknowledged: &[(u64, u32, Addr)]) {
    let report = fsck(space).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    let tip = newest(space, tjp).await;
    let history =
        space.reach(std::slice::from_ref(tip.addr()), Follow::History, &HashSet::new(), usize::MAX).await.unwrap();
    let revision = space.revision().await.unwrap();
    for (at, count, addr) in acknowledged {
        assert!(history.contains(addr), "acknowledged frame {count} is lost");
        assert!(*at <= revision, "acknowledged revision {at} is after {revision}");
    }
    // No half commit: tip, record, published stone, history and count of nodes tell the same story.
    let count = number(&tip, "count");
    assert_eq!(tip.n(), Some(u64::from(count)));
    assert_eq!(history.len() as u32, count + 1);
    assert_eq!(revision, u64::from(count) + 1, "one revision for the birth and each increment");
    assert_eq!(space.record("count").await.unwrap(), Some(count.to_string().into_bytes()));
    for i in 1..=count {
        let stones: Vec<Addr> = born(&format!("staged {i}")).dnas.iter().map(|n| n.addr().clone()).collect();
        assert_eq!(space.has(&stones).await.unwrap(), [true], "what commit {i} published");
        let never: Vec<Addr> = born(&format!("never {i}")).dnas.iter().map(|n| n.addr().clone()).collect();
        assert_eq!(space.has(&never).await.unwrap(), [false], "what nobody published");
    }
    let scanned = space.scan(None, usize::MAX).await.unwrap();
    assert_eq!(scanned.len() as u64, space.count().await.unwrap());
    let changes = space.changes(revision - 1).await.unwrap();
    assert_eq!(changes.tips.iter().map(|t| &t.addr).collect::<Vec<_>>(), [tip.addr()]);
}

/// Kills a child of this test again and again, and looks at what it left.
async fn kill_often(test: &str, open: impl Fn(&Path) -> Box<dyn Space>) {
    let dir = tempfile::tempdir().unwrap();
    let tjp = born("counter").frame.addr().clone();
    let mut random = Random(20);
    let mut all = Vec::new();
    for _ in 0..KILLS {
        let more = Duration::from_micros(random.below(4000) as u64);
        all.extend(run_and_kill(test, dir.path(), 1 + random.below(6), more));
        check(&*open(dir.path()), &tjp, &all).await;
    }
    // And it goes on.
    let space = open(dir.path());
    let now = newest(&*space, &tjp).await;
    let next = set(&now, "count", number(&now, "count") + 1);
    let commit = step(&*space, Some(now.addr()), &next).await;
    space.commit(Commit { records: Vec::new(), ..commit }).await.unwrap();
    assert!(all.len() as u64 >= KILLS);
}

#[tokio::test]
async fn what_was_acknowledged_outlives_a_kill() {
    match child_dir() {
        Some(dir) => commit_for_ever(&DurableSpace::open_or_create(&dir).unwrap()).await,
        None => {
            let open = |dir: &Path| Box::new(DurableSpace::open(dir).unwrap()) as _;
            kill_often("what_was_acknowledged_outlives_a_kill", open).await;
        }
    }
}

#[tokio::test]
async fn what_the_log_acknowledged_outlives_a_kill() {
    match child_dir() {
        Some(dir) => commit_for_ever(&SegmentSpace::open_or_create(&dir).unwrap()).await,
        None => {
            let open = |dir: &Path| Box::new(SegmentSpace::open(dir).unwrap()) as _;
            kill_often("what_the_log_acknowledged_outlives_a_kill", open).await;
        }
    }
}

#[tokio::test]
async fn an_open_store_is_locked_and_a_killed_ones_lock_is_gone() {
    let (dir, log) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run_and_kill("what_was_acknowledged_outlives_a_kill", dir.path(), 1, Duration::ZERO);
    run_and_kill("what_the_log_acknowledged_outlives_a_kill", log.path(), 1, Duration::ZERO);
    let (space, segments) = (DurableSpace::open(dir.path()).unwrap(), SegmentSpace::open(log.path()).unwrap());
    assert!(matches!(DurableSpace::open(dir.path()), Err(SpaceError::Locked(_))));
    assert!(matches!(SegmentSpace::open(log.path()), Err(SpaceError::Locked(_))));
    drop((space, segments));
    DurableSpace::open(dir.path()).unwrap();
    SegmentSpace::open(log.path()).unwrap();
}
