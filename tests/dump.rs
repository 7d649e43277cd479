//! Dumps: a store and a store loaded from its dump have the same content.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;
mod markdown;

#[path = "dump/damage.rs"]
mod damage;
#[path = "dump/document.rs"]
mod document;
#[path = "dump/full.rs"]
mod full;
#[path = "dump/past.rs"]
mod past;
#[path = "dump/resume.rs"]
mod resume;
#[path = "dump/round_trip.rs"]
mod round_trip;
