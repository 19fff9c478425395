//! The tables of attacks name tests that are there.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// Names of all tests.
fn tests() -> HashSet<String> {
    let mut files = Vec::new();
    sources(root(), &mut files);
    let mut out = HashSet::new();
    for file in files {
        let mut is_test = false;
        for line in fs::read_to_string(file).unwrap().lines().map(str::trim_start) {
            let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if let (Some(rest), true) = (rest, is_test) {
                out.insert(rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect());
            }
            is_test = match line.strip_prefix("#[") {
                Some(attribute) => is_test || attribute.contains("test"),
                None => false,
            };
        }
    }
    out
}

/// What stands between ticks in the last column of each line of a table.
fn named(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().map(|line| line.trim_start_matches("//! ")).filter(|line| line.starts_with('|'));
    let rows = rows.filter(|row| !row.starts_with("|---"));
    let last = rows.filter_map(|row| row.trim_end_matches([' ', '|']).rsplit('|').next());
    last.map(|column| column.split('`').skip(1).step_by(2).collect()).collect()
}

#[test]
fn every_attack_names_a_test_that_is_there() {
    let (text, tests) = (fs::read_to_string(root().join("docs/attacks.md")).unwrap(), tests());
    assert!(tests.len() > 800, "{} tests are not all", tests.len());
    // The first line of each table tells what stands in it.
    let rows: Vec<Vec<&str>> = named(&text).into_iter().filter(|row| !row.is_empty()).collect();
    let tables = text.matches("|---|---|---|").count();
    assert_eq!(rows.len() + tables, text.lines().filter(|l| l.starts_with("| ")).count(), "an attack without a test");
    assert!(rows.len() > 50);
    let gone: Vec<&&str> = rows.iter().flatten().filter(|name| !tests.contains(**name)).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

/// In the module about identities long names are told by their beginning or their end.
#[test]
fn what_is_told_of_identities_names_tests_that_are_there() {
    let (text, tests) = (fs::read_to_string(root().join("keystone/src/attacks.rs")).unwrap(), tests());
    let is_there = |name: &str| match name.split_once('…') {
        None => tests.contains(name),
        Some((begins, ends)) => tests.iter().any(|test| test.starts_with(begins) && test.ends_with(ends)),
    };
    let (rules, lines) = text.split_once("# What `hash-reveal-v1` cannot stop").unwrap();
    assert!(rules.contains("| rule that refuses it |"), "the first table names rules");
    let is_name = |name: &&str| name.contains('_') && !name.contains("::") && !name.contains('/');
    let names: Vec<&str> = named(lines).into_iter().flatten().filter(is_name).collect();
    assert!(names.len() > 30, "{names:?}");
    let gone: Vec<&&str> = names.iter().filter(|name| !is_there(name)).collect();
    assert!(gone.is_empty(), "{gone:?}");
}
