//! Configuration of `lms-v1`, by its JSON names.

use super::Lms;
use super::ots::Parameters;
use crate::strategy::PoolConfig;
use ibgib::Value;

/// Bits of a Winternitz digit: wider digits make shorter signatures that take longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// LMOTS_SHA256_N24_W4: one-time signatures of 1,252 bytes, trees built fast; for sessions.
    W4,
    /// LMOTS_SHA256_N24_W8: one-time signatures of 652 bytes; for identities, whose frames are kept.
    W8,
}

/// Height of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Height {
    /// LMS_SHA256_M24_H5: 32 leaves.
    H5,
    /// LMS_SHA256_M24_H10: 1,024 leaves.
    H10,
}

/// What follows a tree whose leaves come to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextTree {
    /// Another tree, in a frame that one of the last leaves signs.
    Follows,
    /// Nothing: the pool is used up.
    Never,
}

impl NextTree {
    /// The JSON name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Follows => "next-tree",
            Self::Never => "consume",
        }
    }
}

/// Configuration of one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LmsConfig {
    /// Salt, and the pool's id.
    pub salt: String,
    /// Verbs it may sign; empty for any.
    pub allowed_verbs: Vec<String>,
    /// Bits of a digit.
    pub width: Width,
    /// Height of its trees.
    pub height: Height,
    /// What follows a tree.
    pub replenish: NextTree,
}

impl From<LmsConfig> for PoolConfig {
    fn from(config: LmsConfig) -> Self {
        let set = config.parameters();
        let parameters =
            [("w", set.w.into()), ("height", set.h.into()), ("replenish", config.replenish.as_str().into())];
        Self::new(&Lms, &config.salt, &config.allowed_verbs, parameters)
    }
}

impl LmsConfig {
    /// Reads a configuration of this strategy.
    ///
    /// # Errors
    /// What is missing or not known, for a reader.
    pub fn read(config: &PoolConfig) -> Result<Self, String> {
        let number = |name: &str| config.member(name).and_then(Value::as_u53);
        Ok(Self {
            salt: config.salt().to_owned(),
            allowed_verbs: config.allowed_verbs().to_vec(),
            width: match number("w") {
                Some(4) => Width::W4,
                Some(8) => Width::W8,
                _ => return Err("w must be 4 or 8".into()),
            },
            height: match number("height") {
                Some(5) => Height::H5,
                Some(10) => Height::H10,
                _ => return Err("height must be 5 or 10".into()),
            },
            replenish: match config.member("replenish").and_then(Value::as_str) {
                Some("next-tree") => NextTree::Follows,
                Some("consume") => NextTree::Never,
                _ => return Err("replenish must be next-tree or consume".into()),
            },
        })
    }

    pub(super) fn parameters(&self) -> Parameters {
        Parameters {
            n: 24,
            w: match self.width {
                Width::W4 => 4,
                Width::W8 => 8,
            },
            h: match self.height {
                Height::H5 => 5,
                Height::H10 => 10,
            },
        }
    }
}
