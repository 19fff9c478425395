//! The four transforms as the original performs them, quirks included: on options as JSON.

use super::{Moment, TransformError};
use crate::addr::GIB;
use crate::compat;
use crate::ibgib::IbGib;
use crate::value::{Map, Value, array_index, strings};
use sha2::{Digest, Sha256};

/// What a transform makes, unchecked.
#[derive(Clone, Debug, PartialEq)]
pub struct CompatTransformed {
    /// The product.
    pub new_ibgib: IbGib,
    /// Dna ibgibs, when `dna` was asked for.
    pub dnas: Vec<IbGib>,
    /// Products on the way to the last (firstGen).
    pub intermediates: Vec<IbGib>,
}

type Made = Result<CompatTransformed, TransformError>;

fn fail<T>(why: impl Into<String>) -> Result<T, TransformError> {
    Err(TransformError::Refused(why.into()))
}

fn flag(opts: &Map, name: &str) -> bool {
    opts.get(name).is_some_and(Value::is_truthy)
}

fn linked(opts: &Map, name: &str) -> bool {
    opts.get("linkedRel8ns").and_then(Value::as_array).is_some_and(|a| a.iter().any(|v| v.as_str() == Some(name)))
}

/// Source checks that all transforms share; answers the source's address.
fn check_source(src: &IbGib, opts: &Map, kind: &str) -> Result<String, TransformError> {
    let gib = src.gib.as_deref().unwrap_or("");
    if src.ib.is_empty() || gib.is_empty() {
        return fail("the source needs ib and gib");
    }
    match opts.get("type") {
        None | Some(Value::Null) => {}
        Some(v) if v.as_str() == Some(kind) || !v.is_truthy() => {}
        Some(other) => return fail(format!("type {other} in options of {kind}")),
    }
    let addr = format!("{}^{gib}", src.ib);
    if kind != "fork" {
        if gib == GIB {
            return fail(format!("a primitive cannot be transformed by {kind}; fork it"));
        }
        if src.ib.contains('^') {
            return fail("ib of the source contains '^'");
        }
    }
    match opts.get("srcAddr") {
        Some(v) if v.is_truthy() && v.as_str() != Some(&addr) => fail(format!("srcAddr {v} is not {addr}")),
        _ => Ok(addr),
    }
}

/// The source's fields that a product starts from; empty parts are dropped.
fn start(src: &IbGib) -> IbGib {
    let keep = |v: &Option<Value>| match v {
        Some(Value::Object(m)) if m.is_empty() => None,
        Some(Value::Null) => None,
        other => other.clone(),
    };
    IbGib { ib: src.ib.clone(), gib: None, data: keep(&src.data), rel8ns: keep(&src.rel8ns) }
}

fn rel8ns_of(node: &mut IbGib) -> Result<&mut Map, TransformError> {
    let rel8ns = node.rel8ns.get_or_insert_with(|| Value::Object(Map::new()));
    rel8ns.as_object_mut().ok_or_else(|| TransformError::Refused("rel8ns of the source is not an object".into()))
}

/// Appends to a relation, or replaces it when it is linked.
fn append(node: &mut IbGib, name: &str, addr: &str, is_linked: bool) -> Result<(), TransformError> {
    let rel8ns = rel8ns_of(node)?;
    let mut list = match rel8ns.get(name) {
        Some(Value::Array(items)) if !is_linked => items.clone(),
        _ => Vec::new(),
    };
    list.push(addr.into());
    rel8ns.insert(name, list);
    Ok(())
}

fn dna(opts: &Map, kind: &str) -> Result<IbGib, TransformError> {
    let mut data: Map =
        opts.iter().filter(|(k, _)| !matches!(*k, "src" | "srcAddr")).map(|(k, v)| (k, v.clone())).collect();
    data.insert("type", kind);
    let rel8ns: Map = [("ancestor", strings([format!("{kind}^gib")]))].into_iter().collect();
    let mut node =
        IbGib { ib: kind.to_owned(), gib: None, data: Some(Value::Object(data)), rel8ns: Some(Value::Object(rel8ns)) };
    node.gib = Some(compat::bare_hash(&node));
    Ok(node)
}

