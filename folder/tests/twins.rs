//! Names that some file systems take for one: the same of them stands on every device, whoever made which when.

mod common;

use common::{Device, assert_same, path, texts, tree};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn names(device: &Device) -> Vec<String> {
    tree(device.dir.path()).into_keys().map(|p| p.to_str().unwrap().to_owned()).collect()
}

/// Where the twin of `of` stands.
fn beside(device: &Device, stem: &str) -> String {
    names(device).into_iter().find(|n| n.starts_with(stem) && n.contains("(twin ")).unwrap()
}

#[tokio::test]
async fn the_smallest_path_has_the_name_and_the_other_stands_beside_it() {
    let alice = Device::new().await;
    let bob = alice.joined().await;
    alice.put("readme.md", "alice\n");
    bob.put("README.md", "bob\n");
    alice.sync(&bob).await;
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    let twin = beside(&alice, "readme");
    assert_eq!(names(&alice), ["README.md".to_owned(), twin.clone()]);
    assert_eq!((alice.read("README.md"), alice.read(&twin)), ("bob\n".into(), "alice\n".into()));
    assert!(alice.folder.status().await.unwrap().changes.is_empty());

    // Under that name it is edited, merged, compared and deleted like any other.
    bob.put(&twin, "alice\nand bob\n");
    assert_eq!(texts(&bob.snapshot().await.modified), ["readme.md"]);
    alice.put(&twin, "zero\nalice\n");
    alice.sync(&bob).await;
    assert_eq!(alice.read(&twin), "zero\nalice\nand bob\n");
    assert_same(&alice, &bob);
    // Once the other name is given up, it has its own again.
    std::fs::rename(bob.at("README.md"), bob.at("other.md")).unwrap();
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    assert_eq!(names(&alice), ["other.md", "readme.md"]);
    std::fs::remove_file(alice.at("readme.md")).unwrap();
    alice.sync(&bob).await;
    assert_eq!(names(&bob), ["other.md"]);
}

#[tokio::test]
async fn a_rename_of_case_alone_leaves_one_file() {
    let alice = Device::new().await;
    alice.put("Readme", "one\n");
    alice.put("Docs/a", "one\n");
    alice.snapshot().await;
    let bob = alice.joined().await;
    std::fs::rename(alice.at("Readme"), alice.at("README")).unwrap();
    std::fs::rename(alice.at("Docs"), alice.at("docs")).unwrap();
    alice.sync(&bob).await;
    assert_eq!(names(&bob), ["README", "docs/a"]);
    // One that meets an edit: both are there, and the edit is in one of them.
    std::fs::rename(alice.at("README"), alice.at("ReadMe")).unwrap();
    bob.put("README", "one\ntwo\n");
    alice.sync(&bob).await;
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    assert_eq!((names(&bob).len(), bob.read("README")), (3, "one\ntwo\n".to_owned()));
}

#[tokio::test]
async fn a_directory_goes_before_a_file_and_twins_of_directories_are_one() {
    let alice = Device::new().await;
    let bob = alice.joined().await;
    alice.put("x", "a file\n");
    alice.put("Dir/a", "alice\n");
    bob.put("x/y", "inside\n");
    bob.put("dir/b", "bob\n");
    alice.sync(&bob).await;
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    assert_eq!((alice.read("x/y"), alice.read(&beside(&alice, "x"))), ("inside\n".into(), "a file\n".into()));
    assert_eq!((alice.read("Dir/a"), alice.read("Dir/b")), ("alice\n".into(), "bob\n".into()));
    // Where the first spelling is, a new file is of that directory.
    alice.put("Dir/c", "new\n");
    assert_eq!(texts(&alice.snapshot().await.added), ["Dir/c"]);
    alice.sync(&bob).await;
    assert_eq!(bob.read("Dir/c"), "new\n");
}

#[tokio::test]
async fn a_name_that_stands_elsewhere_is_not_taken_twice() {
    let alice = Device::new().await;
    alice.put("A", "big\n");
    alice.put("a", "small\n");
    alice.snapshot().await;
    alice.checkout().await;
    alice.put("a", "another\n");
    let report = alice.snapshot().await;
    assert!(report.is_clean());
    assert_eq!(report.skipped.len(), 1);
    assert!(report.skipped[0].reason.contains("give one of the two another"), "{report:?}");
    let bob = alice.joined().await;
    assert_eq!((bob.read("A"), bob.read(&beside(&bob, "a"))), ("big\n".to_owned(), "small\n".to_owned()));
}

#[tokio::test]
async fn a_file_made_where_the_name_of_a_twin_was_free_is_left_alone() {
    let alice = Device::new().await;
    let bob = alice.joined().await;
    alice.put("A", "big\n");
    bob.put("a", "small\n");
    alice.sync(&bob).await;
    alice.sync(&bob).await;
    let twin = beside(&bob, "a");
    // The reason for the other name goes, and in the same moment somebody makes a file of that name.
    std::fs::remove_file(bob.at("A")).unwrap();
    bob.put("a", "another\n");
    alice.put(&twin, "small\nand more\n");
    alice.sync(&bob).await;
    alice.sync(&bob).await;
    assert_eq!(names(&alice), ["a"]);
    assert_eq!((bob.read("a"), bob.read(&twin)), ("another\n".into(), "small\nand more\n".into()));
    let skipped = bob.snapshot().await.skipped;
    assert!(skipped[0].reason.contains("give one of the two another"), "{skipped:?}");
    // As that says:
    std::fs::rename(bob.at("a"), bob.at("b")).unwrap();
    alice.sync(&bob).await;
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    assert_eq!((bob.read("a"), bob.read("b")), ("small\nand more\n".into(), "another\n".into()));
}

