//! Indexes and their keys, and the typed layer with its versions.
//!
//! Each module is a kind of tests of its own; they share a binary, and nothing else.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "../common/mod.rs"]
mod common;

mod dropped_indexes;
mod hooked;
mod index_builds;
mod index_changes;
mod index_walks;
mod indexes;
mod indexes_beside_writers;
mod many_indexes;
mod replayed;
mod set_changes;
mod typed;
mod typed_word;
mod upgrades;
