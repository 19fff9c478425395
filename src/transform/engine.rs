//! The four transforms as the original performs them, quirks included: on options as JSON.

use super::{Moment, TransformError};
use crate::addr::GIB;
use crate::compat::{self, js};
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
    js::truthy(opts.get(name))
}

/// Whether a relation keeps only its newest entry.
fn linked(opts: &Map, name: &str) -> Result<bool, TransformError> {
    match opts.get("linkedRel8ns") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Array(names)) => Ok(names.iter().any(|v| v.as_str() == Some(name))),
        Some(Value::String(text)) => Ok(text.contains(name)),
        Some(other) => fail(format!("linkedRel8ns is {other}, not an array")),
    }
}

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

/// Data at work. Members of an array may be set like those of an object; only its items come out again.
struct Data {
    members: Map,
    /// How many items it had, when it is an array.
    items: Option<usize>,
    /// The text that it is instead: members of a text cannot be set.
    text: Option<String>,
}

/// An array does not grow further than this beyond what it had.
const GROWTH_MAX: usize = 10_000;

impl Data {
    fn new(value: Option<Value>) -> Self {
        let (mut members, mut items, mut text) = (Map::new(), None, None);
        match value {
            Some(Value::Object(map)) => members = map,
            Some(Value::Array(list)) => {
                items = Some(list.len());
                members = list.into_iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect();
            }
            Some(Value::String(s)) => text = Some(s),
            _ => {}
        }
        Self { members, items, text }
    }

    fn members(&mut self) -> Result<&mut Map, TransformError> {
        match &self.text {
            Some(text) => fail(format!("data is the text {text:?}, which has no members to set")),
            None => Ok(&mut self.members),
        }
    }

    /// `None` when there are no members.
    fn finish(self) -> Result<Option<Value>, TransformError> {
        if self.text.is_some() {
            return Ok(self.text.map(Value::String));
        }
        if self.members.is_empty() {
            return Ok(None);
        }
        self.whole().map(Some)
    }

    fn whole(self) -> Result<Value, TransformError> {
        let Some(had) = self.items else { return Ok(Value::Object(self.members)) };
        let last = self.members.keys().filter_map(array_index).map(|i| i as usize + 1).max().unwrap_or(0);
        let length = match self.members.get("length") {
            None => had.max(last),
            // Setting it makes the array shorter or longer.
            Some(set) => match js::number(Some(set)) {
                n if n.fract() == 0.0 && (0.0..4_294_967_296.0).contains(&n) => n as usize,
                _ => return fail(format!("an array cannot have {set} items")),
            },
        };
        if length > had + GROWTH_MAX {
            return fail(format!("an array would grow by more than {GROWTH_MAX} items"));
        }
        // Items that are not there print as null.
        let mut list = vec![Value::Null; length];
        for (key, value) in self.members {
            if let Some(item) = array_index(&key).and_then(|i| list.get_mut(i as usize)) {
                *item = value;
            }
        }
        Ok(Value::Array(list))
    }

    fn stamp(&mut self, moment: &Moment) -> Result<(), TransformError> {
        let members = self.members()?;
        members.insert("timestamp", moment.timestamp());
        members.insert("timestampMs", Value::Number(moment.now_ms.rem_euclid(1000) as f64));
        Ok(())
    }

    /// `n` after one more step.
    fn count(&mut self, opts: &Map) -> Result<(), TransformError> {
        let next = match self.members.get("n") {
            None if !flag(opts, "nCounter") => return Ok(()),
            None => 0.0,
            // A negative one starts over.
            Some(Value::Number(n)) if n.is_finite() && n.fract() == 0.0 => (n + 1.0).max(0.0),
            Some(other) => return fail(format!("n is {other}, not an integer")),
        };
        self.members()?.insert("n", Value::Number(next));
        Ok(())
    }

    /// Takes the mark of a first frame away, if it is there.
    fn unmark(&mut self) -> bool {
        let marked = js::truthy(self.members.get("isTjp"));
        if marked {
            self.members.remove("isTjp");
        }
        marked
    }
}

fn rel8ns_of(part: Option<Value>) -> Result<Map, TransformError> {
    match part {
        None => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => fail("rel8ns of the source is not an object"),
    }
}