#[tokio::test]
async fn a_twin_that_has_the_name_of_a_file_that_is_gone_is_not_taken_for_it() {
    let alice = Device::new().await;
    let bob = alice.joined().await;
    alice.put("D/x", "gone\n");
    alice.snapshot().await;
    std::fs::remove_file(alice.at("D/x")).unwrap();
    // The directory is spelled `D`, so `d/x` stands in it.
    bob.put("D/y", "why\n");
    bob.put("d/x", "there\n");
    alice.sync(&bob).await;
    alice.sync(&bob).await;
    assert!(alice.snapshot().await.is_clean());
    assert_same(&alice, &bob);
    assert_eq!(names(&alice), ["D/x", "D/y"]);
    assert_eq!(alice.read("D/x"), "there\n");
}

#[tokio::test]
async fn a_twin_takes_its_own_name_in_the_same_checkout_that_removes_the_other() {
    let alice = Device::new().await;
    let bob = alice.joined().await;
    alice.put("D/x", "gone\n");
    bob.put("D/y", "why\n");
    bob.put("d/x", "there\n");
    alice.sync(&bob).await;
    alice.sync(&bob).await;
    assert_eq!(names(&alice), ["D/x".to_owned(), beside(&alice, "D/x"), "D/y".to_owned()]);
    std::fs::remove_file(bob.at("D/x")).unwrap();
    alice.sync(&bob).await;
    alice.sync(&bob).await;
    assert_same(&alice, &bob);
    assert_eq!((names(&alice), alice.read("D/x")), (vec!["D/x".to_owned(), "D/y".to_owned()], "there\n".to_owned()));
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, usize),
    Delete(usize, usize),
    Snapshot(usize),
    Pull(usize, usize),
}

const NAMES: [&str; 9] = ["a", "A", "\u{e9}", "e\u{301}", "d/x", "D/x", "D/X", "d", "D/y/z"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3usize, 0..NAMES.len()).prop_map(|(who, name)| Step::Put(who, name)),
        1 => (0..3usize, 0..NAMES.len()).prop_map(|(who, name)| Step::Delete(who, name)),
        2 => (0..3usize).prop_map(Step::Snapshot),
        3 => (0..3usize, 0..3usize).prop_map(|(to, from)| Step::Pull(to, from)),
    ]
}

proptest! {
    #![proptest_config(common::plays(24))]

    #[test]
    fn three_devices_end_equal_in_whatever_order(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let alice = Device::new().await;
            let devices = [alice.joined().await, alice.joined().await, alice];
            let mut written: BTreeSet<String> = BTreeSet::new();
            for (nth, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Put(who, name) => {
                        let at: PathBuf = devices[who].at(NAMES[name]);
                        let line = format!("line {nth}\n");
                        // Where a directory is a file cannot be, nor the other way round.
                        if std::fs::create_dir_all(at.parent().unwrap()).is_ok() {
                            let old = std::fs::read_to_string(&at).unwrap_or_default();
                            if std::fs::write(&at, old + &line).is_ok() {
                                written.insert(line.trim_end().to_owned());
                            }
                        }
                    }
                    Step::Delete(who, name) => {
                        let at = devices[who].at(NAMES[name]);
                        let gone = std::fs::read_to_string(&at).unwrap_or_default();
                        if std::fs::remove_file(&at).is_ok() {
                            written.retain(|line| !gone.lines().any(|l| l == line));
                        }
                    }
                    Step::Snapshot(who) => drop(devices[who].snapshot().await),
                    Step::Pull(to, from) => {
                        devices[to].snapshot().await;
                        devices[to].pull(&devices[from]).await;
                        devices[to].folder.checkout(&common::keep()).await.unwrap();
                    }
                }
            }
            for _ in 0..3 {
                for (a, b) in [(0, 1), (1, 2), (0, 2)] {
                    devices[a].sync(&devices[b]).await;
                }
            }
            // A file that was made where a twin's own name was free is another file: it is given a name of its own.
            for (who, device) in devices.iter().enumerate() {
                for (nth, skipped) in device.snapshot().await.skipped.iter().enumerate() {
                    std::fs::rename(device.at(&skipped.path), device.at(&format!("own-{who}-{nth}"))).unwrap();
                }
            }
            for _ in 0..3 {
                for (a, b) in [(0, 1), (1, 2), (0, 2)] {
                    devices[a].sync(&devices[b]).await;
                }
            }
            assert_same(&devices[0], &devices[1]);
            assert_same(&devices[0], &devices[2]);
            let folded: BTreeSet<String> = names(&devices[0]).iter().map(|n| path(n).folded_prefixes().last().unwrap().0).collect();
            assert_eq!(folded.len(), names(&devices[0]).len(), "no two names are one on some system");
            let lines: Vec<String> = tree(devices[0].dir.path())
                .values()
                .flat_map(|(bytes, _)| String::from_utf8(bytes.clone()).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
                .collect();
            for line in &written {
                assert!(lines.contains(line), "{line} is lost");
            }
        });
    }
}
