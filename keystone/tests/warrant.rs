//! Warrants: a space's keystone lets trees sign for the space, and nothing else does.

mod common;

use common::{NOW, Seeded, secret, thief};
use ibgib::{Value, object};
use ibgib_keystone::strategy::lms::{Height, Reserved, Tree, TreeName, TreeSigner, first_tree, is_signed_with};
use ibgib_keystone::{
    Chain, Claim, KeystoneError, PoolConfig, Secret, SignOpts, VERB_MANAGE, VERB_WARRANT, Warrant, config,
    genesis_with_trees, need, sign, space_of, warrant, word_message,
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