fn add_dna(node: &mut IbGib, opts: &Map, kind: &str, relate: bool) -> Result<Vec<IbGib>, TransformError> {
    if !flag(opts, "dna") {
        return Ok(Vec::new());
    }
    let dna = dna(opts, kind)?;
    if relate {
        let addr = format!("{}^{}", dna.ib, dna.gib.as_deref().unwrap_or(""));
        append(node, "dna", &addr, linked(opts, "dna"))?;
    }
    Ok(vec![dna])
}

fn object_data<'a>(node: &'a mut IbGib, what: &str) -> Result<&'a mut Map, TransformError> {
    let data = node.data.get_or_insert_with(|| Value::Object(Map::new()));
    data.as_object_mut().ok_or_else(|| TransformError::Refused(format!("data of the source is not an object: {what}")))
}

fn stamp(data: &mut Map, moment: &Moment) {
    data.insert("timestamp", moment.timestamp());
    data.insert("timestampMs", Value::Number(moment.now_ms.rem_euclid(1000) as f64));
}

/// `n` after one more step.
fn count(data: &mut Map, opts: &Map) -> Result<(), TransformError> {
    let next = match data.get("n") {
        None if !flag(opts, "nCounter") => return Ok(()),
        None => 0.0,
        // A negative one starts over.
        Some(Value::Number(n)) if n.is_finite() && n.fract() == 0.0 => (n + 1.0).max(0.0),
        Some(other) => return fail(format!("n is {other}, not an integer")),
    };
    data.insert("n", Value::Number(next));
    Ok(())
}

/// The source becomes the tjp of the product when the product's data says isTjp.
fn note_tjp(node: &mut IbGib, src_addr: &str) -> Result<(), TransformError> {
    if !node.is_tjp() {
        return Ok(());
    }
    append(node, "tjp", src_addr, false)?;
    if let Some(data) = node.data.as_mut().and_then(Value::as_object_mut) {
        data.remove("isTjp");
    }
    Ok(())
}

fn drop_empty_data(node: &mut IbGib) {
    if matches!(&node.data, Some(Value::Object(m)) if m.is_empty()) {
        node.data = None;
    }
}

pub(super) fn fork(src: &IbGib, opts: &Map, moment: &Moment) -> Made {
    let src_addr = check_source(src, opts, "fork")?;
    let dest_ib = match opts.get("destIb") {
        Some(Value::String(s)) if !s.is_empty() => s.clone(),
        _ => "ib".to_owned(),
    };
    if dest_ib.contains('^') {
        return fail("destIb contains '^'");
    }
    let tjp = opts.get("tjp").filter(|t| t.is_truthy());
    let tjp_flag = |name: &str| tjp.and_then(|t| t.get(name)).is_some_and(Value::is_truthy);
    if flag(opts, "noTimestamp") && tjp_flag("timestamp") {
        return fail("noTimestamp and tjp.timestamp exclude each other");
    }
    let mut node = start(src);
    node.ib = dest_ib;

    let mut fresh = IbGib::default();
    if flag(opts, "cloneData") {
        fresh.data = node.data.clone();
    }
    let wants_members = flag(opts, "nCounter")
        || !flag(opts, "noTimestamp")
        || flag(opts, "uuid")
        || tjp_flag("uuid")
        || tjp_flag("timestamp");
    if wants_members || matches!(fresh.data, None | Some(Value::Object(_))) {
        let data = object_data(&mut fresh, "fork cannot add members to it")?;
        if flag(opts, "nCounter") {
            data.insert("n", 0u32);
        }
        if !flag(opts, "noTimestamp") {
            stamp(data, moment);
        }
        if flag(opts, "uuid") || tjp_flag("uuid") {
            data.insert("uuid", moment.uuid());
        }
        if tjp_flag("uuid") || tjp_flag("timestamp") {
            data.insert("isTjp", true);
        } else {
            data.remove("isTjp");
        }
    }
    // New data without a member leaves the source's data in place.
    let with_member = match &fresh.data {
        Some(Value::Object(m)) => !m.is_empty(),
        Some(Value::Array(a)) => !a.is_empty(),
        Some(Value::String(s)) => !s.is_empty(),
        _ => false,
    };
    if with_member {
        node.data = fresh.data;
    }

    if !flag(opts, "cloneRel8ns") {
        node.rel8ns = None;
    }
    let from_root = src_addr == "ib^gib";
    if !from_root {
        append(&mut node, "ancestor", &src_addr, linked(opts, "ancestor"))?;
    }
    if let Some(rel8ns) = node.rel8ns.as_mut().and_then(Value::as_object_mut) {
        rel8ns.remove("tjp");
    }
    let dnas = add_dna(&mut node, opts, "fork", !from_root)?;
    node.gib = Some(compat::bare_hash(&node));
    Ok(CompatTransformed { new_ibgib: node, dnas, intermediates: Vec::new() })
}

