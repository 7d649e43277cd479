//! The limits of a store, the cost of large stores, and the way back from a limit.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "limits/indexes.rs"]
mod indexes;
#[path = "limits/names.rs"]
mod names;
#[path = "limits/numbers.rs"]
mod numbers;
#[path = "limits/raised.rs"]
mod raised;
