//! Two people edit one folder; nobody's work is lost.

mod common;

use common::{Device, assert_same, moments, path, texts};
use ibgib_folder::{CheckoutOpts, Folder, Resolution};
use ibgib_spaces::fault::{FaultPlan, FaultSpace, Op};
use ibgib_spaces::{MemorySpace, Space};
use std::sync::Arc;

/// A space whose commits fail after the first few, as if the process had died there.
fn dying_after(commits: u64, space: &Arc<dyn Space>) -> Arc<dyn Space> {
    Arc::new(FaultSpace::new(Arc::clone(space), FaultPlan::default().after(Op::Commit, commits)))
}

async fn two(files: &[(&str, &str)]) -> (Device, Device) {
    let alice = Device::new().await;
    for (path, text) in files {
        alice.put(path, text);
    }
    alice.snapshot().await;
    let bob = alice.joined().await;
    (alice, bob)
}

#[tokio::test]
async fn edits_of_one_file_merge() {
    let (alice, bob) =
        two(&[("a.txt", "1\n2\n3\n4\n5\n"), ("x.json", "{\"b\":1,\"a\":{\"y\":1,\"x\":2},\"c\":[1]}\n")]).await;
    alice.put("a.txt", "1\nalice\n2\n3\n4\n5\n");
    alice.put("x.json", "{\"b\":2,\"a\":{\"y\":1,\"x\":2},\"alice\":0,\"c\":[1]}\n");
    bob.put("a.txt", "1\n2\n3\n4\nbob\n5\n");
    bob.put("x.json", "{\"b\":1,\"a\":{\"y\":1,\"x\":3,\"bob\":0},\"c\":[1]}\n");
    bob.put("bob", "new");
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    assert_eq!(alice.read("a.txt"), "1\nalice\n2\n3\n4\nbob\n5\n");
    assert_eq!(alice.read("x.json"), "{\"b\":2,\"a\":{\"y\":1,\"x\":3,\"bob\":0},\"alice\":0,\"c\":[1]}\n");
    assert_eq!(alice.folder.conflicts().await.unwrap(), []);
    assert!(alice.snapshot().await.is_clean() && bob.snapshot().await.is_clean());
}

#[tokio::test]
async fn a_snapshot_builds_on_what_was_checked_out() {
    let (alice, bob) = two(&[("a.txt", "1\n2\n3\n")]).await;
    alice.put("a.txt", "1\n3\n");
    alice.snapshot().await;
    // Bob has got Alice's edit, but was killed before the checkout; then he edits what he sees.
    bob.pull(&alice).await;
    bob.put("a.txt", "1\n2\n3\nbob\n");
    let report = bob.snapshot().await;
    assert_eq!((texts(&report.modified), report.merges, report.conflicts), (vec!["a.txt"], 1, 0));
    bob.checkout().await;
    assert_eq!(bob.read("a.txt"), "1\n3\nbob\n", "Alice's delete stands");
}

#[tokio::test]
async fn one_new_path_on_two_devices_is_one_file() {
    let (alice, bob) = two(&[("other", "x")]).await;
    alice.put("new.txt", "alice\n");
    bob.put("new.txt", "bob\n");
    alice.put("same.txt", "same\n");
    bob.put("same.txt", "same\n");
    bob.chmod("same.txt", 0o755);
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    let mut lines: Vec<String> = alice.read("new.txt").lines().map(str::to_owned).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["alice", "bob"]);
    assert_eq!(alice.read("same.txt"), "same\n");

    // A device that joins with files of its own: the same content is taken over, other content is merged.
    let dir = tempfile::tempdir().unwrap();
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("carol"));
    let folder = Folder::join(Arc::clone(&space), dir.path(), alice.folder.tjp().clone()).await.unwrap();
    let carol = Device { dir, space, folder };
    carol.put("same.txt", "same\n");
    carol.put("other", "y");
    carol.pull(&alice).await;
    let before = carol.folder.tip(&path("same.txt")).await.unwrap();
    carol.snapshot().await;
    assert_eq!(carol.folder.tip(&path("same.txt")).await.unwrap(), before);
    alice.sync(&carol).await;
    alice.sync(&carol).await;
    assert_same(&alice, &carol);
    assert!(alice.read("other").contains('x') && alice.read("other").contains('y'));
}

