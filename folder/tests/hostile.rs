//! What a peer's entries say is checked before anything touches the disk.

mod common;

use common::{Device, moments, path, publish, tree};
use ibgib::transform::{Mut8Opts, linked, mut8};
use ibgib::{Addr, Map, Value, object};
use ibgib_folder::{CheckoutOpts, FolderError};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::symlink;

/// Writes entries as an evil peer would, straight into the shards; each with a timeline that a file of that name
/// would have, if such a name is possible at all.
async fn inject(device: &Device, keys: &[String]) {
    let shards: BTreeMap<String, Value> = shard_entries(device).await;
    assert_eq!(shards.len(), 256, "the test wants all shards to be there");
    let victim = device.folder.file_tjp(&path("victim")).unwrap();
    let mut by_shard: BTreeMap<u8, Map> = BTreeMap::new();
    for key in keys {
        let file = ibgib_folder::EntryPath::from_key(key).map(|p| device.folder.file_tjp(&p).unwrap());
        let file = file.unwrap_or_else(|_| victim.clone());
        let entry = object([("file", (&file).into()), ("kind", "text".into()), ("exec", true.into())]);
        by_shard.entry(Sha256::digest(key.as_bytes())[0]).or_default().insert(key.as_str(), entry);
        if device.space.tip(&file).await.unwrap().is_none() {
            grow(device, key).await;
        }
    }
    for (number, entries) in by_shard {
        let tip = device.space.tip(&shard_of_number(device, number).await).await.unwrap().unwrap();
        let node = device.space.node(&tip.addr).await.unwrap().unwrap();
        let patch = object([("entries", entries.into())]).as_object().cloned();
        let opts = Mut8Opts { patch, dna: true, n_counter: true, linked_rel8ns: linked(), ..Mut8Opts::default() };
        let made = mut8(&node, &opts, &moments()()).unwrap();
        let overlay: HashMap<_, _> = made.nodes().into_iter().map(|n| (n.addr().clone(), n)).collect();
        publish(&*device.space, overlay, made.frame.addr(), &tip.tjp).await;
    }
}

/// The file timeline that an entry of this name asks for, with content.
async fn grow(device: &Device, key: &str) {
    use ibgib::IbGib;
    use ibgib::transform::{ForkOpts, Moment, TjpOpts, fork};
    let hash = Sha256::digest(format!("{}{key}", device.folder.tjp()).as_bytes());
    let opts = ForkOpts {
        dest_ib: Some("file".into()),
        dna: true,
        no_timestamp: true,
        n_counter: true,
        tjp: Some(TjpOpts { uuid: true, timestamp: false }),
        linked_rel8ns: linked(),
        ..ForkOpts::default()
    };
    let moment = Moment { now_ms: 0, random: hash[..16].try_into().unwrap() };
    let first = fork(&IbGib::primitive("file").unwrap(), &opts, &moment).unwrap();
    let patch = object([("text", "evil".into())]).as_object().cloned();
    let opts = Mut8Opts { patch, dna: true, n_counter: true, linked_rel8ns: linked(), ..Mut8Opts::default() };
    let next = mut8(&first.frame, &opts, &moments()()).unwrap();
    let nodes = first.nodes().into_iter().chain(next.nodes());
    let overlay: HashMap<_, _> = nodes.map(|n| (n.addr().clone(), n)).collect();
    publish(&*device.space, overlay, next.frame.addr(), first.frame.addr()).await;
}

async fn shard_entries(device: &Device) -> BTreeMap<String, Value> {
    let tips = device.space.tips(None).await.unwrap();
    let mut out = BTreeMap::new();
    for tip in tips.into_iter().filter(|t| t.tjp.ib() == "shard") {
        let node = device.space.node(&tip.addr).await.unwrap().unwrap();
        out.insert(tip.tjp.to_string(), node.datum("entries").cloned().unwrap());
    }
    out
}

async fn shard_of_number(device: &Device, number: u8) -> Addr {
    let in_it = |entries: &Value| {
        let key = entries.as_object().unwrap().keys().next().unwrap();
        Sha256::digest(key.as_bytes())[0] == number
    };
    let found = shard_entries(device).await.into_iter().find(|(_, e)| in_it(e)).unwrap().0;
    found.parse().unwrap()
}

