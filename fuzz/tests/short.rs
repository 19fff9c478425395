//! Each target takes some thousand inputs: good ones with a few bytes changed. The same ones run every time.

use ibgib::transform::{ForkOpts, Moment, fork};
use ibgib::{IbGib, object};
use ibgib_fuzz::TARGETS;
use ibgib_keystone::{Entropy, Secret, config, genesis};
use ibgib_saga::{Message, MsgType};
use ibgib_spaces::{MemorySpace, bundle, settle};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const RUNS: u32 = 2_000;

struct Counter(u8);

impl Entropy for Counter {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}

/// Inputs that mean something to some target.
fn seeds() -> Vec<Vec<u8>> {
    let moment = Moment { now_ms: 1_767_225_600_123, random: [7; 16] };
    let opts = ForkOpts::timeline("note");
    let note = fork(&IbGib::primitive("note").unwrap(), &opts, &moment).unwrap();
    let stone =
        IbGib { ib: "stone".into(), data: Some(object([("v", true.into())])), ..IbGib::default() }.seal().unwrap();
    let pools = config::identity_pools(&config::random_salts(&mut Counter(0)));
    let identity = genesis(&Secret::new(vec![7; 32]), &pools, None, moment.now_ms, &mut Counter(9)).unwrap();
    let space = MemorySpace::new("seed");
    let mut file = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        settle::admit(&space, &note.nodes()).await.unwrap();
        bundle::export(&space, &[note.frame.addr().clone()], &mut file).await.unwrap();
    });
    let texts = [
        r#"{"a":[1,-0.5e3,"\u00e9\n"],"0":null,"b":{"c":true}}"#.to_owned(),
        note.frame.addr().to_string(),
        note.frame.to_json(),
        stone.to_json(),
        identity.frame.to_json(),
        format!(r#"{{"type":"{}"}}"#, MsgType::Bye.as_str()),
        format!(r#"{{"type":"{}","versions":["ibgib.v1"],"has":[]}}"#, MsgType::Hello.as_str()),
    ];
    let mut seeds: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    let Some(ibgib_saga::Packet::Text(bye)) = Some(Message::Bye.packet()) else { panic!("control messages are text") };
    seeds.push(bye.into_bytes());
    seeds.push(b"one\ntwo\nthree\n\xFFone\nTWO\nthree\n\xFFone\ntwo\nfour\n".to_vec());
    seeds.push(b"\xFFa b c\nd\n\xFFa x c\n".to_vec());
    seeds.push(file);
    seeds
}

/// One change of an input: where, how many bytes go, and what comes instead.
fn change() -> impl Strategy<Value = (prop::sample::Index, usize, Vec<u8>)> {
    let byte = prop_oneof![3 => any::<u8>(), 3 => prop::sample::select(&b"{}[]\",:^.\\0A\n\xFF"[..])];
    (any::<prop::sample::Index>(), 0..4usize, prop::collection::vec(byte, 0..4))
}

#[test]
fn every_target_answers_whatever_comes() {
    let seeds = seeds();
    let mut runner = TestRunner::new(Config {
        cases: RUNS,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(7),
        ..Config::default()
    });
    let inputs = (0..seeds.len(), prop::collection::vec(change(), 0..6));
    let run = |(seed, changes): (usize, Vec<(prop::sample::Index, usize, Vec<u8>)>)| {
        let mut input: Vec<u8> = seeds[seed].clone();
        for (at, gone, new) in changes {
            let at = at.index(input.len() + 1);
            let end = (at + gone).min(input.len());
            input.splice(at..end, new);
        }
        TARGETS.iter().for_each(|(_, target)| target(&input));
        Ok(())
    };
    runner.run(&inputs, run).unwrap();
}

#[test]
fn every_target_has_a_file_for_cargo_fuzz() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz_targets");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    assert_eq!(files, TARGETS.map(|(name, _)| name));
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    assert!(files.iter().all(|name| manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\""))));
}
