//! Generated histories of concurrent transactions, and a checker that looks for the anomalies that an isolation level
//! forbids.
//!
//! Lists only grow, and each element is written once, so reading a list reveals the versions before it (Kingsbury and
//! Alvaro 2020, "Elle"). From these follow the dependencies between transactions; a cycle among them is an anomaly.
//! `TENURE_HISTORY_ROUNDS` multiplies the number of histories.

mod checker;
mod crashes;
mod graph;
mod planted;
mod running;
mod session;
mod world;
