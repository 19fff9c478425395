//! `cargo fuzz run --features libfuzzer verify`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ibgib_fuzz::verify(bytes));
