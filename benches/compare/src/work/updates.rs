//! Batches of updates, for all phases that have them.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::index;

use crate::data::Versions;
use crate::engine::{Engine, Session as _};
use crate::work::World;

/// Records of one update transaction.
pub const UPDATE_BATCH: usize = 100;
/// Batches between two syncs, where commits are buffered for long.
const BATCHES_TO_A_SYNC: usize = 100;

/// What an update changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Payload,
    Key,
}

/// How many updates, for how long.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    pub updates: usize,
    pub limit: Duration,
    pub with_syncs: bool,
}

/// Updates uniformly random records, each at most once in a batch. Gives how many, and the time that the engine took.
pub fn update<E: Engine>(
    engine: &E,
    world: &mut World<E>,
    change: Change,
    amount: Amount,
    seed: u64,
) -> Result<(usize, Duration)> {
    let (mut session, mut time, mut done) = (engine.session()?, Duration::ZERO, 0);
    let (mut random, mut bytes) = (SmallRng::seed_from_u64(seed), Vec::new());
    while done < amount.updates && time < amount.limit {
        bytes.clear();
        let numbers = index::sample(&mut random, world.ids.len(), UPDATE_BATCH.min(world.ids.len()));
        for number in numbers.iter() {
            let before = world.versions[number];
            world.versions[number] = match change {
                Change::Payload => Versions { payload: before.payload + 1, ..before },
                Change::Key => Versions { key: before.key + 1, ..before },
            };
            world.record(u32::try_from(number)?, world.versions[number], &mut bytes);
        }
        let ids = numbers.iter().map(|number| world.ids[number]);
        let changes: Vec<(E::Id, &[u8])> = ids.zip(bytes.chunks_exact(world.data.value_bytes)).collect();
        let start = Instant::now();
        match change {
            Change::Payload => session.update(&changes)?,
            Change::Key => session.update_keys(&changes)?,
        }
        done += changes.len();
        if amount.with_syncs && (done / UPDATE_BATCH).is_multiple_of(BATCHES_TO_A_SYNC) {
            engine.sync()?;
        }
        time += start.elapsed();
    }
    Ok((done, time))
}
