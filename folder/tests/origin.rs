//! Where the sides of a conflict come from, and what an undo of its settling does.

mod common;

use common::{Device, moments, path, tree};
use ibgib_folder::{Resolution, UndoKind};
use ibgib_spaces::Kind;
use std::path::Path;

fn exec(alice: &Device) -> bool {
    tree(alice.dir.path())[Path::new("a.txt")].1
}

/// Two devices of one folder that have not synced since each wrote its own words into notes.txt.
async fn edited_apart(old: [&str; 2], alices: [&str; 2], bobs: [&str; 2]) -> (Device, Device) {
    let text = |[two, four]: [&str; 2]| format!("one\n\n{two}\n\nthree\n\n{four}\n");
    let alice = Device::new().await;
    alice.put("notes.txt", text(old));
    alice.snapshot().await;
    let bob = alice.joined().await;
    for (device, words) in [(&alice, alices), (&bob, bobs)] {
        device.put("notes.txt", text(words));
        device.snapshot().await;
    }
    (alice, bob)
}

#[tokio::test]
async fn each_device_tells_its_own_side_from_the_others() {
    let (alice, bob) = edited_apart(["old", "four"], ["ALICE", "four"], ["BOB", "four"]).await;
    alice.pull(&bob).await;
    bob.pull(&alice).await;
    let conflicts = alice.folder.conflicts().await.unwrap();
    assert_eq!(conflicts, bob.folder.conflicts().await.unwrap());
    let [alices, bobs] = [
        alice.folder.conflict_origins(&conflicts, None).await.unwrap().remove(0),
        bob.folder.conflict_origins(&conflicts, None).await.unwrap().remove(0),
    ];
    let side = |resolution| match resolution {
        Some(Resolution::Base) => conflicts[0].base.clone().unwrap(),
        _ => conflicts[0].orphan.clone().unwrap(),
    };
    assert_eq!((side(alices.yours()), side(alices.theirs())), ("ALICE".into(), "BOB".into()));
    assert_eq!((side(bobs.yours()), side(bobs.theirs())), ("BOB".into(), "ALICE".into()));
    assert!(!alices.told().here && alices.told().timestamp.is_some());
    // Whoever has made neither of them cannot tell.
    let carol = Device::new_joining(&alice).await;
    carol.pull(&alice).await;
    let carols = carol.folder.conflict_origins(&conflicts, None).await.unwrap().remove(0);
    assert_eq!((carols.yours(), carols.theirs()), (None, None));
    assert!(carols.base.timestamp.is_some() && carols.orphan.timestamp.is_some());
}

#[tokio::test]
async fn what_was_undone_is_built_on_and_done_again() {
    let alice = Device::new().await;
    alice.put("a.txt", "one\n");
    alice.snapshot().await;
    assert!(alice.folder.undo_plan().await.unwrap().first);
    alice.put("a.txt", "two\n");
    alice.chmod("a.txt", 0o755);
    alice.snapshot().await;
    let plan = alice.folder.undo_plan().await.unwrap();
    assert_eq!((plan.kind, plan.first, plan.files.len()), (UndoKind::Snapshot, false, 1));
    alice.folder.undo(false, &mut moments()).await.unwrap();
    assert_eq!((alice.read("a.txt").as_str(), exec(&alice)), ("one\n", false));
    let first = alice.folder.tip(&path("a.txt")).await.unwrap();
    alice.folder.redo(false, &mut moments()).await.unwrap();
    assert_eq!((alice.read("a.txt").as_str(), exec(&alice)), ("two\n", true));
    alice.folder.undo(false, &mut moments()).await.unwrap();
    assert_eq!((alice.read("a.txt").as_str(), exec(&alice)), ("one\n", false));
    assert_ne!(alice.folder.tip(&path("a.txt")).await.unwrap(), first, "new frames, each time");
}

#[tokio::test]
async fn settling_is_taken_back_at_once_and_done_again() {
    let (alice, bob) = edited_apart(["old", "four"], ["ALICE", "ALICE 4"], ["BOB", "BOB 4"]).await;
    let before = alice.space.revision().await.unwrap();
    alice.pull(&bob).await;
    alice.checkout().await;
    let merged = alice.read("notes.txt");
    let conflicts = alice.folder.conflicts().await.unwrap();
    assert_eq!(conflicts.len(), 2);
    let moved = alice.space.changes(before).await.unwrap().tips;
    let living: Vec<_> = moved.into_iter().filter(|tip| tip.kind == Kind::Living).collect();
    assert_eq!(alice.folder.conflicts_of(&living).await.unwrap(), conflicts);
    assert_eq!(alice.folder.conflicts_of(&[]).await.unwrap(), []);

    let all: Vec<_> = conflicts.iter().map(|c| (c, Resolution::Base)).collect();
    let foreseen = alice.folder.settled_text(&all).await.unwrap().unwrap();
    assert_eq!(alice.read("notes.txt"), merged, "nothing is stored");
    let report = alice.folder.resolve_all(&all, &mut moments()).await.unwrap();
    assert_eq!((report.settled.len(), report.left.len()), (2, 0));
    assert_eq!(alice.read("notes.txt"), foreseen);
    assert_eq!(alice.folder.undo_plan().await.unwrap().kind, UndoKind::Resolve);
    alice.folder.undo(false, &mut moments()).await.unwrap();
    assert_eq!(alice.read("notes.txt"), merged);
    assert_eq!(alice.folder.conflicts().await.unwrap(), [], "only merges record conflicts");
    alice.folder.redo(false, &mut moments()).await.unwrap();
    assert_eq!(alice.read("notes.txt"), foreseen);
    assert!(alice.folder.undo_plan().await.unwrap().files.len() == 1);
}

#[tokio::test]
async fn a_text_of_ones_own_settles_all_conflicts_of_a_file() {
    let (alice, bob) = edited_apart(["old", "four"], ["ALICE", "four"], ["BOB", "four"]).await;
    alice.pull(&bob).await;
    alice.checkout().await;
    let merged = alice.read("notes.txt");
    let conflicts = alice.folder.conflicts().await.unwrap();
    alice.folder.resolve_as(&conflicts, "MINE\n".into(), &mut moments()).await.unwrap();
    assert_eq!((alice.read("notes.txt").as_str(), alice.folder.conflicts().await.unwrap().len()), ("MINE\n", 0));
    alice.folder.undo(false, &mut moments()).await.unwrap();
    assert_eq!(alice.read("notes.txt"), merged);
}
