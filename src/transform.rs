//! fork, mut8, rel8, firstGen: how ibgibs come from ibgibs.
//!
//! Each runs the original's steps on options as JSON, gives the product its address and checks every strict rule.
//! [`compat::transform`](crate::compat::transform) runs the same steps on unchecked nodes, so both give the same
//! addresses. Clock and entropy come from the caller as a [`Moment`]. Frozen by `respec/vectors/transforms.json`.

mod attribute;
mod data;
pub(crate) mod engine;
mod relations;
mod revise;

pub use crate::moment::Moment;
pub use attribute::attribute;
pub use engine::Unchecked;
pub use revise::{OWN_DATA, content, revise};

use crate::addr::Addr;
use crate::ibgib::{IbGib, Verified, VerifyError};
use crate::json::js::{self, Throws};
use crate::json::{Map, Mode, Value, strings};

/// What this engine's own timelines link: one `past` and one `dna` per frame, so that n frames cost O(n).
pub const LINKED: [&str; 2] = ["past", "dna"];

/// Relations that only merging sets.
pub const RESERVED: [&str; 3] = ["graftbase", "graftorphan", "conflict"];

/// What a transform makes, checked.
#[derive(Clone, Debug)]
pub struct Transformed {
    /// The product.
    pub frame: Verified<IbGib>,
    /// Dna ibgibs, when `dna` was asked for.
    pub dnas: Vec<Verified<IbGib>>,
    /// Products on the way to the last (firstGen).
    pub intermediates: Vec<Verified<IbGib>>,
}

impl Transformed {
    /// Everything to store, dependencies first.
    pub fn nodes(&self) -> Vec<Verified<IbGib>> {
        self.dnas.iter().chain(&self.intermediates).chain([&self.frame]).cloned().collect()
    }
}

/// Why a transform is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TransformError {
    /// The original refuses it, too.
    #[error("{0}")]
    Refused(String),
    /// The product breaks a strict rule.
    #[error("the product would not be a valid ibgib: {0}")]
    Product(#[from] VerifyError),
    /// Only merging sets these relations.
    #[error("relation {0:?} is set by merging only")]
    Reserved(String),
    /// The transforms keep this member of data themselves.
    #[error("member {0:?} of data is kept by the transforms")]
    OwnData(String),
    /// cloneRel8ns of a frame that has a past would give the fork another timeline's history.
    #[error("cloneRel8ns would carry the history of {0} into another timeline")]
    ClonedHistory(Addr),
}

impl From<Throws> for TransformError {
    fn from(error: Throws) -> Self {
        Self::Refused(error.0)
    }
}

/// Options of [`fork`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForkOpts {
    /// ib of the product; `ib` when missing.
    pub dest_ib: Option<String>,
    /// Make and relate a dna ibgib.
    pub dna: bool,
    /// Put a uuid into data.
    pub uuid: bool,
    /// Leave out timestamp and timestampMs.
    pub no_timestamp: bool,
    /// Start counting n at 0.
    pub n_counter: bool,
    /// Start from the source's data.
    pub clone_data: bool,
    /// Start from the source's relations.
    pub clone_rel8ns: bool,
    /// Make the product the first frame of a timeline.
    pub tjp: Option<TjpOpts>,
    /// Relations that keep only their newest entry.
    pub linked_rel8ns: Vec<String>,
}

impl ForkOpts {
    /// For the first frame of a new timeline: unique by a uuid and the time, its frames counted, each with its dna, so
    /// that they merge.
    pub fn timeline(ib: impl Into<String>) -> Self {
        Self {
            dest_ib: Some(ib.into()),
            dna: true,
            n_counter: true,
            tjp: Some(TjpOpts { uuid: true, timestamp: true }),
            linked_rel8ns: linked(),
            ..Self::default()
        }
    }
}

/// What makes a timeline unique.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TjpOpts {
    /// A uuid.
    pub uuid: bool,
    /// A timestamp.
    pub timestamp: bool,
}

