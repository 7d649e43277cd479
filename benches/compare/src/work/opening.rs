//! Opening after a close and after a kill.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::data::{KEY_BYTES, LOAD_BATCH, digest};
use crate::engine::{Engine, Session as _, Setup};
use crate::results::print_ready;
use crate::work::{Task, World, load};

/// Bytes of the tail: of records, and of the entries of their keys with an ID each.
const TAIL_BYTES: usize = 64 << 20;
const ENTRIES_BYTES: usize = KEY_BYTES + 8 + 4 + 8;

pub fn save_ids<E: Engine>(task: &Task, ids: &[E::Id]) -> Result<()> {
    let words: Vec<u8> = ids.iter().flat_map(|id| E::to_word(*id).to_le_bytes()).collect();
    Ok(fs::write(task.ids(), words)?)
}

pub fn read_ids<E: Engine>(task: &Task) -> Result<Vec<E::Id>> {
    let bytes = fs::read(task.ids())?;
    let word = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes);
    bytes.chunks_exact(8).map(|bytes| E::from_word(word(bytes)?)).collect()
}

fn indexed() -> Setup {
    Setup { indexed: true, ..Setup::default() }
}

/// Time until the store is open and has answered once.
fn opened<E: Engine>(task: &Task) -> Result<(E, World<E>, Duration)> {
    let ids = read_ids::<E>(task)?;
    let last = *ids.last().context("no record")?;
    let start = Instant::now();
    let engine = E::open(&task.store(), indexed())?;
    let mut sum = 0;
    engine.session()?.get(last, &mut |bytes| sum = digest(bytes))?;
    let time = start.elapsed();
    // What the tail has added is there too.
    let number = u32::try_from(ids.len())? - 1;
    let world = World::new(task.data, ids);
    ensure!(sum == world.expected(number), "{}: a wrong answer after opening", E::NAME);
    Ok((engine, world, time))
}

pub fn closed<E: Engine>(task: &Task) -> Result<()> {
    let (engine, world, time) = opened::<E>(task)?;
    world.verify(&engine)?;
    task.report("open-closed", time.as_secs_f64() * 1e3)?;
    engine.close()
}

/// Commits records durably, and waits to be killed.
pub fn tail<E: Engine>(task: &Task) -> Result<()> {
    let mut ids = read_ids::<E>(task)?;
    let engine = E::open(&task.store(), Setup { indexed: true, durable: true, long_tail: true, ..Setup::default() })?;
    let more = u32::try_from(TAIL_BYTES / (task.data.value_bytes + ENTRIES_BYTES))? / LOAD_BATCH * LOAD_BATCH;
    let end = task.data.records + more;
    load::<E>(&mut engine.session()?, task.data, &mut ids, end)?;
    save_ids::<E>(task, &ids)?;
    print_ready()?;
    std::thread::sleep(Duration::from_mins(10));
    Ok(())
}

/// Every record that was acknowledged has to be there.
pub fn killed<E: Engine>(task: &Task) -> Result<()> {
    let (engine, world, time) = opened::<E>(task)?;
    world.verify(&engine)?;
    task.report("open-killed", time.as_secs_f64() * 1e3)?;
    engine.close()
}