/// Appends to a relation, or replaces it when it is linked. A text grows as texts do.
fn append(rel8ns: &mut Map, name: &str, addr: &str, linked: bool) -> Result<(), TransformError> {
    let longer = match rel8ns.get(name) {
        Some(Value::Array(items)) if !linked => [items.as_slice(), &[addr.into()]].concat().into(),
        Some(Value::String(text)) if !linked && !text.is_empty() => format!("{text}{addr}").into(),
        Some(other) if !linked && other.is_truthy() => return fail(format!("relation {name:?} is {other}")),
        _ => strings([addr]),
    };
    rel8ns.insert(name, longer);
    Ok(())
}

fn dna(opts: &Map, kind: &str) -> IbGib {
    let mut data: Map =
        opts.iter().filter(|(k, _)| !matches!(*k, "src" | "srcAddr")).map(|(k, v)| (k, js::clone(v))).collect();
    data.insert("type", kind);
    let rel8ns: Map = [("ancestor", strings([format!("{kind}^gib")]))].into_iter().collect();
    let mut node =
        IbGib { ib: kind.to_owned(), gib: None, data: Some(Value::Object(data)), rel8ns: Some(Value::Object(rel8ns)) };
    node.gib = Some(compat::bare_hash(&node));
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

/// The source becomes the tjp of the product when the product's data says isTjp.
fn note_tjp(rel8ns: &mut Map, data: &mut Data, src_addr: &str) -> Result<(), TransformError> {
    if !data.unmark() {
        return Ok(());
    }
    match rel8ns.get("tjp") {
        None | Some(Value::Null | Value::Array(_)) => append(rel8ns, "tjp", src_addr, false),
        Some(other) => fail(format!("relation \"tjp\" is {other}")),
    }
}

/// A new ib, if one is given.
fn new_ib<'a>(opts: &'a Map, name: &str) -> Result<Option<&'a str>, TransformError> {
    match opts.get(name).filter(|v| v.is_truthy()) {
        None => Ok(None),
        Some(Value::String(ib)) => Ok(Some(ib)),
        Some(other) => fail(format!("{name} is {other}, not a text")),
    }
}

pub(super) fn fork(src: &IbGib, opts: &Map, moment: &Moment) -> Made {
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
    node.gib = Some(compat::bare_hash(&node));
    Ok(CompatTransformed { new_ibgib: node, dnas, intermediates: Vec::new() })
}

