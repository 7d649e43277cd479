//! Everything at once: writers, readers with views, one-shot reads, snapshots, and indexes created and dropped, on one
//! store.
//!
//! It is meant for a thread sanitizer, and passes without one. `TENURE_STRESS_SECONDS` sets its duration (3 by
//! default), `TENURE_STRESS_SEED` the first seed. See `docs/testing.md`.

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
