//! Cases `{input: {json}}`: the hash of an ibgib given as text.

use super::{Outcome, throws};
use ibgib::canonical::{canonical_text, has_data, has_rel8ns};
use ibgib::json::JsonErrorKind;
use ibgib::{IbGib, Mode, Value, VerifyError, compat};

pub(super) fn run(json: &str, expect: &Value) -> Outcome {
    let node = match IbGib::parse(json, Mode::Compat) {
        Ok(node) => node,
        Err(VerifyError::Json(e)) if e.kind == JsonErrorKind::LoneSurrogate => {
            return Outcome::Skip("a lone surrogate is refused with a clear error".into());
        }
        Err(error) => return Outcome::Fail(error.to_string()),
    };
    let text = |name: &str| expect.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut checks = Vec::new();
    // Only what the case tells is compared; the gib, or that there is none, it has to tell.
    for (name, got) in [("hasData", has_data(node.data.as_ref())), ("hasRel8ns", has_rel8ns(node.rel8ns.as_ref()))] {
        if let Some(expected) = expect.get(name) {
            checks.push(Outcome::equal(name, expected, &got));
        }
    }
    if expect.get("hash").is_some() {
        checks.push(Outcome::equal("hash", &text("hash"), &node.hash()));
    }
    for (name, part) in [("dataCanonical", &node.data), ("rel8nsCanonical", &node.rel8ns)] {
        if expect.get(name).is_some() {
            checks.push(Outcome::equal(name, &text(name), &part.as_ref().map(canonical_text).unwrap_or_default()));
        }
    }
    if expect.get("gib").is_none() && !throws(expect) {
        checks.push(Outcome::Fail("the case tells no gib".into()));
    }
    checks.push(match (throws(expect), compat::get_gib(&node)) {
        (true, Err(_)) => Outcome::Pass,
        (true, Ok(gib)) => Outcome::Fail(format!("expected an error, got {gib}")),
        (false, Err(error)) => Outcome::Fail(error.to_string()),
        (false, Ok(gib)) => Outcome::equal("gib", &text("gib"), &gib),
    });
    Outcome::all(checks)
}
