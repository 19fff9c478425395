//! The measurement of syncs runs over its smallest workloads and tells something for each. The command is measured by
//! hand: its figures are no matter of right and wrong.

use ibgib::{Mode, Value};
use std::process::Command;

#[test]
fn a_small_comparison_tells_what_git_costs() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ibgib-bench"));
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.md");
    command.args(["compare", "--quick", "--json", "--peer", "git", "--peer", "git-refs", "--write"]).arg(&page);
    let out = command.output().unwrap();
    let (told, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{told}{errors}");
    let rows: Vec<Value> = told.lines().map(|line| Value::parse(line, Mode::Strict).unwrap()).collect();
    let text = |row: &Value, name: &str| row.get(name).and_then(Value::as_str).unwrap().to_owned();
    let names: Vec<(String, String)> = rows.iter().map(|row| (text(row, "workload"), text(row, "peer"))).collect();
    // A folder is one history: it is no workload of branches.
    assert_eq!(names.len(), 10 + 8, "{names:?}");
    let page = std::fs::read_to_string(page).unwrap();
    for (workload, peer) in &names {
        assert!(page.contains(&format!("| {workload} | {peer} |")), "{page}");
    }
    for row in &rows {
        let sum = |name: &str| -> u64 {
            row.get(name).and_then(Value::as_array).unwrap().iter().filter_map(Value::as_u53).sum()
        };
        assert!(sum("wire") > 0 && sum("disk") > 0, "{row}");
    }
    // Its plots lie beside it, and it shows them.
    for plot in ["page/sync-time.svg", "page/sync-bytes.svg"] {
        assert!(page.contains(&format!("]({plot})")), "{page}");
        assert!(std::fs::read_to_string(dir.path().join(plot)).unwrap().contains("git-refs"));
    }
}

#[test]
fn what_it_does_not_know_it_says() {
    for arguments in [
        &["compare", "--only", "W9"][..],
        &["compare", "--rounds", "0"],
        &["vault", "--writes", "0"],
        &["scale", "--rounds", "0"],
        &["scale", "--large", "-1"],
        &["crowd", "--clients", "0"],
        &["plots"],
        &["merge"],
        &[],
    ] {
        let out = Command::new(env!("CARGO_BIN_EXE_ibgib-bench")).args(arguments).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&out.stderr).contains("usage: ibgib-bench"));
    }
}
