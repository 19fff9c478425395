//! `cargo fuzz run --features libfuzzer text_merge`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ibgib_fuzz::text_merge(bytes));
