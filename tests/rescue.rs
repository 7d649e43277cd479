//! Damaged stores: they open, report the damage, and return everything intact.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

#[path = "rescue/exchange.rs"]
mod exchange;
#[path = "rescue/indexes.rs"]
mod indexes;
#[path = "rescue/interrupted.rs"]
mod interrupted;
#[path = "rescue/measure.rs"]
mod measure;
#[path = "rescue/model.rs"]
mod model;
#[path = "rescue/repair.rs"]
mod repair;
#[path = "rescue/salvage.rs"]
mod salvage;
