//! Everything at once: writers, readers with views, one-shot reads, snapshots, and indexes that come and go, on one store.
//!
//! It is meant for a thread sanitizer, and holds without one. `TENURE_STRESS_SECONDS` sets how long it takes (3 by default),
//! `TENURE_STRESS_SEED` where its random numbers begin. See `docs/testing.md`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;
#[path = "stress/planted.rs"]
mod planted;
#[path = "stress/rounds.rs"]
mod rounds;
#[path = "stress/workers.rs"]
mod workers;
#[path = "stress/world.rs"]
mod world;