/// Options of [`mut8`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mut8Opts {
    /// A new ib.
    pub mut8_ib: Option<String>,
    /// Members of data to rename: old name → new name, nested as data is.
    pub rename: Option<Map>,
    /// Members of data to remove: name → any text, nested as data is.
    pub remove: Option<Map>,
    /// Members of data to add or to patch: objects recursively, everything else replaced.
    pub patch: Option<Map>,
    /// Make and relate a dna ibgib.
    pub dna: bool,
    /// Leave the timestamp as it is.
    pub no_timestamp: bool,
    /// Count n even if the source has none.
    pub n_counter: bool,
    /// Relations that keep only their newest entry.
    pub linked_rel8ns: Vec<String>,
}

/// Options of [`rel8`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rel8Opts {
    /// Addresses to add per relation.
    pub add: Vec<(String, Vec<Addr>)>,
    /// Addresses to remove per relation.
    pub remove: Vec<(String, Vec<Addr>)>,
    /// Make and relate a dna ibgib.
    pub dna: bool,
    /// Leave the timestamp as it is.
    pub no_timestamp: bool,
    /// Count n even if the source has none.
    pub n_counter: bool,
    /// Relations that keep only their newest entry.
    pub linked_rel8ns: Vec<String>,
}

/// Options of [`first_gen`]: a fork, then data, then relations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FirstGenOpts {
    /// ib of the product.
    pub ib: String,
    /// Data of the product.
    pub data: Option<Map>,
    /// Relations of the product.
    pub rel8ns: Vec<(String, Vec<Addr>)>,
    /// Make and relate dna ibgibs.
    pub dna: bool,
    /// Leave out timestamp and timestampMs.
    pub no_timestamp: bool,
    /// Start counting n at 0.
    pub n_counter: bool,
    /// Make the fork the first frame of a timeline.
    pub tjp: Option<TjpOpts>,
    /// Relations that keep only their newest entry.
    pub linked_rel8ns: Vec<String>,
}

/// [`LINKED`] as options take it.
pub fn linked() -> Vec<String> {
    LINKED.iter().map(|s| (*s).to_owned()).collect()
}

/// Makes a new ibgib from a source, its ancestor.
///
/// # Errors
/// [`TransformError`]; nothing is made then.
pub fn fork(src: &Verified<IbGib>, opts: &ForkOpts, moment: &Moment) -> Result<Transformed, TransformError> {
    if opts.clone_rel8ns {
        check_clone(src)?;
    }
    let mut map = flags(&[("uuid", opts.uuid), ("cloneData", opts.clone_data), ("cloneRel8ns", opts.clone_rel8ns)]);
    if let Some(ib) = &opts.dest_ib {
        map.insert("destIb", ib.as_str());
    }
    shared(&mut map, opts.dna, opts.no_timestamp, opts.n_counter, opts.tjp, &opts.linked_rel8ns);
    check(engine::fork(src, &map, moment)?)
}

/// Makes the next frame of a timeline (or of a stone): another ib, other data.
///
/// # Errors
/// [`TransformError`]; nothing is made then.
pub fn mut8(src: &Verified<IbGib>, opts: &Mut8Opts, moment: &Moment) -> Result<Transformed, TransformError> {
    let mut map = Map::new();
    if let Some(ib) = &opts.mut8_ib {
        map.insert("mut8Ib", ib.as_str());
    }
    let parts = [("dataToRename", &opts.rename), ("dataToRemove", &opts.remove), ("dataToAddOrPatch", &opts.patch)];
    for (name, part) in parts {
        if let Some(part) = part {
            map.insert(name, part.clone());
        }
    }
    shared(&mut map, opts.dna, opts.no_timestamp, opts.n_counter, None, &opts.linked_rel8ns);
    check(engine::mut8(src, &map, moment, gib_of)?)
}

