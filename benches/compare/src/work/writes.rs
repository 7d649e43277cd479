//! Updates, mixed work, deletes, durable commits, on one store.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

use crate::engine::{Engine, Session as _, Setup};
use crate::work::mixed::{Mix, commits, ycsb};
use crate::work::updates::{Amount, Change, update};
use crate::work::{Known, Task, World, loaded, per_second};

const DELETE_BATCH: usize = 1000;

pub fn run<E: Engine>(task: &Task) -> Result<()> {
    let (engine, mut world) = loaded::<E>(task)?;
    let amount = Amount { updates: task.data.records as usize, limit: task.limit, with_syncs: false };
    for (name, change, seed) in [("update", Change::Payload, 21), ("update-key", Change::Key, 22)] {
        if task.wants(name) {
            let (done, time) = update(&engine, &mut world, change, amount, seed)?;
            world.verify(&engine)?;
            task.report(name, per_second(done, time))?;
            engine.settle()?;
        }
    }
    let mixes = [
        ("ycsb-a", Mix { share: 0.5, with_views: false, reads_first: false }, 23),
        ("ycsb-b", Mix { share: 0.05, with_views: false, reads_first: false }, 24),
        ("ycsb-a-view", Mix { share: 0.5, with_views: true, reads_first: false }, 26),
        ("ycsb-b-view", Mix { share: 0.05, with_views: true, reads_first: false }, 27),
        ("ycsb-f", Mix { share: 0.5, with_views: true, reads_first: true }, 28),
    ];
    for (name, mix, seed) in mixes {
        if task.wants(name) {
            let rate = ycsb(task, &engine, &mut world, mix, seed)?;
            world.verify(&engine)?;
            task.report(name, rate)?;
            engine.settle()?;
        }
    }
    if task.wants("delete") {
        let rate = deletes(task, &engine, &mut world)?;
        world.verify(&engine)?;
        task.report("delete", rate)?;
        engine.settle()?;
    }
    if task.wants("commit") || task.wants("commit-1") || task.wants("commit-8") {
        let engine = engine.reopen(&task.store(), Setup { indexed: true, durable: true, ..Setup::default() })?;
        for (name, threads) in [("commit-1", 1), ("commit-8", 8)] {
            if task.wants(name) {
                let rate = commits(&engine, &mut world, threads, task.limit, usize::MAX)?;
                world.verify(&engine)?;
                task.report(name, rate)?;
            }
        }
        return engine.close();
    }
    engine.close()
}

/// Deletes half of the records, in no order.
fn deletes<E: Engine>(task: &Task, engine: &E, world: &mut World<E>) -> Result<f64> {
    let mut numbers: Vec<u32> = (0..task.data.records).collect();
    numbers.shuffle(&mut SmallRng::seed_from_u64(25));
    let (mut session, mut time, mut done) = (engine.session()?, Duration::ZERO, 0);
    for chunk in numbers[..numbers.len() / 2].chunks(DELETE_BATCH) {
        let ids: Vec<E::Id> = chunk.iter().map(|number| world.id(*number)).collect();
        let start = Instant::now();
        session.delete(&ids)?;
        time += start.elapsed();
        done += ids.len();
        for number in chunk {
            world.known[*number as usize] = Known::Deleted;
        }
        if time > task.limit {
            break;
        }
    }
    Ok(per_second(done, time))
}
