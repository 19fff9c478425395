//! Configuration of `hash-reveal-v1`, by its JSON names.

use super::HashReveal;
use crate::strategy::PoolConfig;
use ibgib::{Value, object};

/// Challenges of one pool, and rounds of one derivation, at most.
const SIZE_MAX: u64 = 1024;
const ROUNDS_MAX: u64 = 1000;

/// The hash a pool uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algo {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algo {
    /// The JSON name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Sha512 => "SHA-512",
        }
    }

    /// By its JSON name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|a| a.as_str() == text)
    }
}

/// What happens to a pool when it signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replenish {
    /// Spent challenges go, as many new ones come.
    TopUp,
    /// All challenges go, a whole new pool comes.
    ReplaceAll,
    /// Spent challenges go.
    Consume,
    /// All challenges go.
    ScorchedEarth,
}

impl Replenish {
    /// The JSON name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TopUp => "top-up",
            Self::ReplaceAll => "replace-all",
            Self::Consume => "consume",
            Self::ScorchedEarth => "scorched-earth",
        }
    }

    /// By its JSON name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::TopUp, Self::ReplaceAll, Self::Consume, Self::ScorchedEarth].into_iter().find(|r| r.as_str() == text)
    }

    /// Whether all challenges go, not the spent ones alone.
    pub fn clears(self) -> bool {
        matches!(self, Self::ReplaceAll | Self::ScorchedEarth)
    }

    /// Whether new challenges come: as many as there were spent, or the whole pool's size when all went.
    pub fn refills(self) -> bool {
        matches!(self, Self::TopUp | Self::ReplaceAll)
    }
}

/// How a pool selects and replenishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behavior {
    /// Challenges in a full pool.
    pub size: usize,
    /// What happens to the pool when it signs.
    pub replenish: Replenish,
    /// Challenges taken from the front.
    pub select_sequentially: usize,
    /// Challenges taken at random.
    pub select_randomly: usize,
    /// Leading characters of the target's gib that each select a challenge.
    pub target_binding_chars: usize,
}

/// Configuration of one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashRevealConfig {
    /// Salt, and the pool's id.
    pub salt: String,
    /// Verbs it may sign; empty for any.
    pub allowed_verbs: Vec<String>,
    /// How it selects and replenishes.
    pub behavior: Behavior,
    /// Its hash.
    pub algo: Algo,
    /// Hash rounds of every derivation.
    pub rounds: usize,
}

impl From<HashRevealConfig> for PoolConfig {
    fn from(config: HashRevealConfig) -> Self {
        let count = |n: usize| Value::integer(n);
        let b = &config.behavior;
        let behavior = object([
            ("size", count(b.size)),
            ("replenish", b.replenish.as_str().into()),
            ("selectSequentially", count(b.select_sequentially)),
            ("selectRandomly", count(b.select_randomly)),
            ("targetBindingChars", count(b.target_binding_chars)),
        ]);
        let parameters =
            [("behavior", behavior), ("algo", config.algo.as_str().into()), ("rounds", count(config.rounds))];
        Self::new(&HashReveal, &config.salt, &config.allowed_verbs, parameters)
    }
}

impl HashRevealConfig {
    /// Reads a configuration of this strategy; `Err` says what is wrong.
    ///
    /// # Errors
    /// What is missing or out of bounds, for a reader.
    pub fn read(config: &PoolConfig) -> Result<Self, String> {
        let behavior = config.member("behavior");
        let part = |name: &str| behavior.and_then(|b| b.get(name));
        let text = |value: Option<&Value>, name: &str| -> Result<String, String> {
            value.and_then(Value::as_str).map(str::to_owned).ok_or_else(|| format!("{name} is missing"))
        };
        let number = |value: Option<&Value>, name: &str, max: u64| -> Result<usize, String> {
            let n = value.and_then(Value::as_u53).filter(|n| *n <= max);
            n.map(|n| n as usize).ok_or_else(|| format!("{name} must be 0 to {max}"))
        };
        let algo = text(config.member("algo"), "algo")?;
        let replenish = text(part("replenish"), "replenish")?;
        let read = Self {
            salt: config.salt().to_owned(),
            allowed_verbs: config.allowed_verbs().to_vec(),
            behavior: Behavior {
                size: number(part("size"), "size", SIZE_MAX)?,
                replenish: Replenish::parse(&replenish).ok_or_else(|| format!("unknown replenish {replenish:?}"))?,
                select_sequentially: number(part("selectSequentially"), "selectSequentially", SIZE_MAX)?,
                select_randomly: number(part("selectRandomly"), "selectRandomly", SIZE_MAX)?,
                target_binding_chars: number(part("targetBindingChars"), "targetBindingChars", 64)?,
            },
            algo: Algo::parse(&algo).ok_or_else(|| format!("unknown algo {algo:?}"))?,
            rounds: number(config.member("rounds"), "rounds", ROUNDS_MAX)?,
        };
        if read.behavior.size == 0 || read.rounds == 0 {
            return Err("size and rounds must be at least 1".into());
        }
        Ok(read)
    }
}