async fn device_with_all_shards() -> Device {
    let device = Device::new().await;
    for i in 0..2_500 {
        device.put(&format!("many/{i}"), "x");
    }
    device.put("victim", "kind words");
    device.snapshot().await;
    device
}

#[tokio::test]
async fn hostile_entries_are_refused_one_by_one() {
    let evil = device_with_all_shards().await;
    let bob = evil.joined().await;
    let long = "x".repeat(300);
    let keys: Vec<String> = [
        "/../outside",
        "/../../etc/passwd",
        "//etc/passwd",
        "/a/../../outside",
        "/.",
        "/..",
        "/",
        "",
        "relative",
        "/nul\0byte",
        "/.ibgib/config.toml",
        "/.ibgib/space/x",
        "/sub/.ibgib.new/secret",
        "/.git/hooks/post-checkout",
        "/sub/.git/config",
        "/.GIT/config",
        "/.g\u{200c}it/config",
        "/.git./config",
        "/GIT~1/config",
        "/%2e%2e/outside",
        "/%41",
        "/%",
        "/dir/",
        "/a//b",
        &format!("/{long}"),
        &format!("/{}", "deep/".repeat(1_000)),
        "/link/inside",
        "/linkfile",
    ]
    .map(str::to_owned)
    .to_vec();
    inject(&evil, &keys).await;
    // Names that lead nowhere here, and a twin: files like any other.
    let odd = ["/fine", "/C:/windows", "/..\\outside", "/CON", "/trailing ", "/VICTIM"].map(str::to_owned);
    inject(&evil, &odd).await;

    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("file"), "kept").unwrap();
    symlink(outside.path(), bob.at("link")).unwrap();
    symlink(outside.path().join("file"), bob.at("linkfile")).unwrap();
    bob.pull(&evil).await;
    let report = bob.checkout().await;
    let short = |path: &str| path.chars().take(40).collect::<String>();
    let mut refused: Vec<String> = report.refused.iter().map(|r| short(&r.path)).collect();
    let spelled = |key: &str| ibgib_folder::EntryPath::from_key(key).map_or(key.to_owned(), |p| p.to_string());
    let mut wanted: Vec<String> = keys.iter().map(|k| short(&spelled(k))).collect();
    refused.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(refused, wanted);
    assert!(report.refused.iter().all(|r| !r.reason.is_empty()));

    let files = tree(bob.dir.path());
    assert_eq!(files.len(), 2_501 + odd.len(), "the rest is checked out");
    assert_eq!((bob.read("fine"), bob.read("VICTIM")), ("evil".to_owned(), "evil".to_owned()));
    let twin = report.twins.iter().find(|t| t.path.as_str() == "victim").unwrap();
    assert_eq!((bob.read(twin.at.as_str()), twin.of.as_str()), ("kind words".to_owned(), "VICTIM"));
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read(outside.path().join("file")).unwrap(), b"kept");
    assert!(!bob.dir.path().parent().unwrap().join("outside").exists());
    let own: Vec<_> = std::fs::read_dir(bob.at(".ibgib")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(own, ["tmp"]);

    // Refusing is no change of Bob's, and nor is another name.
    assert!(bob.snapshot().await.is_clean());
    assert!(!bob.at(".GIT").exists() && !bob.at(".git").exists());
}

#[tokio::test]
async fn an_entry_may_name_its_own_timeline_only() {
    let evil = device_with_all_shards().await;
    let wrong = |file: &Addr, key: &str| (key.to_owned(), object([("file", file.into()), ("exec", false.into())]));
    let entries =
        [wrong(evil.folder.tjp(), "/folder"), wrong(&evil.folder.file_tjp(&path("victim")).unwrap(), "/copy")];
    for (key, entry) in entries {
        let number = Sha256::digest(key.as_bytes())[0];
        let tip = evil.space.tip(&shard_of_number(&evil, number).await).await.unwrap().unwrap();
        let node = evil.space.node(&tip.addr).await.unwrap().unwrap();
        let patch = object([("entries", Map::from_iter([(key, entry)]).into())]).as_object().cloned();
        let opts = Mut8Opts { patch, dna: true, n_counter: true, linked_rel8ns: linked(), ..Mut8Opts::default() };
        let made = mut8(&node, &opts, &moments()()).unwrap();
        let overlay: HashMap<_, _> = made.nodes().into_iter().map(|n| (n.addr().clone(), n)).collect();
        publish(&*evil.space, overlay, made.frame.addr(), &tip.tjp).await;
    }
    let bob = Device::new_joining(&evil).await;
    bob.pull(&evil).await;
    let refused: Vec<String> = bob.checkout().await.refused.into_iter().map(|r| r.path).collect();
    assert_eq!(refused, ["/copy", "/folder"]);
    // A file of that name made here puts the entry right.
    bob.put("copy", "mine");
    bob.snapshot().await;
    assert_eq!(bob.checkout().await.refused.len(), 1);
}

