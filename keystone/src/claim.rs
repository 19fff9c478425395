//! What a frame claims and how it proves it, by the members' JSON names.

use crate::VERB_GUARD;
use crate::error::{Rule, ValidateError};
use ibgib::{IbGib, Map, Value, object, strings};

/// What is claimed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// What it is for.
    pub verb: String,
    /// What it is about: an address, or any text.
    pub target: String,
    /// What it is limited to.
    pub scope: Option<String>,
    /// Who it is for: the id of the peer meant.
    pub audience: Option<String>,
    /// What the peer meant asked to be repeated, so that it is of this session.
    pub nonce: Option<String>,
}

impl Claim {
    /// As JSON.
    pub fn to_value(&self) -> Value {
        let mut map: Map = [("verb", self.verb.as_str()), ("target", self.target.as_str())].into_iter().collect();
        for (name, part) in [("scope", &self.scope), ("audience", &self.audience), ("nonce", &self.nonce)] {
            if let Some(part) = part {
                map.insert(name, part.as_str());
            }
        }
        Value::Object(map)
    }

    /// Reads a claim; `None` unless verb and target are there and not empty.
    pub fn parse(value: &Value) -> Option<Self> {
        let part = |name: &str| value.get(name).and_then(Value::as_str);
        let required = |name: &str| part(name).filter(|text| !text.is_empty()).map(str::to_owned);
        Some(Self {
            verb: required("verb")?,
            target: required("target")?,
            scope: part("scope").map(str::to_owned),
            audience: part("audience").map(str::to_owned),
            nonce: part("nonce").map(str::to_owned),
        })
    }
}

/// The answer to one challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solution {
    /// The strategy's name.
    pub kind: String,
    /// The pool that the challenge is of.
    pub pool_id: String,
    /// The challenge.
    pub challenge_id: String,
    /// What solves it; what it is made of is the strategy's affair.
    pub value: String,
}

impl Solution {
    /// As JSON, members in the original's order (the order is hashed).
    pub fn to_value(&self) -> Value {
        object([
            ("type", self.kind.as_str().into()),
            ("poolId", self.pool_id.as_str().into()),
            ("challengeId", self.challenge_id.as_str().into()),
            ("value", self.value.as_str().into()),
        ])
    }

    /// Reads a solution. A member that is missing reads as an empty text, which no rule takes.
    pub fn parse(value: &Value) -> Self {
        let part = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { kind: part("type"), pool_id: part("poolId"), challenge_id: part("challengeId"), value: part("value") }
    }
}

/// A claim and the solutions that prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The claim.
    pub claim: Claim,
    /// At least one, all of one pool.
    pub solutions: Vec<Solution>,
    /// Ids of the challenges that the verifier demanded.
    pub demanded: Vec<String>,
}

impl Proof {
    /// As JSON; no member `requiredChallengeIds` when nothing was demanded.
    pub fn to_value(&self) -> Value {
        let solutions: Vec<Value> = self.solutions.iter().map(Solution::to_value).collect();
        let mut map: Map = [("claim", self.claim.to_value()), ("solutions", solutions.into())].into_iter().collect();
        if !self.demanded.is_empty() {
            map.insert("requiredChallengeIds", strings(self.demanded.iter().map(String::as_str)));
        }
        Value::Object(map)
    }

    /// Reads a proof.
    ///
    /// # Errors
    /// The rules `claim_incomplete`, `no_solutions`, `demand`.
    pub fn parse(value: &Value) -> Result<Self, ValidateError> {
        let claim = value.get("claim");
        let Some(read) = claim.and_then(Claim::parse) else {
            let got = claim.map_or("none".into(), Value::to_json);
            return Err(ValidateError::new(Rule::ClaimIncomplete, "verb and target", got));
        };
        let solutions = value.get("solutions").and_then(Value::as_array).unwrap_or_default();
        if solutions.is_empty() {
            return Err(ValidateError::new(Rule::NoSolutions, "at least one", "none"));
        }
        let text = |id: &Value| id.as_str().map(str::to_owned);
        let demanded = match value.get("requiredChallengeIds") {
            None => Some(Vec::new()),
            Some(list) => list.as_array().and_then(|ids| ids.iter().map(text).collect()),
        };
        let Some(demanded) = demanded else {
            return Err(ValidateError::new(Rule::Demand, "a list of ids", "something else"));
        };
        Ok(Self { claim: read, solutions: solutions.iter().map(Solution::parse).collect(), demanded })
    }

    /// The solved challenges, in order.
    pub fn ids(&self) -> Vec<String> {
        self.solutions.iter().map(|solution| solution.challenge_id.clone()).collect()
    }
}

/// The proofs of a frame, as they stand.
pub(crate) fn proofs(frame: &IbGib) -> &[Value] {
    frame.datum("proofs").and_then(Value::as_array).unwrap_or_default()
}

/// Whether a frame says that it is a revocation that waits.
pub fn is_waiting(frame: &IbGib) -> bool {
    let [written] = proofs(frame) else { return false };
    Proof::parse(written).is_ok_and(|proof| proof.claim.verb == VERB_GUARD)
}
