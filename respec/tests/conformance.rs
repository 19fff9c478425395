//! The public conformance vectors, in the numbers that there are.

use ibgib_respec::vectors::{Tally, run_file};
use std::fs;
use std::path::Path;

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
