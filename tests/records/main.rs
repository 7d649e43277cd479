//! Records, their IDs, views, savepoints and isolation, by one thread and by many.
//!
//! Each module is a kind of tests of its own; they share a binary, and nothing else.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "../common/mod.rs"]
mod common;

mod beside;
mod crowded;
mod histories;
mod isolation;
mod many;
mod model;
mod narrow_reuse;
mod once_found;
mod open_modes;
mod own_changes;
mod patches;
mod streams_that_fail;
mod units;
mod views;
mod word;
