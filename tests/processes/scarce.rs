//! Maps and descriptors run short: a store has as many files as it needs, and works with few of either.
//!
//! Tests that limit the whole process run in a separate process: this test binary again, with a role.

#![allow(clippy::disallowed_methods, reason = "the program around a store opens what it likes")]
#![allow(clippy::print_stdout, reason = "figures of a long run")]

mod descriptors;
mod few_maps;
mod life;
mod maps;
mod small_segments;
