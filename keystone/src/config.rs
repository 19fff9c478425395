//! Pool configurations, by their JSON names.

use crate::secret::Entropy;
use crate::{VERB_CONNECT, VERB_MANAGE, VERB_REVOKE, VERB_SYNC};
use ibgib::{Map, Value, object, strings};

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

/// One pool's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
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

/// Name of the only strategy there is.
pub const HASH_REVEAL: &str = "hash-reveal-v1";

fn count(n: usize) -> Value {
    Value::Number(n as f64)
}

impl PoolConfig {
    /// As JSON, members in the original's order (the order is hashed).
    pub fn to_value(&self) -> Value {
        let b = &self.behavior;
        object([
            ("type", HASH_REVEAL.into()),
            ("salt", self.salt.as_str().into()),
            ("allowedVerbs", strings(self.allowed_verbs.iter().map(String::as_str))),
            (
                "behavior",
                object([
                    ("size", count(b.size)),
                    ("replenish", b.replenish.as_str().into()),
                    ("selectSequentially", count(b.select_sequentially)),
                    ("selectRandomly", count(b.select_randomly)),
                    ("targetBindingChars", count(b.target_binding_chars)),
                ]),
            ),
            ("algo", self.algo.as_str().into()),
            ("rounds", count(self.rounds)),
        ])
    }

    /// Reads what strict validation accepts; `Err` says what is wrong.
    pub(crate) fn read(value: &Value) -> Result<Self, String> {
        let text = |v: Option<&Value>, name: &str| -> Result<String, String> {
            v.and_then(Value::as_str).map(str::to_owned).ok_or_else(|| format!("{name} is missing"))
        };
        let kind = text(value.get("type"), "type")?;
        if kind != HASH_REVEAL {
            return Err(format!("unknown strategy {kind:?}"));
        }
        let behavior = value.get("behavior");
        let number = |v: Option<&Value>, name: &str, max: u64| -> Result<usize, String> {
            let n = v.and_then(|v| v.get(name)).and_then(Value::as_u53);
            n.filter(|n| *n <= max).map(|n| n as usize).ok_or_else(|| format!("{name} must be 0 to {max}"))
        };
        let verbs = value.get("allowedVerbs").and_then(Value::as_array).ok_or("allowedVerbs is missing")?;
        let algo = text(value.get("algo"), "algo")?;
        let replenish = text(behavior.and_then(|b| b.get("replenish")), "replenish")?;
        let config = Self {
            salt: text(value.get("salt"), "salt")?,
            allowed_verbs: verbs
                .iter()
                .map(|v| v.as_str().map(str::to_owned).ok_or("a verb is no text"))
                .collect::<Result<_, _>>()?,
            behavior: Behavior {
                size: number(behavior, "size", 1024)?,
                replenish: Replenish::parse(&replenish).ok_or_else(|| format!("unknown replenish {replenish:?}"))?,
                select_sequentially: number(behavior, "selectSequentially", 1024)?,
                select_randomly: number(behavior, "selectRandomly", 1024)?,
                target_binding_chars: number(behavior, "targetBindingChars", 64)?,
            },
            algo: Algo::parse(&algo).ok_or_else(|| format!("unknown algo {algo:?}"))?,
            rounds: number(Some(value), "rounds", 1000)?,
        };
        if config.behavior.size == 0 || config.rounds == 0 {
            return Err("size and rounds must be at least 1".into());
        }
        if config.salt.is_empty() {
            return Err("salt is empty".into());
        }
        Ok(config)
    }
}

/// Three salts that nobody else has.
pub fn random_salts(entropy: &mut dyn Entropy) -> [String; 3] {
    let mut one = |name: &str| {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        format!("{name}-{}", hex::encode(bytes))
    };
    [one("a"), one("b"), one("c")]
}

fn pool(salt: &str, verb: &str, behavior: Behavior) -> PoolConfig {
    PoolConfig { salt: salt.to_owned(), allowed_verbs: vec![verb.to_owned()], behavior, algo: Algo::Sha256, rounds: 1 }
}

const fn behavior(size: usize, replenish: Replenish, first: usize, random: usize, binding: usize) -> Behavior {
    Behavior { size, replenish, select_sequentially: first, select_randomly: random, target_binding_chars: binding }
}

/// The pools of a domain identity: `sync`, `manage` and `revoke`, with these salts.
pub fn identity_pools(salts: &[String; 3]) -> Vec<PoolConfig> {
    vec![
        pool(&salts[0], VERB_SYNC, behavior(32, Replenish::TopUp, 2, 2, 0)),
        pool(&salts[1], VERB_MANAGE, behavior(16, Replenish::TopUp, 2, 2, 0)),
        pool(&salts[2], VERB_REVOKE, behavior(32, Replenish::ScorchedEarth, 10, 10, 0)),
    ]
}

/// The pools of a session identity: `connect`, which solves only what is demanded, and `sync`, bound to its targets.
pub fn session_pools(salts: &[String; 3]) -> Vec<PoolConfig> {
    vec![
        pool(&salts[0], VERB_CONNECT, behavior(8, Replenish::Consume, 0, 0, 0)),
        pool(&salts[1], VERB_SYNC, behavior(48, Replenish::TopUp, 2, 2, 4)),
    ]
}

/// The original's presets as JSON: standard and revocation.
pub fn presets(standard_salt: &str, revocation_salt: &str) -> (Value, Value) {
    let mut standard = pool(standard_salt, "", behavior(100, Replenish::TopUp, 2, 2, 0));
    standard.allowed_verbs.clear();
    let mut revocation = pool(revocation_salt, VERB_REVOKE, behavior(500, Replenish::ScorchedEarth, 10, 10, 0));
    revocation.rounds = 10;
    (standard.to_value(), revocation.to_value())
}

/// An empty pool of this configuration, as JSON.
pub(crate) fn empty_pool(config: &Value, id: &str) -> Map {
    [
        ("id", Value::from(id)),
        ("config", config.clone()),
        ("challenges", Map::new().into()),
        ("bindingMap", Map::new().into()),
    ]
    .into_iter()
    .collect()
}
