//! The words and numbers of the second generation (rust-teos).

use super::{Inspected, Question, Refused, Seen, object};
use crate::gatekeeper::Subscription;
use crate::sealed::Locator;
use crate::signature::UserId;
use crate::watcher::{Refusal, Request as Handed};
use serde::Deserialize;
use serde_json::{Value, json};

const MISSING_FIELD: i64 = 1;
const EMPTY_FIELD: i64 = 2;
const WRONG_FIELD_TYPE: i64 = 3;
const WRONG_FIELD_SIZE: i64 = 4;
const WRONG_FIELD_FORMAT: i64 = 5;
const INVALID_REQUEST_FORMAT: i64 = 6;
const INVALID_SIGNATURE_OR_SUBSCRIPTION: i64 = 7;
const SERVICE_UNAVAILABLE: i64 = 32;
const APPOINTMENT_FIELD_TOO_SMALL: i64 = 33;
const APPOINTMENT_ALREADY_TRIGGERED: i64 = 35;
const APPOINTMENT_NOT_FOUND: i64 = 36;
const REGISTRATION_RESOURCE_EXHAUSTED: i64 = 65;

#[derive(Deserialize)]
struct RegisterRequest {
    #[serde(with = "hex::serde")]
    user_id: Vec<u8>,
}

/// Clients show what they are told, and that names the original's type.
#[derive(Deserialize)]
struct Appointment {
    #[serde(with = "hex::serde")]
    locator: Vec<u8>,
    #[serde(with = "hex::serde")]
    encrypted_blob: Vec<u8>,
    to_self_delay: u32,
}

#[derive(Deserialize)]
struct AddAppointmentRequest {
    appointment: Option<Appointment>,
    signature: String,
}

#[derive(Deserialize)]
struct GetAppointmentRequest {
    #[serde(with = "hex::serde")]
    locator: Vec<u8>,
    signature: String,
}

#[derive(Deserialize)]
struct GetSubscriptionInfoRequest {
    signature: String,
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Inspected> {
    serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        if text.contains("invalid type") {
            Inspected::new(WRONG_FIELD_TYPE, text)
        } else if text.contains("missing field") {
            Inspected::new(MISSING_FIELD, text.split(" at").next().unwrap_or(&text))
        } else if text.contains("Odd number of digits") || text.contains("Invalid character") {
            Inspected::new(WRONG_FIELD_FORMAT, text)
        } else {
            Inspected::new(INVALID_REQUEST_FORMAT, text)
        }
    })
}

fn sized<const N: usize>(name: &str, bytes: &[u8]) -> Result<[u8; N], Inspected> {
    if bytes.is_empty() {
        return Err(empty(name));
    }
    bytes.try_into().map_err(|_| {
        let got = bytes.len();
        Inspected::new(WRONG_FIELD_SIZE, format!("Wrong `{name}` field size. Expected {N}, received {got}"))
    })
}

fn empty(name: &str) -> Inspected {
    Inspected::new(EMPTY_FIELD, format!("`{name}` field is empty"))
}

fn signed(signature: String) -> Result<String, Inspected> {
    if signature.is_empty() { Err(empty("signature")) } else { Ok(signature) }
}

pub(super) fn user(bytes: &[u8]) -> Result<UserId, Inspected> {
    let RegisterRequest { user_id } = parse(bytes)?;
    let user_id: [u8; 33] = sized("user_id", &user_id)?;
    hex::encode(user_id).parse().map_err(|_| {
        let what = "Provided public key does not match expected format (33-byte compressed key)";
        Inspected::new(WRONG_FIELD_FORMAT, what)
    })
}

pub(super) fn appointment(bytes: &[u8]) -> Result<Handed, Inspected> {
    let AddAppointmentRequest { appointment, signature } = parse(bytes)?;
    let Some(it) = appointment else { return Err(Inspected::new(MISSING_FIELD, "missing field `appointment`")) };
    let locator = Locator::from_bytes(sized("locator", &it.locator)?);
    Ok(Handed { locator, sealed: it.encrypted_blob, to_self_delay: it.to_self_delay, signature: signed(signature)? })
}

pub(super) fn locator(bytes: &[u8]) -> Result<(Locator, String), Inspected> {
    let GetAppointmentRequest { locator, signature } = parse(bytes)?;
    Ok((Locator::from_bytes(sized("locator", &locator)?), signed(signature)?))
}

pub(super) fn signature(bytes: &[u8]) -> Result<String, Inspected> {
    let GetSubscriptionInfoRequest { signature } = parse(bytes)?;
    signed(signature)
}

