//! Runs conformance vectors. A case's kind is told by its shape, not by the file it stands in.

mod addr;
mod gib;
mod keystone;
mod transforms;

use ibgib::json::{JsonError, JsonErrorKind};
use ibgib::{Mode, Value};
use std::fmt;

/// What a case came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As expected.
    Pass,
    /// Different; the text says how.
    Fail(String),
    /// Not run; the text says why.
    Skip(String),
}

impl Outcome {
    /// Passes when both are equal.
    pub fn equal(what: &str, expected: &impl fmt::Display, got: &impl fmt::Display) -> Self {
        let (expected, got) = (expected.to_string(), got.to_string());
        if expected == got { Self::Pass } else { Self::Fail(format!("{what}: expected {expected}, got {got}")) }
    }

    /// The first that is not a pass.
    pub fn all(outcomes: impl IntoIterator<Item = Self>) -> Self {
        outcomes.into_iter().find(|o| *o != Self::Pass).unwrap_or(Self::Pass)
    }
}

/// How many cases came to what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// As expected.
    pub passed: usize,
    /// Different: name and difference.
    pub failed: Vec<(String, String)>,
    /// Not run: name and reason.
    pub skipped: Vec<(String, String)>,
}

/// Runs every case of a file's text.
///
/// # Errors
/// The text is not an array of cases.
pub fn run_file(text: &str, tally: &mut Tally) -> Result<(), String> {
    let (text, at) = without_lone_surrogates(text.trim_start_matches('\u{feff}'));
    let file = Value::parse(&text, Mode::Compat).map_err(|e| e.to_string())?;
    let cases = file.as_array().ok_or("expected an array of cases")?;
    let unreadable = places(&text, &at);
    for (i, case) in cases.iter().enumerate() {
        let name = case.get("name").and_then(Value::as_str).map_or_else(|| format!("case {i}"), str::to_owned);
        let portable = case.get("portable").and_then(Value::as_bool).unwrap_or(true);
        let outcome = if unreadable.contains(&i) {
            Outcome::Skip("a lone surrogate in the case, which a Rust string cannot hold".into())
        } else {
            run_case(case)
        };
        match outcome {
            Outcome::Pass => tally.passed += 1,
            Outcome::Skip(why) if !portable => tally.skipped.push((name, why)),
            Outcome::Skip(why) | Outcome::Fail(why) => tally.failed.push((name, why)),
        }
    }
    Ok(())
}

/// Lone surrogates cannot be read; one must not hide all other cases of its file. Answers the text with U+FFFD in
/// their places, and the places.
fn without_lone_surrogates(text: &str) -> (String, Vec<usize>) {
    let (mut text, mut at) = (text.to_owned(), Vec::new());
    while let Err(JsonError { offset, kind: JsonErrorKind::LoneSurrogate }) = Value::parse(&text, Mode::Compat) {
        text.replace_range(offset..offset + 6, "\\ufffd");
        at.push(offset);
    }
    (text, at)
}

/// In which items of the array that `text` holds the bytes at `at` (ascending) stand.
fn places(text: &str, at: &[usize]) -> Vec<usize> {
    let (mut found, mut item, mut depth, mut in_text, mut escaped) = (Vec::new(), 0, 0, false, false);
    let mut at = at.iter().copied().peekable();
    for (i, byte) in text.bytes().enumerate() {
        while at.next_if(|at| *at <= i).is_some() {
            found.push(item);
        }
        if in_text {
            in_text = escaped || byte != b'"';
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b',' if depth == 1 => item += 1,
            _ => {}
        }
    }
    found
}

/// Runs one case.
pub fn run_case(case: &Value) -> Outcome {
    let (Some(input), Some(expect)) = (case.get("input"), case.get("expect")) else {
        return Outcome::Fail("a case needs input and expect".into());
    };
    if let Some(json) = input.get("json").and_then(Value::as_str) {
        return gib::run(json, expect);
    }
    if let Some(name) = input.get("fn").and_then(Value::as_str) {
        return addr::run(name, input, expect);
    }
    match input.get("op").and_then(Value::as_str) {
        Some(op @ ("fork" | "mut8" | "rel8" | "firstGen" | "chain")) => transforms::run(op, input, expect),
        Some(op) if keystone::OPS.contains(&op) => keystone::run(op, input, expect),
        op => Outcome::Fail(format!("unknown kind of case (op {op:?})")),
    }
}

/// Whether the reference raised an exception.
fn throws(expect: &Value) -> bool {
    expect.get("throws").and_then(Value::as_bool).unwrap_or(false)
}

/// Compares values whose member order means nothing.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same(v, w)))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(v, w)| same(v, w)),
        _ => a == b,
    }
}
