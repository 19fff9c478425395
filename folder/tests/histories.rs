//! Random lives of three devices with the whole alphabet of what people do with files. Whatever they did in whatever
//! order, they end equal; every word that somebody wrote and nobody took away stands in a file or in a recorded conflict,
//! none stands twice in one file, and documents stay documents.

mod common;

use common::{Device, assert_same, keep, tree};
use ibgib::{Mode, Value};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const DEVICES: usize = 3;
const TEXTS: [&str; 5] = ["notes.txt", "Notes.txt", "d/a.md", "D/b.md", "d"];
const DOCUMENTS: [&str; 3] = ["settings.json", "d/list.json", "board.canvas"];
const BINARIES: [&str; 2] = ["photo.jpg", "d/c.bin"];
const LINKS: [&str; 2] = ["link", "d/up"];

#[derive(Clone, Debug)]
enum Step {
    /// Adds a line at about this place.
    Insert {
        who: usize,
        file: usize,
        at: usize,
    },
    /// Replaces or removes the line at about this place.
    Line {
        who: usize,
        file: usize,
        at: usize,
        gone: bool,
    },
    /// Adds a member or an element to a document, in some layout.
    Member {
        who: usize,
        file: usize,
        layout: usize,
        element: bool,
    },
    /// Writes a file that is no text.
    Binary {
        who: usize,
        file: usize,
    },
    Link {
        who: usize,
        file: usize,
        to: usize,
    },
    Rename {
        who: usize,
        from: usize,
        to: usize,
    },
    Delete {
        who: usize,
        file: usize,
    },
    /// A directory with all that is in it.
    DeleteDirectory {
        who: usize,
    },
    Flip {
        who: usize,
        file: usize,
    },
    Snapshot {
        who: usize,
    },
    /// Takes over what another device has.
    Pull {
        who: usize,
        from: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..DEVICES;
    let texts = || 0..TEXTS.len();
    let documents = || 0..DOCUMENTS.len();
    prop_oneof![
        6 => (who(), texts(), 0..9usize).prop_map(|(who, file, at)| Step::Insert { who, file, at }),
        4 => (who(), texts(), 0..9usize, any::<bool>()).prop_map(|(who, file, at, gone)| Step::Line { who, file, at, gone }),
        5 => (who(), documents(), 0..4usize, any::<bool>())
            .prop_map(|(who, file, layout, element)| Step::Member { who, file, layout, element }),
        2 => (who(), 0..BINARIES.len()).prop_map(|(who, file)| Step::Binary { who, file }),
        1 => (who(), 0..LINKS.len(), texts()).prop_map(|(who, file, to)| Step::Link { who, file, to }),
        2 => (who(), texts(), texts()).prop_map(|(who, from, to)| Step::Rename { who, from, to }),
        2 => (who(), texts()).prop_map(|(who, file)| Step::Delete { who, file }),
        1 => who().prop_map(|who| Step::DeleteDirectory { who }),
        1 => (who(), texts()).prop_map(|(who, file)| Step::Flip { who, file }),
        3 => who().prop_map(|who| Step::Snapshot { who }),
        8 => (who(), who()).prop_map(|(who, from)| Step::Pull { who, from }),
    ]
}

/// Words as they stand in a text: `w` and a number.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|w| w.strip_prefix('w').is_some_and(|n| n.parse::<u32>().is_ok())).map(str::to_owned).collect()
}

struct World {
    devices: Vec<Device>,
    next: u32,
    written: BTreeSet<String>,
    taken_away: BTreeSet<String>,
}

impl World {
    fn word(&mut self) -> String {
        self.next += 1;
        let word = format!("w{}", self.next);
        self.written.insert(word.clone());
        word
    }

    fn text(&self, who: usize, name: &str) -> Option<String> {
        let at = self.devices[who].at(name);
        std::fs::symlink_metadata(&at).ok().filter(std::fs::Metadata::is_file)?;
        String::from_utf8(std::fs::read(at).ok()?).ok()
    }

