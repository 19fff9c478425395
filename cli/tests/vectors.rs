//! The conformance vectors, through the command: whoever speaks JSON Lines gets the original's answers.
#![allow(clippy::disallowed_methods, reason = "the vectors lie beside the crate")]

mod common;

use common::World;
use ibgib::{Map, Mode, Value};
use std::fs;

fn cases(name: &str) -> Vec<Value> {
    let path = format!("{}/../respec/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let all = Value::parse(&fs::read_to_string(path).unwrap(), Mode::Compat).unwrap();
    all.as_array().unwrap().to_vec()
}

fn get<'v>(value: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(value, |v, key| v.get(key))
}

/// Equal but for the order of members, which the addresses inside vouch for where it matters.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (a, b) => a == b,
    }
}

/// The clock and random bytes that cases without their own were made with.
const STUB: &str = r#"{"nowMs":1767225600123,"randomBytes":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]}"#;

#[test]
fn transforms_answer_as_the_vectors_say_one_line_per_line() {
    let world = World::new();
    let all = cases("transforms");
    let single: Vec<&Value> = all.iter().filter(|c| get(c, &["input", "opts"]).is_some()).collect();
    let mut input = String::new();
    for case in &single {
        let mut line: Map = get(case, &["input"]).unwrap().as_object().unwrap().clone();
        if !line.contains_key("stub") {
            line.insert("stub", Value::parse(STUB, Mode::Strict).unwrap());
        }
        input.push_str(&format!("{}\n", Value::Object(line).to_json()));
    }
    let done = world.feed(&["transform", "--compat", "--json"], input.as_bytes()).fails(4, "bad_lines");
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(lines.len(), single.len());
    for (case, line) in single.iter().zip(lines) {
        let name = case.get("name").unwrap();
        let got = Value::parse(line, Mode::Compat).unwrap();
        let expect = case.get("expect").unwrap();
        if expect.get("throws").is_some() {
            assert!(get(&got, &["error", "code"]).is_some(), "{name}: {line}");
        } else {
            assert!(same(&got, expect), "{name}: {line}");
        }
    }
}

#[test]
fn addresses_are_those_of_the_vectors() {
    let world = World::new();
    let all = cases("gib");
    let portable = |c: &&Value| c.get("portable").and_then(Value::as_bool) == Some(true);
    let some: Vec<&Value> = all.iter().filter(portable).filter(|c| get(c, &["expect", "gib"]).is_some()).collect();
    assert!(some.len() > 150, "{}", some.len());
    let json = |c: &&Value| get(c, &["input", "json"]).and_then(Value::as_str).unwrap().replace(['\n', '\r'], " ");
    let input: String = some.iter().map(|c| json(c) + "\n").collect();
    let done = world.feed(&["addr", "--compat", "--json"], input.as_bytes()).ok();
    for (case, line) in some.iter().zip(done.stdout.lines()) {
        let gib = get(case, &["expect", "gib"]).and_then(Value::as_str).unwrap();
        let addr = Value::parse(line, Mode::Compat).unwrap();
        assert!(addr.get("addr").and_then(Value::as_str).unwrap().ends_with(&format!("^{gib}")), "{case}: {line}");
    }
    assert_eq!(done.stdout.lines().count(), some.len());
}
