//! The four transforms as the original performs them, quirks included: on options as JSON.

use super::data::{Data, Edit, patch};
use super::relations::{add_to, append, check_addresses, linked, listed, note_tjp, rel8ns_of, shorten};
use super::{Moment, TransformError, fail, flag};
use crate::addr::GIB;
use crate::ibgib::IbGib;
use crate::json::{Map, Value, js, strings};

/// What a transform makes, unchecked.
#[derive(Clone, Debug, PartialEq)]
pub struct Unchecked {
    /// The product.
    pub new_ibgib: IbGib,
    /// Dna ibgibs, when `dna` was asked for.
    pub dnas: Vec<IbGib>,
    /// Products on the way to the last (firstGen).
    pub intermediates: Vec<IbGib>,
}

/// How a product gets its gib: by the strict rule, or as the original computes it of any node.
pub(crate) type GibOf = fn(&IbGib) -> Result<String, TransformError>;

type Made = Result<Unchecked, TransformError>;

/// Source checks that all transforms share; answers the source's address.
fn check_source(src: &IbGib, opts: &Map, kind: &str) -> Result<String, TransformError> {
    let gib = src.gib.as_deref().unwrap_or("");
    if src.ib.is_empty() || gib.is_empty() {
        return fail("the source needs ib and gib");
    }
    if let Some(other) = opts.get("type").filter(|t| t.as_str() != Some(kind)) {
        return fail(format!("type {other} in options of {kind}"));
    }
    let addr = format!("{}^{gib}", src.ib);
    if kind == "fork" {
        return Ok(addr);
    }
    if gib == GIB {
        return fail(format!("a primitive cannot be transformed by {kind}; fork it"));
    }
    if src.ib.contains('^') {
        return fail("ib of the source contains '^'");
    }
    match opts.get("srcAddr") {
        Some(v) if v.is_truthy() && v.as_str() != Some(&addr) => fail(format!("srcAddr {v} is not {addr}")),
        _ => Ok(addr),
    }
}

/// The source's fields that a product starts from; parts without members are dropped.
fn start(src: &IbGib) -> IbGib {
    let keep = |part: &Option<Value>| match part {
        Some(Value::Object(m)) if m.is_empty() => None,
        Some(Value::Array(a)) if a.is_empty() => None,
        Some(Value::String(s)) if s.is_empty() => None,
        Some(part @ (Value::Object(_) | Value::Array(_) | Value::String(_))) => Some(js::clone(part)),
        _ => None,
    };
    IbGib { ib: src.ib.clone(), gib: None, data: keep(&src.data), rel8ns: keep(&src.rel8ns) }
}

fn dna(opts: &Map, kind: &str) -> IbGib {
    let mut data: Map =
        opts.iter().filter(|(k, _)| !matches!(*k, "src" | "srcAddr")).map(|(k, v)| (k, js::clone(v))).collect();
    data.insert("type", kind);
    let rel8ns: Map = [("ancestor", strings([format!("{kind}^gib")]))].into_iter().collect();
    let mut node =
        IbGib { ib: kind.to_owned(), gib: None, data: Some(Value::Object(data)), rel8ns: Some(Value::Object(rel8ns)) };
    node.gib = Some(node.hash());
    node
}

fn add_dna(rel8ns: &mut Map, opts: &Map, kind: &str) -> Result<Vec<IbGib>, TransformError> {
    if !flag(opts, "dna") {
        return Ok(Vec::new());
    }
    let dna = dna(opts, kind);
    let addr = format!("{}^{}", dna.ib, dna.gib.as_deref().unwrap_or(""));
    append(rel8ns, "dna", &addr, linked(opts, "dna")?)?;
    Ok(vec![dna])
}

/// A new ib, if one is given.
fn new_ib<'a>(opts: &'a Map, name: &str) -> Result<Option<&'a str>, TransformError> {
    match opts.get(name).filter(|v| v.is_truthy()) {
        None => Ok(None),
        Some(Value::String(ib)) => Ok(Some(ib)),
        Some(other) => fail(format!("{name} is {other}, not a text")),
    }
}

