//! The change feed: what it shows of each commit, in which order, how far back, and what is kept for consumers.

mod ahead;
mod basics;
mod beside;
mod consumers;
mod crashes;
mod deleted_beside;
mod full;
mod killed;
mod large;
mod log;
mod mirror;
mod old;
mod order;
#[allow(dead_code, unreachable_pub, reason = "an example is a program")]
#[path = "../../docs/examples/sqlite_mirror.rs"]
mod sqlite_mirror;
