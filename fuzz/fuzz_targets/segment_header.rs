//! Headers of files, and their names.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenure_fuzz::check::segment_header(data));
