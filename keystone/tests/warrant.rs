//! Warrants: a space's keystone lets trees sign for the space, and nothing else does. Successions: it says which key follows
//! another one, and nobody else does.

mod common;

use common::{NOW, Seeded, secret, thief};
use ibgib::{Value, object, strings};
use ibgib_keystone::strategy::lms::{Height, Reserved, Tree, TreeName, TreeSigner, first_tree, is_signed_with};
use ibgib_keystone::{
    Chain, Claim, KEYS_BEFORE_MAX, KeystoneError, PoolConfig, Secret, SignOpts, Succession, VERB_MANAGE, VERB_WARRANT,
    Warrant, config, genesis_with_trees, need, sign, space_of, succeed, warrant, word_message,
};
use std::sync::Arc;

const SPACE: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

struct Keystone {
    chain: Chain,
    secret: Secret,
    trees: Vec<Arc<Tree>>,
    reserved: Reserved,
}

fn details() -> Option<Value> {
    Some(object([("space", SPACE.into())]))
}

impl Keystone {
    fn new(secret: Secret, seed: u64, details: Option<Value>) -> Self {
        let pool: PoolConfig = config::space_pool(&mut Seeded(seed));
        let trees = vec![Arc::new(first_tree(&pool, &secret).unwrap().finish())];
        let pools = [pool.clone()];
        let born = genesis_with_trees(&secret, &pools, &trees, None, details, NOW, &mut Seeded(seed)).unwrap();
        assert!(born.frame.to_json().len() <= 1_536, "{}", born.frame.to_json().len());
        let name = TreeName { salt: pool.salt().to_owned(), number: 0 };
        let mut reserved = Reserved::open(name, 0);
        reserved.stored(1_024);
        Self { chain: born.chain, secret, trees, reserved }
    }

    fn opts(&mut self, from: u32) -> SignOpts {
        let leaf = Some(self.reserved.take(from).unwrap());
        SignOpts { leaf, trees: self.trees.clone(), details: details(), ..SignOpts::default() }
    }

    fn warrant(&mut self, tree: &TreeSigner) -> Warrant {
        let opts = self.opts(0);
        warrant(&self.chain, &self.secret, &tree.public_key(), &opts).unwrap()
    }
}

fn tree(seed: u64) -> TreeSigner {
    TreeSigner::make(Height::H5, &mut Seeded(seed))
}

#[test]
fn a_warranted_tree_signs_for_its_space_without_moving_the_keystone() {
    let mut keystone = Keystone::new(secret(), 1, details());
    assert_eq!(space_of(&keystone.chain), Some(SPACE));
    for seed in [10, 11] {
        let tree = tree(seed);
        let warrant = keystone.warrant(&tree);
        assert_eq!(Warrant::parse(&warrant.to_value()), Some(warrant.clone()));
        assert_eq!((warrant.keystone(), warrant.frame()), (keystone.chain.tjp().clone(), keystone.chain.tip().addr()));
        assert!(warrant.holds(&keystone.chain, SPACE));
        assert!(!warrant.holds(&keystone.chain, &SPACE.replace('a', "b")), "another space");
        let signature = tree.sign(&word_message(b"a word")).unwrap();
        assert!(warrant.has_signed(b"a word", &signature));
        assert!(!warrant.has_signed(b"another", &signature));
        assert!(!warrant.has_signed(b"a word", &tree.sign(b"a word").unwrap()), "without what a word begins with");
        assert!(warrant.to_value().to_json().len() < 2_400, "{}", warrant.to_value().to_json().len());
        assert!(signature.len() <= 1_100, "{}", signature.len());
    }
    assert_eq!(keystone.chain.n(), 0);
}

