//! Which ignore rules this device has agreed to.
//!
//! An ignore file is synced like any other file, so its lines may come from elsewhere. Whoever writes them could make
//! this device upload what its owner keeps to it. Hence a device remembers the ignore files that it agreed to, and
//! leaves out what either those or the ones on disk leave out. What its owner edits here is agreed to; what comes from
//! elsewhere is, if it can only leave out more; all else waits until its owner says so.

use crate::content::{Content, node_at};
use crate::error::FolderError;
use crate::folder::{Folder, Skipped};
use crate::path::{EntryPath, decode, encode};
use crate::record::Record;
use crate::rules::{Rules, Texts, names, only_narrows, saying};
use crate::walk::{Walk, walk};
use crate::writer::Writer;
use ibgib::{Map, Mode, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The record of the ignore files that this device agreed to.
const ACCEPTED: &str = "folder/ignore";

/// The reason of a path that is left out only by rules that are gone from disk and were agreed to.
const WIDENED: &str = "ignore_widened";

/// An ignore file that came from elsewhere and leaves out less than the one agreed to here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleChange {
    /// The ignore file.
    pub path: EntryPath,
    /// Its text as agreed to; `None` if there was none.
    pub accepted: Option<Vec<u8>>,
    /// Its text now; `None` if it is gone.
    pub now: Option<Vec<u8>>,
}

/// Ignore rules that wait for an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Widened {
    /// The ignore files, sorted.
    pub rules: Vec<RuleChange>,
    /// What is kept back until they are agreed to, sorted: files, and directories with all that is in them.
    pub files: Vec<EntryPath>,
}

/// The ignore files agreed to, given those on disk; `here` tells whether one was changed on this device since it was
/// last agreed to.
pub(crate) fn agreed(accepted: Option<&Texts>, disk: &Texts, here: &BTreeSet<EntryPath>) -> Texts {
    // Without a rule agreed to, any rule can only leave out more; and a device of before is as it is.
    let Some(accepted) = accepted.filter(|texts| texts.values().any(|text| !saying(Some(text)).is_empty())) else {
        return disk.clone();
    };
    let mut out = accepted.clone();
    for path in accepted.keys().chain(disk.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (accepted.get(path), disk.get(path));
        if old == new || !(here.contains(path) || only_narrows(old, new)) {
            continue;
        }
        match new {
            Some(text) => out.insert(path.clone(), text.clone()),
            None => out.remove(path),
        };
    }
    out
}

fn to_bytes(texts: &Texts) -> Vec<u8> {
    let members: Map = texts.iter().map(|(path, text)| (path.key(), Value::from(encode(text)))).collect();
    Value::Object(members).to_json().into_bytes()
}

fn from_bytes(bytes: &[u8]) -> Option<Texts> {
    let value = Value::parse(std::str::from_utf8(bytes).ok()?, Mode::Strict).ok()?;
    let member = |(key, text): (&str, &Value)| Some((EntryPath::from_key(key).ok()?, decode(text.as_str()?)?));
    value.as_object()?.iter().map(member).collect()
}

/// Puts the ignore files agreed to into the writer.
pub(crate) fn remember(writer: &mut Writer<'_>, texts: &Texts) {
    writer.record(ACCEPTED.to_owned(), Some(to_bytes(texts)));
}

/// Takes out of what was walked the files that only rules agreed to leave out, and tells what keeps them back. A tracked
/// file stays tracked.
pub(crate) fn keep_back(walked: &mut Walk, agreed: &Texts, tracked: impl Fn(&EntryPath) -> bool) -> Vec<EntryPath> {
    if *agreed == walked.rules {
        return Vec::new();
    }
    let rules = Rules::new(agreed);
    let mut causes = BTreeSet::new();
    walked.files.retain(|path, _| match rules.cause(path) {
        Some(cause) if !tracked(path) => {
            causes.insert(cause);
            false
        }
        _ => true,
    });
    causes.into_iter().collect()
}

pub(crate) fn skipped(causes: Vec<EntryPath>) -> impl Iterator<Item = Skipped> {
    causes.into_iter().map(|path| Skipped { path: path.to_string(), reason: WIDENED.to_owned() })
}

impl Folder {
    /// The ignore files agreed to, as the record tells.
    pub(crate) async fn accepted(&self) -> Result<Option<Texts>, FolderError> {
        Ok(self.space.record(ACCEPTED).await?.and_then(|bytes| from_bytes(&bytes)))
    }

