//! Heads of large values and lists of chunks.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenure_fuzz::check::head(data));
