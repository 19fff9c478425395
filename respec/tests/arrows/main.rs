//! Which crate may import which, and which module may refer to which: the plan of the house, compared with the manifests
//! and the sources, so that reading in order never refers forward.

mod modules;

use ibgib::{Mode, Value};
use modules::Modules;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Crate, its folder, and what of this workspace it may import. Rows of crates that are not there yet keep their place.
const MAY_IMPORT: &[(&str, &str, &[&str])] = &[
    ("ibgib", ".", &[]),
    ("ibgib-blocks", "blocks", &[]),
    ("ibgib-keystone", "keystone", &["ibgib"]),
    ("ibgib-spaces", "spaces", &["ibgib", "ibgib-blocks", "ibgib-keystone"]),
    ("ibgib-postgres", "spaces/postgres", &["ibgib", "ibgib-keystone", "ibgib-spaces"]),
    ("ibgib-saga", "saga", &["ibgib", "ibgib-blocks", "ibgib-keystone"]),
    ("ibgib-peer", "saga/peer", &["ibgib", "ibgib-spaces", "ibgib-keystone", "ibgib-saga"]),
    ("ibgib-folder", "folder", &["ibgib", "ibgib-spaces"]),
    ("ibgib-server", "server", &["ibgib", "ibgib-spaces", "ibgib-keystone", "ibgib-saga", "ibgib-peer"]),
    ("ibgib-vault", "doors/vault", DOOR),
    ("ibgib-pairing", "doors/pairing", DOOR),
    ("ibgib-tower", "doors/tower", DOOR),
    // No rigs and no server: the page carries the scenarios into the command.
    ("ibgib-scenarios", "respec/scenarios", &["ibgib", "ibgib-spaces", "ibgib-keystone", "ibgib-saga", "ibgib-peer"]),
    (
        "ibgib-respec",
        "respec",
        &[
            "ibgib",
            "ibgib-spaces",
            "ibgib-keystone",
            "ibgib-saga",
            "ibgib-peer",
            "ibgib-server",
            "ibgib-folder",
            "ibgib-scenarios",
        ],
    ),
    (
        "ibgib-dev-tools",
        "dev-tools",
        &["ibgib", "ibgib-spaces", "ibgib-keystone", "ibgib-saga", "ibgib-peer", "ibgib-server", "ibgib-scenarios"],
    ),
    (
        "ibgib-cli",
        "cli",
        &[
            "ibgib",
            "ibgib-spaces",
            "ibgib-postgres",
            "ibgib-keystone",
            "ibgib-saga",
            "ibgib-peer",
            "ibgib-server",
            "ibgib-folder",
            "ibgib-vault",
            "ibgib-pairing",
            "ibgib-tower",
            "ibgib-dev-tools",
        ],
    ),
    ("ibgib-bench", "benches", ANY),
    ("ibgib-fuzz", "fuzz", ANY),
];

/// Doors stand on the server and know nothing of folders and the command.
const DOOR: &[&str] = &["ibgib", "ibgib-spaces", "ibgib-keystone", "ibgib-saga", "ibgib-peer", "ibgib-server"];

/// What nothing else imports may measure and attack everything below the command.
const ANY: &[&str] = &[
    "ibgib",
    "ibgib-spaces",
    "ibgib-postgres",
    "ibgib-keystone",
    "ibgib-saga",
    "ibgib-peer",
    "ibgib-server",
    "ibgib-folder",
    "ibgib-vault",
    "ibgib-pairing",
    "ibgib-tower",
];

/// What tests and examples of a crate may use of this workspace besides what the crate itself may import.
const MAY_TEST_WITH: &[(&str, &[&str])] = &[
    // For examples/embed.rs only.
    ("ibgib", &["ibgib-peer"]),
    // Streams that somebody forges are written by hand.
    ("ibgib-respec", &["ibgib-blocks"]),
];

