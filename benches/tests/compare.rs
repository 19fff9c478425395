//! The comparison of text merges with git's and diffy's runs, and finds nothing wrong with ours, on a few cases made from
//! the sources of `ibgib`. docs/merging-compared.md has the figures of many cases.

use ibgib::{Mode, Value};
use std::process::Command;

#[test]
fn a_small_comparison_finds_nothing_wrong() {
    // A history of its own, so that the cases do not depend on how this folder came here.
    let dir = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(dir.path()).args([
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "commit.gpgsign=false",
        ]);
        let out = command.args(arguments).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    git(&["init", "-q", "-b", "main"]);
    for version in 0..8 {
        let line = |i: usize| if i % 8 == version { format!("line {i} of {version}\n") } else { format!("line {i}\n") };
        std::fs::write(dir.path().join("file.md"), (0..60).map(line).collect::<String>()).unwrap();
        git(&["add", "-A"]);
        git(&["commit", "-qm", "a version"]);
    }
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../src");
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare-merges"));
    command.args(["--cases", "150", "--seed", "3", "--json", "--folder", sources, "--repo"]).arg(dir.path());
    let out = command.output().unwrap();
    let (told, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{told}{errors}");
    let told = Value::parse(&told, Mode::Strict).unwrap();
    let figure = |group: &str, tool: &str, name: &str| {
        told.get("groups").and_then(|g| g.get(group)?.get(tool)?.get(name)?.as_u53()).unwrap()
    };
    assert_eq!(figure("all", "ibgib", "wrong"), 0);
    assert!(figure("all", "ibgib", "conflicts") <= figure("all", "git merge-file", "conflicts"));
    assert!(figure("all", "git merge-file", "conflicts") > 0, "the cases are too easy to say anything");
    let picks = |name| figure("history: picks, reverts, merges", "ibgib", name);
    assert!(picks("clean") + picks("conflicts") > 0);
}
