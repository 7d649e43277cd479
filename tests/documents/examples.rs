//! The examples of `docs/examples` run to completion.

#![allow(clippy::expect_used, dead_code, unreachable_pub, reason = "examples are programs")]

#[path = "../../docs/examples/custom_backing.rs"]
pub mod custom_backing;
#[cfg(feature = "json")]
#[path = "../../docs/examples/issue_tracker.rs"]
mod issue_tracker;
#[path = "../../docs/examples/sqlite_mirror.rs"]
mod sqlite_mirror;
#[cfg(feature = "json")]
#[path = "../../docs/examples/web_service.rs"]
mod web_service;

#[test]
fn a_backing_of_ones_own() {
    custom_backing::main().expect("it runs");
}

#[test]
fn a_mirror_in_sqlite() {
    sqlite_mirror::main().expect("it runs");
}

#[cfg(feature = "json")]
#[test]
fn an_issue_tracker() {
    issue_tracker::main().expect("it runs");
}

#[cfg(feature = "json")]
#[test]
fn a_web_service() {
    web_service::tour();
}
