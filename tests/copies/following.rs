//! Following a store that another handle or process writes: what a follower shows, what it costs, and taking over.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions")]
#![allow(clippy::print_stdout, reason = "the figures of each run")]

mod ledger;

mod basics;
#[cfg(feature = "remote")]
mod buckets;
mod churn;
mod costs;
mod edges;
mod moved;
mod rolled_back;

use std::time::Duration;

/// Long enough for a slow machine.
pub const LONG: Duration = Duration::from_mins(2);

/// How much a test does.
pub fn amount(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
