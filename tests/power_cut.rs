//! Power cuts, failing calls and full disks at every step: acknowledged commits stay, and nothing else appears.
//!
//! `TENURE_POWER_CUT_ROUNDS` lengthens the seeded runs.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "power_cut/beside.rs"]
mod beside;
mod common;
#[path = "power_cut/failing.rs"]
mod failing;
#[path = "power_cut/found.rs"]
mod found;
#[path = "power_cut/killed.rs"]
mod killed;
#[path = "power_cut/linked.rs"]
mod linked;
#[path = "power_cut/order.rs"]
mod order;
#[path = "power_cut/planted.rs"]
mod planted;
#[path = "power_cut/runs.rs"]
mod runs;
#[path = "power_cut/sequences.rs"]
mod sequences;
#[path = "power_cut/world.rs"]
mod world;
