//! Questions and updates where memory holds a quarter of the data.
//!
//! Owns: joining the control group, after what is the benchmark's own was allocated. Never: has anything of the store cached
//! when it begins: the driver drops the page cache.

use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::data::{Data, Key, digest};
use crate::engine::{Engine, Session as _, Setup, View as _};
use crate::machine::{join, read_bytes};
use crate::work::opening::{read_ids, save_ids};
use crate::work::questions::{uniform, zipfian};
use crate::work::reads::{ask, check};
use crate::work::updates::{Amount, Change, update};
use crate::work::{Task, World, loaded, per_second};

/// Questions of one measurement, if the time suffices.
const QUESTIONS: usize = 200_000;

/// Leaves a store with both indexes, and the IDs.
pub fn store<E: Engine>(task: &Task) -> Result<()> {
    let (engine, world) = loaded::<E>(task)?;
    save_ids::<E>(task, &world.ids)?;
    engine.close()
}

pub fn run<E: Engine>(task: &Task) -> Result<()> {
    let records = task.data.records;
    let mut world: World<E> = World::new(task.data, read_ids::<E>(task)?);
    let (even, skewed) = (uniform(31, records, QUESTIONS), zipfian(32, records, QUESTIONS)?);
    let asked = uniform(33, records, QUESTIONS);
    let keys: Vec<Key> = asked.iter().map(|number| Data::key(*number, 0)).collect();
    join(task.group.as_deref().context("no control group")?)?;

    let memory = Some(usize::try_from(task.cold_memory())?);
    let engine = E::open(&task.store(), Setup { indexed: true, memory, ..Setup::default() })?;
    for (name, numbers) in [("cold-get", &even), ("cold-get-zipf", &skewed)] {
        if task.wants(name) {
            gets(task, &engine, &world, name, numbers)?;
        }
    }
    if task.wants("cold-key") {
        let mut sum = 0_u64;
        let mut visit = |bytes: &[u8]| sum = sum.wrapping_add(digest(bytes));
        let (done, time) = ask(task, engine.session()?, &keys, 1, |view, key| view.by_key(key, &mut visit))?;
        check::<E>("cold-key", sum, asked[..done].iter().map(|number| world.expected(*number)))?;
        task.report("cold-key", per_second(done, time))?;
    }
    if task.wants("cold-update") {
        let amount = Amount { updates: records as usize, limit: task.limit, with_syncs: false };
        let (done, time) = update(&engine, &mut world, Change::Payload, amount, 34)?;
        world.verify(&engine)?;
        task.report("cold-update", per_second(done, time))?;
    }
    engine.close()
}

fn gets<E: Engine>(task: &Task, engine: &E, world: &World<E>, name: &str, numbers: &[u32]) -> Result<()> {
    let (mut session, mut sum, mut done) = (engine.session()?, 0_u64, 0);
    let (before, start) = (read_bytes()?, Instant::now());
    for number in numbers {
        session.get(world.id(*number), &mut |bytes| sum = sum.wrapping_add(digest(bytes)))?;
        done += 1;
        if start.elapsed() > task.limit {
            break;
        }
    }
    let (time, read) = (start.elapsed(), read_bytes()? - before);
    check::<E>(name, sum, numbers[..done].iter().map(|number| world.expected(*number)))?;
    task.report(&format!("{name}-read"), read as f64 / done as f64)?;
    task.report(name, per_second(done, time))
}