pub(super) fn mut8(src: &IbGib, opts: &Map, moment: &Moment) -> Made {
    let src_addr = check_source(src, opts, "mut8")?;
    let given = |name: &str| opts.get(name).filter(|v| v.is_truthy());
    let new_ib = opts.get("mut8Ib").and_then(Value::as_str).filter(|s| !s.is_empty());
    let instructions = ["dataToRename", "dataToRemove", "dataToAddOrPatch"];
    if new_ib.is_none() && instructions.iter().all(|i| given(i).is_none()) {
        return fail("mut8 needs mut8Ib, dataToRename, dataToRemove or dataToAddOrPatch");
    }
    let mut node = start(src);
    if let Some(ib) = new_ib {
        node.ib = ib.to_owned();
    }
    node.data.get_or_insert_with(|| Value::Object(Map::new()));
    if let Some(data) = &mut node.data {
        if let Some(info) = given("dataToRename") {
            edit(data, info, Edit::Rename)?;
        }
        if let Some(info) = given("dataToRemove") {
            edit(data, info, Edit::Remove)?;
        }
    }
    let data = object_data(&mut node, "mut8 cannot patch it")?;
    if let Some(new) = given("dataToAddOrPatch") {
        patch(data, new)?;
    }
    if !flag(opts, "noTimestamp") {
        stamp(data, moment);
    }
    count(data, opts)?;
    append(&mut node, "past", &src_addr, linked(opts, "past"))?;
    note_tjp(&mut node, &src_addr)?;
    drop_empty_data(&mut node);
    let dnas = add_dna(&mut node, opts, "mut8", true)?;
    node.gib = Some(compat::get_gib(&node)?);
    Ok(CompatTransformed { new_ibgib: node, dnas, intermediates: Vec::new() })
}

/// What an instruction map does to the members it names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edit {
    Rename,
    Remove,
}

/// Walks an instruction map: texts act on their member, other values go down into the data.
fn edit(data: &mut Value, info: &Value, how: Edit) -> Result<(), TransformError> {
    let entries: Vec<(String, &Value)> = match info {
        Value::Object(m) => m.iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        Value::Array(a) => a.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => Vec::new(),
    };
    for (key, what) in entries {
        if key == "timestamp" {
            return fail("timestamp cannot be renamed or removed");
        }
        if how == Edit::Rename && what.as_str() == Some("timestamp") {
            return fail("nothing can be renamed to timestamp");
        }
        let Some(inner) = member(data, &key) else { continue };
        match (what, how) {
            (Value::Null, _) => return fail(format!("null is no instruction for {key:?}")),
            (Value::String(to), Edit::Rename) => rename(data, &key, to)?,
            (Value::String(_), Edit::Remove) => remove(data, &key),
            (deeper, _) => edit(inner, deeper, how)?,
        }
    }
    Ok(())
}

fn member<'a>(data: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    match data {
        Value::Object(m) => m.get_mut(key),
        Value::Array(a) => a.get_mut(array_index(key)? as usize),
        _ => None,
    }
}