pub(crate) fn fork(src: &IbGib, opts: &Map, moment: &Moment) -> Made {
    let src_addr = check_source(src, opts, "fork")?;
    let dest_ib = new_ib(opts, "destIb")?.unwrap_or("ib");
    if dest_ib.contains('^') {
        return fail("destIb contains '^'");
    }
    let tjp = opts.get("tjp").filter(|t| t.is_truthy());
    let tjp_flag = |name: &str| tjp.and_then(|t| t.get(name)).is_some_and(Value::is_truthy);
    if flag(opts, "noTimestamp") && tjp_flag("timestamp") {
        return fail("noTimestamp and tjp.timestamp exclude each other");
    }
    let mut node = start(src);
    dest_ib.clone_into(&mut node.ib);

    let mut rel8ns = rel8ns_of(if flag(opts, "cloneRel8ns") { node.rel8ns.clone() } else { None })?;
    append(&mut rel8ns, "ancestor", &src_addr, linked(opts, "ancestor")?)?;
    if js::truthy(rel8ns.get("tjp")) {
        rel8ns.remove("tjp");
    }

    let mut data = Data::new(if flag(opts, "cloneData") { node.data.clone() } else { None });
    if flag(opts, "nCounter") {
        data.members()?.insert("n", 0u32);
    }
    if !flag(opts, "noTimestamp") {
        data.stamp(moment)?;
    }
    if flag(opts, "uuid") || tjp_flag("uuid") {
        data.members()?.insert("uuid", moment.uuid());
    }
    if tjp_flag("uuid") || tjp_flag("timestamp") {
        data.members()?.insert("isTjp", true);
    } else {
        data.unmark();
    }
    // New data without a member leaves the source's data in place.
    if let Some(data) = data.finish()? {
        node.data = Some(data);
    }

    let dnas = add_dna(&mut rel8ns, opts, "fork")?;
    // A fork of the root keeps what relations the root has, which is none unless somebody gave it some.
    if src_addr != "ib^gib" {
        node.rel8ns = Some(Value::Object(rel8ns));
    }
    node.gib = Some(node.hash());
    Ok(Unchecked { new_ibgib: node, dnas, intermediates: Vec::new() })
}

pub(crate) fn mut8(src: &IbGib, opts: &Map, moment: &Moment, gib_of: GibOf) -> Made {
    let src_addr = check_source(src, opts, "mut8")?;
    let given = |name: &str| opts.get(name).filter(|v| v.is_truthy());
    let new_ib = new_ib(opts, "mut8Ib")?;
    let instructions = ["dataToRename", "dataToRemove", "dataToAddOrPatch"];
    if new_ib.is_none() && instructions.iter().all(|i| given(i).is_none()) {
        return fail("mut8 needs mut8Ib, dataToRename, dataToRemove or dataToAddOrPatch");
    }
    let mut node = start(src);
    let mut rel8ns = rel8ns_of(node.rel8ns.take())?;
    append(&mut rel8ns, "past", &src_addr, linked(opts, "past")?)?;

    let mut data = Data::new(node.data.take());
    for (name, how) in [("dataToRename", Edit::Rename), ("dataToRemove", Edit::Remove)] {
        if let Some(info) = given(name) {
            data.edit(info, how)?;
        }
    }
    if let Some(new) = given("dataToAddOrPatch") {
        let new = js::entries(Some(new))?;
        if !new.is_empty() {
            patch(data.members()?, new)?;
        }
    }
    if !flag(opts, "noTimestamp") {
        data.stamp(moment)?;
    }
    data.count(opts)?;
    note_tjp(&mut rel8ns, &mut data, &src_addr)?;
    let dnas = add_dna(&mut rel8ns, opts, "mut8")?;
    if let Some(ib) = new_ib {
        ib.clone_into(&mut node.ib);
    }
    node.rel8ns = Some(Value::Object(rel8ns));
    node.data = data.finish()?;
    node.gib = Some(gib_of(&node)?);
    Ok(Unchecked { new_ibgib: node, dnas, intermediates: Vec::new() })
}

