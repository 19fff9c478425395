//! `cargo fuzz run --features libfuzzer address`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ibgib_fuzz::address(bytes));
