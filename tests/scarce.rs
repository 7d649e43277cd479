//! Maps and descriptors run short: a store has as many files as it needs, and works with few of either.
//!
//! Tests that limit the whole process run in a separate process: this test binary again, with a role.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]
#![allow(clippy::disallowed_methods, reason = "the program around a store opens what it likes")]
#![allow(clippy::print_stdout, reason = "figures of a long run")]

mod common;
#[path = "scarce/descriptors.rs"]
mod descriptors;
#[path = "scarce/few_maps.rs"]
mod few_maps;
#[path = "scarce/life.rs"]
mod life;
#[path = "scarce/maps.rs"]
mod maps;
#[path = "scarce/small_segments.rs"]
mod small_segments;

/// The roles of the test processes.
#[test]
#[ignore = "the other tests run it in a process of its own"]
fn role() {
    match std::env::var(descriptors::ROLE).as_deref() {
        Ok("few") => descriptors::live_with_few(),
        Ok("none") => descriptors::live_with_none(),
        _ => {}
    }
}
