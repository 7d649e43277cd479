//! Stores in which changed pages have little room, so that leaves are changed beside their images and snapshots follow one
//! another: compared with models, and damaged in between.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;
#[path = "crowded/damaged_below.rs"]
mod damaged_below;
#[path = "crowded/model.rs"]
mod model;
#[path = "crowded/worlds.rs"]
mod worlds;