#[test]
fn nobody_else_warrants_a_tree() {
    let mut keystone = Keystone::new(secret(), 1, details());
    let mut other = Keystone::new(thief(), 2, details());
    let (ours, theirs) = (tree(10), tree(11));
    let honest = keystone.warrant(&ours);
    let forged = other.warrant(&theirs);
    // Another keystone that says it is of the same space is another keystone.
    assert!(forged.holds(&other.chain, SPACE) && !forged.holds(&keystone.chain, SPACE));
    let member = |warrant: &Warrant, name: &str| warrant.to_value().get(name).unwrap().clone();
    let made = |frame: &Warrant, key: &Warrant, signature: &Warrant| {
        Warrant::parse(&object([
            ("frame", member(frame, "frame")),
            ("publicKey", member(key, "publicKey")),
            ("signature", member(signature, "signature")),
        ]))
        .unwrap()
    };
    for mixed in [
        made(&honest, &forged, &honest),
        made(&honest, &forged, &forged),
        made(&honest, &honest, &forged),
        made(&forged, &honest, &honest),
    ] {
        assert!(!mixed.holds(&keystone.chain, SPACE) && !mixed.holds(&other.chain, SPACE), "{mixed:?}");
    }
    let signature = theirs.sign(&word_message(b"a word")).unwrap();
    assert!(!honest.has_signed(b"a word", &signature));
    // Whoever has the frames and not the secret signs nothing.
    let opts = keystone.opts(0);
    assert_eq!(
        warrant(&keystone.chain, &thief(), "key", &SignOpts { trees: Vec::new(), ..opts }),
        Err(KeystoneError::WrongSecret)
    );
    // A keystone that names no space warrants nothing, and one that names it without such a pool neither.
    let mut nobodys = Keystone::new(secret(), 3, None);
    let opts = SignOpts { details: None, ..nobodys.opts(0) };
    let none = Err(KeystoneError::NoPool(VERB_WARRANT.to_owned()));
    assert_eq!(warrant(&nobodys.chain, &secret(), "key", &opts), none);
    let pools = config::binding_session_pools(&config::random_salts(&mut Seeded(4)));
    let session = genesis_with_trees(&secret(), &pools, &[], None, details(), NOW, &mut Seeded(4)).unwrap();
    assert_eq!(warrant(&session.chain, &secret(), "key", &SignOpts::default()), none);
    for junk in [Value::Null, object([]), object([("frame", "note^gib".into())]), "warrant".into()] {
        assert_eq!(Warrant::parse(&junk), None, "{}", junk.to_json());
    }
}

#[test]
fn warrants_hold_with_the_frame_that_they_name_after_the_pool_went_on() {
    let mut keystone = Keystone::new(secret(), 1, details());
    let before = keystone.chain.clone();
    let tree = tree(10);
    let warrant = keystone.warrant(&tree);
    let move_on = |keystone: &mut Keystone, trees: Vec<Arc<Tree>>, from: u32| {
        keystone.trees = trees;
        let claim =
            Claim { verb: VERB_MANAGE.into(), target: keystone.chain.tip().addr().to_string(), ..Claim::default() };
        let opts = keystone.opts(from);
        keystone.chain = sign(&keystone.chain, &keystone.secret, &claim, opts, NOW, &mut Seeded(5)).unwrap().chain;
    };
    let first = keystone.trees.clone();
    move_on(&mut keystone, first.clone(), 896);
    let need = need(&keystone.chain, VERB_WARRANT, &[]).unwrap().unwrap();
    let next = Arc::new(need.builder(&keystone.secret, &need.next_tree.clone().unwrap()).finish());
    move_on(&mut keystone, [first, vec![next]].concat(), 900);
    assert_eq!((keystone.chain.n(), keystone.chain.pools()[0].left), (2, 1_024));
    assert!(!warrant.holds(&keystone.chain, SPACE), "it names another frame");
    assert!(warrant.holds(&before, SPACE));
    assert_eq!(space_of(&keystone.chain), Some(SPACE));
}

#[test]
fn each_leaf_of_a_tree_signs_once_whoever_asks_at_once() {
    let tree = Arc::new(tree(10));
    let signing = (0..4).map(|_| {
        let tree = Arc::clone(&tree);
        std::thread::spawn(move || (0..10).filter_map(|_| tree.sign(b"word")).collect::<Vec<_>>())
    });
    let threads: Vec<_> = signing.collect();
    let all: Vec<String> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let apart: std::collections::HashSet<&String> = all.iter().collect();
    assert_eq!((all.len(), apart.len(), tree.left()), (32, 32, 0), "40 were asked for");
    assert!(all.iter().all(|signature| is_signed_with(&tree.public_key(), b"word", signature)));
    for (key, signature) in [("", all[0].as_str()), (&tree.public_key(), ""), ("?", "?"), (&tree.public_key(), "AAAA")]
    {
        assert!(!is_signed_with(key, b"word", signature));
    }
}

/// A key of a server.
fn key(n: u8) -> String {
    format!("sha256:{}", format!("{n:02x}").repeat(32))
}

impl Keystone {
    fn succeed(&mut self, to: &str, before: &[String], number: u64) -> Succession {
        let opts = self.opts(0);
        succeed(&self.chain, &self.secret, to, before, number, &opts).unwrap()
    }
}

#[test]
fn a_key_that_follows_others_is_signed_without_moving_the_keystone() {
    let mut keystone = Keystone::new(secret(), 1, details());
    let third = keystone.succeed(&key(3), &[key(1), key(2)], 2);
    assert!(third.holds(&keystone.chain, SPACE));
    assert_eq!((third.key(), third.before(), third.number()), (&*key(3), &[key(1), key(2)][..], 2));
    assert_eq!((third.keystone(), third.frame()), (keystone.chain.tjp().clone(), keystone.chain.tip().addr()));
    assert_eq!(Succession::parse(&third.to_value()), Some(third.clone()));
    assert_eq!(keystone.chain.n(), 0);
    // Whoever knows one of the keys before is led on.
    assert!(third.leads_from(&key(1), 0) && third.leads_from(&key(2), 1));
    // Of many keys the newest are named.
    let many: Vec<String> = (10..=250).map(key).collect();
    let late = keystone.succeed(&key(3), &many, 241);
    assert_eq!((late.before().len(), late.before().last()), (KEYS_BEFORE_MAX, many.last()));
    assert!(late.holds(&keystone.chain, SPACE) && Succession::parse(&late.to_value()).is_some());
    assert!(late.to_value().to_json().len() < 8 * 1024, "{}", late.to_value().to_json().len());
}

