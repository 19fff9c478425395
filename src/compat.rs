//! The original's address functions and transforms, exactly as they are: for checking and bringing over existing data.
//!
//! Nothing that enters a space or comes from a peer goes through here: no other module of this crate uses this one, and
//! strict code never takes its answer for a proof. Frozen by `respec/vectors/addr.json`, `gib.json` and
//! `transforms.json`.

pub mod transform;

pub use crate::json::js::Throws;

use crate::addr::GIB;
use crate::ibgib::IbGib;
use crate::json::{Value, js};
use std::borrow::Cow;

fn throw<T>(why: impl Into<String>) -> Result<T, Throws> {
    Err(Throws(why.into()))
}

/// `getIbAndGib`: exactly two parts are ib and gib; else the last part is the gib and the rest the ib. An empty
/// delimiter is `^`.
///
/// # Errors
/// An empty address throws.
pub fn get_ib_and_gib(addr: &str, delimiter: &str) -> Result<(String, String), Throws> {
    if addr.is_empty() {
        return throw("address is empty");
    }
    let delimiter = or(delimiter, "^");
    // Parts are told from the left: it matters when the delimiter overlaps itself.
    let mut parts: Vec<&str> = addr.split(delimiter).collect();
    let gib = parts.pop().unwrap_or_default();
    Ok((parts.join(delimiter), gib.to_owned()))
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

/// What `getGibInfo` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GibInfo {
    /// The gib is `gib`.
    Primitive,
    /// Any other text.
    Hash {
        /// The part before the first dot.
        punctiliar_hash: String,
        /// The text after the first dot.
        tjp_gib: Option<String>,
        /// How many parts the dots make.
        pieces_count: usize,
    },
}

/// `getGibInfo`; the delimiter is `.` unless another one is wanted.
///
/// # Errors
/// An empty piece beside a delimiter throws.
pub fn get_gib_info(gib: &str, delimiter: &str) -> Result<GibInfo, Throws> {
    if gib == GIB {
        return Ok(GibInfo::Primitive);
    }
    let delimiter = or(delimiter, ".");
    let pieces: Vec<&str> = gib.split(delimiter).collect();
    if pieces.len() > 1 && pieces.iter().any(|p| p.is_empty()) {
        return throw(format!("gib {gib:?} has an empty piece"));
    }
    Ok(GibInfo::Hash {
        punctiliar_hash: pieces[0].to_owned(),
        tjp_gib: gib.split_once(delimiter).map(|(_, rest)| rest.to_owned()),
        pieces_count: pieces.len(),
    })
}

/// `isPrimitive` of a gib; a missing or empty one counts.
pub fn is_primitive(gib: Option<&str>) -> bool {
    matches!(gib, None | Some("" | GIB))
}

/// `validateIb`: what is wrong, one text each.
pub fn validate_ib(ib: &str, delimiter: &str) -> Vec<String> {
    if ib.is_empty() {
        vec!["ib is empty".into()]
    } else if ib != "ib" && ib.contains(or(delimiter, "^")) {
        vec![format!("ib contains {delimiter:?}")]
    } else {
        Vec::new()
    }
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 32 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// `validateGib`: what is wrong, one text each; the tjp's gib counts as one. Delimiters are `.` and `^` unless others
/// are wanted.
///
/// # Errors
/// Throws where [`get_gib_info`] does.
pub fn validate_gib(gib: &str, dot: &str, delimiter: &str) -> Result<Vec<String>, Throws> {
    if gib.is_empty() {
        return Ok(vec!["gib is empty".into()]);
    }
    let mut errors = Vec::new();
    if gib.contains(or(delimiter, "^")) {
        errors.push(format!("gib contains {delimiter:?}"));
    }
    let GibInfo::Hash { punctiliar_hash, tjp_gib, .. } = get_gib_info(gib, dot)? else { return Ok(Vec::new()) };
    if !is_hash(&punctiliar_hash) {
        errors.push(format!("{punctiliar_hash:?} is no hash of 32 or 64 hex digits"));
    }
    if let Some(tjp_gib) = tjp_gib {
        let of_tjp = validate_gib(&tjp_gib, ".", "^")?;
        if !of_tjp.is_empty() {
            errors.push(of_tjp.join("; "));
        }
    }
    Ok(errors)
}

/// `validateIbGibAddr`: what is wrong, one text each. The delimiter is `^` unless another one is wanted.
///
/// # Errors
/// Throws where [`get_gib_info`] does.
pub fn validate_addr(addr: &str, delimiter: &str) -> Result<Vec<String>, Throws> {
    if addr.is_empty() {
        return Ok(vec!["address is empty".into()]);
    }
    let delimiter = or(delimiter, "^");
    let mut errors = Vec::new();
    if !addr.contains(delimiter) {
        errors.push(format!("address has no {delimiter:?}"));
    }
    if addr.starts_with(delimiter) {
        errors.push(format!("address starts with {delimiter:?}"));
    }
    let (ib, gib) = get_ib_and_gib(addr, delimiter)?;
    errors.extend(validate_ib(&ib, delimiter));
    errors.extend(validate_gib(&gib, ".", delimiter)?);
    Ok(errors)
}

/// `rel8ns?.[name]`.
fn relation<'a>(node: &'a IbGib, name: &str) -> Option<Cow<'a, Value>> {
    node.rel8ns.as_ref().and_then(|r| js::get(Some(r), name).ok().flatten())
}