pub(super) fn registered(user: &UserId, it: &Subscription, signature: String) -> Value {
    object([
        ("user_id", user.to_string().into()),
        ("available_slots", it.slots.into()),
        ("subscription_start", it.start.into()),
        ("subscription_expiry", it.expiry.into()),
        ("subscription_signature", signature.into()),
    ])
}

pub(super) fn seen(seen: &Seen) -> Value {
    match seen {
        Seen::Watched { locator, sealed, to_self_delay } => json!({
            "appointment": {
                "locator": locator.to_string(),
                "encrypted_blob": hex::encode(sealed),
                "to_self_delay": to_self_delay,
            },
            "status": "being_watched",
        }),
        Seen::Responded { dispute_txid, penalty_txid, penalty, .. } => json!({
            "appointment": {
                "dispute_txid": dispute_txid.to_string(),
                "penalty_txid": penalty_txid.to_string(),
                "penalty_rawtx": hex::encode(penalty),
            },
            "status": "dispute_responded",
        }),
    }
}

pub(super) fn info(it: &Subscription, locators: Vec<Value>) -> Value {
    object([
        ("available_slots", it.slots.into()),
        ("subscription_expiry", it.expiry.into()),
        ("locators", locators.into()),
    ])
}

pub(super) fn refuse(question: Question, refused: &Refused) -> (u16, Value) {
    let (status, error, code) = match refused {
        Refused::Inspected(Inspected { error, code }) => (400, error.clone(), *code),
        Refused::Unavailable => (503, "Service currently unavailable".into(), SERVICE_UNAVAILABLE),
        Refused::TooMany => (429, super::TOO_MANY.into(), REGISTRATION_RESOURCE_EXHAUSTED),
        Refused::Tower(refusal) => match refusal {
            Refusal::NotAUser | Refusal::NotEnoughSlots { .. } => {
                let error = match question {
                    Question::Get => "User cannot be authenticated",
                    Question::Info => "User not found. Have you registered?",
                    Question::Register | Question::Add => {
                        "Invalid signature or user does not have enough slots available"
                    }
                };
                (401, error.into(), INVALID_SIGNATURE_OR_SUBSCRIPTION)
            }
            Refusal::Expired(at) => {
                (401, format!("Your subscription expired at {at}"), INVALID_SIGNATURE_OR_SUBSCRIPTION)
            }
            Refusal::Full | Refusal::NoMoreUsers(_) => (503, refusal.to_string(), SERVICE_UNAVAILABLE),
            Refusal::AlreadyTriggered => {
                let error = "The provided appointment has already been triggered";
                (400, error.into(), APPOINTMENT_ALREADY_TRIGGERED)
            }
            Refusal::Kept => (400, refusal.to_string(), APPOINTMENT_ALREADY_TRIGGERED),
            Refusal::BadAnswer(_) | Refusal::AnswerRefused => (400, refusal.to_string(), WRONG_FIELD_FORMAT),
            Refusal::DelayTooShort { .. } => (400, refusal.to_string(), APPOINTMENT_FIELD_TOO_SMALL),
            Refusal::Exhausted(_) => {
                (400, "Subscription maximum slots count reached".into(), REGISTRATION_RESOURCE_EXHAUSTED)
            }
            Refusal::NotFound => (404, "Appointment not found".into(), APPOINTMENT_NOT_FOUND),
        },
    };
    (status, json!({"error": error, "error_code": code}))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the original says names its own types.
    #[test]
    fn what_is_no_request_is_told_in_the_words_of_the_original() {
        let told = |refused: Inspected| (refused.code, refused.error);
        let wrong = |what: &str| {
            (WRONG_FIELD_TYPE, format!("invalid type: integer `7`, expected struct {what} at line 1 column 1"))
        };
        assert_eq!(told(user(b"7").unwrap_err()), wrong("RegisterRequest"));
        assert_eq!(told(appointment(b"7").unwrap_err()), wrong("AddAppointmentRequest"));
        assert_eq!(told(locator(b"7").unwrap_err()), wrong("GetAppointmentRequest"));
        assert_eq!(told(signature(b"7").unwrap_err()), wrong("GetSubscriptionInfoRequest"));
        let member = appointment(br#"{"appointment":7,"signature":"x"}"#).unwrap_err();
        let what = "invalid type: integer `7`, expected struct Appointment at line 1 column 16";
        assert_eq!(told(member), (WRONG_FIELD_TYPE, what.to_owned()));
        let member = appointment(br#"{"appointment":[],"signature":"x"}"#).unwrap_err();
        let what = "invalid length 0, expected struct Appointment with 3 elements at line 1 column 17";
        assert_eq!(told(member), (INVALID_REQUEST_FORMAT, what.to_owned()));
    }
}