#[test]
fn nobody_is_led_back_to_a_key_that_was_given_up() {
    let mut keystone = Keystone::new(secret(), 1, details());
    let second = keystone.succeed(&key(2), &[key(1)], 1);
    let third = keystone.succeed(&key(3), &[key(1), key(2)], 2);
    // The older one is genuine for ever: whoever stole the key that it names may show it.
    assert!(second.holds(&keystone.chain, SPACE));
    assert!(!second.leads_from(&key(3), 0), "whoever knows a later key is not among those whom it leads");
    assert!(!second.leads_from(&key(1), 2), "nor who has seen a later one");
    assert!(!second.leads_from(&key(1), 1), "nor the same one twice");
    assert!(!third.leads_from(&key(4), 0), "nor who knows another key");
    // A key never follows itself, and one that follows none succeeds nothing.
    for (to, before) in [(key(1), vec![key(1), key(2)]), (key(1), vec![]), ("sha256:1".into(), vec![key(2)])] {
        let opts = keystone.opts(0);
        let made = succeed(&keystone.chain, &secret(), &to, &before, 3, &opts);
        assert!(matches!(made, Err(KeystoneError::Config(_))), "{made:?}");
    }
}

#[test]
fn nobody_else_says_which_key_a_server_has() {
    let mut keystone = Keystone::new(secret(), 1, details());
    let mut other = Keystone::new(thief(), 2, details());
    let honest = keystone.succeed(&key(2), &[key(1)], 1);
    let forged = other.succeed(&key(9), &[key(1)], 1);
    assert!(forged.holds(&other.chain, SPACE) && !forged.holds(&keystone.chain, SPACE), "another keystone");
    assert!(!honest.holds(&keystone.chain, &SPACE.replace('a', "b")), "another space");
    // Any one thing of it changed, or taken from the other one.
    let put = |name: &str, to: Value| {
        let Value::Object(mut members) = honest.to_value() else { panic!() };
        members.insert(name, to);
        Succession::parse(&Value::Object(members))
    };
    let signature = honest.to_value().get("signature").unwrap().as_str().unwrap().to_owned();
    let flipped = format!("{}{}", if signature.starts_with('A') { "B" } else { "A" }, &signature[1..]);
    let theirs = |name: &str| forged.to_value().get(name).unwrap().clone();
    let changed = [
        ("key", key(9).into()),
        ("key", key(2).to_uppercase().into()),
        ("before", strings([key(9).as_str()])),
        ("before", strings([key(1).as_str(), key(9).as_str()])),
        ("before", strings([] as [&str; 0])),
        ("number", 2u32.into()),
        ("number", Value::Number(1.5)),
        ("frame", theirs("frame")),
        ("signature", theirs("signature")),
        ("signature", flipped.into()),
        ("signature", "".into()),
        ("more", true.into()),
    ];
    for (name, to) in changed {
        let held = put(name, to.clone()).is_some_and(|it| it.holds(&keystone.chain, SPACE));
        assert!(!held, "{name} {}", to.to_json());
    }
    // What the keystone signs of a tree is no word about a key, and whoever has only its frames signs nothing.
    let warrant = keystone.warrant(&tree(10));
    let taken = put("signature", warrant.to_value().get("signature").unwrap().clone()).unwrap();
    assert!(!taken.holds(&keystone.chain, SPACE));
    let opts = SignOpts { trees: Vec::new(), ..keystone.opts(0) };
    let made = succeed(&keystone.chain, &thief(), &key(9), &[key(1)], 1, &opts);
    assert_eq!(made, Err(KeystoneError::WrongSecret));
    let mut nobodys = Keystone::new(secret(), 3, None);
    let opts = SignOpts { details: None, ..nobodys.opts(0) };
    let made = succeed(&nobodys.chain, &secret(), &key(2), &[key(1)], 1, &opts);
    assert_eq!(made, Err(KeystoneError::NoPool(VERB_WARRANT.to_owned())));
    // A leaf that was not set aside signs nothing.
    let opts = SignOpts { leaf: None, ..keystone.opts(0) };
    let made = succeed(&keystone.chain, &secret(), &key(2), &[key(1)], 1, &opts);
    assert!(matches!(made, Err(KeystoneError::LeafNotReserved(_))), "{made:?}");
    for junk in [Value::Null, object([]), object([("frame", "note^gib".into())]), "succession".into()] {
        assert_eq!(Succession::parse(&junk), None, "{}", junk.to_json());
    }
}
