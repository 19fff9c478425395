//! Conflicts about all of a file: what is told of them is what stands, and a side that is chosen stands alone.

mod common;

use common::{Device, assert_same, moments, noise, publish};
use ibgib::transform::revise;
use ibgib::{Addr, Map};
use ibgib_folder::{Conflict, EntryPath, FileContent, Keeping, Resolution};
use std::collections::HashMap;
use std::os::unix::fs::symlink;

async fn two(files: &[(&str, &str)]) -> (Device, Device) {
    let alice = Device::new().await;
    for (path, text) in files {
        alice.put(path, text);
    }
    let bob = alice.joined().await;
    alice.sync(&bob).await;
    (alice, bob)
}

/// What stands at a path: the target of a link, or the bytes.
fn stands(device: &Device, path: &str) -> Option<Vec<u8>> {
    let at = device.at(path);
    match std::fs::read_link(&at) {
        Ok(target) => Some(format!("-> {}", target.display()).into_bytes()),
        Err(_) => std::fs::read(at).ok(),
    }
}

fn bytes(content: &FileContent, binary: &[u8]) -> Option<Vec<u8>> {
    match content {
        FileContent::Nothing => None,
        FileContent::Text(text) => Some(text.clone().into_bytes()),
        FileContent::Binary { bytes, .. } => {
            assert_eq!(*bytes, binary.len() as u64);
            Some(binary.to_vec())
        }
        FileContent::Link(target) => Some(format!("-> {target}").into_bytes()),
    }
}

async fn only(device: &Device) -> Conflict {
    let mut conflicts = device.folder.conflicts().await.unwrap();
    assert_eq!(conflicts.len(), 1, "{conflicts:?}");
    conflicts.pop().unwrap()
}

/// Members that hold content in the newest frame of a file.
async fn kinds(device: &Device, path: &str) -> Vec<&'static str> {
    let tip = device.folder.tip(&EntryPath::from_key(&format!("/{path}")).unwrap()).await.unwrap();
    let frame = device.folder.space().node(&tip).await.unwrap().unwrap();
    ["blob", "text", "link"].into_iter().filter(|member| frame.datum(member).is_some()).collect()
}

#[tokio::test]
async fn a_file_made_as_two_kinds_tells_what_stands_and_becomes_the_one_that_is_chosen() {
    let binary = noise(3000, 9);
    type Make<'m> = &'m dyn Fn(&Device);
    let text: Make<'_> = &|device| device.put("m", "text\n");
    let blob: Make<'_> = &|device| device.put("m", &binary);
    let link: Make<'_> = &|device| {
        let _ = std::fs::remove_file(device.at("m"));
        symlink("other", device.at("m")).unwrap();
    };
    let (text, blob, link) = ((text, b"text\n".to_vec()), (blob, binary.clone()), (link, b"-> other".to_vec()));
    for (one, other) in [(&text, &blob), (&blob, &text), (&text, &link), (&link, &blob)] {
        for before in [&[][..], &[("m", "before\n")]] {
            for how in [Resolution::Keep, Resolution::Base, Resolution::Orphan] {
                let (alice, bob) = two(before).await;
                one.0(&alice);
                other.0(&bob);
                alice.sync(&bob).await;
                assert_same(&alice, &bob);
                // A side that changes a text and one that makes it something else are in conflict about the text, too.
                let conflicts = alice.folder.conflicts().await.unwrap();
                assert!(!conflicts.is_empty());
                let mut wanted = None;
                for conflict in &conflicts {
                    let whole = conflict.whole.clone().unwrap_or_else(|| panic!("{conflict:?}"));
                    assert_eq!(stands(&alice, "m"), bytes(&whole.now, &binary));
                    assert_ne!(whole.base, whole.orphan);
                    assert!([&whole.base, &whole.orphan].contains(&&whole.now));
                    let mut sides = [bytes(&whole.base, &binary), bytes(&whole.orphan, &binary)];
                    sides.sort();
                    let mut made = [Some(one.1.clone()), Some(other.1.clone())];
                    made.sort();
                    assert_eq!(sides, made);
                    let chosen = whole.chosen(how).cloned().unwrap();
                    wanted = bytes(&chosen, &binary);
                    alice.folder.resolve(conflict, how, &mut moments()).await.unwrap();
                    assert_eq!(stands(&alice, "m"), wanted, "{how:?}");
                }
                assert_eq!(kinds(&alice, "m").await.len(), 1);
                alice.sync(&bob).await;
                assert_same(&alice, &bob);
                assert_eq!(stands(&bob, "m"), wanted);
                assert_eq!(bob.folder.conflicts().await.unwrap(), []);
            }
        }
    }
}

