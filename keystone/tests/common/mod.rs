//! Identities made from a seed, and tampering that keeps the gib right: what an attacker does, who can hash too.
#![allow(dead_code, reason = "each test binary uses a part")]

use ibgib::{IbGib, Map, Mode, Value, Verified};
use ibgib_keystone::strategy::hash_reveal::{Algo, Behavior, HashRevealConfig, Replenish};
use ibgib_keystone::{
    Chain, Claim, Entropy, KeystoneError, PoolConfig, Secret, SignOpts, Signed, config, genesis, sign,
};

/// A small generator of our own (SplitMix64), so that a seed means the same for ever.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

pub(crate) const NOW: i64 = 1_767_225_600_123;

pub(crate) fn secret() -> Secret {
    Secret::new(b"the owner's thirty-two bytes ...".to_vec())
}

pub(crate) fn thief() -> Secret {
    Secret::new(b"somebody else's thirty-two bytes".to_vec())
}

pub(crate) fn salts() -> [String; 3] {
    config::random_salts(&mut Seeded(1))
}

pub(crate) fn born(configs: &[PoolConfig]) -> Signed {
    genesis(&secret(), configs, None, NOW, &mut Seeded(2)).unwrap()
}

/// A domain identity: pools `sync`, `manage` and `revoke`, in this order.
pub(crate) fn identity() -> Signed {
    born(&config::identity_pools(&salts()))
}

/// A session identity: pools `connect` and `sync`, in this order.
pub(crate) fn session() -> Signed {
    born(&config::session_pools(&salts()))
}

/// An identity with one pool for everything.
pub(crate) fn general(size: usize, replenish: Replenish, first: usize, random: usize, binding: usize) -> Signed {
    let behavior = Behavior {
        size,
        replenish,
        select_sequentially: first,
        select_randomly: random,
        target_binding_chars: binding,
    };
    let salt = "general".to_owned();
    born(&[HashRevealConfig { salt, allowed_verbs: Vec::new(), behavior, algo: Algo::Sha256, rounds: 1 }.into()])
}

pub(crate) fn claim(verb: &str, target: &str) -> Claim {
    Claim { verb: verb.into(), target: target.into(), ..Claim::default() }
}

/// Signs with entropy that no other frame of the chain had.
pub(crate) fn try_sign(
    chain: &Chain,
    secret: &Secret,
    verb: &str,
    target: &str,
    demanded: &[String],
) -> Result<Signed, KeystoneError> {
    let opts = SignOpts { demanded: demanded.to_vec(), ..SignOpts::default() };
    sign(chain, secret, &claim(verb, target), opts, NOW, &mut Seeded(100 + chain.n()))
}

pub(crate) fn signed(chain: &Chain, verb: &str, target: &str) -> Signed {
    try_sign(chain, &secret(), verb, target, &[]).unwrap()
}

/// An address that nothing else has, for claims to be about.
pub(crate) fn some_target(i: u32) -> String {
    let data = Map::from_iter([("i", i)]);
    let node = IbGib { ib: "context".into(), data: Some(data.into()), ..IbGib::default() };
    node.seal().unwrap().addr().to_string()
}

/// The part at a path of member names and indices joined by `/`.
pub(crate) fn part<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('/').fold(value, |value, name| match value {
        Value::Array(items) => &items[name.parse::<usize>().unwrap()],
        other => other.get(name).unwrap_or_else(|| panic!("no {name} of {path}")),
    })
}

pub(crate) fn part_mut<'a>(value: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('/').fold(value, |value, name| match value {
        Value::Array(items) => &mut items[name.parse::<usize>().unwrap()],
        Value::Object(map) => map.get_mut(name).unwrap_or_else(|| panic!("no {name} of {path}")),
        _ => panic!("no {name} of {path}"),
    })
}

pub(crate) fn object_mut<'a>(value: &'a mut Value, path: &str) -> &'a mut Map {
    part_mut(value, path).as_object_mut().unwrap()
}

pub(crate) fn array_mut<'a>(value: &'a mut Value, path: &str) -> &'a mut Vec<Value> {
    let Value::Array(items) = part_mut(value, path) else { panic!("{path} is no array") };
    items
}

/// The frame after a change, sealed again: its gib is right.
#[track_caller]
pub(crate) fn tampered(frame: &IbGib, change: impl FnOnce(&mut Value)) -> Verified<IbGib> {
    let mut value = frame.to_value();
    change(&mut value);
    IbGib::from_value(value, Mode::Strict).unwrap().seal().unwrap()
}

/// The frame with another value at a path, sealed again.
#[track_caller]
pub(crate) fn with(frame: &IbGib, path: &str, new: impl Into<Value>) -> Verified<IbGib> {
    let (parent, name) = path.rsplit_once('/').unwrap();
    tampered(frame, |value| match part_mut(value, parent) {
        Value::Object(map) => drop(map.insert(name, new)),
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = new.into(),
        _ => panic!("no {path}"),
    })
}

/// The frame without the member at a path, sealed again.
#[track_caller]
pub(crate) fn without(frame: &IbGib, path: &str) -> Verified<IbGib> {
    let (parent, name) = path.rsplit_once('/').unwrap();
    tampered(frame, |value| drop(object_mut(value, parent).remove(name).unwrap()))
}

/// Ids of a pool's challenges, in order.
pub(crate) fn ids(frame: &IbGib, pool: usize) -> Vec<String> {
    let challenges = part(frame.data.as_ref().unwrap(), &format!("challengePools/{pool}/challenges"));
    challenges.as_object().unwrap().keys().map(str::to_owned).collect()
}

/// Ids that a frame's proof solves, in order.
pub(crate) fn used(frame: &IbGib) -> Vec<String> {
    let solutions = part(frame.data.as_ref().unwrap(), "proofs/0/solutions").as_array().unwrap();
    solutions.iter().map(|s| part(s, "challengeId").as_str().unwrap().to_owned()).collect()
}
