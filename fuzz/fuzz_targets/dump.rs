//! Streams that are to be dumps.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenure_fuzz::dump::check(data));