/// Makes the next frame of a timeline (or of a stone): other relations.
///
/// # Errors
/// [`TransformError`]; nothing is made then.
pub fn rel8(src: &Verified<IbGib>, opts: &Rel8Opts, moment: &Moment) -> Result<Transformed, TransformError> {
    check_reserved(&opts.add)?;
    check_reserved(&opts.remove)?;
    rel8_any(src, opts, moment)
}

/// Makes the next frame without these conflict stones. Everywhere else [`RESERVED`] relations are out of reach; taking
/// a settled conflict out is the one edit of them that is not a merge.
///
/// # Errors
/// [`TransformError`]; nothing is made then.
pub fn drop_conflicts(
    src: &Verified<IbGib>,
    stones: Vec<Addr>,
    moment: &Moment,
) -> Result<Transformed, TransformError> {
    let opts = Rel8Opts {
        remove: vec![("conflict".to_owned(), stones)],
        dna: true,
        n_counter: true,
        linked_rel8ns: linked(),
        ..Rel8Opts::default()
    };
    rel8_any(src, &opts, moment)
}

fn rel8_any(src: &Verified<IbGib>, opts: &Rel8Opts, moment: &Moment) -> Result<Transformed, TransformError> {
    let mut map = Map::new();
    for (name, lists) in [("rel8nsToAddByAddr", &opts.add), ("rel8nsToRemoveByAddr", &opts.remove)] {
        if !lists.is_empty() {
            map.insert(name, relations(lists));
        }
    }
    shared(&mut map, opts.dna, opts.no_timestamp, opts.n_counter, None, &opts.linked_rel8ns);
    check(engine::rel8(src, &map, moment, gib_of)?)
}

/// Forks a parent, then sets data, then relations: each a frame of its own.
///
/// # Errors
/// [`TransformError`]; nothing is made then.
pub fn first_gen(
    parent: &Verified<IbGib>,
    opts: &FirstGenOpts,
    moment: &Moment,
) -> Result<Transformed, TransformError> {
    check_reserved(&opts.rel8ns)?;
    let mut map: Map = [("ib", opts.ib.as_str())].into_iter().collect();
    if let Some(data) = &opts.data {
        map.insert("data", data.clone());
    }
    if !opts.rel8ns.is_empty() {
        map.insert("rel8ns", relations(&opts.rel8ns));
    }
    shared(&mut map, opts.dna, opts.no_timestamp, opts.n_counter, opts.tjp, &opts.linked_rel8ns);
    check(engine::first_gen(parent, &map, moment, gib_of)?)
}

/// Runs `fork`, `mut8`, `rel8` or `firstGen` with options as JSON, spelled as the original spells them, under the
/// strict rules. The source stands in the options (`src`, or `parentIbGib` of firstGen).
///
/// # Errors
/// [`TransformError`]; nothing is made then.
pub fn from_json(op: &str, opts: &Value, moment: &Moment) -> Result<Transformed, TransformError> {
    let name = if op == "firstGen" { "parentIbGib" } else { "src" };
    let Some(map) = opts.as_object() else {
        return Err(TransformError::Refused("options must be an object".into()));
    };
    let src = map.get(name).cloned().ok_or_else(|| TransformError::Refused(format!("{name} is missing")))?;
    let src = IbGib::from_value(src, Mode::Strict)?.verify()?;
    for list in ["rel8nsToAddByAddr", "rel8nsToRemoveByAddr", "rel8ns"] {
        let named = map.get(list).and_then(Value::as_object);
        if let Some(name) = RESERVED.iter().find(|name| named.is_some_and(|m| m.contains_key(name))) {
            return Err(TransformError::Reserved((*name).to_owned()));
        }
    }
    if op == "fork" && map.get("cloneRel8ns").is_some_and(Value::is_truthy) {
        check_clone(&src)?;
    }
    check(match op {
        "fork" => engine::fork(&src, map, moment),
        "mut8" => engine::mut8(&src, map, moment, gib_of),
        "rel8" => engine::rel8(&src, map, moment, gib_of),
        "firstGen" => engine::first_gen(&src, map, moment, gib_of),
        _ => Err(TransformError::Refused(format!("unknown op {op:?}: expected fork, mut8, rel8 or firstGen"))),
    }?)
}

