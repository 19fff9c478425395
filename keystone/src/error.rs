//! Errors of keystones.

/// A rule of strict validation. [`crate::attacks`] lists what each of them stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// A frame's ib is `keystone`.
    Ib,
    /// A genesis has n 0, every other frame one more than the frame before.
    N,
    /// A genesis says that it is the first; every other frame is of its timeline.
    Tjp,
    /// A genesis has no past; every other frame follows the frame before.
    Past,
    /// A genesis has no proof, every other frame exactly one.
    Proofs,
    /// Nothing follows a revocation.
    Revoked,
    /// A revocation and a claim to revoke the frame before come together, with one proof.
    Revocation,
    /// A frame that takes an identity back is about the frame before and brings new pools only, with a way to do it again.
    Recovery,
    /// A revocation that waits holds only beside two frames that follow the same one.
    Guard,
    /// Pools are readable, and full in a genesis.
    Pools,
    /// No two pools have one id.
    PoolRepeated,
    /// A claim has verb and target.
    ClaimIncomplete,
    /// A proof has solutions.
    NoSolutions,
    /// What the verifier demanded is recorded, and of the pool.
    Demand,
    /// The claim is the one that the verifier expects.
    ClaimUnexpected,
    /// All solutions are of one pool.
    PoolsMixed,
    /// The frame before has that pool.
    PoolUnknown,
    /// The pool may sign the verb.
    Verb,
    /// No challenge is solved twice.
    SolutionRepeated,
    /// Solutions are of the pool's type.
    SolutionType,
    /// Only the pool that signs changes.
    OtherPool,
    /// The challenges solved are those that the pool's policy selects.
    Selection,
    /// No challenge is ever solved twice or comes back.
    Spent,
    /// A proof has no member that nobody reads, where the strategy signs all but the proof.
    ProofForm,
    /// A solution answers its challenge.
    SolutionWrong,
    /// The pool that signs changes as its rule says.
    NextPool,
}

impl Rule {
    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ib => "ib",
            Self::N => "n",
            Self::Tjp => "tjp",
            Self::Past => "past",
            Self::Proofs => "proofs",
            Self::Revoked => "revoked",
            Self::Revocation => "revocation",
            Self::Recovery => "recovery",
            Self::Guard => "guard",
            Self::Pools => "pools",
            Self::PoolRepeated => "pool_repeated",
            Self::ClaimIncomplete => "claim_incomplete",
            Self::NoSolutions => "no_solutions",
            Self::Demand => "demand",
            Self::ClaimUnexpected => "claim_unexpected",
            Self::PoolsMixed => "pools_mixed",
            Self::PoolUnknown => "pool_unknown",
            Self::Verb => "verb",
            Self::SolutionRepeated => "solution_repeated",
            Self::SolutionType => "solution_type",
            Self::OtherPool => "other_pool",
            Self::Selection => "selection",
            Self::Spent => "spent",
            Self::ProofForm => "proof_form",
            Self::SolutionWrong => "solution_wrong",
            Self::NextPool => "next_pool",
        }
    }
}

/// A rule of strict validation that does not hold, in the order in which the rules are checked. `expected` and `got`
/// are the two things that disagree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: expected {expected}, got {got}", .rule.as_str())]
pub struct ValidateError {
    /// The rule.
    pub rule: Rule,
    /// What the rule asks for.
    pub expected: String,
    /// What is there.
    pub got: String,
}

impl ValidateError {
    pub(crate) fn new(rule: Rule, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { rule, expected: expected.into(), got: got.into() }
    }

    /// The rule's stable name.
    pub fn rule(&self) -> &'static str {
        self.rule.as_str()
    }
}

/// Why a keystone cannot be made or cannot sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoneError {
    /// The identity is revoked.
    #[error("the identity is revoked")]
    Revoked,
    /// The secret does not belong to the identity.
    #[error("the secret does not belong to this identity")]
    WrongSecret,
    /// No pool may sign this verb.
    #[error("no pool of this identity may sign {0:?}")]
    NoPool(String),
    /// The pool has too few challenges left.
    #[error("the pool for {0:?} is used up")]
    Exhausted(String),
    /// A demanded challenge is not in the pool.
    #[error("challenge {0:?} is demanded but not in the pool")]
    UnknownDemand(String),
    /// No leaf from this one on was set aside for the signature: set a range aside durably, then sign.
    #[error("leaf {0} of the pool's tree is not set aside")]
    LeafNotReserved(u32),
    /// The pool's binding cannot serve this target: make another one.
    #[error("no challenge is left that binds this target")]
    BindingExhausted,
    /// A configuration that cannot make an identity.
    #[error("bad pool configuration: {0}")]
    Config(String),
    /// The frame made does not validate: a defect of ours or of the caller's details.
    #[error("the frame made does not validate: {0}")]
    Invalid(String),
}
