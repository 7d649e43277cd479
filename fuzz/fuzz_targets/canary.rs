//! The frame target with a planted panic: a run that ends without a crash means that the harness sees nothing.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tenure_fuzz::check::frame(data));