#[tokio::test]
async fn an_edit_wins_over_a_delete_and_the_conflict_is_recorded() {
    let json = "{\n  \"z\": 1,\n  \"a\": 2\n}\n";
    let big = String::from_utf8_lossy(&common::noise(2 << 20, 5)).into_owned();
    let (alice, bob) = two(&[("text", "1\n2\n"), ("doc.json", json), ("big", &big), ("gone", "x")]).await;
    for name in ["text", "doc.json", "big", "gone"] {
        std::fs::remove_file(alice.at(name)).unwrap();
    }
    bob.put("text", "1\n2\nbob\n");
    bob.put("doc.json", json.replace('2', "3"));
    bob.put("big", format!("{big}bob"));
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    assert_eq!(alice.read("text"), "1\n2\nbob\n");
    assert_eq!(alice.read("doc.json"), json.replace('2', "3"), "the whole document, not only what was edited");
    assert_eq!(alice.read("big"), format!("{big}bob"));
    assert!(!alice.at("gone").exists());
    assert!(alice.snapshot().await.is_clean());
    let conflicts = alice.folder.conflicts().await.unwrap();
    let mut files: Vec<_> = conflicts.iter().map(|c| c.file.as_ref().unwrap().as_str()).collect();
    files.sort_unstable();
    assert_eq!(files, ["big", "doc.json", "text"]);

    // The document is whole again after the next edit, on both.
    bob.put("doc.json", json.replace('1', "4"));
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    assert_eq!(alice.read("doc.json"), json.replace('1', "4"));
}

#[tokio::test]
async fn conflicts_are_settled_by_new_frames() {
    let (alice, bob) = two(&[("a.txt", "1\nold line\n3\n"), ("x.json", "{\"k\":1}")]).await;
    alice.put("a.txt", "1\nalice wrote this\n3\n");
    bob.put("a.txt", "1\nbob put that\n3\n");
    alice.put("x.json", "{\"k\":2}");
    bob.put("x.json", "{\"k\":3}");
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    let conflicts = alice.folder.conflicts().await.unwrap();
    assert_eq!(conflicts, bob.folder.conflicts().await.unwrap());
    assert_eq!(conflicts.len(), 2);
    for conflict in &conflicts {
        alice.folder.resolve(conflict, Resolution::Orphan, &mut moments()).await.unwrap();
        assert!(alice.folder.resolve(conflict, Resolution::Keep, &mut moments()).await.is_err(), "it is settled");
    }
    let line = alice.read("a.txt");
    assert!(["1\nalice wrote this\n3\n", "1\nbob put that\n3\n"].contains(&&*line), "{line}");
    let orphan = conflicts.iter().find(|c| c.path == "/data/text#/k").unwrap().orphan.clone().unwrap();
    assert_eq!(alice.read("x.json"), format!("{{\"k\":{}}}", orphan.as_str().unwrap()));
    assert_eq!(alice.folder.conflicts().await.unwrap(), []);
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    assert_eq!(bob.folder.conflicts().await.unwrap(), []);
}

