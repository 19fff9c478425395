//! `cargo fuzz run --features libfuzzer value`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ibgib_fuzz::value(bytes));