pub(super) fn mut8(src: &IbGib, opts: &Map, moment: &Moment) -> Made {
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
            edit_members(&mut data, info, how)?;
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
fn edit_members(data: &mut Data, info: &Value, how: Edit) -> Result<(), TransformError> {
    for (key, what) in js::entries(Some(info))? {
        if key == "timestamp" {
            return fail("timestamp cannot be renamed or removed");
        }
        if let Some(text) = &data.text {
            if js::entries(Some(&text.as_str().into()))?.iter().any(|(k, _)| *k == key) {
                return fail(format!("{text:?} is a text, its parts cannot be changed"));
            }
            continue;
        }
        let members = data.members()?;
        let Some(value) = members.get(&key) else { continue };
        match what.as_str() {
            // The original asks this of what it removes, too.
            Some("timestamp") => return fail("nothing can be renamed to timestamp"),
            Some(to) => {
                if how == Edit::Rename {
                    let value = value.clone();
                    js::set(members, to, value);
                }
                // Renaming a member to itself deletes it, as the original does.
                members.remove(&key);
            }
            None => {
                let edited = edit(value.clone(), &what, how)?;
                members.insert(key, edited);
            }
        }
    }
    Ok(())
}

fn edit(value: Value, info: &Value, how: Edit) -> Result<Value, TransformError> {
    match value {
        Value::Null if !js::entries(Some(info))?.is_empty() => fail("null has no members to rename or remove"),
        Value::Object(_) | Value::Array(_) | Value::String(_) => {
            let mut data = Data::new(Some(value));
            edit_members(&mut data, info, how)?;
            match data.text.take() {
                Some(text) => Ok(Value::String(text)),
                None => data.whole(),
            }
        }
        other => {
            // Nothing is in a number, but the instructions are read.
            edit_members(&mut Data::new(None), info, how)?;
            Ok(other)
        }
    }
}

fn patch(data: &mut Map, new: Vec<(String, Value)>) -> Result<(), TransformError> {
    for (key, value) in new {
        let inherited = key == "__proto__" && !data.contains_key(&key);
        match (data.get_mut(&key), &value) {
            (Some(Value::Object(_)), Value::Null) => return fail("null cannot be patched over an object"),
            _ if inherited && value == Value::Null => return fail("null cannot be patched over an object"),
            (Some(Value::Object(old)), Value::Object(_)) => patch(old, js::entries(Some(&value))?)?,
            _ => js::set(data, &key, value),
        }
    }
    Ok(())
}

const FORBIDDEN: [&str; 4] = ["past", "ancestor", "dna", "tjp"];

fn check_addresses(map: Option<&Value>) -> Result<Vec<(String, Vec<Value>)>, TransformError> {
    let Some(map) = map.filter(|m| m.is_truthy()) else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for (name, addrs) in js::entries(Some(map))? {
        if FORBIDDEN.contains(&name.as_str()) {
            return fail(format!("relation {name:?} cannot be set by rel8"));
        }
        let Value::Array(addrs) = addrs else { return fail(format!("relation {name:?} needs an array")) };
        for addr in &addrs {
            if !addr.as_str().is_some_and(|a| a.contains('^') && !a.starts_with('^')) {
                return fail(format!("{addr} in relation {name:?} is no address"));
            }
        }
        out.push((name, addrs));
    }
    Ok(out)
}

/// The list of a relation, to be changed by rel8; `Err` when it is something else that is there.
fn listed(rel8ns: &Map, name: &str) -> Result<Vec<Value>, TransformError> {
    match rel8ns.get(name) {
        Some(Value::Array(items)) => Ok(items.clone()),
        Some(other) if other.is_truthy() => fail(format!("relation {name:?} is {other}")),
        None if js::INHERITED.contains(&name) => fail(format!("relation {name:?} is inherited")),
        _ => Ok(Vec::new()),
    }
}

fn add_to(rel8ns: &mut Map, name: String, addrs: Vec<Value>) -> Result<(), TransformError> {
    if let Some(Value::String(text)) = rel8ns.get(&name).filter(|v| v.is_truthy()) {
        let fresh: Vec<Value> = addrs.into_iter().filter(|a| a.as_str().is_none_or(|a| !text.contains(a))).collect();
        // A text followed by a list is a text followed by the list as text.
        let longer = format!("{text}{}", js::joined(&fresh));
        rel8ns.insert(name, longer);
        return Ok(());
    }
    let mut list = listed(rel8ns, &name)?;
    let fresh: Vec<Value> = addrs.into_iter().filter(|a| !list.contains(a)).collect();
    list.extend(fresh);
    rel8ns.insert(name, list);
    Ok(())
}

/// Leaves only the newest entry of the relations named.
fn shorten(rel8ns: &mut Map, names: Option<&Value>) -> Result<(), TransformError> {
    let names = match names.filter(|n| n.is_truthy()) {
        None => return Ok(()),
        Some(Value::Array(names)) => names,
        Some(other) => return fail(format!("linkedRel8ns is {other}, not an array")),
    };
    for name in names.iter().filter_map(Value::as_str) {
        match rel8ns.get_mut(name) {
            Some(Value::Array(items)) if items.len() > 1 => drop(items.drain(..items.len() - 1)),
            Some(Value::String(text)) if text.encode_utf16().count() > 1 => {
                let units = js::entries(Some(&text.as_str().into()))?;
                let last = units.into_iter().next_back().map(|(_, unit)| unit);
                rel8ns.insert(name, last.into_iter().collect::<Vec<_>>());
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn rel8(src: &IbGib, opts: &Map, moment: &Moment) -> Made {
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
    if rel8ns.get("tjp").is_some_and(|t| !t.is_truthy()) && js::truthy(data.members.get("isTjp")) {
        rel8ns.insert("tjp", Vec::new());
    }
    note_tjp(&mut rel8ns, &mut data, &src_addr)?;
    let dnas = add_dna(&mut rel8ns, opts, "rel8")?;
    // Unlike mut8, rel8 writes data even when it has no member.
    node.data = Some(match data.text.take() {
        Some(text) => Value::String(text),
        None => data.whole()?,
    });
    node.rel8ns = Some(Value::Object(rel8ns));
    node.gib = Some(compat::get_gib(&node)?);
    Ok(CompatTransformed { new_ibgib: node, dnas, intermediates: Vec::new() })
}

pub(super) fn first_gen(parent: &IbGib, opts: &Map, moment: &Moment) -> Made {
    let shared =
        |names: &[&str]| -> Map { names.iter().filter_map(|n| opts.get(n).map(|v| (*n, v.clone()))).collect() };
    let dest_ib = opts.get("ib").cloned().unwrap_or_else(|| "ib".into());
    let mut fork_opts: Map = [("destIb", dest_ib)].into_iter().collect();
    for (k, v) in shared(&["dna", "linkedRel8ns", "noTimestamp", "tjp", "nCounter"]) {
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