fn flags(all: &[(&str, bool)]) -> Map {
    all.iter().filter(|(_, set)| *set).map(|(name, _)| (*name, true)).collect()
}

fn shared(map: &mut Map, dna: bool, no_timestamp: bool, n_counter: bool, tjp: Option<TjpOpts>, linked: &[String]) {
    for (name, set) in [("dna", dna), ("noTimestamp", no_timestamp), ("nCounter", n_counter)] {
        if set {
            map.insert(name, true);
        }
    }
    if let Some(tjp) = tjp {
        map.insert("tjp", flags(&[("uuid", tjp.uuid), ("timestamp", tjp.timestamp)]));
    }
    if !linked.is_empty() {
        map.insert("linkedRel8ns", strings(linked.iter().map(String::as_str)));
    }
}

fn relations(lists: &[(String, Vec<Addr>)]) -> Map {
    lists.iter().map(|(name, addrs)| (name.as_str(), Value::Array(addrs.iter().map(Value::from).collect()))).collect()
}

fn check_clone(src: &Verified<IbGib>) -> Result<(), TransformError> {
    if src.past().is_some() {
        return Err(TransformError::ClonedHistory(src.addr().clone()));
    }
    match RESERVED.iter().find(|name| src.rel8n(name).next().is_some()) {
        Some(name) => Err(TransformError::Reserved((*name).to_owned())),
        None => Ok(()),
    }
}

fn check_reserved(lists: &[(String, Vec<Addr>)]) -> Result<(), TransformError> {
    match lists.iter().find(|(name, _)| RESERVED.contains(&name.as_str())) {
        Some((name, _)) => Err(TransformError::Reserved(name.clone())),
        None => Ok(()),
    }
}

/// The gib of a product by the strict rule.
fn gib_of(node: &IbGib) -> Result<String, TransformError> {
    node.computed_gib().map_err(|error| TransformError::Product(error.into()))
}

fn fail<T>(why: impl Into<String>) -> Result<T, TransformError> {
    Err(TransformError::Refused(why.into()))
}

/// Whether an option is set.
fn flag(opts: &Map, name: &str) -> bool {
    js::truthy(opts.get(name))
}

fn check(made: Unchecked) -> Result<Transformed, TransformError> {
    let all = |nodes: Vec<IbGib>| nodes.into_iter().map(IbGib::verify).collect::<Result<Vec<_>, _>>();
    Ok(Transformed { frame: made.new_ibgib.verify()?, dnas: all(made.dnas)?, intermediates: all(made.intermediates)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Moment = Moment { now_ms: 1_767_225_600_123, random: [7; 16] };

    #[test]
    fn callers_may_not_forge_merges_or_clone_histories() {
        let root = IbGib::primitive("note").unwrap();
        let tjp = Some(TjpOpts { uuid: true, timestamp: true });
        let first = fork(&root, &ForkOpts { tjp, dna: true, n_counter: true, ..ForkOpts::default() }, &MOMENT).unwrap();
        let patch = Some([("text", "hello")].into_iter().collect());
        let next = mut8(&first.frame, &Mut8Opts { patch, dna: true, ..Mut8Opts::default() }, &MOMENT).unwrap();
        assert_eq!(next.frame.n(), Some(1));
        assert_eq!(next.frame.tjp().as_ref(), Some(first.frame.addr()));
        let graft = vec![("graftbase".to_owned(), vec![first.frame.addr().clone()])];
        let opts = Rel8Opts { add: graft, ..Rel8Opts::default() };
        assert_eq!(rel8(&next.frame, &opts, &MOMENT).unwrap_err(), TransformError::Reserved("graftbase".into()));
        let opts = ForkOpts { clone_rel8ns: true, ..ForkOpts::default() };
        assert!(matches!(fork(&next.frame, &opts, &MOMENT), Err(TransformError::ClonedHistory(_))));
    }
}
