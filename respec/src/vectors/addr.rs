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
    // An empty text counts as not given.
    let text = |key: &str| args.get(key).and_then(Value::as_str).filter(|s| !s.is_empty());
    let or_empty = |key: &str| text(key).unwrap_or("");
    // As in the original, whatever is not given is taken from the ibgib.
    let node = args.get("ibGib").and_then(node);
    let given = || node.clone().ok_or_else(|| Throws("ibGib is missing".into()));
    let value = |v: Value| object([("value", v)]);
    let of_node = |node: &IbGib| format!("{}^{}", node.ib, node.gib.as_deref().unwrap_or(""));
    Some(match name {
        "validateIbGibAddr" => compat::validate_addr(or_empty("addr"), or_empty("delimiter")).map(judged),
        "validateIb" => Ok(judged(compat::validate_ib(or_empty("ib"), or_empty("ibGibAddrDelimiter")))),
        "validateGib" => {
            compat::validate_gib(or_empty("gib"), or_empty("gibDelimiter"), or_empty("ibGibAddrDelimiter")).map(judged)
        }
        "getIbAndGib" => {
            let addr = text("ibGibAddr").map(str::to_owned).or(node.as_ref().map(of_node)).unwrap_or_default();
            compat::get_ib_and_gib(&addr, or_empty("delimiter"))
                .map(|(ib, gib)| value(object([("ib", ib.into()), ("gib", gib.into())])))
        }
        "getIbGibAddr" => {
            let ib = text("ib").or(node.as_ref().map(|n| n.ib.as_str())).unwrap_or("");
            let gib = text("gib").or(node.as_ref().and_then(|n| n.gib.as_deref())).unwrap_or("");
            let delimiter = args.get("delimiter").and_then(Value::as_str).unwrap_or("^");
            Ok(value(format!("{ib}{delimiter}{gib}").into()))
        }
        "getGibInfo" => {
            let gib = match text("gib") {
                Some(gib) => Ok(gib.to_owned()),
                None => compat::get_ib_and_gib(or_empty("ibGibAddr"), "^").map(|(_, gib)| gib),
            };
            let dot = text("gibDelimiter").unwrap_or(".");
            gib.and_then(|gib| compat::get_gib_info(&gib, dot)).map(|info| value(info_value(info, dot)))
        }
        "isPrimitive" => {
            let gib = match &node {
                Some(node) => node.gib.as_deref(),
                None => text("gib"),
            };
            Ok(value(compat::is_primitive(gib).into()))
        }
        "isDna" => given().map(|node| value(compat::is_dna(&node).into())),
        "hasTjp" => match &node {
            Some(node) => compat::has_tjp(node).map(|has| value(has.into())),
            None => Ok(value(false.into())),
        },
        "validateIbGibIntrinsically" => match &node {
            Some(node) => compat::validate_intrinsically(node).map(judged),
            None => Ok(judged(vec!["ibGib is missing".into()])),
        },
        "validateRel8nsIntrinsically" => {
            compat::validate_rel8ns(args.get("rel8ns").unwrap_or(&Value::Null)).map(judged)
        }
        _ => return None,
    })
}

fn node(value: &Value) -> Option<IbGib> {
    IbGib::from_value(value.clone(), Mode::Compat).ok()
}

fn judged(errors: Vec<String>) -> Value {
    object([("valid", errors.is_empty().into()), ("errorCount", Value::integer(errors.len()))])
}

fn info_value(info: GibInfo, delimiter: &str) -> Value {
    let GibInfo::Hash { punctiliar_hash, tjp_gib, pieces_count } = info else {
        return object([("isPrimitive", true.into())]);
    };
    let mut map: Map = [("punctiliarHash", punctiliar_hash)].into_iter().collect();
    if let Some(tjp_gib) = tjp_gib {
        map.insert("tjpGib", tjp_gib);
    }
    map.insert("piecesCount", Value::integer(pieces_count));
    map.insert("delimiter", delimiter);
    Value::Object(map)
}
