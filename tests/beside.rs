//! What commits and views pay for others: validation of transactions that read much or long, and views beside large commits.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "beside/large_commits.rs"]
mod large_commits;
#[path = "beside/late_ranges.rs"]
mod late_ranges;
#[path = "beside/many_reads.rs"]
mod many_reads;
#[path = "beside/paused.rs"]
mod paused;
#[path = "beside/written_ahead.rs"]
mod written_ahead;