/// These read no clock, file, socket, environment or entropy, so that they run in a browser and under simulation.
const PURE: [&str; 4] = ["ibgib", "ibgib-blocks", "ibgib-keystone", "ibgib-saga"];

/// Crates that would bring clock, files, sockets or entropy into a pure one.
const IMPURE: [&str; 9] = ["tokio", "getrandom", "rand", "redb", "hyper", "axum", "tempfile", "async-trait", "rustix"];

/// Parts of the standard library that do.
const IMPURE_STD: [&str; 7] = ["fs", "net", "time", "env", "process", "thread", "os"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A member of the workspace, as cargo tells it.
struct Member {
    name: String,
    folder: PathBuf,
    /// All of them, whatever feature or target they are for, with their kind: empty, `dev` or `build`.
    dependencies: Vec<(String, String)>,
}

fn members() -> &'static [Member] {
    static MEMBERS: OnceLock<Vec<Member>> = OnceLock::new();
    MEMBERS.get_or_init(|| {
        let told = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let told = Value::parse(std::str::from_utf8(&told.stdout).unwrap(), Mode::Compat).unwrap();
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let list = |value: &Value, name: &str| value.get(name).unwrap().as_array().unwrap().to_vec();
        let base = PathBuf::from(text(&told, "workspace_root"));
        let member = |package: &Value| {
            let manifest = PathBuf::from(text(package, "manifest_path"));
            let folder = manifest.parent().unwrap().strip_prefix(&base).unwrap().to_owned();
            let dependencies = list(package, "dependencies");
            let dependencies = dependencies.iter().map(|d| (text(d, "name"), text(d, "kind"))).collect();
            Member { name: text(package, "name"), folder, dependencies }
        };
        list(&told, "packages").iter().map(member).collect()
    })
}

/// The modules of each library and program of a member.
fn sources(member: &Member) -> Vec<Modules> {
    let src = root().join(&member.folder).join("src");
    ["lib.rs", "main.rs"].iter().map(|file| src.join(file)).filter(|f| f.exists()).map(|f| Modules::read(&f)).collect()
}

fn may_import(name: &str) -> &'static [&'static str] {
    MAY_IMPORT.iter().find(|row| row.0 == name).map_or(&[], |row| row.2)
}

#[test]
fn every_member_of_the_workspace_has_its_place() {
    for member in members() {
        let row = MAY_IMPORT.iter().find(|row| row.0 == member.name);
        let row = row.unwrap_or_else(|| panic!("{} has no line in this table", member.name));
        let folder = if row.1 == "." { "" } else { row.1 };
        assert_eq!(Path::new(folder), member.folder, "{}", member.name);
    }
}

#[test]
fn crates_import_only_what_stands_before_them() {
    for member in members() {
        for (dependency, kind) in member.dependencies.iter().filter(|(name, _)| name.starts_with("ibgib")) {
            let tests = MAY_TEST_WITH.iter().filter(|row| kind == "dev" && row.0 == member.name);
            let may = tests.flat_map(|row| row.1).chain(may_import(&member.name)).any(|name| name == dependency);
            assert!(may, "{} may not import {dependency} ({kind})", member.name);
        }
    }
}

#[test]
fn no_arrow_of_the_plan_points_upwards() {
    let mut above = BTreeSet::new();
    for (name, _, may) in MAY_IMPORT.iter().rev() {
        above.insert(*name);
        let upwards = may.iter().find(|to| above.contains(*to));
        assert_eq!(upwards, None, "{name}");
    }
}

#[test]
fn pure_crates_have_nothing_that_touches_the_world() {
    for member in members().iter().filter(|member| PURE.contains(&&*member.name)) {
        let found = member.dependencies.iter().find(|(name, kind)| kind != "dev" && IMPURE.contains(&&**name));
        assert_eq!(found, None, "{} is pure", member.name);
        for modules in sources(member) {
            let found = modules.std_names().into_iter().find(|(name, _)| IMPURE_STD.contains(&&**name));
            assert_eq!(found, None, "{} is pure", member.name);
        }
    }
}

