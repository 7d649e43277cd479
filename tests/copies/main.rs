//! Backups and repositories of them, the past, and those who read along: changes and followers.
//!
//! Each module is a kind of tests of its own; they share a binary, and nothing else.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "../common/mod.rs"]
mod common;

mod changes;
mod endings;
mod following;
mod going_back;
mod repository;
