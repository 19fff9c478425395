//! The pools that identities are made with.

use crate::secret::Entropy;
use crate::strategy::PoolConfig;
use crate::strategy::hash_reveal::{Algo, Behavior, HashRevealConfig, Replenish};
use crate::strategy::lms::{Height, LmsConfig, NextTree, Width};
use crate::{VERB_CONNECT, VERB_GUARD, VERB_MANAGE, VERB_REVOKE, VERB_SYNC, VERB_WARRANT};
use ibgib::Value;

/// Three salts that nobody else has.
pub fn random_salts(entropy: &mut dyn Entropy) -> [String; 3] {
    let mut one = |name: &str| {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        format!("{name}-{}", hex::encode(bytes))
    };
    [one("a"), one("b"), one("c")]
}

fn pool(salt: &str, verb: &str, behavior: Behavior) -> HashRevealConfig {
    let (salt, allowed_verbs) = (salt.to_owned(), vec![verb.to_owned()]);
    HashRevealConfig { salt, allowed_verbs, behavior, algo: Algo::Sha256, rounds: 1 }
}

const fn behavior(size: usize, replenish: Replenish, first: usize, random: usize, binding: usize) -> Behavior {
    Behavior { size, replenish, select_sequentially: first, select_randomly: random, target_binding_chars: binding }
}

/// The pools of a domain identity as the original makes them: `sync`, `manage` and `revoke`, with these salts. Their
/// signatures bind nothing, so servers refuse them unless told otherwise.
pub fn identity_pools(salts: &[String; 3]) -> Vec<PoolConfig> {
    vec![
        pool(&salts[0], VERB_SYNC, behavior(32, Replenish::TopUp, 2, 2, 0)).into(),
        pool(&salts[1], VERB_MANAGE, behavior(16, Replenish::TopUp, 2, 2, 0)).into(),
        pool(&salts[2], VERB_REVOKE, behavior(32, Replenish::ScorchedEarth, 10, 10, 0)).into(),
    ]
}

/// The pools of a session identity as the original makes them: `connect`, which solves only what is demanded, and `sync`,
/// bound to its targets.
pub fn session_pools(salts: &[String; 3]) -> Vec<PoolConfig> {
    vec![
        pool(&salts[0], VERB_CONNECT, behavior(8, Replenish::Consume, 0, 0, 0)).into(),
        pool(&salts[1], VERB_SYNC, behavior(48, Replenish::TopUp, 2, 2, 4)).into(),
    ]
}

/// The pools of a domain identity whose signatures bind what they sign: `sync`, `manage` and `revoke`. What the engine
/// makes. Digits of 4 bits, by measuring (the crate's `lms` example): a tree of 1,024 leaves takes a tenth of the time that
/// one with 8 bits takes and a signature a quarter to check, for frames that are 0.8 KB longer.
/// A revocation holds its signature twice, so that one is short.
pub fn binding_identity_pools(salts: &[String; 3]) -> Vec<PoolConfig> {
    let pool = |i: usize, verb: &str, width, height, replenish| {
        let (salt, allowed_verbs) = (salts[i].clone(), vec![verb.to_owned()]);
        LmsConfig { salt, allowed_verbs, width, height, replenish }.into()
    };
    vec![
        pool(0, VERB_SYNC, Width::W4, Height::H10, NextTree::Follows),
        pool(1, VERB_MANAGE, Width::W4, Height::H5, NextTree::Follows),
        pool(2, VERB_REVOKE, Width::W8, Height::H5, NextTree::Never),
    ]
}

/// The pool of an identity that signs revocations, those that wait included. A small tree: when few leaves are left another
/// pool takes its place. Nobody else has its salt.
pub fn guard_pool(entropy: &mut dyn Entropy) -> PoolConfig {
    let mut salt = [0; 8];
    entropy.fill(&mut salt);
    let (salt, allowed_verbs) =
        (format!("g-{}", hex::encode(salt)), vec![VERB_REVOKE.to_owned(), VERB_GUARD.to_owned()]);
    LmsConfig { salt, allowed_verbs, width: Width::W8, height: Height::H5, replenish: NextTree::Never }.into()
}

/// The pool of a session identity of the engine, whose signatures bind what they sign: one for `connect` and `sync`, since
/// a session lives as long as a connection. Its tree is built while the peer waits, so that has to be quick.
pub fn binding_session_pools(salts: &[String; 3]) -> Vec<PoolConfig> {
    let (salt, allowed_verbs) = (salts[0].clone(), vec![VERB_CONNECT.to_owned(), VERB_SYNC.to_owned()]);
    let (width, height, replenish) = (Width::W4, Height::H5, NextTree::Follows);
    vec![LmsConfig { salt, allowed_verbs, width, height, replenish }.into()]
}

/// The pool of a space's keystone: one for warrants, and for the frames that put its next tree there. Large enough that a
/// process may be started again and again while another one puts the next tree there.
pub fn space_pool(entropy: &mut dyn Entropy) -> PoolConfig {
    let mut salt = [0; 8];
    entropy.fill(&mut salt);
    let (salt, allowed_verbs) =
        (format!("w-{}", hex::encode(salt)), vec![VERB_WARRANT.to_owned(), VERB_MANAGE.to_owned()]);
    LmsConfig { salt, allowed_verbs, width: Width::W4, height: Height::H10, replenish: NextTree::Follows }.into()
}

/// The original's presets as JSON: standard and revocation.
pub fn presets(standard_salt: &str, revocation_salt: &str) -> (Value, Value) {
    let mut standard = pool(standard_salt, "", behavior(100, Replenish::TopUp, 2, 2, 0));
    standard.allowed_verbs.clear();
    let mut revocation = pool(revocation_salt, VERB_REVOKE, behavior(500, Replenish::ScorchedEarth, 10, 10, 0));
    revocation.rounds = 10;
    (PoolConfig::from(standard).to_value(), PoolConfig::from(revocation).to_value())
}
