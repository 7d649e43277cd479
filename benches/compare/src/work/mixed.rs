//! Threads that read and update at once, and threads that commit durably.

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::data::{Versions, digest, version_of};
use crate::engine::{Engine, Session as _, View as _};
use crate::work::questions::zipfian;
use crate::work::reads::threads;
use crate::work::{Known, Task, World};

/// Threads of the mixed workloads.
const THREADS: usize = 2;
/// Durable commits of one thread, if the time suffices.
const COMMITS: usize = 20_000;

/// What threads that read and update do.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// Of updates.
    pub share: f64,
    /// Each read has a view of its own.
    pub with_views: bool,
    /// Each update reads the record that it changes.
    pub reads_first: bool,
}

/// Reads and single updates of Zipfian records by two threads. Each read is checked by what the record says of itself.
pub fn ycsb<E: Engine>(task: &Task, engine: &E, world: &mut World<E>, mix: Mix, seed: u64) -> Result<f64> {
    let operations = (task.data.records as usize).clamp(10_000, 1_000_000);
    let lists = (0..THREADS)
        .map(|thread| zipfian(seed + thread as u64, task.data.records, operations))
        .collect::<Result<Vec<_>>>()?;
    let (rate, updated) = threads(THREADS, |thread, start| {
        let (mut session, mut bytes, mut updated, mut done) = (engine.session()?, Vec::new(), Vec::new(), 0);
        let mut random = SmallRng::seed_from_u64(seed + 100 + thread as u64);
        for number in &lists[thread] {
            let (index, id) = (*number as usize, world.id(*number));
            let mut is_right = false;
            let mut check = |bytes: &[u8]| {
                let versions = Versions { payload: version_of(bytes), ..world.versions[index] };
                is_right = digest(bytes) == world.data.expected(*number, versions);
            };
            if random.random_bool(mix.share) {
                // Versions of a thread are odd or even, so that no two updates are alike.
                let payload = u32::try_from(1000 + THREADS * done + thread)?;
                bytes.clear();
                world.record(*number, Versions { payload, ..world.versions[index] }, &mut bytes);
                if mix.reads_first {
                    session.modify(id, &mut |old, new| {
                        check(old);
                        new.extend_from_slice(&bytes);
                    })?;
                } else {
                    session.update(&[(id, &bytes)])?;
                    is_right = true;
                }
                updated.push(*number);
            } else if mix.with_views {
                session.view()?.get(id, &mut check)?;
            } else {
                session.get(id, &mut check)?;
            }
            ensure!(is_right, "{}: record {number} is wrong beside updates", E::NAME);
            done += 1;
            if done % 100 == 0 && start.elapsed() > task.limit {
                break;
            }
        }
        Ok((done, updated))
    })?;
    for number in updated.into_iter().flatten() {
        world.known[number as usize] = Known::Key;
    }
    Ok(rate)
}

/// Durable commits of one update each. Each thread has records of its own.
pub fn commits<E: Engine>(engine: &E, world: &mut World<E>, count: usize, limit: Duration, each: usize) -> Result<f64> {
    let alive: Vec<u32> =
        (0..world.data.records).filter(|number| world.known[*number as usize] != Known::Deleted).collect();
    let (rate, outcomes) = threads(count, |thread, start| {
        let own: Vec<u32> = alive.iter().copied().skip(thread).step_by(count).collect();
        let (mut session, mut bytes, mut updated) = (engine.session()?, Vec::new(), Vec::new());
        let mut random = SmallRng::seed_from_u64(thread as u64);
        while updated.len() < each.min(COMMITS) && start.elapsed() < limit {
            let number = own[random.random_range(0..own.len())];
            let payload = u32::try_from(1_000_000_000 + updated.len())?;
            bytes.clear();
            world.record(number, Versions { payload, ..world.versions[number as usize] }, &mut bytes);
            session.update(&[(world.id(number), &bytes)])?;
            updated.push((number, payload));
        }
        Ok((updated.len(), updated))
    })?;
    for (number, payload) in outcomes.into_iter().flatten() {
        world.versions[number as usize].payload = payload;
        world.known[number as usize] = Known::Versions;
    }
    Ok(rate)
}
