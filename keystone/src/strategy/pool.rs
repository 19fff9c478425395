//! Pools: what is common to those of every strategy.

use super::{Strategy, by_name};
use ibgib::{Map, Value, strings};

/// A pool's configuration: what every strategy has, and the members that only its own strategy reads.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    strategy: &'static dyn Strategy,
    members: Map,
    salt: String,
    allowed_verbs: Vec<String>,
}

impl PartialEq for PoolConfig {
    fn eq(&self, other: &Self) -> bool {
        // All else was read from the members.
        self.members == other.members
    }
}

impl PoolConfig {
    /// A configuration with the members that its strategy asks for. Nothing is checked yet: making an identity with it
    /// does that.
    pub fn new<'a>(
        strategy: &'static dyn Strategy,
        salt: &str,
        allowed_verbs: &[String],
        parameters: impl IntoIterator<Item = (&'a str, Value)>,
    ) -> Self {
        let mut members = Map::new();
        members.insert("type", strategy.name());
        members.insert("salt", salt);
        members.insert("allowedVerbs", strings(allowed_verbs.iter().map(String::as_str)));
        parameters.into_iter().for_each(|(name, value)| drop(members.insert(name, value)));
        Self { strategy, members, salt: salt.to_owned(), allowed_verbs: allowed_verbs.to_vec() }
    }

    /// Reads what strict validation accepts; `Err` says what is wrong.
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        let members = value.as_object().ok_or("no object")?;
        let text = |name: &str| {
            members.get(name).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| format!("{name} is missing"))
        };
        let kind = text("type")?;
        let strategy = by_name(&kind).ok_or_else(|| format!("unknown strategy {kind:?}"))?;
        let verbs = members.get("allowedVerbs").and_then(Value::as_array).ok_or("allowedVerbs is missing")?;
        let verb = |v: &Value| v.as_str().map(str::to_owned).ok_or("a verb is no text");
        let config = Self {
            strategy,
            members: members.clone(),
            salt: text("salt")?,
            allowed_verbs: verbs.iter().map(verb).collect::<Result<_, _>>()?,
        };
        if config.salt.is_empty() {
            return Err("salt is empty".into());
        }
        strategy.check_config(&config)?;
        Ok(config)
    }

    /// As JSON, member for member as it was read or made (the order is hashed).
    pub fn to_value(&self) -> Value {
        self.members.clone().into()
    }

    /// How its pools are made, spent and checked.
    pub fn strategy(&self) -> &'static dyn Strategy {
        self.strategy
    }

    /// What sets the pool's secrets apart from those of all others; also the pool's id.
    pub fn salt(&self) -> &str {
        &self.salt
    }

    /// Verbs that the pool may sign; empty for any.
    pub fn allowed_verbs(&self) -> &[String] {
        &self.allowed_verbs
    }

    /// A member of the configuration.
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }
}

/// A pool of a frame: id, configuration, and the members in which its strategy keeps what is left. What was read prints
/// again member for member, those included that nobody here knows, so that a pool that nobody spent keeps its hash.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    members: Map,
    config: PoolConfig,
}

impl Pool {
    /// A pool of this configuration, and what its strategy keeps in it.
    pub(crate) fn new<'a>(config: &PoolConfig, state: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let mut members = Map::new();
        members.insert("id", config.salt());
        members.insert("config", config.to_value());
        state.into_iter().for_each(|(name, value)| drop(members.insert(name, value)));
        Self { members, config: config.clone() }
    }

    /// Reads a pool whose configuration strict validation accepts. What its strategy keeps in it is not checked.
    ///
    /// # Errors
    /// What is wrong with the configuration, for a reader.
    pub fn parse(value: &Value) -> Result<Self, String> {
        let config = value.get("config").ok_or("no config")?;
        let members = value.as_object().ok_or("no object")?.clone();
        Ok(Self { members, config: PoolConfig::parse(config)? })
    }

    /// As JSON.
    pub fn to_value(&self) -> Value {
        self.members.clone().into()
    }

    /// Its id, empty when it has none.
    pub fn id(&self) -> &str {
        self.members.get("id").and_then(Value::as_str).unwrap_or_default()
    }

    /// Its configuration.
    pub fn config(&self) -> &PoolConfig {
        &self.config
    }

    /// How it is spent and checked.
    pub fn strategy(&self) -> &'static dyn Strategy {
        self.config.strategy
    }

    /// A member of the pool.
    pub(crate) fn member(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// The same pool with another value of a member, which keeps its place.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name, value);
        self
    }
}
