//! The words and numbers of the first generation (python-teos).

use super::{Inspected, Question, Refused, Seen, object};
use crate::gatekeeper::Subscription;
use crate::sealed::Locator;
use crate::signature::UserId;
use crate::watcher::{Refusal, Request as Handed};
use axum::extract::Request;
use axum::http::header;
use serde_json::{Map, Value, json};
use std::fmt;

const EMPTY_FIELD: i64 = -1;
const WRONG_FIELD_TYPE: i64 = -2;
const WRONG_FIELD_SIZE: i64 = -3;
const WRONG_FIELD_FORMAT: i64 = -4;
const FIELD_TOO_SMALL: i64 = -5;
const FIELD_TOO_BIG: i64 = -6;
const WRONG_FIELD: i64 = -7;
const INVALID_SIGNATURE_OR_SUBSCRIPTION: i64 = -8;
const ALREADY_TRIGGERED: i64 = -9;
const REGISTRATION_MISSING_FIELD: i64 = -33;
const REGISTRATION_WRONG_FIELD_FORMAT: i64 = -34;
const INVALID_REQUEST_FORMAT: i64 = -65;

/// Whether a request says that it is JSON.
pub(super) fn is_json(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

pub(super) fn members(is_json: bool, bytes: &[u8]) -> Result<Map<String, Value>, Inspected> {
    if !is_json {
        return Err(Inspected::new(INVALID_REQUEST_FORMAT, "Request is not json encoded"));
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(Inspected::new(INVALID_REQUEST_FORMAT, "Invalid request content")),
    }
}

/// What the original calls the type of a value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "<class 'NoneType'>",
        Value::Bool(_) => "<class 'bool'>",
        Value::Number(number) if number.is_f64() => "<class 'float'>",
        Value::Number(_) => "<class 'int'>",
        Value::String(_) => "<class 'str'>",
        Value::Array(_) => "<class 'list'>",
        Value::Object(_) => "<class 'dict'>",
    }
}

fn given<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a Value, Inspected> {
    let value = members.get(name).filter(|value| !value.is_null());
    value.ok_or_else(|| Inspected::new(EMPTY_FIELD, format!("empty {name} received")))
}

fn wrong_type(name: &str, value: &Value) -> Inspected {
    Inspected::new(WRONG_FIELD_TYPE, format!("wrong {name} data type ({})", kind(value)))
}

/// What was sent, as far as it is told back.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

pub(super) fn user(members: &Map<String, Value>) -> Result<UserId, Inspected> {
    let key = members.get("public_key").filter(|key| !matches!(key, Value::Null) && key.as_str() != Some(""));
    let Some(key) = key else {
        return Err(Inspected::new(REGISTRATION_MISSING_FIELD, "public_key not found in register message"));
    };
    key.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
        let what = "Provided public key does not match expected format (33-byte hex string)";
        Inspected::new(REGISTRATION_WRONG_FIELD_FORMAT, what)
    })
}

fn check_locator(members: &Map<String, Value>) -> Result<Locator, Inspected> {
    let value = given(members, "locator")?;
    let text = value.as_str().ok_or_else(|| wrong_type("locator", value))?;
    let length = text.chars().count();
    if length != 32 {
        return Err(Inspected::new(WRONG_FIELD_SIZE, format!("wrong locator size ({length})")));
    }
    text.parse().map_err(|_| Inspected::new(WRONG_FIELD_FORMAT, format!("wrong locator format ({})", shown(text))))
}

fn delay_too_small(got: &impl fmt::Display, least: u32) -> Inspected {
    let what = format!("to_self_delay too small. The to_self_delay should be at least {least} (current: {got})");
    Inspected::new(FIELD_TOO_SMALL, what)
}

fn check_to_self_delay(members: &Map<String, Value>, least: u32) -> Result<u32, Inspected> {
    let value = given(members, "to_self_delay")?;
    let Value::Number(number) = value else { return Err(wrong_type("to_self_delay", value)) };
    if let Some(delay) = number.as_u64().and_then(|delay| u32::try_from(delay).ok()) {
        return if delay < least { Err(delay_too_small(&delay, least)) } else { Ok(delay) };
    }
    if number.as_i64().is_some_and(|delay| delay < 0) {
        return Err(delay_too_small(number, least));
    }
    if number.is_f64() && number.as_f64().is_some_and(|delay| delay < 1e19) {
        return Err(wrong_type("to_self_delay", value));
    }
    let what = format!("to_self_delay must fit the transaction nLockTime field ({number} > {})", 1_u64 << 32);
    Err(Inspected::new(FIELD_TOO_BIG, what))
}

fn check_blob(members: &Map<String, Value>) -> Result<Vec<u8>, Inspected> {
    let value = given(members, "encrypted_blob")?;
    let text = value.as_str().ok_or_else(|| wrong_type("encrypted_blob", value))?;
    let bytes = hex::decode(text).ok().filter(|bytes| !bytes.is_empty());
    bytes.ok_or_else(|| Inspected::new(WRONG_FIELD_FORMAT, format!("wrong encrypted_blob format ({})", shown(text))))
}