#[tokio::test]
async fn texts_that_are_too_large_for_the_record_can_be_chosen_all_the_same() {
    let big = |lines: u32, of: &str| (0..lines).map(|n| format!("{of} {n}\n")).collect::<String>();
    // Deleted here and edited there, beyond what is recorded; edited on both sides, beyond what is merged.
    let old = big(120_000, "line");
    for (mine, edited) in [(None, format!("{old}e\n")), (Some(big(300_000, "alice's")), big(300_000, "bob's"))] {
        for how in [Resolution::Base, Resolution::Orphan] {
            let (alice, bob) = two(&[("big.txt", &old)]).await;
            match &mine {
                Some(mine) => alice.put("big.txt", mine),
                None => std::fs::remove_file(alice.at("big.txt")).unwrap(),
            }
            bob.put("big.txt", &edited);
            alice.sync(&bob).await;
            let conflict = only(&alice).await;
            assert_eq!((&conflict.base, &conflict.orphan), (&None, &None), "too large for a stone");
            let whole = conflict.whole.clone().unwrap();
            assert_eq!(whole.ancestor, Some(FileContent::Text(old.clone())));
            let mut sides = [bytes(&whole.base, b""), bytes(&whole.orphan, b"")];
            sides.sort();
            let mut made = [mine.clone().map(String::into_bytes), Some(edited.clone().into_bytes())];
            made.sort();
            assert!(sides == made, "the sides are those that were made");
            let wanted = bytes(whole.chosen(how).unwrap(), b"");
            alice.folder.resolve(&conflict, how, &mut moments()).await.unwrap();
            assert!(stands(&alice, "big.txt") == wanted, "{how:?}");
            alice.sync(&bob).await;
            assert!(stands(&bob, "big.txt") == wanted, "{how:?}");
            assert_eq!(bob.folder.conflicts().await.unwrap(), []);
        }
    }
}

#[tokio::test]
async fn what_both_had_before_their_binaries_was_a_text() {
    let (alice, bob) = two(&[("f", "a text\n")]).await;
    alice.put("f", noise(2000, 1));
    bob.put("f", noise(2000, 2));
    alice.sync(&bob).await;
    let conflict = only(&alice).await;
    alice.folder.resolve(&conflict, Resolution::Ancestor, &mut moments()).await.unwrap();
    assert_eq!((alice.read("f").as_str(), kinds(&alice, "f").await), ("a text\n", vec!["text"]));
}

#[tokio::test]
async fn no_choice_brings_a_renamed_file_back_beside_itself() {
    // Lines of a text, a binary, an edit against a delete: each is renamed while its conflict is open.
    let (alice, bob) = two(&[("lines", "1\nold\n3\n"), ("binary", "text"), ("edited", "1\n")]).await;
    alice.put("lines", "1\nalice\n3\n");
    bob.put("lines", "1\nbob\n3\n");
    alice.put("binary", noise(900, 1));
    bob.put("binary", noise(900, 2));
    std::fs::remove_file(alice.at("edited")).unwrap();
    bob.put("edited", "1\n2\n");
    alice.sync(&bob).await;
    for name in ["lines", "binary", "edited"] {
        std::fs::rename(alice.at(name), alice.at(&format!("{name}, renamed"))).unwrap();
    }
    alice.snapshot().await;
    let conflicts = alice.folder.conflicts().await.unwrap();
    assert_eq!(conflicts.len(), 3);
    for conflict in &conflicts {
        for how in [Resolution::Base, Resolution::Orphan, Resolution::Ancestor] {
            // Of the one that a side had deleted, that it stays so is a choice.
            let gone = conflict.whole.as_ref().and_then(|whole| whole.chosen(how)) == Some(&FileContent::Nothing);
            if !gone {
                assert!(alice.folder.resolve(conflict, how, &mut moments()).await.is_err(), "{how:?} {conflict:?}");
            }
        }
        alice.folder.resolve(conflict, Resolution::Keep, &mut moments()).await.unwrap();
    }
    for name in ["lines", "binary", "edited"] {
        assert!(!alice.at(name).exists() && alice.at(&format!("{name}, renamed")).exists(), "{name}");
    }
    assert_eq!(alice.folder.conflicts().await.unwrap(), []);
}

