//! A few commits of one update each, for a trace of system calls.

use std::time::Duration;

use anyhow::Result;

use crate::engine::{Engine, Setup};
use crate::work::mixed::commits;
use crate::work::{Task, World, load};

pub fn run<E: Engine>(task: &Task) -> Result<()> {
    let engine = E::open(&task.store(), Setup { indexed: true, durable: task.durable, ..Setup::default() })?;
    let mut ids = Vec::new();
    load::<E>(&mut engine.session()?, task.data, &mut ids, task.data.records)?;
    let mut world = World::new(task.data, ids);
    commits(&engine, &mut world, 1, Duration::from_mins(1), task.commits as usize)?;
    engine.close()
}
