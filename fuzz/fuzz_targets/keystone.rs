//! `cargo fuzz run --features libfuzzer keystone`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ibgib_fuzz::keystone(bytes));
