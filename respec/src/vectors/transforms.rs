//! Cases `{input: {op: fork|mut8|rel8|firstGen|chain}}`: the four transforms.

use super::{Outcome, same, throws};
use ibgib::compat::transform as compat;
use ibgib::transform::{Moment, TransformError, Unchecked};
use ibgib::{IbGib, Map, Value};

pub(super) fn run(op: &str, input: &Value, expect: &Value) -> Outcome {
    if op == "chain" {
        return chain(input, expect);
    }
    let opts = input.get("opts").cloned().unwrap_or(Value::Null);
    match (call(op, &opts, moment(input)), throws(expect)) {
        (Err(_), true) => Outcome::Pass,
        (Ok(made), true) => Outcome::Fail(format!("expected an error, got {}", made.new_ibgib.to_json())),
        (Err(error), false) => Outcome::Fail(error.to_string()),
        (Ok(made), false) => compare(expect, &made),
    }
}

fn chain(input: &Value, expect: &Value) -> Outcome {
    let steps = input.get("steps").and_then(Value::as_array).unwrap_or(&[]);
    let results = expect.get("results").and_then(Value::as_array).unwrap_or(&[]);
    let throws_at = expect.get("throwsAtStep").and_then(Value::as_u53);
    let mut made: Vec<IbGib> = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let op = step.get("op").and_then(Value::as_str).unwrap_or("");
        let mut opts = step.get("opts").and_then(Value::as_object).cloned().unwrap_or_default();
        let from = step.get("srcFrom").and_then(Value::as_u53).map_or(made.len().wrapping_sub(1), |n| n as usize);
        if let Some(src) = made.get(from) {
            let name = if op == "firstGen" { "parentIbGib" } else { "src" };
            if !opts.contains_key(name) {
                opts.insert(name, src.to_value());
            }
        }
        match call(op, &Value::Object(opts), moment(step)) {
            Err(_) if throws_at == Some(i as u64) => return Outcome::equal("results", &results.len(), &i),
            Err(error) => return Outcome::Fail(format!("step {i}: {error}")),
            Ok(_) if throws_at == Some(i as u64) => return Outcome::Fail(format!("step {i}: expected an error")),
            Ok(step_made) => {
                let Some(expected) = results.get(i) else {
                    return Outcome::Fail(format!("step {i}: no result to compare with"));
                };
                if let Outcome::Fail(why) = compare(expected, &step_made) {
                    return Outcome::Fail(format!("step {i}: {why}"));
                }
                made.push(step_made.new_ibgib);
            }
        }
    }
    match throws_at {
        Some(step) => Outcome::Fail(format!("expected an error in step {step}, there are {} steps", steps.len())),
        None => Outcome::equal("results", &results.len(), &steps.len()),
    }
}

fn call(op: &str, opts: &Value, moment: Moment) -> Result<Unchecked, TransformError> {
    match op {
        "fork" => compat::fork(opts, &moment),
        "mut8" => compat::mut8(opts, &moment),
        "rel8" => compat::rel8(opts, &moment),
        "firstGen" => compat::first_gen(opts, &moment),
        _ => Err(TransformError::Refused(format!("unknown op {op}"))),
    }
}

/// The recorded clock and random bytes, or those that all other cases were made with.
fn moment(input: &Value) -> Moment {
    let stub = input.get("stub");
    let now_ms = stub.and_then(|s| s.get("nowMs")).and_then(Value::as_f64).unwrap_or(1_767_225_600_123.0) as i64;
    let bytes = stub.and_then(|s| s.get("randomBytes")).and_then(Value::as_array);
    let mut random = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    for (to, from) in random.iter_mut().zip(bytes.unwrap_or(&[])) {
        *to = from.as_u53().unwrap_or(0) as u8;
    }
    Moment { now_ms, random }
}

fn compare(expect: &Value, made: &Unchecked) -> Outcome {
    let list = |nodes: &[IbGib]| Value::Array(nodes.iter().map(IbGib::to_value).collect());
    let mut got: Map = [("newIbGib", made.new_ibgib.to_value())].into_iter().collect();
    if !made.dnas.is_empty() {
        got.insert("dnas", list(&made.dnas));
    }
    if !made.intermediates.is_empty() {
        got.insert("intermediateIbGibs", list(&made.intermediates));
    }
    let got = Value::Object(got);
    if same(expect, &got) { Outcome::Pass } else { Outcome::Fail(format!("expected {expect}, got {got}")) }
}
