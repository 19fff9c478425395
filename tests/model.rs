//! The engine gives the model's result. `tests/model/merge_model.py` is the merge rules told a second time, in another
//! language and without their optimisations. It makes random histories, merges them itself and says which addresses the
//! frames and their merges have; the engine merges the same tips and must come to the same addresses, so to the same
//! data, relations and conflict stones, byte for byte.
//!
//! `IBGIB_RUNS=10000 cargo test --test model` plays that many histories; `IBGIB_SEED=7 IBGIB_RUNS=1 …` replays one seed.
#![allow(clippy::disallowed_methods, reason = "the environment chooses how many; another program is the model")]

use ibgib::timeline::History;
use ibgib::{Addr, Mode, Value, Verified};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/model/merge_model.py");

/// What was played.
#[derive(Default)]
struct Played {
    histories: u64,
    merges: u64,
    /// Merges with several nearest common ancestors.
    several: u64,
    /// Merges with more of them than are folded.
    cut: u64,
    failures: Vec<String>,
}

/// Lets the model make histories and merges, and makes every merge again.
fn play(arguments: &[&str]) -> Played {
    let mut command = Command::new("python3");
    let mut child = command.arg(MODEL).args(arguments).stdout(Stdio::piped()).spawn();
    let child = child.as_mut().expect("python3 runs the model; ./test installs it");
    let (mut played, mut history, mut seed) = (Played::default(), History::new(), String::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let step = Value::parse(&line.unwrap(), Mode::Strict).unwrap();
        let get = |name: &str| step.get(name).and_then(Value::as_str).unwrap_or_default();
        if let Some(number) = step.get("seed") {
            (history, seed) = (History::new(), number.to_json());
        } else if let Some(frame) = step.get("frame") {
            history.insert(Verified::parse(frame.as_str().unwrap()).unwrap_or_else(|e| panic!("seed {seed}: {e}")));
        } else if let Some(counted) = step.get("counted") {
            let count = |name: &str| counted.get(name).and_then(Value::as_u53).unwrap_or(0);
            played.histories += 1;
            played.several += count("several");
            played.cut += count("cut");
        } else {
            let pair = step.get("join").and_then(Value::as_array).unwrap();
            let [x, y] = [0, 1].map(|i| pair[i].as_str().unwrap().parse::<Addr>().unwrap());
            let made = history.join(&x, &y).unwrap();
            assert_eq!(history.join(&y, &x).unwrap().tip, made.tip, "the same two tips merge to one on any side");
            played.merges += 1;
            if made.tip.as_str() != get("tip") {
                let nodes: Vec<String> = made.nodes.iter().map(|n| n.to_json()).collect();
                let [ours, base, orphan] = [nodes.join("\n"), x.to_string(), y.to_string()];
                let [base, orphan] = [base, orphan].map(|a| history.get(&a.parse().unwrap()).unwrap().to_json());
                played.failures.push(format!(
                    "IBGIB_SEED={seed}:\nbase {base}\norphan {orphan}\nmodel {}\nengine {ours}",
                    get("merge")
                ));
                // What comes after it in this history has no meaning.
                history.insert(Verified::parse(get("merge")).unwrap());
            }
        }
    }
    assert!(child.wait().unwrap().success());
    played
}

#[test]
fn the_engine_gives_the_models_result() {
    let number = |name: &str, or| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok()).unwrap_or(or);
    let (first, runs) = (number("IBGIB_SEED", 0), number("IBGIB_RUNS", 1_000));
    let played = play(&["frames", &runs.to_string(), &first.to_string()]);
    let failures = played.failures.iter().take(3).map(String::as_str).collect::<Vec<_>>().join("\n\n");
    assert!(failures.is_empty(), "{} failures; replay with IBGIB_RUNS=1 and\n{failures}", played.failures.len());
    assert!(played.histories >= runs);
    if first == 0 {
        assert!(played.several > runs / 4, "{} of {} merges", played.several, played.merges);
        assert!(played.cut > 0, "no merge had more to fold than is folded");
    }
}

#[test]
fn the_model_keeps_what_the_rules_promise() {
    let mut command = Command::new("python3");
    let out = command.arg(MODEL).args(["run", "5", "0"]).output().expect("python3 runs the model");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
}
