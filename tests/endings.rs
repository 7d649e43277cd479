//! How handles and copies end: a panic is reported, commits are atomic, and a copy does not change.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "endings/backups.rs"]
mod backups;
#[path = "endings/half_commits.rs"]
mod half_commits;
#[path = "endings/names.rs"]
mod names;
#[path = "endings/panics.rs"]
mod panics;
