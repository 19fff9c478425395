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

#[test]
fn a_wrong_expectation_is_told() {
    let mut tally = Tally::default();
    let wrong = r#"[{"name":"wrong","input":{"json":"{\"ib\":\"x\"}"},"expect":{"gib":"00"}}]"#;
    run_file(wrong, &mut tally).unwrap();
    assert_eq!((tally.passed, tally.failed.len()), (0, 1));
}