#[tokio::test]
async fn a_document_deleted_on_one_side_goes_or_comes_back_whole() {
    let json = "{\n  \"z\": 1,\n  \"a\": 2\n}\n";
    for deleted in [true, false] {
        let (alice, bob) = two(&[("doc.json", json), ("text", "1\n2\n"), ("none", "x")]).await;
        for name in ["doc.json", "text"] {
            std::fs::remove_file(alice.at(name)).unwrap();
        }
        bob.put("doc.json", json.replace('2', "3"));
        bob.put("text", "1\n2\nbob\n");
        alice.sync(&bob).await;
        for (name, whole) in [("doc.json", json.replace('2', "3")), ("text", "1\n2\nbob\n".to_owned())] {
            let conflicts = alice.folder.conflicts().await.unwrap();
            let conflict = conflicts.into_iter().find(|c| c.file.as_ref().unwrap().as_str() == name).unwrap();
            let how = if conflict.base.is_none() == deleted { Resolution::Base } else { Resolution::Orphan };
            alice.folder.resolve(&conflict, how, &mut moments()).await.unwrap();
            let now = std::fs::read_to_string(alice.at(name)).ok();
            assert_eq!(now, (!deleted).then_some(whole), "{name}");
        }
        assert_eq!(alice.folder.conflicts().await.unwrap(), []);
        assert!(alice.snapshot().await.is_clean());
        alice.sync(&bob).await;
        assert_same(&alice, &bob);
        assert_eq!(bob.folder.conflicts().await.unwrap(), []);
    }
}

#[tokio::test]
async fn what_was_before_a_conflict_can_be_taken_back() {
    let json = "{\n  \"z\": 1,\n  \"a\": 2\n}\n";
    let old = common::noise(3000, 1);
    let (alice, bob) = two(&[("doc.json", json), ("text", "1\n2\n3\n")]).await;
    alice.put("bin", &old);
    alice.sync(&bob).await;
    std::fs::remove_file(alice.at("doc.json")).unwrap();
    bob.put("doc.json", json.replace('2', "3"));
    alice.put("text", "1\nalice\n3\n");
    bob.put("text", "1\nbob\n3\n");
    alice.put("bin", common::noise(3000, 2));
    bob.put("bin", common::noise(3000, 3));
    alice.sync(&bob).await;
    for conflict in alice.folder.conflicts().await.unwrap() {
        alice.folder.resolve(&conflict, Resolution::Ancestor, &mut moments()).await.unwrap();
    }
    assert_eq!(alice.read("doc.json"), json);
    assert_eq!(alice.read("text"), "1\n2\n3\n");
    assert_eq!(std::fs::read(alice.at("bin")).unwrap(), old);
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    assert_eq!(bob.folder.conflicts().await.unwrap(), []);
}

#[tokio::test]
async fn a_file_that_became_binary_on_one_side_can_be_settled_either_way() {
    let binary = common::noise(3000, 9);
    for text in [true, false] {
        let (alice, bob) = two(&[("f", "1\n2\n")]).await;
        alice.put("f", &binary);
        bob.put("f", "1\n2\nbob\n");
        alice.sync(&bob).await;
        assert_same(&alice, &bob);
        let conflicts = alice.folder.conflicts().await.unwrap();
        assert_eq!(conflicts.len(), 1);
        assert!(conflicts[0].now.is_some());
        let how = if conflicts[0].base.is_some() == text { Resolution::Base } else { Resolution::Orphan };
        alice.folder.resolve(&conflicts[0], how, &mut moments()).await.unwrap();
        let wanted = if text { b"1\n2\nbob\n".to_vec() } else { binary.clone() };
        assert_eq!(std::fs::read(alice.at("f")).unwrap(), wanted);
        alice.sync(&bob).await;
        assert_same(&alice, &bob);
        assert_eq!(bob.folder.conflicts().await.unwrap(), []);
    }
}

#[tokio::test]
async fn executable_bits_travel_both_ways() {
    let (alice, bob) = two(&[("a", "1\n"), ("b", "1\n")]).await;
    alice.chmod("a", 0o755);
    bob.put("a", "1\n2\n");
    bob.chmod("b", 0o700);
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    assert!(common::tree(bob.dir.path())[std::path::Path::new("a")].1);
    bob.chmod("a", 0o644);
    bob.sync(&alice).await;
    assert_same(&alice, &bob);
    assert!(!common::tree(alice.dir.path())[std::path::Path::new("a")].1);
}

