//! Inputs of the command line's import: JSON Lines and CSV, packed and plain.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tenure_fuzz::import::check(data);
    tenure_fuzz::import::endless(data);
});
