//! `cargo fuzz run --features libfuzzer bundle`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ibgib_fuzz::bundle_file(bytes));
