//! What goes in comes out, byte for byte.

mod common;

use common::{Device, assert_same, moments, noise, path, texts, tree};
use ibgib_folder::{ChangeKind, CheckoutOpts, Diff, Folder, FolderError, log};
use proptest::prelude::*;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::sync::Arc;

#[tokio::test]
async fn odd_files_arrive_byte_for_byte() {
    let alice = Device::new().await;
    let big = noise(5 << 20, 3);
    let repeating: Vec<u8> = noise(300_000, 4).repeat(6);
    let long_text = "ä long line of text\n".repeat(60_000);
    let files: &[(&[u8], &[u8])] = &[
        (b"empty", b""),
        (b"no-newline", b"one\ntwo"),
        (b"crlf", b"one\r\ntwo\r\n"),
        (b"bom", b"\xef\xbb\xbfone\n"),
        (b"nul-byte", b"a\0b"),
        (b"latin1", b"caf\xe9\n"),
        (b"binary/5mib", &big),
        (b"binary/repeats", &repeating),
        (b"long-text", long_text.as_bytes()),
        (b"\xff\xfe-name", b"not utf-8"),
        (b"100%", b"percent"),
        (b"%41", b"not A"),
        (b"__proto__", b"polluted"),
        (b"__proto__.json", b"{\"a\":1}"),
        (b"constructor/__proto__/toString", b"x"),
        (b"0", b"index"),
        (b"10", b"index"),
        (b"line\nbreak", b"x"),
        (b"spa ce/ta\tb", b"x"),
        ("gr\u{fc}n/\u{1f600}".as_bytes(), b"x"),
        (b"package.json", b"{\n  \"z\": 1,\n  \"a\": {\n    \"y\": [],\n    \"x\": {}\n  }\n}\n"),
        (b"min.json", b"{\"z\":{\"timestamp\":\"t\",\"n\":4,\"isTjp\":true},\"a\":null}"),
        (b"odd.json", b"{ \"a\": 1.0, \"a\": 2 }"),
        (b"deep/er/and/deeper/file.txt", b"x\n"),
    ];
    for (name, bytes) in files {
        let path = alice.dir.path().join(OsStr::from_bytes(name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    alice.put("run.sh", "#!/bin/sh\n");
    alice.chmod("run.sh", 0o755);
    let report = alice.snapshot().await;
    assert_eq!((report.added.len(), &report.skipped[..]), (files.len() + 1, &[][..]));

    let bob = alice.joined().await;
    assert_eq!(bob.folder.status().await.unwrap().changes, []);
    assert_same(&alice, &bob);
    assert!(bob.snapshot().await.is_clean());
}

#[tokio::test]
async fn names_that_other_systems_cannot_hold_are_told_where_they_are_made() {
    let alice = Device::new().await;
    for name in ["aux.c", "back\\slash", "c:drive", "plain"] {
        alice.put(name, name);
    }
    let report = alice.snapshot().await;
    assert_eq!((report.added.len(), texts(&report.unportable)), (4, vec!["aux.c", "back\\slash", "c:drive"]));
    // This system can hold them, so they are files like any other, and told once.
    let bob = alice.joined().await;
    assert_same(&alice, &bob);
    bob.put("aux.c", "new");
    assert_eq!(bob.snapshot().await.unportable, []);
    alice.pull(&bob).await;
    assert_eq!(alice.checkout().await.refused, []);
    assert_eq!(alice.read("aux.c"), "new");
}

#[tokio::test]
async fn reports_tell_what_happened() {
    let alice = Device::new().await;
    for name in ["a", "b", "c", "d/e", "d/f"] {
        alice.put(name, format!("{name}\n"));
    }
    symlink("/a", alice.at("link")).unwrap();
    let report = alice.snapshot().await;
    assert_eq!(texts(&report.added), ["a", "b", "c", "d/e", "d/f"]);
    let skipped = (report.skipped[0].path.as_str(), report.skipped[0].reason.as_str());
    assert_eq!(skipped, ("link", "a symbolic link that leads outside the folder"));
    assert!(alice.snapshot().await.is_clean());

    alice.put("a", "other\n");
    std::fs::remove_file(alice.at("b")).unwrap();
    std::fs::rename(alice.at("d/e"), alice.at("moved")).unwrap();
    alice.chmod("c", 0o755);
    alice.put("new", "new\n");
    let status = alice.folder.status().await.unwrap();
    let changes: Vec<_> = status.changes.iter().map(|c| (c.path.as_str(), c.change.as_str())).collect();
    assert_eq!(
        changes,
        [("a", "modified"), ("b", "deleted"), ("c", "modified"), ("moved", "renamed"), ("new", "added")]
    );
    assert_eq!(status.changes[3].change, ChangeKind::Renamed { from: path("d/e") });
    let report = alice.snapshot().await;
    assert_eq!(texts(&report.added), ["new"]);
    assert_eq!(texts(&report.modified), ["a", "c"]);
    assert_eq!(texts(&report.deleted), ["b"]);
    assert_eq!(report.renamed, [(path("d/e"), path("moved"))]);

    let bob = alice.joined().await;
    assert_same(&alice, &bob);
    // Touching changes nothing; the same size at the same time does.
    alice.put("a", "other\n");
    assert!(alice.snapshot().await.is_clean());
    alice.put("a", "OTHER\n");
    assert_eq!(texts(&alice.snapshot().await.modified), ["a"]);
}

#[tokio::test]
async fn deletes_and_changed_kinds_travel() {
    let alice = Device::new().await;
    for name in ["file", "dir/one", "dir/two", "text", "binary", "x.json"] {
        alice.put(name, "{\"a\":1}");
    }
    alice.snapshot().await;
    let bob = alice.joined().await;
    std::fs::remove_dir_all(alice.at("dir")).unwrap();
    std::fs::remove_file(alice.at("file")).unwrap();
    alice.put("dir", "now a file");
    alice.put("file/now/a", "directory");
    alice.put("text", noise(3 << 20, 9));
    alice.put("x.json", "now text");
    alice.chmod("text", 0o700);
    alice.snapshot().await;
    bob.pull(&alice).await;
    let report = bob.checkout().await;
    assert_eq!((texts(&report.removed), report.refused), (vec!["dir/one", "dir/two", "file"], vec![]));
    assert_same(&alice, &bob);

    // A path that comes back goes on with its timeline.
    std::fs::remove_dir_all(alice.at("file")).unwrap();
    alice.put("file", "back again");
    alice.snapshot().await;
    bob.pull(&alice).await;
    bob.checkout().await;
    assert_same(&alice, &bob);
    let tip = bob.folder.tip(&path("file")).await.unwrap();
    assert_eq!(log(&*bob.space, &tip, 100).await.unwrap().len(), 4);
    assert_eq!(std::fs::read_dir(bob.at("")).unwrap().filter(|e| e.as_ref().unwrap().file_name() == "file").count(), 1);
}

#[tokio::test]
async fn work_in_no_snapshot_is_never_overwritten() {
    let alice = Device::new().await;
    alice.put("a", "1\n");
    alice.put("b", "1\n");
    alice.snapshot().await;
    let bob = alice.joined().await;
    alice.put("a", "2\n");
    std::fs::remove_file(alice.at("b")).unwrap();
    alice.put("c", "new\n");
    alice.snapshot().await;
    bob.put("a", "mine\n");
    bob.put("b", "mine\n");
    bob.put("c", "mine\n");
    bob.pull(&alice).await;
    let before = tree(bob.dir.path());
    match bob.folder.checkout(&CheckoutOpts::default()).await {
        Err(FolderError::Unsaved(paths)) => assert_eq!(paths, ["a", "b", "c"]),
        other => panic!("{other:?}"),
    }
    assert!(tree(bob.dir.path()) == before, "nothing was touched");
    // Only what is in the way of others' work holds that back, when asked so.
    alice.put("d", "new\n");
    alice.put("own", "1\n");
    alice.snapshot().await;
    bob.pull(&alice).await;
    let keep = CheckoutOpts { keep_unsaved: true, ..CheckoutOpts::default() };
    assert_eq!(texts(&bob.folder.checkout(&keep).await.unwrap().written), ["d", "own"]);
    bob.put("own", "1\nmine\n");
    alice.put("d", "newer\n");
    alice.snapshot().await;
    bob.pull(&alice).await;
    let report = bob.folder.checkout(&keep).await.unwrap();
    let refused: Vec<_> = report.refused.iter().map(|r| (r.path.as_str(), r.reason.as_str())).collect();
    let why = "holds work that is in no snapshot yet";
    assert_eq!((texts(&report.written), refused), (vec!["d"], vec![("a", why), ("b", why), ("c", why)]));
    assert_eq!(bob.read("own"), "1\nmine\n");
    std::fs::remove_file(bob.at("own")).unwrap();
    let report = bob.folder.checkout(&CheckoutOpts { force: true, ..CheckoutOpts::default() }).await.unwrap();
    assert_eq!((texts(&report.written), texts(&report.removed)), (vec!["a", "c", "own"], vec!["b"]));
    assert_same(&alice, &bob);

    // A file at its tip that was changed since is left alone, unless it is asked for.
    bob.put("a", "mine again\n");
    assert_eq!(bob.checkout().await.written, []);
    let only = CheckoutOpts { paths: vec![path("a")], ..CheckoutOpts::default() };
    assert!(matches!(bob.folder.checkout(&only).await, Err(FolderError::Unsaved(_))));
    std::fs::remove_file(bob.at("a")).unwrap();
    assert_eq!(texts(&bob.checkout().await.written), ["a"]);
    let none = CheckoutOpts { paths: vec![path("nowhere")], ..CheckoutOpts::default() };
    assert!(matches!(bob.folder.checkout(&none).await, Err(FolderError::NoEntry(_))));
}

#[tokio::test]
async fn old_contents_come_back_as_new_frames() {
    let alice = Device::new().await;
    alice.put("a.txt", "one\n");
    alice.put("bin", noise(2 << 20, 1));
    alice.snapshot().await;
    let first = alice.folder.tip(&path("a.txt")).await.unwrap();
    let before = tree(alice.dir.path());
    alice.put("a.txt", "one\ntwo\n");
    alice.put("bin", noise(2 << 20, 2));
    alice.put("c", "c");
    alice.chmod("a.txt", 0o755);
    alice.snapshot().await;
    let second = alice.folder.tip(&path("a.txt")).await.unwrap();

    let Diff::Text(text) = alice.folder.diff(&path("a.txt"), Some(&first), Some(&second)).await.unwrap() else {
        panic!()
    };
    assert_eq!(text, "--- a.txt\n+++ a.txt\n@@ -1 +1,2 @@\n one\n+two\n");
    assert_eq!(alice.folder.diff(&path("a.txt"), None, None).await.unwrap(), Diff::Same);
    assert_eq!(alice.folder.diff(&path("bin"), None, None).await.unwrap(), Diff::Same);

    // checkout --at: the file only; restore: a new frame.
    let at = CheckoutOpts { at: Some(first.clone()), ..CheckoutOpts::default() };
    assert_eq!(texts(&alice.folder.checkout(&at).await.unwrap().written), ["a.txt"]);
    assert_eq!(alice.read("a.txt"), "one\n");
    assert!(alice.folder.status().await.unwrap().changes.is_empty());
    assert_eq!(alice.folder.tip(&path("a.txt")).await.unwrap(), second);
    alice.checkout().await;
    assert_eq!(alice.read("a.txt"), "one\ntwo\n");
    let undone = alice.folder.undo(false, &mut moments()).await.unwrap();
    assert_eq!(texts(&undone.changed), ["a.txt", "bin", "c"]);
    assert!(tree(alice.dir.path()) == before);
    assert!(alice.snapshot().await.is_clean());
    let tip = alice.folder.tip(&path("a.txt")).await.unwrap();
    assert!(tip != first && tip != second, "a new frame, not an old one");
    // Undoing again goes to before the first snapshot.
    alice.folder.undo(false, &mut moments()).await.unwrap();
    assert!(tree(alice.dir.path()).is_empty());
    assert!(matches!(alice.folder.undo(false, &mut moments()).await, Err(FolderError::NothingToUndo)));

    alice.folder.restore(&path("a.txt"), &second, false, &mut moments()).await.unwrap();
    assert_eq!(alice.read("a.txt"), "one\ntwo\n");
    let other = alice.folder.tip(&path("bin")).await.unwrap();
    let result = alice.folder.restore(&path("a.txt"), &other, false, &mut moments()).await;
    assert!(matches!(result, Err(FolderError::OtherTimeline { .. })));
    alice.put("a.txt", "unsaved");
    let result = alice.folder.restore(&path("a.txt"), &first, false, &mut moments()).await;
    assert!(matches!(result, Err(FolderError::Unsaved(_))));
}

#[tokio::test]
async fn a_space_has_one_folder() {
    let alice = Device::new().await;
    let again = Folder::create(Arc::clone(&alice.space), alice.dir.path(), &mut moments()).await;
    assert!(matches!(again, Err(FolderError::Bound(_))));
    let opened = Folder::open(Arc::clone(&alice.space), alice.dir.path()).await.unwrap();
    assert_eq!(opened.tjp(), alice.folder.tjp());
    let file = alice.folder.file_tjp(&path("a")).unwrap();
    let other: Arc<dyn ibgib_spaces::Space> = Arc::new(ibgib_spaces::MemorySpace::new("x"));
    assert!(matches!(Folder::join(Arc::clone(&other), alice.dir.path(), file).await, Err(FolderError::NotAFolder(_))));
    assert!(matches!(Folder::open(other, alice.dir.path()).await, Err(FolderError::Unbound)));
}

#[test]
fn operations_can_be_spawned() {
    fn spawnable<T: Send>(_: &T) {}
    let check = async {
        let device = Device::new().await;
        device.snapshot().await;
        device.checkout().await;
        device.folder.undo(true, &mut moments()).await.ok();
        device.folder.diff(&path("a"), None, None).await.ok();
        device.folder.status().await.ok();
    };
    spawnable(&check);
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-c]{1,2}".prop_map(String::into_bytes),
        "[^/\\\\\0]{1,6}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 1..5)
    ]
    .prop_filter("names that a file system has", |n| !n.contains(&b'/') && !n.contains(&0) && n != b"." && n != b"..")
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z\r\n]{0,40}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..200),
        any::<u64>().prop_map(|seed| noise(300_000 + (seed % 1_500_000) as usize, seed)),
        "\\{\"[a-c]\":([0-9]|\\{\\}|\\[\\{\"z\":1,\"y\":2\\}\\])\\}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(common::plays(24))]

    #[test]
    fn random_trees_round_trip(
        steps in proptest::collection::vec((proptest::collection::vec(name(), 1..4), content(), any::<bool>(), 0..10u8), 1..30)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let alice = Device::new().await;
            let bob = alice.joined().await;
            for (names, bytes, exec, action) in steps {
                let mut path = alice.dir.path().to_owned();
                path.extend(names.iter().map(|n| OsStr::from_bytes(n)));
                // Whatever stands in the way is replaced, as users do.
                let _ = if action == 0 { std::fs::remove_dir_all(path.parent().filter(|p| *p != alice.dir.path()).unwrap_or(&path)) } else { Ok(()) };
                if std::fs::create_dir_all(path.parent().unwrap()).is_ok() && std::fs::write(&path, bytes).is_ok() && exec {
                    use std::os::unix::fs::PermissionsExt;
                    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
                }
                if action < 3 {
                    alice.snapshot().await;
                }
                if action == 3 {
                    bob.pull(&alice).await;
                    bob.checkout().await;
                }
            }
            let skipped = alice.snapshot().await.skipped;
            bob.pull(&alice).await;
            // Names that meet on some systems stand on Alice's disk as on Bob's once she has checked out, too.
            alice.checkout().await;
            let report = bob.checkout().await;
            assert_eq!(report.refused, []);
            let mut want = tree(alice.dir.path());
            want.retain(|p, _| !skipped.iter().any(|s| s.path == ibgib_folder::EntryPath::from_relative(p).as_str()));
            assert!(want == tree(bob.dir.path()));
            assert!(bob.folder.status().await.unwrap().changes.is_empty());
        });
    }
}
