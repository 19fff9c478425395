//! Cases `{input: {fn, args}}`: the original's address functions.

use super::{Outcome, same, throws};
use ibgib::compat::{self, GibInfo, Throws};
use ibgib::{IbGib, Map, Mode, Value, object};

pub(super) fn run(name: &str, input: &Value, expect: &Value) -> Outcome {
    let args = match input.get("argsJson").and_then(Value::as_str) {
        Some(text) => match Value::parse(text, Mode::Compat) {
            Ok(args) => args,
            Err(error) => return Outcome::Skip(error.to_string()),
        },
        None => input.get("args").cloned().unwrap_or(Value::Null),
    };
    let got = call(name, &args);
    match got {
        Some(Ok(_)) if throws(expect) => Outcome::Fail("expected an error".into()),
        Some(Err(_)) if throws(expect) => Outcome::Pass,
        Some(Err(error)) => Outcome::Fail(error.to_string()),
        Some(Ok(got)) if same(&got, expect) => Outcome::Pass,
        Some(Ok(got)) => Outcome::Fail(format!("expected {expect}, got {got}")),
        None => Outcome::Fail(format!("unknown function {name}")),
    }
}

fn call(name: &str, args: &Value) -> Option<Result<Value, Throws>> {
    let text = |key: &str| args.get(key).and_then(Value::as_str);
    let delimiter = text("delimiter").unwrap_or("^");
    // As in the original, whatever is not given is taken from the ibgib.
    let node = args.get("ibGib").and_then(node);
    let value = |v: Value| object([("value", v)]);
    Some(match name {
        "validateIbGibAddr" => compat::validate_addr(text("addr").unwrap_or("")).map(judged),
        "validateIb" => Ok(judged(compat::validate_ib(text("ib").unwrap_or("")))),
        "validateGib" => compat::validate_gib(text("gib").unwrap_or("")).map(judged),
        "getIbAndGib" => compat::get_ib_and_gib(text("ibGibAddr").unwrap_or(""), delimiter)
            .map(|(ib, gib)| value(object([("ib", ib.into()), ("gib", gib.into())]))),
        "getIbGibAddr" => {
            let ib = text("ib").or(node.as_ref().map(|n| n.ib.as_str())).unwrap_or("");
            let gib = text("gib").or(node.as_ref().and_then(|n| n.gib.as_deref())).unwrap_or("");
            Ok(value(format!("{ib}{delimiter}{gib}").into()))
        }
        "getGibInfo" => {
            let gib = match text("gib") {
                Some(gib) if !gib.is_empty() => Ok(gib.to_owned()),
                _ => compat::get_ib_and_gib(text("ibGibAddr").unwrap_or(""), "^").map(|(_, gib)| gib),
            };
            gib.and_then(|gib| compat::get_gib_info(&gib)).map(|info| value(info_value(info)))
        }
        "isPrimitive" => {
            let gib = text("gib").or(node.as_ref().and_then(|n| n.gib.as_deref()));
            Ok(value(compat::is_primitive(gib).into()))
        }
        "isDna" => Ok(value(compat::is_dna(&node?).into())),
        "hasTjp" => Ok(value(compat::has_tjp(&node?).into())),
        "validateIbGibIntrinsically" => compat::validate_intrinsically(&node?).map(judged),
        "validateRel8nsIntrinsically" => compat::validate_rel8ns(args.get("rel8ns")?).map(judged),
        _ => return None,
    })
}

fn node(value: &Value) -> Option<IbGib> {
    IbGib::from_value(value.clone(), Mode::Compat).ok()
}

fn judged(errors: Vec<String>) -> Value {
    object([("valid", errors.is_empty().into()), ("errorCount", Value::Number(errors.len() as f64))])
}

fn info_value(info: GibInfo) -> Value {
    let GibInfo::Hash { punctiliar_hash, tjp_gib, pieces_count } = info else {
        return object([("isPrimitive", true.into())]);
    };
    let mut map: Map = [("punctiliarHash", punctiliar_hash)].into_iter().collect();
    if let Some(tjp_gib) = tjp_gib {
        map.insert("tjpGib", tjp_gib);
    }
    map.insert("piecesCount", Value::Number(pieces_count as f64));
    map.insert("delimiter", ".");
    Value::Object(map)
}