#[tokio::test]
async fn links_on_disk_are_left_alone() {
    let alice = Device::new().await;
    alice.put("dir/a", "1");
    alice.put("b", "1");
    alice.snapshot().await;
    let bob = alice.joined().await;
    // Bob turns a directory and a file into links.
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("a"), "outside").unwrap();
    std::fs::remove_dir_all(bob.at("dir")).unwrap();
    symlink(outside.path(), bob.at("dir")).unwrap();
    std::fs::remove_file(bob.at("b")).unwrap();
    symlink(outside.path().join("a"), bob.at("b")).unwrap();
    let report = bob.snapshot().await;
    assert!(report.is_clean(), "no delete for the others");
    assert_eq!(report.skipped.len(), 3);
    alice.put("dir/a", "2");
    alice.put("b", "2");
    alice.snapshot().await;
    bob.pull(&alice).await;
    assert_eq!(bob.checkout().await.refused.len(), 2);
    let force = CheckoutOpts { force: true, ..CheckoutOpts::default() };
    assert_eq!(bob.folder.checkout(&force).await.unwrap().refused.len(), 2);
    assert_eq!(std::fs::read(outside.path().join("a")).unwrap(), b"outside");
    let nowhere = bob.folder.tip(&path("nowhere")).await;
    assert!(matches!(nowhere, Err(FolderError::NoEntry(_))));
}

#[tokio::test]
async fn a_frame_without_readable_content_is_in_nobodys_way() {
    let evil = Device::new().await;
    for name in ["number", "stray", "list", "good"] {
        evil.put(name, "1\n");
    }
    evil.snapshot().await;
    let bob = Device::new_joining(&evil).await;
    let stray = evil.folder.tjp().to_string();
    let bad: [(&str, &str, Value); 3] =
        [("number", "text", 5.into()), ("stray", "blob", stray.into()), ("list", "blob", "x".into())];
    for (name, member, value) in bad {
        let tip = evil.folder.tip(&path(name)).await.unwrap();
        let node = evil.space.node(&tip).await.unwrap().unwrap();
        let patch = object([(member, value)]).as_object().cloned();
        let opts = Mut8Opts { patch, dna: true, n_counter: true, linked_rel8ns: linked(), ..Mut8Opts::default() };
        let made = mut8(&node, &opts, &moments()()).unwrap();
        let overlay: HashMap<_, _> = made.nodes().into_iter().map(|n| (n.addr().clone(), n)).collect();
        publish(&*evil.space, overlay, made.frame.addr(), &evil.folder.file_tjp(&path(name)).unwrap()).await;
    }
    bob.pull(&evil).await;
    let report = bob.checkout().await;
    assert_eq!((common::texts(&report.written), report.refused.len()), (vec!["good"], 3));

    // Bob makes files of these names: they are his, and everything goes on.
    for name in ["number", "stray", "list"] {
        bob.put(name, "by bob\n");
    }
    assert_eq!(bob.folder.status().await.unwrap().changes.len(), 3);
    assert_eq!(common::texts(&bob.snapshot().await.added), ["list", "number", "stray"]);
    assert!(bob.folder.status().await.unwrap().changes.is_empty());
    bob.checkout().await;
    for name in ["number", "stray", "list"] {
        assert_eq!(bob.read(name), "by bob\n");
        bob.put(name, "by bob again\n");
    }
    bob.put("good", "2\n");
    assert_eq!(bob.snapshot().await.modified.len(), 4);
    bob.folder.undo(false, &mut moments()).await.unwrap();
    assert_eq!(bob.read("good"), "1\n");
}
