//! One word for one thing: the names of public types are made of the glossary's words and of plain ones, none of them is
//! a word that was given up for another, and no two types of different crates have one name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Library crates, each with the folder of its sources.
const CRATES: [&str; 9] = [
    "src",
    "blocks/src",
    "keystone/src",
    "spaces/src",
    "spaces/postgres/src",
    "saga/src",
    "saga/peer/src",
    "server/src",
    "folder/src",
];

/// Words that were given up, since each had meant several things or none that a newcomer could guess.
const GIVEN_UP: [&str; 9] = ["birth", "cradle", "did", "eyes", "found", "mould", "place", "stop", "thing"];

/// Words of public types that are no terms of this project. A word that is one belongs into the glossary instead.
const PLAIN: &str = "action addr admit admitted advance algo answer asked behavior blame breach builder bundled \
    carried change changes checkout code collected committed condition config connect connection contract coordinator decode diff \
    direction done draft durable encoding entropy envelope error evaluate evaluated event evidence expect facts failure \
    fault finish finished first following fork fsck gen hash head height hello history info in innerspace \
    input item joined json kept keys kind led limits line load loader log map measure memory message misuse mode moment \
    moments mount moved msg mut8 name need next nodes ok op options opts origin os out output overlay own packer packet pair path \
    peeked peer planner policy postgres problem progress proposal query rate reader records refusal refused rel8 remembered report request \
    reserve resolution reveal rule said scanned scope serve server settled sign signed signer signs skipped snapshot \
    source spacing spending spent stage state status stub summary sync synced text throws told transformed type \
    unchecked undo unsettled validate value verified verify walked watch websocket when width wrapper written";

/// Names that two crates share: a tip's move as a timeline proves it and as a space takes it; a conflict as a stone tells
/// it and as a folder shows it; what a signature and what a plan needs; what a transform and a keystone of the original
/// throw; what a saga and what a folder is at.
const SHARED: [&str; 5] = ["Advance", "Conflict", "Need", "Progress", "Throws"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// Public types of a crate: structs, enums, traits and aliases.
fn types(folder: &str) -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&root().join(folder), &mut files);
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    let mut out = BTreeSet::new();
    for text in texts {
        for line in text.lines().map(str::trim_start) {
            let kinds = ["pub struct ", "pub enum ", "pub trait ", "pub type "];
            let Some(rest) = kinds.iter().find_map(|kind| line.strip_prefix(kind)) else { continue };
            out.insert(rest.chars().take_while(char::is_ascii_alphanumeric).collect());
        }
    }
    out
}

/// The words of a name like `TimelineSummary`.
fn words(name: &str) -> Vec<String> {
    let name = name.replace("IbGib", "Ibgib").replace("WebSocket", "Websocket");
    let mut out: Vec<String> = Vec::new();
    for c in name.chars() {
        match out.last_mut() {
            Some(word) if !c.is_ascii_uppercase() => word.push(c),
            _ => out.push(c.to_ascii_lowercase().to_string()),
        }
    }
    out
}

/// The words that the glossary explains.
fn glossary() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("docs/glossary.md")).unwrap();
    let bold = text.split("**").skip(1).step_by(2);
    bold.flat_map(|term| term.split(' ')).map(str::to_lowercase).collect()
}

#[test]
fn public_types_speak_the_glossary() {
    let known = glossary();
    assert!(known.len() > 50, "the glossary is not read as it is meant");
    let plain: BTreeSet<&str> = PLAIN.split_whitespace().collect();
    let twice: Vec<&&str> = plain.iter().filter(|word| known.contains(**word)).collect();
    assert!(twice.is_empty(), "terms of the glossary called plain: {twice:?}");
    let mut unknown: BTreeMap<String, String> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for name in CRATES.into_iter().flat_map(types) {
        for word in words(&name) {
            assert!(!GIVEN_UP.contains(&&*word), "{name}: the word {word:?} was given up");
            let one = word.strip_suffix('s').unwrap_or(&word).to_owned();
            used.insert(word.clone());
            if !known.contains(&word) && !known.contains(&one) && !plain.contains(&*word) {
                unknown.insert(word, name.clone());
            }
        }
    }
    assert!(unknown.is_empty(), "neither in docs/glossary.md nor plain: {unknown:?}");
    let idle: Vec<&&str> = plain.iter().filter(|word| !used.contains(**word)).collect();
    assert!(idle.is_empty(), "plain words that no public type has any more: {idle:?}");
}

#[test]
fn no_name_means_two_things() {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let mut shared = BTreeSet::new();
    for folder in CRATES {
        for name in types(folder) {
            if let Some(other) = seen.insert(name.clone(), folder) {
                shared.insert(format!("{name} in {other} and {folder}"));
            }
        }
    }
    let idle: Vec<&&str> =
        SHARED.iter().filter(|name| !shared.iter().any(|told| told.starts_with(&format!("{name} ")))).collect();
    assert!(idle.is_empty(), "names that are shared no more: {idle:?}");
    shared.retain(|told| !SHARED.iter().any(|name| told.starts_with(&format!("{name} "))));
    assert!(shared.is_empty(), "{shared:?}");
}