    /// Replaces a file as programs do. Words that it had and has no more were taken away by its user. Where a directory
    /// or a link is in the way the user leaves it.
    fn put(&mut self, who: usize, name: &str, bytes: &[u8]) {
        let at = self.devices[who].at(name);
        if std::fs::create_dir_all(at.parent().unwrap()).is_err() || at.is_dir() || at.is_symlink() {
            return;
        }
        let before = std::fs::read(&at).unwrap_or_default();
        if std::fs::write(&at, bytes).is_ok() {
            let now: BTreeSet<String> = words(&String::from_utf8_lossy(bytes)).into_iter().collect();
            let before = words(&String::from_utf8_lossy(&before));
            self.taken_away.extend(before.into_iter().filter(|word| !now.contains(word)));
        }
    }

    fn remove(&mut self, who: usize, name: &str) {
        let at = self.devices[who].at(name);
        if at.is_symlink() || at.is_file() {
            let before = if at.is_symlink() { Vec::new() } else { std::fs::read(&at).unwrap() };
            std::fs::remove_file(at).unwrap();
            self.taken_away.extend(words(&String::from_utf8_lossy(&before)));
        }
    }

    async fn pull(&self, who: usize, from: usize) {
        if who != from {
            let (to, from) = (&self.devices[who], &self.devices[from]);
            from.snapshot().await;
            to.snapshot().await;
            to.pull(from).await;
            to.folder.checkout(&keep()).await.unwrap();
        }
    }

    async fn take(&mut self, step: Step) {
        self.act(step).await;
        // Whoever made a file whose name a twin has in the folder is told so, and takes it back.
        for who in 0..DEVICES {
            let skipped = self.devices[who].folder.status().await.unwrap().skipped;
            for skipped in skipped.iter().filter(|skipped| skipped.reason.contains("give one of the two another")) {
                self.remove(who, &skipped.path);
            }
        }
    }