fn rename(data: &mut Value, key: &str, to: &str) -> Result<(), TransformError> {
    match data {
        Value::Object(m) => {
            if let Some(value) = m.get(key).cloned() {
                m.insert(to, value);
                // Renaming a member to itself deletes it, as the original does.
                m.remove(key);
            }
        }
        Value::Array(a) => {
            let at = array_index(key).map(|i| i as usize).filter(|i| *i < a.len());
            if let Some(at) = at {
                let value = a[at].clone();
                if let Some(to) = array_index(to).map(|i| i as usize) {
                    if to > a.len() + 10_000 {
                        return fail("an array would grow by more than 10,000 items");
                    }
                    if to >= a.len() {
                        a.resize(to + 1, Value::Null);
                    }
                    a[to] = value;
                }
                a[at] = Value::Null;
            }
        }
        _ => {}
    }
    Ok(())
}

fn remove(data: &mut Value, key: &str) {
    match data {
        Value::Object(m) => {
            m.remove(key);
        }
        // `delete` leaves a hole, which prints as null.
        Value::Array(a) => {
            if let Some(item) = array_index(key).and_then(|i| a.get_mut(i as usize)) {
                *item = Value::Null;
            }
        }
        _ => {}
    }
}

fn patch(data: &mut Map, new: &Value) -> Result<(), TransformError> {
    let Value::Object(new) = new else {
        return match new {
            Value::Null => fail("null cannot be patched over an object"),
            // Members of an array are its indices.
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    data.insert(i.to_string(), item.clone());
                }
                Ok(())
            }
            _ => Ok(()),
        };
    };
    for (key, value) in new.iter() {
        match (data.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(_) | Value::Null) => patch(old, value)?,
            _ => {
                data.insert(key, value.clone());
            }
        }
    }
    Ok(())
}

const FORBIDDEN: [&str; 4] = ["past", "ancestor", "dna", "tjp"];

fn check_addresses(map: Option<&Value>) -> Result<Vec<(&str, &[Value])>, TransformError> {
    let Some(map) = map.filter(|m| m.is_truthy()) else { return Ok(Vec::new()) };
    let Some(map) = map.as_object() else { return fail("relations to add or remove must be an object") };
    let mut out = Vec::new();
    for (name, addrs) in map.iter() {
        if FORBIDDEN.contains(&name) {
            return fail(format!("relation {name:?} cannot be set by rel8"));
        }
        let Some(addrs) = addrs.as_array() else { return fail(format!("relation {name:?} needs an array")) };
        for addr in addrs {
            let ok = addr.as_str().is_some_and(|a| a.len() >= 2 && a.contains('^') && !a.starts_with('^'));
            if !ok {
                return fail(format!("{addr} in relation {name:?} is no address"));
            }
        }
        out.push((name, addrs));
    }
    Ok(out)
}

pub(super) fn rel8(src: &IbGib, opts: &Map, moment: &Moment) -> Made {
    let src_addr = check_source(src, opts, "rel8")?;
    let add = check_addresses(opts.get("rel8nsToAddByAddr"))?;
    let remove = check_addresses(opts.get("rel8nsToRemoveByAddr"))?;
    if add.is_empty() && remove.is_empty() {
        return fail("rel8 needs relations to add or to remove");
    }
    let mut node = start(src);
    let data = object_data(&mut node, "rel8 cannot count it")?;
    count(data, opts)?;
    if !flag(opts, "noTimestamp") {
        stamp(data, moment);
    }
    let rel8ns = rel8ns_of(&mut node)?;
    for (name, addrs) in add {
        let old = match rel8ns.get(name) {
            Some(Value::Array(items)) => items.clone(),
            _ => Vec::new(),
        };
        let fresh: Vec<Value> = addrs.iter().filter(|a| !old.contains(a)).cloned().collect();
        rel8ns.insert(name, [old, fresh].concat());
    }
    for (name, addrs) in remove {
        if let Some(Value::Array(items)) = rel8ns.get(name) {
            let rest: Vec<Value> = items.iter().filter(|a| !addrs.contains(a)).cloned().collect();
            if rest.is_empty() {
                rel8ns.remove(name);
            } else {
                rel8ns.insert(name, rest);
            }
        }
    }
    append(&mut node, "past", &src_addr, false)?;
    if let Some(names) = opts.get("linkedRel8ns").and_then(Value::as_array) {
        let rel8ns = rel8ns_of(&mut node)?;
        for name in names.iter().filter_map(Value::as_str) {
            if let Some(Value::Array(items)) = rel8ns.get_mut(name)
                && items.len() > 1
            {
                items.drain(..items.len() - 1);
            }
        }
    }
    note_tjp(&mut node, &src_addr)?;
    let dnas = add_dna(&mut node, opts, "rel8", true)?;
    node.gib = Some(compat::get_gib(&node)?);
    Ok(CompatTransformed { new_ibgib: node, dnas, intermediates: Vec::new() })
}