pub(crate) fn rel8(src: &IbGib, opts: &Map, moment: &Moment, gib_of: GibOf) -> Made {
    let src_addr = check_source(src, opts, "rel8")?;
    let add = check_addresses(opts.get("rel8nsToAddByAddr"))?;
    let remove = check_addresses(opts.get("rel8nsToRemoveByAddr"))?;
    if add.is_empty() && remove.is_empty() {
        return fail("rel8 needs relations to add or to remove");
    }
    let mut node = start(src);
    let mut data = Data::new(node.data.take());
    data.count(opts)?;
    if !flag(opts, "noTimestamp") {
        data.stamp(moment)?;
    }
    let mut rel8ns = rel8ns_of(node.rel8ns.take())?;
    for (name, addrs) in add {
        add_to(&mut rel8ns, name, addrs)?;
    }
    for (name, addrs) in remove {
        let mut rest = listed(&rel8ns, &name)?;
        rest.retain(|a| !addrs.contains(a));
        if rest.is_empty() {
            rel8ns.remove(&name);
        } else {
            rel8ns.insert(name, rest);
        }
    }
    append(&mut rel8ns, "past", &src_addr, false)?;
    shorten(&mut rel8ns, opts.get("linkedRel8ns"))?;
    if rel8ns.get("tjp").is_some_and(|t| !t.is_truthy()) && data.is_marked() {
        rel8ns.insert("tjp", Vec::new());
    }
    note_tjp(&mut rel8ns, &mut data, &src_addr)?;
    let dnas = add_dna(&mut rel8ns, opts, "rel8")?;
    // Unlike mut8, rel8 writes data even when it has no member.
    node.data = Some(data.whole()?);
    node.rel8ns = Some(Value::Object(rel8ns));
    node.gib = Some(gib_of(&node)?);
    Ok(Unchecked { new_ibgib: node, dnas, intermediates: Vec::new() })
}

pub(crate) fn first_gen(parent: &IbGib, opts: &Map, moment: &Moment, gib_of: GibOf) -> Made {
    let shared =
        |names: &[&str]| -> Map { names.iter().filter_map(|n| opts.get(n).map(|v| (*n, v.clone()))).collect() };
    let dest_ib = opts.get("ib").cloned().unwrap_or_else(|| "ib".into());
    let mut fork_opts: Map = [("destIb", dest_ib)].into_iter().collect();
    for (k, v) in shared(&["dna", "linkedRel8ns", "noTimestamp", "tjp", "nCounter"]) {
        fork_opts.insert(k, v);
    }
    let mut made = fork(parent, &fork_opts, moment)?;
    let next = |made: &mut Unchecked, step: Unchecked| {
        let before = std::mem::replace(&mut made.new_ibgib, step.new_ibgib);
        made.intermediates.push(before);
        made.dnas.extend(step.dnas);
    };
    let flags = ["dna", "linkedRel8ns", "noTimestamp", "nCounter"];
    if let Some(data) = opts.get("data").filter(|d| d.is_truthy()) {
        let mut step_opts: Map = [("dataToAddOrPatch", data.clone())].into_iter().collect();
        for (k, v) in shared(&flags) {
            step_opts.insert(k, v);
        }
        let step = mut8(&made.new_ibgib, &step_opts, moment, gib_of)?;
        next(&mut made, step);
    }
    if let Some(rel8ns) = opts.get("rel8ns").filter(|d| d.is_truthy()) {
        let mut step_opts: Map = [("rel8nsToAddByAddr", rel8ns.clone())].into_iter().collect();
        for (k, v) in shared(&flags) {
            step_opts.insert(k, v);
        }
        let step = rel8(&made.new_ibgib, &step_opts, moment, gib_of)?;
        next(&mut made, step);
    }
    Ok(made)
}