/// No signature is one that nobody made.
pub(super) fn signature(members: &Map<String, Value>) -> String {
    members.get("signature").and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(super) fn appointment(members: &Map<String, Value>, delay_min: u32) -> Result<Handed, Inspected> {
    let it = match members.get("appointment") {
        None | Some(Value::Null) => return Err(Inspected::new(EMPTY_FIELD, "empty appointment received")),
        Some(Value::Object(it)) => it,
        Some(_) => return Err(Inspected::new(WRONG_FIELD, "wrong appointment format")),
    };
    let (locator, to_self_delay, sealed) = (check_locator(it)?, check_to_self_delay(it, delay_min)?, check_blob(it)?);
    Ok(Handed { locator, sealed, to_self_delay, signature: signature(members) })
}

pub(super) fn locator(members: &Map<String, Value>) -> Result<(Locator, String), Inspected> {
    Ok((check_locator(members)?, signature(members)))
}

pub(super) fn registered(user: &UserId, it: &Subscription, signature: String) -> Value {
    object([
        ("public_key", user.to_string().into()),
        ("user_id", user.to_string().into()),
        ("available_slots", it.slots.into()),
        ("subscription_expiry", it.expiry.into()),
        ("subscription_signature", signature.into()),
    ])
}

pub(super) fn seen(seen: &Seen) -> Value {
    match seen {
        Seen::Watched { locator, sealed, to_self_delay } => json!({
            "locator": locator.to_string(),
            "status": "being_watched",
            "appointment": {
                "locator": locator.to_string(),
                "encrypted_blob": hex::encode(sealed),
                "to_self_delay": to_self_delay,
            },
        }),
        Seen::Responded { locator, dispute_txid, penalty_txid, penalty } => json!({
            "locator": locator.to_string(),
            "status": "dispute_responded",
            "appointment": {
                "locator": locator.to_string(),
                "dispute_txid": dispute_txid.to_string(),
                "penalty_txid": penalty_txid.to_string(),
                "penalty_rawtx": hex::encode(penalty),
            },
        }),
    }
}

pub(super) fn info(it: &Subscription, locators: Vec<Value>) -> Value {
    object([
        ("available_slots", it.slots.into()),
        ("subscription_expiry", it.expiry.into()),
        ("appointments", locators.into()),
    ])
}

pub(super) fn refuse(question: Question, refused: &Refused, locator: &Value) -> (u16, Value) {
    let rejected = |error: &str| match question {
        Question::Add => format!("appointment rejected. {error}"),
        Question::Register | Question::Get | Question::Info => error.to_owned(),
    };
    let not_found = || (404, json!({"locator": locator, "status": "not_found"}));
    let (error, code) = match refused {
        // Whatever is wrong with the locator, there is no such appointment.
        Refused::Inspected(it) if question == Question::Get && it.code != INVALID_REQUEST_FORMAT => return not_found(),
        Refused::Inspected(it) if it.code == INVALID_REQUEST_FORMAT => (it.error.clone(), it.code),
        Refused::Inspected(it) => (rejected(&it.error), it.code),
        Refused::Unavailable => return (503, json!({"error": "Service unavailable"})),
        Refused::TooMany => {
            return (429, json!({"error": super::TOO_MANY, "error_code": REGISTRATION_WRONG_FIELD_FORMAT}));
        }
        Refused::Tower(refusal) => match refusal {
            Refusal::NotFound => return not_found(),
            Refusal::NotAUser if question == Question::Get => return not_found(),
            Refusal::NotAUser if question == Question::Info => {
                ("User not found. Have you registered?".into(), INVALID_SIGNATURE_OR_SUBSCRIPTION)
            }
            Refusal::NotAUser | Refusal::NotEnoughSlots { .. } => {
                let error = "Invalid signature or user does not have enough slots available";
                (rejected(error), INVALID_SIGNATURE_OR_SUBSCRIPTION)
            }
            Refusal::Expired(at) => {
                let error = format!("Your subscription expired at block {at}");
                (rejected(&error), INVALID_SIGNATURE_OR_SUBSCRIPTION)
            }
            Refusal::Full => return (503, json!({"error": "appointment rejected"})),
            Refusal::NoMoreUsers(_) => return (503, json!({"error": refusal.to_string()})),
            Refusal::Kept => (rejected(&refusal.to_string()), ALREADY_TRIGGERED),
            Refusal::AlreadyTriggered => {
                (rejected("The provided appointment has already been triggered"), ALREADY_TRIGGERED)
            }
            Refusal::BadAnswer(_) | Refusal::AnswerRefused => (rejected(&refusal.to_string()), WRONG_FIELD_FORMAT),
            Refusal::DelayTooShort { got, least } => {
                let Inspected { error, code } = delay_too_small(got, *least);
                (rejected(&error), code)
            }
            Refusal::Exhausted(_) => {
                ("Maximum slots reached for the subscription".into(), REGISTRATION_WRONG_FIELD_FORMAT)
            }
        },
    };
    (400, json!({"error": error, "error_code": code}))
}
