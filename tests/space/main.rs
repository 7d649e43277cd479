//! The collector, and the bounds of files, numbers and memory.
//!
//! Each module is a kind of tests of its own; they share a binary, and nothing else.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "../common/mod.rs"]
mod common;

mod bounded;
mod collector;
mod collector_edges;
mod collector_traps;
mod dirty_limit;
#[cfg(feature = "planted")]
mod dropped_sets;
mod limits;
mod short_of_room;