    async fn act(&mut self, step: Step) {
        match step {
            Step::Insert { who, file, at } => {
                let text = self.text(who, TEXTS[file]).unwrap_or_default();
                let mut lines: Vec<&str> = text.lines().collect();
                let word = self.word();
                let line = format!("a line of {word}");
                lines.insert(at.min(lines.len()), &line);
                self.put(who, TEXTS[file], format!("{}\n", lines.join("\n")).as_bytes());
                // What was in the way was never written.
                if !self.text(who, TEXTS[file]).is_some_and(|text| text.contains(&line)) {
                    self.written.remove(&word);
                }
            }
            Step::Line { who, file, at, gone } => {
                let Some(text) = self.text(who, TEXTS[file]).filter(|text| !text.is_empty()) else { return };
                let mut lines: Vec<&str> = text.lines().collect();
                let at = at % lines.len();
                let line = format!("another line of {}", self.word());
                lines[at] = &line;
                if gone {
                    lines.remove(at);
                    self.written.remove(&words(&line)[0]);
                }
                self.put(who, TEXTS[file], format!("{}\n", lines.join("\n")).as_bytes());
            }
            Step::Member { who, file, layout, element } => {
                let text = self.text(who, DOCUMENTS[file]).unwrap_or_else(|| r#"{"list":[]}"#.into());
                let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
                let word = self.word();
                if element {
                    document["list"].as_array_mut().unwrap().push(word.clone().into());
                } else {
                    document[&word] = 1.into();
                }
                let text = match layout {
                    0 => serde_json::to_string(&document).unwrap(),
                    1 => serde_json::to_string_pretty(&document).unwrap() + "\n",
                    2 => serde_json::to_string_pretty(&document).unwrap().replace("  ", "\t"),
                    _ => serde_json::to_string(&document).unwrap().replace(',', " ,\n"),
                };
                self.put(who, DOCUMENTS[file], text.as_bytes());
                if self.text(who, DOCUMENTS[file]).as_ref() != Some(&text) {
                    self.written.remove(&word);
                }
            }
            Step::Binary { who, file } => {
                let word = self.word();
                let bytes = format!("\0{word}\0");
                self.put(who, BINARIES[file], bytes.as_bytes());
                if self.text(who, BINARIES[file]).as_ref() != Some(&bytes) {
                    self.written.remove(&word);
                }
            }
            Step::Link { who, file, to } => {
                self.remove(who, LINKS[file]);
                let at = self.devices[who].at(LINKS[file]);
                if std::fs::create_dir_all(at.parent().unwrap()).is_ok() {
                    let up = if LINKS[file].contains('/') { "../" } else { "" };
                    let _ = std::os::unix::fs::symlink(format!("{up}{}", TEXTS[to]), at);
                }
            }
            Step::Rename { who, from, to } => {
                if from == to || TEXTS[from] == TEXTS[to] {
                    return;
                }
                let Some(text) = self.text(who, TEXTS[from]) else { return };
                self.put(who, TEXTS[to], text.as_bytes());
                if self.text(who, TEXTS[to]).as_ref() == Some(&text) {
                    std::fs::remove_file(self.devices[who].at(TEXTS[from])).unwrap();
                }
            }
            Step::Delete { who, file } => self.remove(who, TEXTS[file]),
            Step::DeleteDirectory { who } => {
                let inside: Vec<String> = tree(self.devices[who].dir.path())
                    .into_keys()
                    .filter(|path| path.starts_with("d"))
                    .map(|path| path.to_str().unwrap().to_owned())
                    .collect();
                inside.iter().for_each(|name| self.remove(who, name));
                if self.devices[who].at("d").is_dir() {
                    std::fs::remove_dir_all(self.devices[who].at("d")).unwrap();
                }
            }
            Step::Flip { who, file } => {
                let exec = tree(self.devices[who].dir.path()).get(Path::new(TEXTS[file])).map(|(_, exec)| *exec);
                if let Some(exec) = exec {
                    self.devices[who].chmod(TEXTS[file], if exec { 0o644 } else { 0o755 });
                }
            }
            Step::Snapshot { who } => {
                self.devices[who].snapshot().await;
            }
            Step::Pull { who, from } => self.pull(who, from).await,
        }
    }

    /// All that stands in conflicts that nobody has settled.
    async fn in_conflicts(&self) -> String {
        let all = ibgib_folder::conflicts(&*self.devices[0].space).await.unwrap();
        let values = all.iter().flat_map(|c| [&c.ancestor, &c.base, &c.orphan]).flatten();
        let mut out = String::new();
        for value in values {
            out.push_str(&value.to_json());
            // What was no text stands there by its address.
            if let Some(Ok(addr)) = value.as_str().filter(|text| text.starts_with("blob^")).map(str::parse) {
                let mut bytes = Vec::new();
                let mut sink = |some: &[u8]| {
                    bytes.extend_from_slice(some);
                    Ok(())
                };
                self.devices[0].folder.read(&addr, &mut sink).await.unwrap();
                out.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
        out
    }
}

async fn live(steps: Vec<Step>) {
    let first = Device::new().await;
    let mut devices = vec![];
    for _ in 1..DEVICES {
        devices.push(first.joined().await);
    }
    devices.insert(0, first);
    let mut world = World { devices, next: 0, written: BTreeSet::new(), taken_away: BTreeSet::new() };
    for step in steps {
        world.take(step).await;
    }
    // Twice around: what the last one brings comes to the first.
    for _ in 0..3 {
        for who in 0..DEVICES {
            for from in 0..DEVICES {
                world.pull(who, from).await;
            }
        }
    }
    let [first, others @ ..] = &world.devices[..] else { unreachable!() };
    for other in others {
        assert_same(first, other);
        for link in LINKS {
            assert_eq!(std::fs::read_link(first.at(link)).ok(), std::fs::read_link(other.at(link)).ok(), "{link}");
        }
        assert!(other.snapshot().await.is_clean());
    }
    let files: BTreeMap<String, String> = tree(first.dir.path())
        .into_iter()
        .map(|(path, (bytes, _))| (path.to_str().unwrap().to_owned(), String::from_utf8_lossy(&bytes).into_owned()))
        .collect();
    for (name, text) in &files {
        if DOCUMENTS.contains(&name.as_str()) {
            assert!(Value::parse(text, Mode::Strict).is_ok(), "{name} is no document any more: {text:?}");
        }
        let all = words(text);
        let once: BTreeSet<&String> = all.iter().collect();
        assert_eq!(all.len(), once.len(), "a word stands twice in {name}: {text:?}");
    }
    let mut there: BTreeSet<String> = files.values().flat_map(|text| words(text)).collect();
    there.extend(words(&world.in_conflicts().await));
    let lost: Vec<_> = world.written.iter().filter(|w| !world.taken_away.contains(*w) && !there.contains(*w)).collect();
    assert!(lost.is_empty(), "written by somebody, taken away by nobody, and gone: {lost:?} of {files:#?}");
}

proptest! {
    #![proptest_config(common::plays(24))]

    #[test]
    fn whatever_people_do_they_end_equal_and_nothing_is_lost(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(steps));
    }
}