pub(super) fn first_gen(parent: &IbGib, opts: &Map, moment: &Moment) -> Made {
    let shared =
        |names: &[&str]| -> Map { names.iter().filter_map(|n| opts.get(n).map(|v| (*n, v.clone()))).collect() };
    let mut fork_opts = Map::new();
    if let Some(ib) = opts.get("ib") {
        fork_opts.insert("destIb", ib.clone());
    }
    for (k, v) in shared(&["dna", "linkedRel8ns", "noTimestamp", "tjp", "nCounter", "uuid"]) {
        fork_opts.insert(k, v);
    }
    let mut made = fork(parent, &fork_opts, moment)?;
    let next = |made: &mut CompatTransformed, step: CompatTransformed| {
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
        let step = mut8(&made.new_ibgib, &step_opts, moment)?;
        next(&mut made, step);
    }
    if let Some(rel8ns) = opts.get("rel8ns").filter(|d| d.is_truthy()) {
        let mut step_opts: Map = [("rel8nsToAddByAddr", rel8ns.clone())].into_iter().collect();
        for (k, v) in shared(&flags) {
            step_opts.insert(k, v);
        }
        let step = rel8(&made.new_ibgib, &step_opts, moment)?;
        next(&mut made, step);
    }
    Ok(made)
}

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Moment {
    /// The clock as the original's `toUTCString` prints it: `Thu, 01 Jan 2026 00:00:00 GMT`.
    pub fn timestamp(&self) -> String {
        let seconds = self.now_ms.div_euclid(1000);
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Civil date from days since 1970-01-01; the year starts in March so that leap days come last.
        let z = days + 719_468;
        let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
        let year = yoe + era * 400 + i64::from(month <= 2);
        format!(
            "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
            DAYS[days.rem_euclid(7) as usize],
            MONTHS[(month - 1) as usize],
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }

    /// Reads what [`Moment::timestamp`] prints: milliseconds since 1970, always whole seconds.
    pub fn parse_timestamp(text: &str) -> Option<i64> {
        let (_, rest) = text.split_once(", ")?;
        let parts: Vec<&str> = rest.split(' ').collect();
        let [day, month, year, time, "GMT"] = parts[..] else { return None };
        let month = MONTHS.iter().position(|m| *m == month)? as i64 + 1;
        let number = |s: &str| s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse::<i64>().ok()).flatten();
        let (day, year) = (number(day)?, number(year)?);
        let clock: Vec<i64> = time.split(':').map(number).collect::<Option<_>>()?;
        let [h, m, s] = clock[..] else { return None };
        if !(1..=31).contains(&day) || year > 275_760 || h > 23 || m > 59 || s > 59 {
            return None;
        }
        let y = if month <= 2 { year - 1 } else { year };
        let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
        let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
        let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
        let moment = Self { now_ms: (days * 86_400 + h * 3600 + m * 60 + s) * 1000, random: [0; 16] };
        // Only what prints the same again was a date (not 31 February, not another weekday).
        (moment.timestamp() == text).then_some(moment.now_ms)
    }

    /// The original's uuid: the random bytes written as decimal numbers without separators, hashed, lowercase hex.
    pub fn uuid(&self) -> String {
        let text: String = self.random.iter().map(ToString::to_string).collect();
        hex::encode(Sha256::digest(text.as_bytes()))
    }
}
