//! `cargo fuzz run --features libfuzzer conversation`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ibgib_fuzz::conversation(bytes));
