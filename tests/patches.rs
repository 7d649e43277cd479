//! Small images of changed pages: what they hold reads as before, through views, snapshots, reopenings and damage.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;
#[path = "patches/cut.rs"]
mod cut;
#[path = "patches/damaged.rs"]
mod damaged;
#[path = "patches/random.rs"]
mod random;
#[path = "patches/sizes.rs"]
mod sizes;
#[path = "patches/world.rs"]
mod world;
