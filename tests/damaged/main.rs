//! Files that are damaged, gone, or left over: what is told of them, and what is rescued.
//!
//! Each module is a kind of tests of its own; they share a binary, and nothing else.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "../common/mod.rs"]
mod common;

mod damage;
mod leftovers;
mod rescue;
mod told_from_a_tear;
