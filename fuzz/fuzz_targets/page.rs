//! Images of index pages: descriptors and entries.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenure_fuzz::check::page(data));
