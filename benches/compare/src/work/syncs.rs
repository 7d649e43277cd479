//! A few commits of one update each, for a trace of system calls.

use std::time::Duration;

use anyhow::Result;

use crate::engine::Engine;
use crate::engine::Setup;
use crate::work::Task;
use crate::work::World;
use crate::work::load;
use crate::work::mixed::commits;

pub fn run<E: Engine>(task: &Task) -> Result<()> {
    let engine = E::open(&task.store(), Setup { indexed: true, durable: task.durable, long_tail: false })?;
    let mut ids = Vec::new();
    load::<E>(&mut engine.session()?, task.data, &mut ids, task.data.records)?;
    let mut world = World::new(task.data, ids);
    commits(&engine, &mut world, 1, Duration::from_mins(1), task.commits as usize)?;
    engine.close()
}
