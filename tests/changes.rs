//! The change feed: what it shows of each commit, in which order, how far back, and what is kept for consumers.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "changes/ahead.rs"]
mod ahead;
#[path = "changes/basics.rs"]
mod basics;
#[path = "changes/beside.rs"]
mod beside;
mod common;
#[path = "changes/consumers.rs"]
mod consumers;
#[path = "changes/crashes.rs"]
mod crashes;
#[path = "changes/full.rs"]
mod full;
#[path = "changes/killed.rs"]
mod killed;
#[path = "changes/large.rs"]
mod large;
#[path = "changes/log.rs"]
mod log;
#[path = "changes/mirror.rs"]
mod mirror;
#[path = "changes/old.rs"]
mod old;
#[path = "changes/order.rs"]
mod order;
#[allow(dead_code, unreachable_pub, reason = "an example is a program")]
#[path = "../docs/examples/sqlite_mirror.rs"]
mod sqlite_mirror;
