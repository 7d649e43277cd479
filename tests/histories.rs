//! Generated histories of concurrent transactions, and a checker that looks for the anomalies that an isolation level
//! forbids.
//!
//! Lists only grow, and each element is written once, so reading a list reveals the versions before it (Kingsbury and
//! Alvaro 2020, "Elle"). From these follow the dependencies between transactions; a cycle among them is an anomaly.
//! `TENURE_HISTORY_ROUNDS` multiplies the number of histories.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "histories/checker.rs"]
mod checker;
mod common;
#[path = "histories/crashes.rs"]
mod crashes;
#[path = "histories/graph.rs"]
mod graph;
#[path = "histories/planted.rs"]
mod planted;
#[path = "histories/running.rs"]
mod running;
#[path = "histories/session.rs"]
mod session;
#[path = "histories/world.rs"]
mod world;
