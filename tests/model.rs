//! The engine gives the model's result. `tests/model/merge_model.py` is the merge rules told a second time, in another
//! language and without their optimisations. It generates histories; the engine plays them; the model then does every
//! merge again, and its oracle looks at the end: equal after two rounds, no edit unreachable, each field from a causally
//! newest writer, each line that nobody deleted there exactly once.
//!
//! `IBGIB_RUNS=10000 cargo test --test model` plays that many histories; `IBGIB_SEED=7 IBGIB_RUNS=1 …` replays one seed.
#![allow(clippy::disallowed_methods, reason = "the environment chooses how many; another program is the model")]

use ibgib::json::strings;
use ibgib::timeline::History;
use ibgib::{Addr, IbGib, Map, Mode, Value, Verified};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Write;
use std::process::{Command, Stdio};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/model/merge_model.py");
/// Histories that one run of the model takes.
const BATCH: u64 = 500;

struct Player {
    history: History,
    told: Vec<Value>,
    edits: HashSet<Addr>,
    merges: BTreeSet<Addr>,
}

fn map<const N: usize>(members: [(&str, Value); N]) -> Map {
    members.into_iter().collect()
}

fn fields(frame: &IbGib) -> BTreeMap<String, Value> {
    let data = frame.data.as_ref().and_then(Value::as_object).unwrap();
    let field = |k: &str| k.starts_with("own") || k.starts_with("shared");
    data.iter().filter(|(k, _)| field(k)).map(|(k, v)| (k.to_owned(), v.clone())).collect()
}

fn lines(frame: &IbGib) -> Vec<String> {
    frame.datum("text").and_then(Value::as_str).unwrap_or("").lines().map(str::to_owned).collect()
}

impl Player {
    fn content(frame: &Verified<IbGib>) -> Map {
        map([
            ("id", frame.addr().gib().into()),
            ("n", Value::Number(frame.n().unwrap() as f64)),
            ("fields", Value::Object(fields(frame).into_iter().collect())),
            ("text", strings(lines(frame))),
            ("past", frame.past().map_or(Value::Null, |a| a.gib().into())),
        ])
    }

    fn edit(&mut self, on: Option<&Addr>, fields: BTreeMap<String, Value>, text: &[String], ops: Map) -> Addr {
        let old = on.map(|on| self.history.get(on).unwrap().clone());
        let mut data: Map = fields.into_iter().collect();
        data.insert("text", text.iter().fold(String::new(), |out, line| out + line + "\n"));
        data.insert("n", Value::Number(old.as_ref().map_or(0, |o| o.n().unwrap() + 1) as f64));
        // So that every edit is a frame of its own.
        data.insert("edit", Value::Number(self.edits.len() as f64));
        let mut rel8ns = map([("dna", strings(["mut8^gib"]))]);
        match &old {
            None => drop(data.insert("isTjp", true)),
            Some(old) => {
                rel8ns.insert("past", strings([old.addr().as_str()]));
                rel8ns.insert("tjp", strings([old.tjp().unwrap().as_str()]));
            }
        }
        let frame = IbGib { ib: "doc".into(), gib: None, data: Some(data.into()), rel8ns: Some(rel8ns.into()) };
        let frame = frame.seal().unwrap();
        let mut told = Self::content(&frame);
        told.insert("ops", ops);
        self.told.push(told.into());
        self.edits.insert(frame.addr().clone());
        self.history.insert(frame.clone());
        frame.addr().clone()
    }

    fn play_edit(&mut self, tip: &Addr, ops: &[Value]) -> Addr {
        let frame = self.history.get(tip).unwrap().clone();
        let before = fields(&frame);
        let (mut now, mut text) = (before.clone(), lines(&frame));
        let (mut ins, mut del): (Vec<String>, Vec<String>) = Default::default();
        for op in ops {
            let get = |name: &str| op.get(name).and_then(Value::as_str).unwrap().to_owned();
            let at = |len: usize| op.get("at").and_then(Value::as_u53).unwrap() as usize % len;
            match get("op").as_str() {
                "write" => drop(now.insert(get("field"), get("value").into())),
                "delete" => drop(now.remove(&get("field"))),
                "insert" => {
                    text.insert(at(text.len() + 1), get("line"));
                    ins.push(get("line"));
                }
                _ if text.is_empty() => {}
                "replace" => {
                    let i = at(text.len());
                    del.push(std::mem::replace(&mut text[i], get("line")));
                    ins.push(get("line"));
                }
                _ => del.push(text.remove(at(text.len()))),
            }
        }
        let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        let written = keys.into_iter().filter(|k| before.get(*k) != now.get(*k));
        let w: Map = written.map(|k| (k.as_str(), now.get(k).cloned().unwrap_or(Value::Null))).collect();
        let ops = map([("w", w.into()), ("ins", strings(ins)), ("del", strings(del))]);
        self.edit(Some(tip), now, &text, ops)
    }

