//! What the medium gives to anybody: appends, and syncs of small writes.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::data::{LOAD_BATCH, Versions};
use crate::results::median;
use crate::work::{Task, per_second};

const SYNCS: u32 = 2000;
const WRITTEN_BYTES: usize = 64 << 20;

pub fn run(task: &Task) -> Result<()> {
    std::fs::create_dir_all(&task.dir)?;
    appends(task)?;
    let record = vec![7; task.data.value_bytes];
    let step = record.len() as u64;

    let file = File::create(task.dir.join("appended"))?;
    task.report("sync-append", micros(|index| file.write_all_at(&record, u64::from(index) * step), &file)?)?;

    let file = File::create(task.dir.join("written"))?;
    file.write_all_at(&vec![1; WRITTEN_BYTES], 0)?;
    file.sync_all()?;
    task.report("sync-written", micros(|index| file.write_all_at(&record, u64::from(index) * step), &file)?)
}

fn appends(task: &Task) -> Result<()> {
    let mut file = File::create(task.dir.join("plain"))?;
    let (mut time, mut batch) = (Duration::ZERO, Vec::new());
    for first in (0..task.data.records).step_by(LOAD_BATCH as usize) {
        batch.clear();
        for number in first..first + LOAD_BATCH {
            task.data.record(number, Versions::default(), u64::from, &mut batch);
        }
        let start = Instant::now();
        file.write_all(&batch)?;
        time += start.elapsed();
    }
    task.report("append", per_second(task.data.records as usize, time))
}

/// Median time of a write and its sync.
fn micros(write: impl Fn(u32) -> std::io::Result<()>, file: &File) -> Result<f64> {
    let mut times = Vec::new();
    for index in 0..SYNCS {
        let start = Instant::now();
        write(index)?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(&mut times))
}
