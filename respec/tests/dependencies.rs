//! What `deny.toml` says of dependencies holds: licences, bans and sources, read from what cargo knows offline.

use ibgib::{Mode, Value};
use std::fs;
use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Texts in the list `name` of `deny.toml`; of tables, their member `crate`.
fn listed(name: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("deny.toml")).unwrap();
    let start = text.find(&format!("\n{name} = [")).unwrap_or_else(|| panic!("no {name} in deny.toml"));
    let list = &text[start..start + text[start..].find("]\n").unwrap()];
    let lines = list.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let texts = lines.flat_map(|line| {
        let wanted = if line.starts_with('{') { 1 } else { usize::MAX };
        line.split('"').skip(1).step_by(2).take(wanted).map(str::to_owned).collect::<Vec<_>>()
    });
    texts.collect()
}

fn packages() -> Vec<Value> {
    // Cargo has fetched what this platform needs, and no more: what others need is not known offline.
    let told = Command::new("rustc").arg("-vV").output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let host = told.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc tells its host");
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", host]);
    command.current_dir(root());
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let told = Value::parse(std::str::from_utf8(&out.stdout).unwrap(), Mode::Compat).unwrap();
    told.get("packages").and_then(Value::as_array).unwrap().to_vec()
}

fn text<'p>(package: &'p Value, name: &str) -> &'p str {
    package.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a licence expression leaves a choice of which every part is allowed.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    // Some write an older form: a stroke, or small letters.
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ").replace(" or ", " OR ");
    // Without parentheses, AND binds more tightly, which is also how the few that have them are meant here.
    let choice = |parts: &str| parts.split(" AND ").all(|part| allowed.iter().any(|a| a == part.trim()));
    match expression.split_once(") AND ") {
        Some((either, also)) => is_allowed(either, allowed) && is_allowed(also, allowed),
        None => plain.split(" OR ").any(choice),
    }
}

#[test]
fn dependencies_are_free_to_use_known_and_from_the_registry() {
    let (licences, sources, banned) = (listed("allow"), listed("allow-registry"), listed("deny"));
    assert!(licences.len() > 3 && sources.len() == 1 && banned.len() > 1, "deny.toml is not read as it is meant");
    for package in packages() {
        let name = text(&package, "name");
        assert!(is_allowed(text(&package, "license"), &licences), "{name}: licence {}", text(&package, "license"));
        let source = text(&package, "source");
        let known = source.is_empty() || sources.iter().any(|s| source == format!("registry+{s}"));
        assert!(known, "{name} comes from {source}");
        assert!(name == "diffy" || !banned.iter().any(|b| b == name), "{name} is banned");
        let ours = source.is_empty();
        for dependency in package.get("dependencies").and_then(Value::as_array).unwrap_or_default() {
            let on = text(dependency, "name");
            assert!(!ours || on != "diffy" || name == "ibgib-bench", "{name} may not need diffy");
            let wild = ours && text(dependency, "req") == "*" && dependency.get("path").is_none();
            assert!(!wild, "{name} takes any version of {on}");
        }
    }
}

#[test]
fn licence_expressions_are_read() {
    let allowed = ["MIT".to_owned(), "Unicode-3.0".to_owned()];
    for good in [
        "MIT",
        "Apache-2.0 OR MIT",
        "MIT/Apache-2.0",
        "MIT or Apache-2.0",
        "MIT AND Unicode-3.0",
        "(MIT OR X) AND Unicode-3.0",
    ] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR X) AND Y"] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}