    fn join(&mut self, x: &Addr, y: &Addr) -> Addr {
        let made = self.history.join(x, y).unwrap();
        assert_eq!(self.history.join(y, x).unwrap().tip, made.tip, "the same two tips merge to one on any side");
        let mut told = map([("id", made.tip.gib().into())]);
        if let Some(frame) = made.nodes.last() {
            told = Self::content(frame);
            told.insert("orphan", frame.rel8n_addrs("graftorphan")[0].gib());
            self.merges.insert(frame.addr().clone());
        }
        told.insert("join", strings([x.gib(), y.gib()]));
        self.told.push(told.into());
        made.tip
    }
}

/// Plays a script: what the engine made of it, as the model reads it.
fn play(script: &Value) -> String {
    let mut player =
        Player { history: History::new(), told: Vec::new(), edits: HashSet::new(), merges: BTreeSet::new() };
    let text: Vec<String> = (0..6).map(|i| format!("O{i}")).collect();
    let none = map([("w", Map::new().into()), ("ins", Vec::new().into()), ("del", Vec::new().into())]);
    let start = player.edit(None, [("shared0".to_owned(), "g".into())].into(), &text, none);
    let number = |v: &Value| v.as_u53().unwrap() as usize;
    let mut tips = vec![start; number(script.get("peers").unwrap())];
    for step in script.get("steps").unwrap().as_array().unwrap() {
        if let Some(ops) = step.get("ops") {
            let peer = number(step.get("peer").unwrap());
            tips[peer] = player.play_edit(&tips[peer].clone(), ops.as_array().unwrap());
        } else {
            let pair: Vec<usize> = step.get("sync").unwrap().as_array().unwrap().iter().map(number).collect();
            let tip = player.join(&tips[pair[0]].clone(), &tips[pair[1]].clone());
            for keeps in step.get("keeps").unwrap().as_array().unwrap() {
                tips[number(keeps)] = tip.clone();
            }
        }
    }
    // No peer ever gives up an edit, so at the end every edit is somewhere in what the tips reach.
    let alive = strings(player.edits.iter().map(Addr::gib));
    let seed = script.get("seed").unwrap().clone();
    let tips = strings(tips.iter().map(Addr::gib));
    Value::from(map([("seed", seed), ("frames", player.told.into()), ("tips", tips), ("alive", alive)])).to_json()
}

fn model(arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = Command::new("python3");
    command.arg(MODEL).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("python3 runs the model; ./test installs it");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let write = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let out = child.wait_with_output().unwrap();
    write.join().unwrap().unwrap();
    (out.status.success(), String::from_utf8(out.stdout).unwrap())
}

#[test]
fn the_engine_gives_the_models_result() {
    let number = |name: &str, or| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok()).unwrap_or(or);
    let (first, runs) = (number("IBGIB_SEED", 0), number("IBGIB_RUNS", 1_000));
    let mut failures = String::new();
    for from in (first..first + runs).step_by(BATCH as usize) {
        let count = BATCH.min(first + runs - from);
        let (made, scripts) = model(&["scripts", &count.to_string(), &from.to_string()], "");
        assert!(made);
        let histories: Vec<String> =
            scripts.lines().map(|line| play(&Value::parse(line, Mode::Strict).unwrap()) + "\n").collect();
        assert_eq!(histories.len() as u64, count);
        let (agrees, told) = model(&["check"], &histories.concat());
        if !agrees {
            failures += &told;
        }
    }
    assert!(failures.is_empty(), "replay with IBGIB_SEED and IBGIB_RUNS=1:\n{failures}");
}

#[test]
fn the_model_finds_what_is_wrong() {
    let (_, script) = model(&["scripts", "1", "0"], "");
    let history = play(&Value::parse(script.trim(), Mode::Strict).unwrap());
    assert!(model(&["check"], &history).0);
    let (before, after) = history.split_at(history.rfind("\"orphan\":").unwrap());
    let (start, fields) = before.rsplit_once("\"fields\":{").unwrap();
    let (agrees, told) = model(&["check"], &format!("{start}\"fields\":{{\"own9\":\"nobody's\",{fields}{after}"));
    assert!(!agrees && told.contains("merge of"), "{told}");
}
