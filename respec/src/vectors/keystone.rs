//! Keystone cases, told by `input.op`.

use super::{Outcome, same, throws};
use ibgib::json::js;
use ibgib::transform::Moment;
use ibgib::{IbGib, Mode, Value, object, strings};
use ibgib_keystone::Solution;
use ibgib_keystone::compat::{self, SignInput, Stub, Throws};
use ibgib_keystone::strategy::hash_reveal::NAME;

/// Operations that these cases name.
pub(super) const OPS: [&str; 11] = [
    "derive",
    "validateSolution",
    "challengeId",
    "bindingMap",
    "requirements",
    "genesis",
    "sign",
    "revoke",
    "validate",
    "presets",
    "lifecycle",
];

pub(super) fn run(op: &str, input: &Value, expect: &Value) -> Outcome {
    match (call(op, input), throws(expect)) {
        (Err(_), true) => Outcome::Pass,
        (Ok(got), true) => Outcome::Fail(format!("expected an error, got {got}")),
        (Err(error), false) => Outcome::Fail(error.to_string()),
        (Ok(got), false) if same(&got, expect) && same_order(op, &got, expect) => Outcome::Pass,
        (Ok(got), false) => Outcome::Fail(format!("expected {expect}, got {got}")),
    }
}

/// Where the order of members is what the case is about, it is told apart as `order`.
fn same_order(op: &str, got: &Value, expect: &Value) -> bool {
    op != "bindingMap" || got.get("order") == expect.get("order")
}

fn list(value: Option<&Value>) -> Vec<String> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn node(input: &Value, name: &str) -> Result<IbGib, Throws> {
    let value = input.get(name).cloned().unwrap_or(Value::Null);
    IbGib::from_value(value, Mode::Compat).map_err(|e| Throws(e.to_string()))
}

fn stub(value: Option<&Value>) -> Stub {
    let number = |name: &str| value.and_then(|s| s.get(name)).and_then(Value::as_f64);
    let mut random = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    let bytes = value.and_then(|s| s.get("randomBytes")).and_then(Value::as_array).unwrap_or(&[]);
    for (to, from) in random.iter_mut().zip(bytes) {
        *to = from.as_u53().unwrap_or(0) as u8;
    }
    Stub {
        moment: Moment { now_ms: number("nowMs").unwrap_or(1_767_225_600_123.0) as i64, random },
        reversed: number("mathRandom").unwrap_or(0.5) > 0.5,
    }
}

fn sign_input(input: &Value) -> SignInput {
    let part = |name: &str| input.get(name).cloned();
    SignInput {
        claim: part("claim"),
        pool_id: part("poolId"),
        required: part("requiredChallengeIds"),
        frame_details: part("frameDetails"),
    }
}

fn configs(input: &Value) -> Result<&[Value], Throws> {
    input.get("configs").and_then(Value::as_array).ok_or_else(|| Throws("configs is no list".into()))
}

fn judged(errors: usize) -> Value {
    object([("valid", (errors == 0).into()), ("errorCount", Value::integer(errors))])
}

fn call(op: &str, input: &Value) -> Result<Value, Throws> {
    // What is no text is used as the text that ECMAScript makes of it.
    let text = |name: &str| js::text(input.get(name));
    let or = |name: &str, default: &str| input.get(name).map_or_else(|| default.to_owned(), |v| js::text(Some(v)));
    let null = Value::Null;
    let part = |name: &str| input.get(name).unwrap_or(&null);
    Ok(match op {
        "derive" => {
            let secret = compat::pool_secret(part("config"), &text("masterSecret"))?;
            let (pool_id, challenge_id) = (text("poolId"), text("challengeId"));
            let value = secret.solution(&challenge_id);
            let mut solution = Solution { kind: NAME.to_owned(), pool_id, challenge_id, value }.to_value();
            if let Some(solution) = solution.as_object_mut() {
                for name in ["poolId", "challengeId"] {
                    match input.get(name) {
                        Some(given) => drop(solution.insert(name, given.clone())),
                        None => drop(solution.remove(name)),
                    }
                }
            }
            object([
                ("poolSecret", String::from_utf8_lossy(secret.as_bytes()).into_owned().into()),
                ("solution", solution),
                ("challenge", secret.challenge(&text("challengeId")).to_value()),
            ])
        }
        "validateSolution" => {
            let valid = compat::validate_solution(part("config"), part("solution"), part("challenge"))?;
            object([("valid", valid.into())])
        }
        "challengeId" => {
            let id = compat::challenge_id(&text("salt"), &text("timestamp"), &text("index"));
            object([("challengeId", id.into())])
        }
        "bindingMap" => {
            let map = compat::binding_map(&list(input.get("add")), &list(input.get("remove")));
            let order = strings(map.keys());
            object([("bindingMap", map.into()), ("order", order)])
        }
        "requirements" => {
            let pool = match input.get("poolJson").and_then(Value::as_str) {
                Some(text) => Value::parse(text, Mode::Compat).map_err(|e| Throws(e.to_string()))?,
                None => part("pool").clone(),
            };
            let (required, target) = (input.get("requiredChallengeIds"), input.get("targetAddr"));
            let (mandatory, available) = compat::requirements_of(&pool, required, target)?;
            object([("mandatoryIds", strings(mandatory)), ("availableIds", strings(available))])
        }
        "genesis" => {
            let details = input.get("frameDetails");
            let frame = compat::genesis(&text("masterSecret"), configs(input)?, details, &stub(input.get("stub")))?;
            object([("ibGib", frame.to_value())])
        }
        "sign" => {
            let latest = node(input, "latestKeystone")?;
            let (frame, used) =
                compat::sign(&latest, &text("masterSecret"), &sign_input(input), &stub(input.get("stub")))?;
            object([("ibGib", frame.to_value()), ("usedIds", strings(used))])
        }
        "revoke" => {
            let latest = node(input, "latestKeystone")?;
            let details = input.get("frameDetails").cloned();
            let frame = {
                let stub = stub(input.get("stub"));
                compat::revoke(&latest, &text("masterSecret"), input.get("reason"), details, &stub)?
            };
            object([("ibGib", frame.to_value())])
        }
        "validate" => judged(compat::validate(&node(input, "prevIbGib")?, &node(input, "currentIbGib")?)?.len()),
        "presets" => {
            let (standard, revocation) =
                ibgib_keystone::config::presets(&or("standardSalt", "default"), &or("revocationSalt", "revoke"));
            object([("standard", standard), ("revocation", revocation)])
        }
        "lifecycle" => lifecycle(input)?,
        _ => return Err(Throws(format!("unknown op {op}"))),
    })
}

fn lifecycle(input: &Value) -> Result<Value, Throws> {
    let secret = &js::text(input.get("masterSecret"));
    let mut frames = vec![compat::genesis(secret, configs(input)?, None, &stub(input.get("genesisStub")))?];
    for step in input.get("steps").and_then(Value::as_array).unwrap_or(&[]) {
        let Some(latest) = frames.last() else { break };
        let (frame, _) = compat::sign(latest, secret, &sign_input(step), &stub(step.get("stub")))?;
        frames.push(frame);
    }
    let addr = |f: &IbGib| format!("{}^{}", f.ib, f.gib.as_deref().unwrap_or(""));
    Ok(object([
        ("addrs", strings(frames.iter().map(addr))),
        ("n", Value::Array(frames.iter().map(|f| f.datum("n").cloned().unwrap_or(Value::Null)).collect())),
        ("frames", Value::Array(frames.iter().map(IbGib::to_value).collect())),
    ]))
}
