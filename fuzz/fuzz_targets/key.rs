//! Keys of indexes, as bytes and as text.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenure_fuzz::check::key(data));