#[test]
fn modules_of_a_crate_form_no_circle() {
    let mut told = String::new();
    for member in members() {
        for circle in sources(member).iter().filter_map(Modules::circle) {
            told += &format!("{}:\n{circle}\n", member.name);
        }
    }
    assert!(told.is_empty(), "modules that refer to each other in circles:\n{told}");
}

/// The crates' folders and the modules of `src/`, each in the order in which README tells to read them.
fn reading_order() -> (Vec<String>, Vec<String>) {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, list) = text.split_once("In this order nothing refers forward:").expect("README tells a reading order");
    let (list, _) = list.split_once(". ").expect("the list ends");
    let names = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let (before, rest) = list.split_once('(').expect("the modules of src/ stand in brackets");
    let (inside, after) = rest.split_once(')').expect("the brackets end");
    (names(&format!("{before}{after}")), names(inside))
}

#[test]
fn the_reading_order_refers_only_backwards() {
    let (crates, modules) = reading_order();
    let place: BTreeMap<String, usize> = crates.iter().enumerate().map(|(i, name)| (name.clone(), i)).collect();
    let folder =
        |folder: &Path| if folder == Path::new("") { "src/".to_owned() } else { format!("{}/", folder.display()) };
    for member in members() {
        let here = place.get(&folder(&member.folder));
        let here = here.unwrap_or_else(|| panic!("README's reading order lacks {}", member.name));
        for (name, _) in member.dependencies.iter().filter(|(_, kind)| kind != "dev") {
            if let Some(to) = members().iter().find(|member| member.name == *name) {
                assert!(place[&folder(&to.folder)] < *here, "{} refers forward to {name}", member.name);
            }
        }
    }
    assert_eq!(place.len(), members().len(), "README names a crate twice, or one that is not there");

    let floor = Modules::read(&root().join("src/lib.rs"));
    let place: BTreeMap<&str, usize> = modules.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
    let there: BTreeSet<&str> = floor.0.keys().filter(|path| path.len() == 1).map(|path| path[0].as_str()).collect();
    assert_eq!(place.keys().copied().collect::<BTreeSet<_>>(), there, "README and src/lib.rs name other modules");
    for ((from, to), file) in floor.arrows().iter().filter(|((from, _), _)| from.len() == 1) {
        assert!(place[&*to[0]] < place[&*from[0]], "{} refers forward to {} in {}", from[0], to[0], file.display());
    }
}

/// The reader itself: what it has to see, and what it must not.
#[test]
fn references_are_read_from_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    write("lib.rs", "mod a;\npub mod b;\n#[cfg(test)]\nmod only_tests;\npub use b::{Deep, inner::Other as Renamed};\n");
    write("a.rs", "use std::{collections::BTreeMap, fmt};\nfn f() { let c = '\"'; crate::Renamed::new(c) }\n");
    write("b.rs", "mod inner;\npub use inner::Deep;\n// crate::a\nconst T: &str = r#\"crate::a \" std::fs\"#;\n");
    write("b/inner.rs", "use super::Deep;\n#[cfg(test)]\nmod tests {\n    use crate::a::f;\n    fn g() {}\n}\n");
    let read = || Modules::read(&folder.path().join("lib.rs"));
    let arrows: Vec<String> =
        read().arrows().keys().map(|(a, b)| format!("{} -> {}", a.join("::"), b.join("::"))).collect();
    assert_eq!(arrows, ["a -> b"]);
    assert_eq!(read().circle(), None);
    let names: BTreeSet<String> = read().std_names().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["collections", "fmt"].map(str::to_owned).into());

    write("b/inner.rs", "fn g() { super::super::a::f() }\nuse std::time::Instant;\n");
    let circle = read().circle().unwrap();
    assert!(circle.contains("a -> b") && circle.contains("b -> a"), "{circle}");
    assert!(read().std_names().iter().any(|(name, _)| name == "time"));
}
