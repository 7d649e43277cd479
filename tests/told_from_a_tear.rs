//! Damage is distinguished from a tear: file headers, missing files, numbers that no file confirms, chunks of large
//! values.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;
#[path = "told_from_a_tear/craft.rs"]
mod craft;
#[path = "told_from_a_tear/ends.rs"]
mod ends;
#[path = "told_from_a_tear/gone.rs"]
mod gone;
#[path = "told_from_a_tear/headers.rs"]
mod headers;
#[path = "told_from_a_tear/numbers.rs"]
mod numbers;
#[path = "told_from_a_tear/values.rs"]
mod values;
