//! How long one-time signatures take, for each parameter set: `cargo run --release -p ibgib-keystone --example lms`.
//!
//! Whole frames are measured, as an identity signs and a verifier checks them: making and hashing the frame included.

use ibgib_keystone::strategy::lms::{Height, LmsConfig, NextTree, Reserved, TreeName, Width, first_tree};
use ibgib_keystone::strategy::lms::{TreeSigner, is_signed_with};
use ibgib_keystone::{Chain, Claim, Entropy, Expect, PoolConfig, Secret, SignOpts, genesis_with_trees, need, sign};
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Counter(u8);

impl Entropy for Counter {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}

/// The middle of many runs.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// What a server signs with: trees in memory, and signatures that stand in no frame.
fn words() {
    println!("leaves  tree [ms]  sign [ms]  verify [ms]  signature [B]");
    for height in [Height::H5, Height::H10] {
        let started = Instant::now();
        let tree = TreeSigner::make(height, &mut Counter(0));
        let (building, key) = (started.elapsed(), tree.public_key());
        let (mut signing, mut verifying, mut bytes) = (Vec::new(), Vec::new(), 0);
        for n in 0..24 {
            let word = format!("{n:0400}");
            let started = Instant::now();
            let signature = tree.sign(word.as_bytes()).unwrap();
            signing.push(started.elapsed());
            let started = Instant::now();
            assert!(is_signed_with(&key, word.as_bytes(), &signature));
            verifying.push(started.elapsed());
            bytes = signature.len();
        }
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (signing, verifying) = (ms(median(signing)), ms(median(verifying)));
        println!("{:>6}  {:>9.2}  {signing:>9.3}  {verifying:>11.3}  {bytes:>13}", tree.leaves(), ms(building));
    }
}

fn main() {
    words();
    let secret = Secret::new(b"thirty-two random bytes, say....".to_vec());
    println!("w  leaves  tree [ms]  sign [ms]  verify [ms]  genesis [B]  frame [B]");
    for (width, height) in
        [(Width::W4, Height::H5), (Width::W8, Height::H5), (Width::W4, Height::H10), (Width::W8, Height::H10)]
    {
        let pool = |name: &str| -> PoolConfig {
            let (salt, verbs) = (format!("{name}-000102030405060708090a0b0c0d0e0f"), vec![name.to_owned()]);
            LmsConfig { salt, allowed_verbs: verbs, width, height, replenish: NextTree::Follows }.into()
        };
        let pools = [pool("sync"), pool("manage"), pool("revoke")];
        let started = Instant::now();
        let tree = first_tree(&pools[0], &secret).unwrap().finish();
        let building = started.elapsed();
        let mut trees = vec![Arc::new(tree)];
        trees.extend(pools[1..].iter().map(|pool| Arc::new(first_tree(pool, &secret).unwrap().finish())));
        let now = 1_767_225_600_000;
        let born = genesis_with_trees(&secret, &pools, &trees, None, None, now, &mut Counter(0)).unwrap();
        let (mut chain, mut verifier) = (born.chain, Chain::from_genesis(born.frame.clone()).unwrap().0);
        let salt = "sync-000102030405060708090a0b0c0d0e0f".to_owned();
        let mut reserved = Reserved::open(TreeName { salt, number: 0 }, 0);
        reserved.stored(32);

        let (mut signing, mut verifying, mut bytes) = (Vec::new(), Vec::new(), 0);
        for _ in 0..24 {
            let claim = Claim {
                verb: "sync".into(),
                target: born.frame.addr().to_string(),
                audience: Some("0".repeat(64)),
                nonce: Some("0".repeat(32)),
                ..Claim::default()
            };
            let from = need(&chain, "sync", &[]).unwrap().unwrap().from;
            let leaf = Some(reserved.take(from).unwrap());
            let opts = SignOpts { leaf, trees: trees.clone(), ..SignOpts::default() };
            let started = Instant::now();
            let signed = sign(&chain, &secret, &claim, opts, now, &mut Counter(0)).unwrap();
            signing.push(started.elapsed());
            let started = Instant::now();
            verifier.advance(&signed.frame, &Expect::default()).unwrap();
            verifying.push(started.elapsed());
            bytes = signed.frame.to_json().len();
            chain = signed.chain;
        }
        // Who signs also validates what was made.
        println!(
            "{:?}  {:>6}  {:>9.2}  {:>9.3}  {:>11.3}  {:>11}  {:>9}",
            width,
            if height == Height::H5 { 32 } else { 1024 },
            building.as_secs_f64() * 1e3,
            median(signing).as_secs_f64() * 1e3,
            median(verifying).as_secs_f64() * 1e3,
            born.frame.to_json().len(),
            bytes,
        );
    }
}
