//! Errors of keystones.

/// A rule of strict validation that does not hold, in the order in which the rules are checked. `expected` and `got`
/// are the two things that disagree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: expected {expected}, got {got}")]
pub struct ValidateError {
    rule: &'static str,
    /// What the rule asks for.
    pub expected: String,
    /// What is there.
    pub got: String,
}

impl ValidateError {
    pub(crate) fn new(rule: &'static str, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { rule, expected: expected.into(), got: got.into() }
    }

    /// The rule's stable name; [`crate::attacks`] lists them.
    pub fn rule(&self) -> &'static str {
        self.rule
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

impl KeystoneError {
    /// The code for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Revoked => "identity_revoked",
            Self::WrongSecret => "identity_wrong_secret",
            Self::NoPool(_) => "identity_no_pool",
            Self::Exhausted(_) => "identity_exhausted",
            Self::UnknownDemand(_) => "identity_unknown_demand",
            Self::BindingExhausted => "binding_exhausted",
            Self::Config(_) => "identity_config",
            Self::Invalid(_) => "identity_invalid",
        }
    }
}
