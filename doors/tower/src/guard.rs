//! What guards an identity: a revocation that waits, in the form in which all answers of this protocol travel.
//!
//! The trigger of a guarded state is that two frames follow it, which only who has the identity's secret can bring about.
//! It has an id as a transaction has, so that locator and seal are made of it as of any other: the hash of the state's
//! address *and of the user*, whom nobody but he and the tower knows. So nobody else can tell from what is public which states are guarded,
//! or open a sealed answer that he came by. The tower itself may: what it finds it can only hand to the server, together
//! with the two frames, and it can make none (`ibgib_keystone::waiting_revocation`).
//!
//! The answer is a transaction with the trigger as its only input and the revocation as the script of its only output.

use crate::signature::UserId;
use crate::transaction::{Transaction, Txid};
use ibgib::{Addr, IbGib, Verified};
use sha2::{Digest as _, Sha256};

/// What is hashed first, so that the id is no other hash.
const DOMAIN: &str = "ibgib guard trigger";
/// Version, one input, and of it all that follows its id.
const BEFORE: [u8; 5] = [2, 0, 0, 0, 1];
const BETWEEN: [u8; 18] = [0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 0];
/// What begins a length of two bytes and one of four; what follows the script.
const TWO: u8 = 0xfd;
const FOUR: u8 = 0xfe;
const AFTER: [u8; 4] = [0; 4];

/// The id of the event that two frames follow `state`, for this user.
pub fn trigger(user: &UserId, state: &Addr) -> Txid {
    Txid::from_internal(Sha256::digest(format!("{DOMAIN}\n{user}\n{state}")).into())
}

/// The answer to a trigger: the revocation that waited for it.
pub fn answer(revocation: &Verified<IbGib>, trigger: &Txid) -> Vec<u8> {
    let script = revocation.to_json().into_bytes();
    // A frame is longer than the lengths that one byte writes; a length is written as short as can be.
    let length = match (u16::try_from(script.len()), u32::try_from(script.len())) {
        (Ok(length), _) => [&[TWO][..], &length.to_le_bytes()].concat(),
        (_, length) => [&[FOUR][..], &length.unwrap_or(u32::MAX).to_le_bytes()].concat(),
    };
    [&BEFORE[..], trigger.internal(), &BETWEEN, &length, &script, &AFTER].concat()
}

/// The text of the revocation in an answer; `None` for a transaction that holds none.
pub(crate) fn revocation(answer: &Transaction) -> Option<&str> {
    let raw = answer.raw();
    let (length, rest) = raw.get(BEFORE.len() + 32 + BETWEEN.len()..)?.split_first()?;
    let skipped = match *length {
        TWO => 2,
        FOUR => 4,
        _ => return None,
    };
    let script = rest.get(skipped..rest.len().checked_sub(AFTER.len())?)?;
    std::str::from_utf8(script).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::SecretKey;
    use ibgib::Map;

    #[test]
    fn an_answer_is_a_transaction_that_holds_the_revocation() {
        let user = SecretKey::from_bytes(&[1; 32]).unwrap().id();
        for length in [200, 3_000, 70_000] {
            let data = Map::from_iter([("long", "x".repeat(length))]);
            let frame = IbGib { ib: "keystone".into(), data: Some(data.into()), ..IbGib::default() }.seal().unwrap();
            let raw = answer(&frame, &trigger(&user, frame.addr()));
            let read = Transaction::parse(raw).unwrap();
            assert_eq!(revocation(&read), Some(frame.to_json().as_str()));
        }
    }

    #[test]
    fn any_other_transaction_holds_none_or_a_text_that_is_no_frame() {
        let raw = hex::decode(include_str!("../tests/transaction.hex").trim()).unwrap();
        let read = Transaction::parse(raw).unwrap();
        assert!(revocation(&read).is_none_or(|text| Verified::<IbGib>::parse(text).is_err()));
    }

    #[test]
    fn a_trigger_is_of_one_user_and_one_state() {
        let [one, two] = [1, 2].map(|n| SecretKey::from_bytes(&[n; 32]).unwrap().id());
        let [here, there]: [Addr; 2] = ["a^gib", "b^gib"].map(|addr| addr.parse().unwrap());
        assert_eq!(trigger(&one, &here), trigger(&one, &here));
        assert_ne!(trigger(&one, &here), trigger(&two, &here));
        assert_ne!(trigger(&one, &here), trigger(&one, &there));
    }
}
