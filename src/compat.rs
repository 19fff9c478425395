//! The original's address functions, exactly as they are: for checking and bringing over existing data.
//!
//! Nothing that enters a space or comes from a peer goes through here. Frozen by `respec/vectors/addr.json` and
//! `gib.json`.

use crate::addr::GIB;
use crate::canonical;
use crate::ibgib::IbGib;
use crate::transform::TransformError;
use crate::value::Value;

/// The original raises an exception; the message is ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Throws(pub String);

impl From<Throws> for TransformError {
    fn from(error: Throws) -> Self {
        Self::Refused(error.0)
    }
}

fn throw<T>(why: impl Into<String>) -> Result<T, Throws> {
    Err(Throws(why.into()))
}

/// `getIbAndGib`: exactly two parts are ib and gib; else the last part is the gib and the rest the ib.
///
/// # Errors
/// An empty address throws.
pub fn get_ib_and_gib(addr: &str, delimiter: &str) -> Result<(String, String), Throws> {
    if addr.is_empty() {
        return throw("address is empty");
    }
    Ok(match addr.rsplit_once(delimiter) {
        Some((ib, gib)) => (ib.to_owned(), gib.to_owned()),
        None => (String::new(), addr.to_owned()),
    })
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

/// `getGibInfo`.
///
/// # Errors
/// An empty piece beside a dot throws.
pub fn get_gib_info(gib: &str) -> Result<GibInfo, Throws> {
    if gib == GIB {
        return Ok(GibInfo::Primitive);
    }
    let pieces: Vec<&str> = gib.split('.').collect();
    if pieces.len() > 1 && pieces.iter().any(|p| p.is_empty()) {
        return throw(format!("gib {gib:?} has an empty piece"));
    }
    Ok(GibInfo::Hash {
        punctiliar_hash: pieces[0].to_owned(),
        tjp_gib: gib.split_once('.').map(|(_, rest)| rest.to_owned()),
        pieces_count: pieces.len(),
    })
}

/// `isPrimitive` of a gib; a missing or empty one counts.
pub fn is_primitive(gib: Option<&str>) -> bool {
    matches!(gib, None | Some("" | GIB))
}

/// `validateIb`: what is wrong, one text each.
pub fn validate_ib(ib: &str) -> Vec<String> {
    if ib.is_empty() {
        vec!["ib is empty".into()]
    } else if ib.contains('^') {
        vec!["ib contains '^'".into()]
    } else {
        Vec::new()
    }
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 32 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// `validateGib`: what is wrong, one text each.
///
/// # Errors
/// Throws where [`get_gib_info`] does.
pub fn validate_gib(gib: &str) -> Result<Vec<String>, Throws> {
    if gib.is_empty() {
        return Ok(vec!["gib is empty".into()]);
    }
    let mut errors = Vec::new();
    if gib.contains('^') {
        errors.push("gib contains '^'".into());
    }
    if let GibInfo::Hash { punctiliar_hash, tjp_gib, .. } = get_gib_info(gib)? {
        if !is_hash(&punctiliar_hash) {
            errors.push(format!("{punctiliar_hash:?} is no hash of 32 or 64 hex digits"));
        }
        if let Some(tjp_gib) = tjp_gib {
            errors.extend(validate_gib(&tjp_gib)?);
        }
    }
    Ok(errors)
}

/// `validateIbGibAddr`: what is wrong, one text each.
///
/// # Errors
/// Throws where [`get_gib_info`] does.
pub fn validate_addr(addr: &str) -> Result<Vec<String>, Throws> {
    if addr.is_empty() {
        return Ok(vec!["address is empty".into()]);
    }
    let mut errors = Vec::new();
    if !addr.contains('^') {
        errors.push("address has no '^'".into());
    }
    if addr.starts_with('^') {
        errors.push("address starts with '^'".into());
    }
    let (ib, gib) = get_ib_and_gib(addr, "^")?;
    errors.extend(validate_ib(&ib));
    errors.extend(validate_gib(&gib)?);
    Ok(errors)
}

/// `isDna`: not a primitive, and descends from `fork^gib`, `mut8^gib` or `rel8^gib`.
pub fn is_dna(node: &IbGib) -> bool {
    !is_primitive(node.gib.as_deref())
        && node.rel8n("ancestor").any(|a| matches!(a, "fork^gib" | "mut8^gib" | "rel8^gib"))
}

/// `hasTjp`.
pub fn has_tjp(node: &IbGib) -> bool {
    if is_primitive(node.gib.as_deref()) {
        return false;
    }
    let related = node.rel8ns.as_ref().and_then(|r| r.get("tjp")).and_then(Value::as_array);
    if node.is_tjp() || related.is_some_and(|a| !a.is_empty()) {
        return true;
    }
    !is_dna(node) && node.gib.as_deref().is_some_and(|g| g.contains('.'))
}

/// The hash that a gib begins with.
pub fn bare_hash(node: &IbGib) -> String {
    canonical::gib_hash(&node.ib, node.data.as_ref(), node.rel8ns.as_ref())
}

/// `getGib`: the hash, and after a dot the gib of the last tjp unless this is the tjp.
///
/// # Errors
/// Throws when the last tjp has no gib, or an empty tjp list stands beside isTjp.
pub fn get_gib(node: &IbGib) -> Result<String, Throws> {
    let hash = bare_hash(node);
    let tjps = node.rel8ns.as_ref().and_then(|r| r.get("tjp")).and_then(Value::as_array);
    match tjps {
        Some([]) if node.is_tjp() => throw("isTjp beside an empty tjp relation"),
        _ if node.is_tjp() => Ok(hash),
        None | Some([]) => Ok(hash),
        Some([.., last]) => {
            let (_, gib) = get_ib_and_gib(last.as_str().unwrap_or(""), "^")?;
            if gib.is_empty() { throw(format!("tjp {last} has no gib")) } else { Ok(format!("{hash}.{gib}")) }
        }
    }
}

/// `validateIbGibIntrinsically`: what is wrong, one text each. The original's leniencies are kept: a primitive may
/// carry anything, and a rel8 dna is checked without `src` and `srcAddr`.
///
/// # Errors
/// Throws for dotted garbage, and for a dotted gib without a tjp.
pub fn validate_intrinsically(node: &IbGib) -> Result<Vec<String>, Throws> {
    let gib = node.gib.as_deref().unwrap_or("");
    let errors = validate_addr(&format!("{}^{gib}", node.ib))?;
    if !errors.is_empty() || is_primitive(Some(gib)) {
        return Ok(errors);
    }
    let mut node = node.clone();
    if node.ib == "rel8"
        && let Some(data) = node.data.as_mut().and_then(Value::as_object_mut)
        && data.get("src").is_some_and(Value::is_truthy)
        && data.get("srcAddr").is_some_and(Value::is_truthy)
    {
        data.remove("src");
        data.remove("srcAddr");
    }
    if has_tjp(&node) && !node.is_tjp() && node.rel8n("tjp").next().is_none() {
        return throw("the gib is dotted, but there is no tjp");
    }
    let computed = get_gib(&node)?;
    Ok(if computed == gib { Vec::new() } else { vec![format!("gib is {gib}, the content gives {computed}")] })
}

/// `validateRel8nsIntrinsically`: one text per relation value that is wrong.
///
/// # Errors
/// Throws for dotted garbage.
pub fn validate_rel8ns(rel8ns: &Value) -> Result<Vec<String>, Throws> {
    let Some(map) = rel8ns.as_object() else { return Ok(vec!["rel8ns is no object".into()]) };
    let mut errors = Vec::new();
    for (name, value) in map.iter() {
        match value {
            Value::Null => {}
            Value::Array(addrs) => {
                for addr in addrs {
                    let bad = match addr.as_str() {
                        Some(text) => !validate_addr(text)?.is_empty(),
                        None => true,
                    };
                    if bad {
                        errors.push(format!("{addr} in relation {name:?} is no address"));
                    }
                }
            }
            other => errors.push(format!("relation {name:?} is {other}, not an array")),
        }
    }
    Ok(errors)
}