#[tokio::test]
async fn a_text_that_was_edited_since_is_not_overwritten_by_a_choice() {
    let (alice, bob) = two(&[("f", "1\n")]).await;
    std::fs::remove_file(alice.at("f")).unwrap();
    bob.put("f", "1\n2\n");
    alice.sync(&bob).await;
    alice.put("f", "1\n2\nand more\n");
    alice.snapshot().await;
    let conflict = only(&alice).await;
    assert!(conflict.whole.as_ref().unwrap().edited);
    for how in [Resolution::Base, Resolution::Orphan, Resolution::Ancestor] {
        assert!(alice.folder.resolve(&conflict, how, &mut moments()).await.is_err(), "{how:?}");
    }
    alice.folder.resolve(&conflict, Resolution::Keep, &mut moments()).await.unwrap();
    assert_eq!(alice.read("f"), "1\n2\nand more\n");
}

#[tokio::test]
async fn times_are_in_no_conflict_whatever_happens_to_the_file() {
    let alice = Device::new().await;
    alice.folder.set_keeping(Keeping { times: true, modes: false }, &mut moments()).await.unwrap();
    for name in ["deleted", "restored"] {
        alice.put(name, "1\n");
    }
    let bob = alice.joined().await;
    alice.sync(&bob).await;
    let restored = EntryPath::from_key("/restored").unwrap();
    let first = alice.folder.tip(&restored).await.unwrap();
    alice.put("restored", "1\n2\n");
    alice.sync(&bob).await;
    std::fs::remove_file(alice.at("deleted")).unwrap();
    alice.folder.restore(&restored, &first, false, &mut moments()).await.unwrap();
    bob.put("deleted", "1\n2\n");
    bob.put("restored", "0\n1\n2\n");
    alice.sync(&bob).await;
    assert_eq!(only(&alice).await.path, "/data/text", "the delete against the edit, and nothing about times");
}

/// Whoever may write can make a frame whose text is no text: the others are told of the conflict, and settle it.
#[tokio::test]
async fn a_frame_that_no_file_could_have_does_not_hide_a_conflict() {
    let (alice, bob) = two(&[("a.txt", "one\n")]).await;
    alice.put("a.txt", "ALICE\n");
    bob.put("a.txt", "BOB\n");
    alice.snapshot().await;
    bob.snapshot().await;
    let path = EntryPath::from_key("/a.txt").unwrap();
    let tip = alice.folder.tip(&path).await.unwrap();
    let node = alice.space.node(&tip).await.unwrap().unwrap();
    let made = revise(&node, &Map::from_iter([("text", 5)]), &moments()()).unwrap().unwrap();
    let overlay: HashMap<Addr, _> = made.nodes().into_iter().map(|node| (node.addr().clone(), node)).collect();
    publish(&*alice.space, overlay, made.frame.addr(), &alice.folder.file_tjp(&path).unwrap()).await;
    bob.pull(&alice).await;
    let conflict = only(&bob).await;
    assert_eq!((conflict.path.as_str(), &conflict.whole), ("/data/text", &None));
    bob.folder.resolve(&conflict, Resolution::Keep, &mut moments()).await.unwrap();
    assert_eq!(bob.folder.conflicts().await.unwrap(), []);
}