    /// The ignore files agreed to, after what the walk found, and whether the record tells others.
    pub(crate) async fn agree(
        &self,
        walked: &Walk,
        records: &BTreeMap<EntryPath, Record>,
    ) -> Result<(Texts, bool), FolderError> {
        let accepted = self.accepted().await?;
        let known = accepted.clone().unwrap_or_default();
        let mut here = BTreeSet::new();
        for path in known.keys().chain(walked.rules.keys()) {
            let now = walked.rules.get(path);
            if now != known.get(path) && self.changed_here(path, now, known.get(path), records).await? {
                here.insert(path.clone());
            }
        }
        let agreed = agreed(accepted.as_ref(), &walked.rules, &here);
        let news = accepted.as_ref() != Some(&agreed);
        Ok((agreed, news))
    }

    /// Whether somebody at this device made of the ignore file what it is now, out of what was agreed to.
    async fn changed_here(
        &self,
        path: &EntryPath,
        now: Option<&Vec<u8>>,
        accepted: Option<&Vec<u8>>,
        records: &BTreeMap<EntryPath, Record>,
    ) -> Result<bool, FolderError> {
        // A file that no snapshot and no checkout knows is this device's own.
        let Some(record) = records.get(path) else { return Ok(true) };
        let content = Content::of(&*self.space, &node_at(&*self.space, &record.base.addr).await?).await?;
        let mut before = Vec::new();
        content
            .read(&*self.space, &mut |bytes| {
                before.extend_from_slice(bytes);
                Ok(())
            })
            .await?;
        let before = (!content.is_absent()).then_some(before);
        Ok(before.as_ref() != now && before.as_ref() == accepted)
    }

    /// Ignore rules that came from elsewhere and wait for an answer, and what they keep back.
    ///
    /// # Errors
    /// A failing space or directory.
    pub async fn widened(&self) -> Result<Widened, FolderError> {
        let (records, mut walked) = self.records_and_files().await?;
        let (agreed, _) = self.agree(&walked, &records).await?;
        let changed: BTreeSet<EntryPath> = agreed.keys().chain(walked.rules.keys()).cloned().collect();
        let change = |path: EntryPath| {
            let (accepted, now) = (agreed.get(&path).cloned(), walked.rules.get(&path).cloned());
            (accepted != now).then_some(RuleChange { path, accepted, now })
        };
        let rules = changed.into_iter().filter_map(change).collect();
        let tracked = |path: &EntryPath| records.get(path).is_some_and(|r| r.base.stat.is_some());
        Ok(Widened { rules, files: keep_back(&mut walked, &agreed, tracked) })
    }

    /// Agrees to the ignore files as they are on disk. Answers what waited for it.
    ///
    /// # Errors
    /// A failing space or directory.
    pub async fn accept_rules(&self) -> Result<Widened, FolderError> {
        let out = self.widened().await?;
        let mut writer = Writer::new(&*self.space);
        remember(&mut writer, &walk(self.tree.path(), self.opts())?.rules);
        writer.flush().await?;
        Ok(out)
    }

    /// After a checkout: agrees to what it brought, if that can only leave out more.
    pub(crate) async fn agree_to_checkout(&self, changed: &[&EntryPath]) -> Result<(), FolderError> {
        let names = names(self.opts().gitignore);
        let is_rules = |path: &EntryPath| names.contains(&path.as_str().rsplit('/').next().unwrap_or_default());
        if !changed.iter().any(|path| is_rules(path)) {
            return Ok(());
        }
        let accepted = self.accepted().await?;
        let now = agreed(accepted.as_ref(), &walk(self.tree.path(), self.opts())?.rules, &BTreeSet::new());
        if accepted.as_ref() != Some(&now) {
            let mut writer = Writer::new(&*self.space);
            remember(&mut writer, &now);
            writer.flush().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[(&str, &str)]) -> Texts {
        let row =
            |(path, text): &(&str, &str)| (EntryPath::from_key(&format!("/{path}")).unwrap(), text.as_bytes().to_vec());
        all.iter().map(row).collect()
    }

    #[test]
    fn this_device_decides() {
        let none = BTreeSet::new();
        let (a, b) = (texts(&[(".ibgibignore", "a\n")]), texts(&[(".ibgibignore", "b\n"), ("d/.ibgibignore", "!a\n")]));
        assert_eq!(agreed(None, &a, &none), a, "a device of before, and a first clone");
        assert_eq!(agreed(Some(&texts(&[])), &b, &none), b, "no rule was agreed to");
        assert_eq!(agreed(Some(&a), &b, &none), a, "from elsewhere");
        assert_eq!(agreed(Some(&a), &texts(&[]), &none), a, "deleted elsewhere");
        assert_eq!(agreed(Some(&a), &b, &b.keys().cloned().collect()), b, "edited here");
        assert_eq!(from_bytes(&to_bytes(&b)), Some(b));
    }
}