/// `isDna`: descends from `fork^gib`, `mut8^gib`, `rel8^gib` or `plan^gib`.
pub fn is_dna(node: &IbGib) -> bool {
    node.rel8n("ancestor").any(|a| matches!(a, "fork^gib" | "mut8^gib" | "rel8^gib" | "plan^gib"))
}

/// `hasTjp`.
///
/// # Errors
/// Throws when `ancestor` is there and no array.
pub fn has_tjp(node: &IbGib) -> Result<bool, Throws> {
    if node.is_tjp() || relation(node, "tjp").is_some_and(|tjp| js::length(&tjp) > 0.0) {
        return Ok(true);
    }
    let of_dna = |v: &Value| matches!(v.as_str(), Some("fork^gib" | "mut8^gib" | "rel8^gib"));
    match relation(node, "ancestor").as_deref() {
        None | Some(Value::Null) => {}
        Some(Value::Array(items)) if items.iter().any(of_dna) => return Ok(false),
        Some(Value::Array(_)) => {}
        Some(other) => return throw(format!("ancestor is {other}, not an array")),
    }
    Ok(node.gib.as_deref().is_some_and(|g| g.contains('.')))
}

/// `getGib`: the hash, and after a dot the gib of the last tjp unless this is the tjp.
///
/// # Errors
/// Throws when the last tjp has no gib, or an empty tjp list stands beside isTjp.
pub fn get_gib(node: &IbGib) -> Result<String, Throws> {
    get_gib_knowing(node, false)
}

/// `getGib`, told whether there must be a tjp.
fn get_gib_knowing(node: &IbGib, has_tjp: bool) -> Result<String, Throws> {
    let hash = node.hash();
    let tjps = relation(node, "tjp");
    if !has_tjp && !node.is_tjp() && tjps.as_deref().is_none_or(|t| js::length(t).is_nan() || js::length(t) <= 0.0) {
        return Ok(hash);
    }
    let gib = match tjps.as_deref().filter(|t| t.is_truthy()) {
        Some(tjps) => {
            let length = js::get(Some(tjps), "length")?;
            let count = js::number(length.as_deref());
            let last = match length.as_deref() {
                Some(Value::Number(1.0)) => js::get(Some(tjps), "0")?,
                _ if count > 1.0 => js::get(Some(tjps), &js::text(Some(&Value::Number(count - 1.0))))?,
                _ => None,
            };
            match last.as_deref() {
                Some(Value::String(addr)) if !addr.is_empty() => get_ib_and_gib(addr, "^")?.1,
                _ => return throw("the last tjp is no address"),
            }
        }
        None if node.is_tjp() => hash.clone(),
        None => return throw("there should be a tjp, and there is none"),
    };
    match gib.as_str() {
        "" => throw("the last tjp has no gib"),
        _ if node.is_tjp() => Ok(hash),
        gib => Ok(format!("{hash}.{gib}")),
    }
}

/// `validateIbGibIntrinsically`: what is wrong, one text each. The original's leniencies are kept: a primitive may
/// carry anything, and a rel8 dna may hold without `src` and `srcAddr`.
///
/// # Errors
/// Throws for dotted garbage, and for a dotted gib without a tjp.
pub fn validate_intrinsically(node: &IbGib) -> Result<Vec<String>, Throws> {
    let gib = node.gib.as_deref().unwrap_or("");
    let errors = validate_addr(&format!("{}^{gib}", node.ib), "^")?;
    if !errors.is_empty() || is_primitive(Some(gib)) {
        return Ok(errors);
    }
    let copy = |part: &Option<Value>| part.as_ref().filter(|v| v.is_truthy()).map(js::clone);
    let computed = |node: &IbGib| {
        let dto = IbGib { data: copy(&node.data), rel8ns: copy(&node.rel8ns), ..node.clone() };
        get_gib_knowing(&dto, has_tjp(node)?)
    };
    let mut got = computed(node)?;
    if got != gib && node.ib == "rel8" && js::truthy(node.datum("src")) && js::truthy(node.datum("srcAddr")) {
        let mut without = node.clone();
        if let Some(data) = without.data.as_mut().and_then(Value::as_object_mut) {
            data.remove("src");
            data.remove("srcAddr");
        }
        got = computed(&without)?;
    }
    Ok(if got == gib { Vec::new() } else { vec![format!("gib is {gib}, the content gives {got}")] })
}

/// Addresses that one relation may seem to have by its `length`.
const ADDRS_MAX: f64 = 1e6;

/// `validateRel8nsIntrinsically`: one text per address that is wrong.
///
/// # Errors
/// Throws for dotted garbage, and for what is neither a text nor false.
pub fn validate_rel8ns(rel8ns: &Value) -> Result<Vec<String>, Throws> {
    let mut errors = Vec::new();
    for (name, value) in js::entries(Some(rel8ns))? {
        let count = js::length(&value);
        if count > ADDRS_MAX {
            return throw(format!("relation {name:?} seems to have {count} addresses"));
        }
        let mut i = 0u32;
        while f64::from(i) < count {
            let bad = match js::get(Some(&value), &i.to_string())?.as_deref() {
                Some(Value::String(addr)) => !validate_addr(addr, "^")?.is_empty(),
                Some(other) if other.is_truthy() => return throw(format!("{other} in relation {name:?} is no text")),
                _ => true,
            };
            if bad {
                errors.push(format!("item {i} of relation {name:?} is no address"));
            }
            i += 1;
        }
    }
    Ok(errors)
}
