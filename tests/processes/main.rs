//! Limits of a whole process, each in a process of its own: memory, maps and descriptors.
//!
//! Each module is a kind of tests of its own; they share a binary, and nothing else.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "../common/mod.rs"]
mod common;

mod memory_limit;
mod scarce;