#[tokio::test]
async fn an_undo_takes_back_only_its_own_snapshot() {
    let (alice, bob) = two(&[("a.txt", "1\n2\n3\n4\n")]).await;
    alice.put("a.txt", "1\nmistake\n2\n3\n4\n");
    alice.sync(&bob).await;
    bob.put("a.txt", "1\nmistake\n2\n3\n4\nbob\n");
    alice.sync(&bob).await;
    let undone = alice.folder.undo(false, &mut moments()).await.unwrap();
    assert_eq!((texts(&undone.changed), undone.conflicts), (vec!["a.txt"], 0));
    assert_eq!(alice.read("a.txt"), "1\n2\n3\n4\nbob\n");
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
}

#[tokio::test]
async fn a_checkout_that_is_cut_undoes_nobody() {
    let (alice, bob) = two(&[("a.txt", "1\n2\n3\n"), ("b.txt", "1\n2\n3\n")]).await;
    let names: Vec<String> = (0..20).map(|i| format!("f{i}")).collect();
    for round in 0..6 {
        for name in &names {
            alice.put(name, format!("alice {round}\n"));
        }
        alice.put("a.txt", format!("1\n2\n3\nalice {round}\n"));
        alice.snapshot().await;
        bob.pull(&alice).await;
        // The process dies at the nth commit of the checkout.
        let faulty = dying_after(round, &bob.space);
        let folder = Folder::open(faulty, bob.dir.path()).await.unwrap();
        let _ = folder.checkout(&CheckoutOpts::default()).await;
        assert!(bob.snapshot().await.is_clean(), "round {round}: what was half checked out is no edit of Bob's");
        bob.checkout().await;
        assert_same(&alice, &bob);
    }
}

#[tokio::test]
async fn a_snapshot_that_is_cut_keeps_every_executable_bit() {
    for cut in 0..4 {
        let (alice, bob) = two(&[("bit", "1\n"), ("both", "1\n"), ("back", "1\n"), ("off", "1\n")]).await;
        std::fs::remove_file(alice.at("back")).unwrap();
        alice.chmod("off", 0o755);
        alice.sync(&bob).await;
        alice.put("both", "2\n");
        alice.put("back", "2\n");
        alice.put("new", "2\n");
        for name in ["bit", "both", "back", "new"] {
            alice.chmod(name, 0o755);
        }
        alice.chmod("off", 0o644);
        let wanted = common::tree(alice.dir.path());
        // The process dies at the nth commit of the snapshot.
        let faulty = dying_after(cut, &alice.space);
        let folder = Folder::open(faulty, alice.dir.path()).await.unwrap();
        let _ = folder.snapshot(&mut moments()).await;
        alice.checkout().await;
        assert!(common::tree(alice.dir.path()) == wanted, "cut {cut}: the next checkout takes nothing back");
        alice.sync(&bob).await;
        assert!(common::tree(alice.dir.path()) == wanted, "cut {cut}");
        assert_same(&alice, &bob);
        assert!(alice.snapshot().await.is_clean() && bob.snapshot().await.is_clean());
    }
}

/// The conflicts of a folder: file, path in the frame.
async fn told(device: &Device) -> Vec<(String, String)> {
    let conflicts = device.folder.conflicts().await.unwrap();
    let mut told: Vec<_> =
        conflicts.into_iter().map(|c| (c.file.map(|f| f.to_string()).unwrap_or_default(), c.path)).collect();
    told.sort();
    told
}

