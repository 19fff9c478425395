//! `cargo fuzz run --features libfuzzer message`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ibgib_fuzz::message(bytes));
