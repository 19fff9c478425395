//! The transforms on unchecked ibgibs and JSON options, exactly as the original performs them.

use super::get_gib;
use crate::addr::GIB;
use crate::ibgib::IbGib;
use crate::json::{Map, Mode, Value};
use crate::moment::Moment;
use crate::transform::{TransformError, Unchecked, engine};

/// `fork` with options `{src, destIb?, …}`.
///
/// # Errors
/// [`TransformError::Refused`].
pub fn fork(opts: &Value, moment: &Moment) -> Result<Unchecked, TransformError> {
    let map = options(opts)?;
    engine::fork(&source(map)?, map, moment)
}

/// `mut8` with options `{src, mut8Ib?, dataToRename?, dataToRemove?, dataToAddOrPatch?, …}`.
///
/// # Errors
/// [`TransformError::Refused`].
pub fn mut8(opts: &Value, moment: &Moment) -> Result<Unchecked, TransformError> {
    let map = options(opts)?;
    engine::mut8(&source_with_ib(map)?, map, moment, gib_of)
}

/// `rel8` with options `{src, rel8nsToAddByAddr?, rel8nsToRemoveByAddr?, …}`.
///
/// # Errors
/// [`TransformError::Refused`].
pub fn rel8(opts: &Value, moment: &Moment) -> Result<Unchecked, TransformError> {
    let map = options(opts)?;
    engine::rel8(&source_with_ib(map)?, map, moment, gib_of)
}

/// `firstGen` with options `{parentIbGib?, ib?, data?, rel8ns?, …}`; without a parent it is the root.
///
/// # Errors
/// [`TransformError::Refused`].
pub fn first_gen(opts: &Value, moment: &Moment) -> Result<Unchecked, TransformError> {
    let map = options(opts)?;
    let parent = match map.get("parentIbGib").filter(|p| p.is_truthy()) {
        Some(parent) => {
            IbGib::from_value(parent.clone(), Mode::Compat).map_err(|e| TransformError::Refused(e.to_string()))?
        }
        None => IbGib { ib: "ib".into(), gib: Some(GIB.into()), ..IbGib::default() },
    };
    engine::first_gen(&parent, map, moment, gib_of)
}

fn options(opts: &Value) -> Result<&Map, TransformError> {
    opts.as_object().ok_or_else(|| TransformError::Refused("options must be an object".into()))
}

fn source(map: &Map) -> Result<IbGib, TransformError> {
    let src = map.get("src").cloned().ok_or_else(|| TransformError::Refused("src is missing".into()))?;
    IbGib::from_value(src, Mode::Compat).map_err(|e| TransformError::Refused(e.to_string()))
}

/// As [`source`]; its ib must be a text.
fn source_with_ib(map: &Map) -> Result<IbGib, TransformError> {
    let ib = map.get("src").and_then(|src| src.get("ib"));
    if ib.is_some_and(|ib| ib.as_str().is_none()) {
        return Err(TransformError::Refused("ib of the source is no text".into()));
    }
    source(map)
}

/// The original's gib of a product.
fn gib_of(node: &IbGib) -> Result<String, TransformError> {
    Ok(get_gib(node)?)
}
