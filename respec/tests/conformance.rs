//! The public conformance vectors, in the numbers that there are.

use ibgib_respec::vectors::{Tally, run_file};
use std::fs;
use std::path::Path;
use std::process::Command;

/// File, cases that pass, cases that are not portable.
const FILES: [(&str, usize, usize); 4] =
    [("gib.json", 277, 7), ("addr.json", 301, 0), ("transforms.json", 187, 0), ("keystone.json", 193, 0)];

#[test]
fn every_public_vector_passes() {
    for (file, passed, skipped) in FILES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file);
        let mut tally = Tally::default();
        run_file(&fs::read_to_string(path).unwrap(), &mut tally).unwrap();
        assert_eq!(tally.failed, [], "{file}");
        assert_eq!((tally.passed, tally.skipped.len()), (passed, skipped), "{file}: {:?}", tally.skipped);
    }
}

/// What the original answers to input that it was not made for: missing parts, parts of other types, names that every
/// object inherits, options that contradict each other.
#[test]
fn odd_input_gets_the_original_s_answer() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors-more").join("odd-input.json");
    let mut tally = Tally::default();
    run_file(&fs::read_to_string(path).unwrap(), &mut tally).unwrap();
    assert_eq!((tally.failed, tally.passed), (vec![], 323));
}

#[test]
fn a_lone_surrogate_hides_no_other_case() {
    let file = r#"[
        {"name":"[ \" ,","input":{"fn":"validateIb","args":{"ib":"a"}},"expect":{"valid":true,"errorCount":0}},
        {"name":"lone","portable":false,"input":{"fn":"validateIb","args":{"ib":"\ud800\udc00\ud800"}},"expect":{}},
        {"name":"told","input":{"fn":"validateIb","args":{"ib":"\udc00"}},"expect":{"valid":true,"errorCount":0}},
        {"name":"after","input":{"fn":"validateIb","args":{"ib":"b"}},"expect":{"valid":true,"errorCount":0}}]"#;
    let mut tally = Tally::default();
    run_file(file, &mut tally).unwrap();
    assert_eq!((tally.passed, tally.skipped.len(), tally.failed.len()), (2, 1, 1));
    assert_eq!((tally.skipped[0].0.as_str(), tally.failed[0].0.as_str()), ("lone", "told"));
}

#[test]
fn a_wrong_expectation_is_told() {
    let mut tally = Tally::default();
    let wrong = r#"[{"name":"wrong","input":{"json":"{\"ib\":\"x\"}"},"expect":{"gib":"00"}}]"#;
    run_file(wrong, &mut tally).unwrap();
    assert_eq!((tally.passed, tally.failed.len()), (0, 1));
}

/// The binary's answer to these files: exit code, and the last line it prints.
fn run_binary(paths: &[&Path]) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_conformance")).args(paths).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let printed = text(out.stdout);
    let last = printed.lines().last().unwrap_or("").to_owned();
    (out.status.code().unwrap(), last, text(out.stderr))
}

#[test]
fn the_binary_tells_cases_by_their_shape_and_what_it_cannot_read() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance-binary");
    fs::remove_dir_all(&folder).ok();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    };
    // One case of each kind, in one file, under a name that tells nothing.
    let mut mixed = Vec::new();
    for (file, ..) in FILES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file);
        let cases = ibgib::Value::parse(&fs::read_to_string(path).unwrap(), ibgib::Mode::Compat).unwrap();
        mixed.push(cases.as_array().unwrap()[0].clone());
    }
    let mixed = write("sub/whatever.txt", &ibgib::Value::Array(mixed).to_json());
    assert_eq!(run_binary(&[&mixed]), (0, "4 passed, 0 failed, 0 skipped".into(), String::new()));

    let wrong =
        write("a/wrong.json", r#"[{"name":"w","input":{"json":"{}"},"expect":{}},5,{"input":{"op":"x"},"expect":{}}]"#);
    assert_eq!(run_binary(&[&wrong]).0, 1);
    assert_eq!(run_binary(&[&wrong, &mixed]).1, "4 passed, 3 failed, 0 skipped");
    assert_eq!(run_binary(&[folder.as_path()]).1, "0 passed, 3 failed, 0 skipped");
    for (name, text) in [("empty.json", ""), ("object.json", "{}"), ("cut.json", "["), ("word.json", "null")] {
        let bad = write(&format!("b/{name}"), text);
        let (code, last, error) = run_binary(&[&bad, &mixed]);
        assert_eq!((code, last.as_str()), (2, "4 passed, 0 failed, 0 skipped"), "{name}");
        assert!(error.contains(name), "{error}");
    }
    fs::create_dir_all(folder.join("none")).unwrap();
    for missing in ["none", "nowhere.json"] {
        assert_eq!(run_binary(&[&folder.join(missing)]).0, 2, "{missing}");
    }
    assert_eq!(run_binary(&[]).0, 2);
}
