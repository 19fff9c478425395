//! Which folder each timeline belongs to, and who brought it.
//!
//! Local records keep that for each timeline that came in: `root/{timeline}` the folder (itself, if none) and who brought the
//! timeline, `in/{folder}/{timeline}` what else is in a folder, and `brought/{identity}/{folder}` where somebody brought
//! something. The latter two only find what is asked for: what counts is `root/`. So a turn looks up what it names, and
//! somebody who may read two folders is not answered by reading what all others brought.

use super::Host;
use crate::view::{commit_error, space_error};
use ibgib::{Addr, Mode, Value};
use ibgib_saga::SagaError;
use ibgib_spaces::store::Records;
use ibgib_spaces::{Commit, View};
use std::collections::{BTreeSet, HashMap, HashSet};

pub(super) type Record = (String, Option<Vec<u8>>);

/// The folder that timelines belong to, and who brought them, of those that were [looked up](Roots::look_up).
#[derive(Debug, Default)]
pub(super) struct Roots(HashMap<Addr, (Addr, Addr)>);

impl Roots {
    pub(super) fn folder(&self, timeline: &Addr) -> Option<&Addr> {
        self.0.get(timeline).map(|(folder, _)| folder)
    }

    /// Who brought the folder that a timeline belongs to.
    pub(super) fn owner(&self, timeline: &Addr) -> Option<&Addr> {
        let (folder, by) = self.0.get(timeline)?;
        self.0.get(folder).map_or(Some(by), |(_, by)| Some(by))
    }

    /// Looks up where timelines belong, and who brought the folders that those are.
    pub(super) async fn look_up(
        &mut self,
        view: &dyn View,
        timelines: impl IntoIterator<Item = &Addr>,
    ) -> Result<(), SagaError> {
        let unknown = timelines.into_iter().filter(|timeline| !self.0.contains_key(timeline));
        let mut keys: HashSet<String> = unknown.map(|timeline| format!("{ROOT}{timeline}")).collect();
        // The timelines, and then the folders that they belong to.
        for _ in 0..2 {
            if keys.is_empty() {
                return Ok(());
            }
            let asked: Vec<String> = keys.drain().collect();
            let found = view.records(Records::Keys(&asked)).await.map_err(space_error)?;
            let found: Vec<_> = found.iter().filter_map(|(key, bytes)| read(key, bytes)).collect();
            let folders: Vec<Addr> = found.iter().map(|(_, (folder, _))| folder.clone()).collect();
            self.0.extend(found);
            keys.extend(folders.iter().filter(|f| !self.0.contains_key(f)).map(|f| format!("{ROOT}{f}")));
        }
        Ok(())
    }
}

const ROOT: &str = "root/";
/// Tells that `in/` and `brought/` are whole: a space may have been served before there was either.
const INDEXED: &str = "indexed/roots";
/// Timelines of which the index is made at once, so that no commit is larger than a store takes.
const INDEXED_AT_ONCE: usize = 4_096;

fn members_of(folder: &Addr) -> String {
    format!("in/{folder}/")
}

fn brought_by(identity: &Addr) -> String {
    format!("brought/{identity}/")
}

/// The records that timelines belong to folders, each told as timeline, folder, and who brought it.
pub(super) fn root_records<'a>(brought: impl IntoIterator<Item = (&'a Addr, &'a Addr, &'a Addr)>) -> Vec<Record> {
    let (mut out, mut index) = (Vec::new(), BTreeSet::new());
    for (timeline, folder, by) in brought {
        let value = Value::Array(vec![folder.into(), by.into()]);
        out.push((format!("{ROOT}{timeline}"), Some(value.to_json().into_bytes())));
        index.extend(indexed(timeline, folder, by));
    }
    out.extend(index.into_iter().map(|key| (key, Some(Vec::new()))));
    out
}

/// The keys by which a timeline is found.
fn indexed(timeline: &Addr, folder: &Addr, by: &Addr) -> impl Iterator<Item = String> + use<> {
    let member = (timeline != folder).then(|| format!("{}{timeline}", members_of(folder)));
    [format!("{}{folder}", brought_by(by))].into_iter().chain(member)
}

/// A record's timeline, folder, and who brought it.
fn read(key: &str, bytes: &[u8]) -> Option<(Addr, (Addr, Addr))> {
    let value = Value::parse(std::str::from_utf8(bytes).ok()?, Mode::Strict).ok()?;
    let mut pair = value.as_array()?.iter().map(|addr| addr.as_str()?.parse::<Addr>().ok());
    Some((key.strip_prefix(ROOT)?.parse().ok()?, (pair.next()??, pair.next()??)))
}

impl Host {
    /// These folders, and the timelines that may belong to them.
    pub(super) async fn members(&self, folders: HashSet<Addr>) -> Result<HashSet<Addr>, SagaError> {
        self.index_roots().await?;
        let mut out = HashSet::new();
        for folder in folders {
            let prefix = members_of(&folder);
            let found = self.space.records(&prefix).await.map_err(space_error)?;
            out.extend(found.iter().filter_map(|(key, _)| key[prefix.len()..].parse::<Addr>().ok()));
            out.insert(folder);
        }
        Ok(out)
    }

    /// Folders into which an identity brought something.
    pub(super) async fn brought(&self, identity: &Addr) -> Result<HashSet<Addr>, SagaError> {
        self.index_roots().await?;
        let prefix = brought_by(identity);
        let found = self.space.records(&prefix).await.map_err(space_error)?;
        Ok(found.iter().filter_map(|(key, _)| key[prefix.len()..].parse().ok()).collect())
    }

    /// Makes the index where there was none, once. What is brought meanwhile is in it already.
    async fn index_roots(&self) -> Result<(), SagaError> {
        let index = async || {
            if self.space.record(INDEXED).await.map_err(space_error)?.is_some() {
                return Ok(());
            }
            let roots = self.space.records(ROOT).await.map_err(space_error)?;
            let mut parts: Vec<Vec<Record>> = Vec::new();
            for part in roots.chunks(INDEXED_AT_ONCE) {
                let found = part.iter().filter_map(|(key, bytes)| read(key, bytes));
                let keys: BTreeSet<String> = found.flat_map(|(t, (folder, by))| indexed(&t, &folder, &by)).collect();
                parts.push(keys.into_iter().map(|key| (key, Some(Vec::new()))).collect());
            }
            parts.push(vec![(INDEXED.to_owned(), Some(Vec::new()))]);
            for records in parts {
                self.space.commit(Commit { records, ..Commit::default() }).await.map_err(commit_error)?;
            }
            Ok(())
        };
        self.roots_indexed.get_or_try_init(index).await.map(drop)
    }
}
