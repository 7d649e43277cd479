//! How much is written and kept while records are updated for long.
//!
//! Bytes written are those that the kernel counts for this process: pages that it made dirty, once each time that they
//! were clean. Every 10,000 updates are made durable.

use anyhow::Result;

use crate::engine::Engine;
use crate::machine::{disk_bytes, written_bytes};
use crate::work::updates::{Amount, Change, update};
use crate::work::{Task, loaded};

pub fn run<E: Engine>(task: &Task) -> Result<()> {
    let (engine, mut world) = loaded::<E>(task)?;
    // As many as it takes until every segment, level or page has been through it, and then as many again.
    let amount = Amount { updates: 2 * task.data.records as usize, limit: 3 * task.limit, with_syncs: true };
    update(&engine, &mut world, Change::Payload, amount, 31)?;
    engine.sync()?;
    let before = written_bytes()?;
    let (done, _) = update(&engine, &mut world, Change::Payload, amount, 32)?;
    engine.sync()?;
    let written = written_bytes()? - before;
    let space = disk_bytes(&task.store())?;
    world.verify(&engine)?;
    task.report("write-amplification", written as f64 / (done * task.data.value_bytes) as f64)?;
    task.report("space-amplification", space as f64 / task.data.user_bytes() as f64)?;
    engine.close()
}
