//! Repositories of backups: every backup restores to the state it was made of, through kills, faults, prunings and damage.
//!
//! `TENURE_REPOSITORY_ROUNDS` sets how many random sequences run, `TENURE_REPOSITORY_KILLS` how many kills.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions")]

#[cfg(feature = "remote")]
#[path = "../remote/flaky.rs"]
#[allow(dead_code, reason = "each test uses a part")]
mod flaky;

mod basics;
#[cfg(feature = "remote")]
mod buckets;
mod damage;
mod edges;
#[cfg(feature = "remote")]
mod exclusion;
mod full;
mod kills;
mod model;
mod moved;
mod sizes;

use std::ops::ControlFlow;
use std::path::Path;

use tenure::repository::{AddOptions, Added, At, Repository, RepositoryProgress};
use tenure::{Options, Result, Store};

use crate::common;
use crate::common::Contents;

/// Options of a small store.
fn small() -> Options {
    Options::new().background(false).segment_bytes(64 << 10).snapshot_log_bytes(32 << 10)
}

/// Never ends an operation.
fn go_on(_now: RepositoryProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn add(repository: &Repository, store: &Store) -> Result<Added> {
    repository.add(store, &AddOptions::new(), &mut go_on)
}

/// The contents of a backup, restored to a new directory which is deleted again.
fn restored(repository: &Repository, at: At, scratch: &Path) -> Result<Contents> {
    let path = scratch.join("restored");
    repository.restore(at, &path, &mut go_on)?;
    let contents = common::contents(&small().read_only(true).open(&path)?)?;
    std::fs::remove_dir_all(&path).expect("deleted");
    Ok(contents)
}

/// How often something is done.
fn rounds(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
