//! Power cuts, tears and full disks at every step.
//!
//! Each module is a kind of tests of its own; they share a binary, and nothing else.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "../common/mod.rs"]
mod common;

mod crash_every_byte;
mod full_disk;
mod power_cut;
mod reserve;
mod room;
