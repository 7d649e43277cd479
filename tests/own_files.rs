//! A handle touches only its own files: those in the directory that it opened, as long as it has the lock, and in the
//! process that opened it.
//!
//! Each test runs writers in separate processes: this test binary again, with a role.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]
#![allow(clippy::disallowed_methods, reason = "other programs rename what they like")]

#[path = "own_files/forked.rs"]
mod forked;
#[path = "own_files/locks.rs"]
mod locks;
#[path = "own_files/moved.rs"]
mod moved;
#[path = "own_files/process.rs"]
mod process;

/// The roles of the test processes.
#[test]
#[ignore = "the other tests run it in a process of its own"]
fn role() {
    let Some((role, path)) = process::role() else { return };
    match role.as_str() {
        "writer" => process::write_as_told(&path),
        "relative" => moved::open_by_a_relative_path_and_leave(&path),
        "forks" => forked::fork_and_go_on(&path),
        other => panic!("no role {other:?}"),
    }
}