#[tokio::test]
async fn a_file_that_both_have_by_other_ways_is_compared_not_doubled() {
    let lines = |changed: &str| {
        (0..1000).map(|i| if i == 500 { changed.to_owned() } else { format!("{i}\n") }).collect::<String>()
    };
    let (alice, bob) = two(&[("other", "x")]).await;
    for (device, line) in [(&alice, "alice\n"), (&bob, "bob\n")] {
        device.put("copy.txt", lines(line));
        device.put("settings.json", format!("{{\n \"same\": 1,\n \"{}\": 2\n}}\n", line.trim_end()));
    }
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    let text = alice.read("copy.txt");
    assert!([lines("alice\nbob\n"), lines("bob\nalice\n")].contains(&text), "{text}");
    let document = alice.read("settings.json");
    assert!(document.contains("\"alice\": 2") && document.contains("\"bob\": 2"), "{document}");
    assert_eq!(document.matches("same").count(), 1, "{document}");
    assert_eq!(told(&alice).await, [("copy.txt".to_owned(), "/data/text".to_owned())]);
    let conflict = alice.folder.conflicts().await.unwrap().pop().unwrap();
    alice.folder.resolve(&conflict, Resolution::Base, &mut moments()).await.unwrap();
    assert_eq!(alice.read("copy.txt").lines().count(), 1000);
}

#[tokio::test]
async fn documents_of_any_layout_and_name_merge_by_members_and_elements() {
    let files = [
        ("a.json", "{\r\n\t\"n\": 1.0,\t\"big\": 18446744073709551616123, // why\r\n\t\"l\": [ \"m\" ]\r\n}"),
        ("a.ipynb", "[{\"cell\":\"a\",\"out\":[]},\n {\"cell\":\"b\",\"out\":[]}]\n"),
        ("a.canvas", "{\"nodes\":[{\"id\":\"x\",\"at\":[1, 2]},{\"id\":\"y\",\"at\":[3, 4]}]}"),
    ];
    let (alice, bob) = two(&files).await;
    let edit =
        |device: &Device, name: &str, from: &str, to: &str| device.put(name, device.read(name).replace(from, to));
    edit(&alice, "a.json", "[ \"m\"", "[ \"alice\", \"m\"");
    edit(&bob, "a.json", "\"m\" ]", "\"m\", \"bob\" ],\r\n\t\"b\": true");
    edit(&alice, "a.ipynb", "\"cell\":\"a\"", "\"cell\":\"A\"");
    edit(&bob, "a.ipynb", "\"a\",\"out\":[]", "\"a\",\"out\":[1]");
    edit(&alice, "a.canvas", "[1, 2]", "[1, 5]");
    edit(
        &bob,
        "a.canvas",
        "{\"id\":\"x\",\"at\":[1, 2]},{\"id\":\"y\",\"at\":[3, 4]}",
        "{\"id\":\"y\",\"at\":[3, 4]},{\"id\":\"x\",\"at\":[1, 2],\"c\":1}",
    );
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    let merged = files[0].1.replace("[ \"m\" ]", "[ \"alice\", \"m\", \"bob\" ],\r\n\t\"b\": true");
    assert_eq!(alice.read("a.json"), merged);
    assert_eq!(alice.read("a.ipynb"), files[1].1.replace("\"a\",\"out\":[]", "\"A\",\"out\":[1]"));
    assert_eq!(
        alice.read("a.canvas"),
        "{\"nodes\":[{\"id\":\"y\",\"at\":[3, 4]},{\"id\":\"x\",\"at\":[1, 5],\"c\":1}]}"
    );
    assert_eq!(told(&alice).await, []);
}

#[tokio::test]
async fn an_object_edited_inside_stands_whole_against_its_replacement() {
    let (alice, bob) = two(&[("x.json", "{\"x\":{\"u\":1,\"v\":2},\"y\":1}")]).await;
    alice.put("x.json", "{\"x\":\"s\",\"y\":2}");
    bob.put("x.json", "{\"x\":{\"u\":1,\"v\":3},\"y\":1}");
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    assert_eq!(alice.read("x.json"), "{\"x\":{\"u\":1,\"v\":3},\"y\":2}");
    let conflict = alice.folder.conflicts().await.unwrap().pop().unwrap();
    assert_eq!(conflict.path, "/data/text#/x");
    let how = if conflict.base == Some("\"s\"".into()) { Resolution::Base } else { Resolution::Orphan };
    alice.folder.resolve(&conflict, how, &mut moments()).await.unwrap();
    assert_eq!(alice.read("x.json"), "{\"x\":\"s\",\"y\":2}");
}
