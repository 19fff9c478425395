//! Which crate may import which: the manifests agree with the plan, so that reading in order never refers forward.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Crate, its folder, and what of this workspace it may import.
const MAY_IMPORT: [(&str, &str, &[&str]); 11] = [
    ("ibgib", ".", &[]),
    ("ibgib-keystone", "keystone", &["ibgib"]),
    ("ibgib-spaces", "spaces", &["ibgib", "ibgib-keystone"]),
    ("ibgib-saga", "saga", &["ibgib", "ibgib-keystone"]),
    ("ibgib-peer", "saga/peer", &["ibgib", "ibgib-spaces", "ibgib-keystone", "ibgib-saga"]),
    ("ibgib-folder", "folder", &["ibgib", "ibgib-spaces"]),
    ("ibgib-server", "server", &["ibgib", "ibgib-spaces", "ibgib-keystone", "ibgib-peer"]),
    (
        "ibgib-dev-tools",
        "dev-tools",
        &["ibgib", "ibgib-spaces", "ibgib-keystone", "ibgib-peer", "ibgib-server", "ibgib-respec"],
    ),
    (
        "ibgib-cli",
        "cli",
        &[
            "ibgib",
            "ibgib-spaces",
            "ibgib-keystone",
            "ibgib-saga",
            "ibgib-peer",
            "ibgib-server",
            "ibgib-folder",
            "ibgib-dev-tools",
        ],
    ),
    (
        "ibgib-respec",
        "respec",
        &["ibgib", "ibgib-spaces", "ibgib-keystone", "ibgib-saga", "ibgib-peer", "ibgib-server", "ibgib-folder"],
    ),
    ("ibgib-bench", "benches", &["ibgib"]),
];

/// What would bring clock, files, sockets or entropy into a pure crate.
const IMPURE: [&str; 8] = ["tokio", "getrandom", "rand", "redb", "reqwest", "axum", "tempfile", "async-trait"];
const PURE: [&str; 3] = ["ibgib", "ibgib-keystone", "ibgib-saga"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Names under `[dependencies]` of a manifest.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
    let mut inside = false;
    let mut out = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && let Some(name) = line.split(['=', '.', ' ']).next().filter(|n| !n.is_empty()) {
            out.insert(name.to_owned());
        }
    }
    out
}

#[test]
fn crates_import_only_what_stands_before_them() {
    for (name, folder, may) in MAY_IMPORT {
        if !root().join(folder).join("Cargo.toml").exists() {
            continue;
        }
        for dependency in dependencies(folder).iter().filter(|d| d.starts_with("ibgib")) {
            assert!(may.contains(&dependency.as_str()), "{name} may not import {dependency}");
        }
    }
}

#[test]
fn pure_crates_have_nothing_that_touches_the_world() {
    for (name, folder, _) in MAY_IMPORT.iter().filter(|(name, ..)| PURE.contains(name)) {
        let found: Vec<String> = dependencies(folder).into_iter().filter(|d| IMPURE.contains(&d.as_str())).collect();
        assert!(found.is_empty(), "{name} is pure but imports {found:?}");
    }
}

#[test]
fn every_member_of_the_workspace_has_its_place() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = text.lines().find_map(|l| l.strip_prefix("members = [")).unwrap();
    for member in members.trim_end_matches(']').split(',').map(|m| m.trim().trim_matches('"')) {
        assert!(MAY_IMPORT.iter().any(|(_, folder, _)| *folder == member), "{member} has no line in this table");
    }
}
