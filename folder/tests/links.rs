//! Symbolic links are synced as what they say, and lead nobody out of the folder.

mod common;

use common::{Device, keep, moments, path, publish, texts};
use ibgib::transform::{Mut8Opts, linked, mut8};
use ibgib::{Addr, object};
use std::collections::HashMap;
use std::fs::read_link;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

fn link(device: &Device, name: &str, target: &str) {
    let at = device.at(name);
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    symlink(target, at).unwrap();
}

fn says(device: &Device, name: &str) -> String {
    read_link(device.at(name)).unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn links_travel_as_links() {
    let alice = Device::new().await;
    alice.put("dir/file", "content\n");
    for (name, target) in
        [("dir/near", "file"), ("far", "dir/file"), ("dir/up", "../far"), ("tree", "dir"), ("none", "x")]
    {
        link(&alice, name, target);
    }
    let report = alice.snapshot().await;
    assert_eq!(texts(&report.added), ["dir/file", "dir/near", "dir/up", "far", "none", "tree"]);
    assert_eq!(report.skipped, [], "what lies behind a link is not walked through");
    assert!(alice.snapshot().await.is_clean());
    let bob = alice.joined().await;
    assert_eq!(
        (says(&bob, "dir/up"), says(&bob, "none"), says(&bob, "tree")),
        ("../far".into(), "x".into(), "dir".into())
    );
    assert_eq!(bob.read("tree/near"), "content\n");
    assert!(bob.folder.status().await.unwrap().changes.is_empty());

    // Changed, made a file, taken the place of a file and of a directory, deleted, restored.
    std::fs::remove_file(bob.at("far")).unwrap();
    link(&bob, "far", "none");
    std::fs::remove_file(bob.at("none")).unwrap();
    bob.put("none", "a file now\n");
    std::fs::remove_dir_all(bob.at("dir")).unwrap();
    std::fs::remove_file(bob.at("tree")).unwrap();
    bob.put("tree/x", "a directory now\n");
    link(&bob, "dir", "tree");
    let report = bob.snapshot().await;
    assert_eq!(
        (texts(&report.modified), texts(&report.deleted).len(), report.skipped),
        (vec!["far", "none"], 4, vec![])
    );
    alice.pull(&bob).await;
    assert_eq!(alice.checkout().await.refused, []);
    assert_eq!(
        (says(&alice, "far"), alice.read("none"), says(&alice, "dir")),
        ("none".into(), "a file now\n".into(), "tree".into())
    );
    bob.folder.undo(false, &mut moments()).await.unwrap();
    assert_eq!((says(&bob, "far"), says(&bob, "tree")), ("dir/file".into(), "dir".into()));
    assert_eq!(bob.read("dir/near"), "content\n");

    // What both sides made of one is a conflict like any other's.
    alice.pull(&bob).await;
    alice.checkout().await;
    for (device, target) in [(&alice, "dir/near"), (&bob, "dir/up")] {
        std::fs::remove_file(device.at("far")).unwrap();
        link(device, "far", target);
    }
    alice.sync(&bob).await;
    assert_eq!(says(&alice, "far"), says(&bob, "far"));
    assert_eq!(alice.folder.conflicts().await.unwrap().len(), 1);
}

#[tokio::test]
async fn links_that_lead_away_are_skipped_with_a_reason() {
    let alice = Device::new().await;
    alice.put("dir/file", "x\n");
    link(&alice, "inside", "dir");
    for (name, target) in [
        ("absolute", "/etc/passwd"),
        ("dir/above", "../../x"),
        ("control", ".ibgib/secret"),
        ("through", "inside/file"),
        ("winds", "dir/../dir/file"),
    ] {
        link(&alice, name, target);
    }
    let report = alice.snapshot().await;
    assert_eq!(texts(&report.added), ["dir/file", "inside"]);
    let told: Vec<(&str, &str)> = report.skipped.iter().map(|s| (s.path.as_str(), s.reason.as_str())).collect();
    assert_eq!(
        told,
        [
            ("absolute", "a symbolic link that leads outside the folder"),
            ("control", "a symbolic link that leads to a name that is never touched"),
            ("dir/above", "a symbolic link that leads outside the folder"),
            ("through", "a symbolic link that leads through another link"),
            ("winds", "a symbolic link that goes down and up again"),
        ]
    );
}

/// Makes the file at `name` a link that says `target`, as a peer that checks nothing would.
async fn forge(device: &Device, name: &str, target: &str) {
    let tip = device.folder.tip(&path(name)).await.unwrap();
    let node = device.space.node(&tip).await.unwrap().unwrap();
    let (patch, remove) = (object([("link", target.into())]), object([("text", "".into())]));
    let opts = Mut8Opts {
        patch: patch.as_object().cloned(),
        remove: remove.as_object().cloned(),
        dna: true,
        n_counter: true,
        linked_rel8ns: linked(),
        ..Mut8Opts::default()
    };
    let made = mut8(&node, &opts, &moments()()).unwrap();
    let overlay: HashMap<Addr, _> = made.nodes().into_iter().map(|n| (n.addr().clone(), n)).collect();
    publish(&*device.space, overlay, made.frame.addr(), &device.folder.file_tjp(&path(name)).unwrap()).await;
}

#[tokio::test]
async fn no_peer_makes_a_link_that_leads_away() {
    let evil = Device::new().await;
    let targets =
        [("a", "/etc/passwd"), ("b", "../x"), ("c", ".ibgib/config.toml"), ("d/e", "../.git/hooks/x"), ("f", "mine/x")];
    for (name, _) in targets {
        evil.put(name, "x\n");
    }
    evil.put("good", "x\n");
    evil.snapshot().await;
    let bob = evil.joined().await;
    let outside = tempfile::tempdir().unwrap();
    // A link of Bob's own, which leads outside and is not synced.
    symlink(outside.path(), bob.at("mine")).unwrap();
    for (name, target) in targets {
        forge(&evil, name, target).await;
    }
    forge(&evil, "good", "a").await;
    bob.pull(&evil).await;
    let report = bob.folder.checkout(&keep()).await.unwrap();
    assert_eq!((texts(&report.written), report.refused.len()), (vec!["good"], targets.len()), "{report:?}");
    assert!(targets.iter().all(|(name, _)| !bob.at(name).is_symlink()));
    assert_eq!(read_link(bob.at("good")).unwrap(), Path::new("a"));
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    // A file that comes to where Bob's own link is does not follow it.
    evil.put("mine", "evil\n");
    evil.put("mine2/x", "evil\n");
    evil.snapshot().await;
    symlink(outside.path(), bob.at("mine2")).unwrap();
    bob.pull(&evil).await;
    bob.folder.checkout(&keep()).await.unwrap();
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(bob.at("mine").is_symlink() && bob.at("mine2").is_symlink());
}

#[tokio::test]
async fn a_sparse_file_stays_sparse() {
    let alice = Device::new().await;
    let mut bytes = vec![0; 24 << 20];
    for at in [0, 5_000, 4096 * 300 - 1, 9 << 20, (24 << 20) - 1] {
        bytes[at] = b'x';
    }
    alice.put("vm.img", &bytes);
    alice.put("zeros", vec![0; 100_000]);
    alice.snapshot().await;
    let bob = alice.joined().await;
    assert!(std::fs::read(bob.at("vm.img")).unwrap() == bytes);
    assert!(std::fs::read(bob.at("zeros")).unwrap() == vec![0; 100_000]);
    let taken = std::fs::metadata(bob.at("vm.img")).unwrap().blocks() * 512;
    assert!(taken < 1 << 20, "{taken} bytes on disk");
}
