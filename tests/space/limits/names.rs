//! The cost of named snapshots and marks does not depend on their number.

use std::time::{Duration, Instant};

use tenure::{Options, Result, Store};

/// So many rounds of saving and dropping give one figure, the fastest of them: a machine may be busy with other things.
const ROUNDS: u32 = 40;

fn store(dir: &tempfile::TempDir) -> Result<Store> {
    Options::new().segment_bytes(64 << 10).open(dir.path().join("store"))
}

/// Saves a name after a record was replaced, so that there are segments that only names keep.
fn save(store: &Store, number: u32) -> Result<()> {
    let notes = store.record_set("notes")?;
    let first = "0.1".parse().expect("an ID");
    let value = vec![7; 8 << 10];
    store.write(|tx| if number == 0 { tx.insert(&notes, &value).map(drop) } else { tx.update(first, &value) })?;
    store.save_named_snapshot(&format!("name {number}")).map(drop)
}

/// The minimum time to save a name and to drop one.
fn cost(store: &Store) -> Result<(Duration, Duration)> {
    let (mut saving, mut dropping) = (Duration::MAX, Duration::MAX);
    for round in 0..ROUNDS {
        let started = Instant::now();
        save(store, 1_000_000 + round)?;
        saving = saving.min(started.elapsed());
        let started = Instant::now();
        store.drop_snapshot(&format!("name {}", 1_000_000 + round))?;
        dropping = dropping.min(started.elapsed());
    }
    Ok((saving, dropping))
}

fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("ticks") + fields[12].parse::<u64>().expect("ticks");
    Duration::from_millis(ticks * 10)
}

/// By default fewer names than `TENURE_NAMES` may ask for, and a wide margin: this runs beside other tests.
#[test]
fn a_name_costs_the_same_however_many_there_are() -> Result<()> {
    let names: u32 = std::env::var("TENURE_NAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(400);
    let dir = tempfile::tempdir_in(std::env::var("TENURE_NAMES_IN").unwrap_or("/dev/shm".to_owned()))
        .or_else(|_| tempfile::tempdir())
        .expect("a directory");
    let store = store(&dir)?;
    for number in 0..20 {
        save(&store, number)?;
    }
    let few = cost(&store)?;
    for number in 20..names {
        save(&store, number)?;
    }
    let many = cost(&store)?;
    println!("saving and dropping one: {few:?} with 20 names, {many:?} with {names}");
    let (before, started) = (processor_time(), Instant::now());
    std::thread::sleep(Duration::from_millis(if names > 1_000 { 10_000 } else { 500 }));
    let idle = processor_time().saturating_sub(before).as_secs_f64() / started.elapsed().as_secs_f64();
    println!("idle: {:.2} % of a processor", idle * 100.0);
    let manifest: u64 = std::fs::read_dir(dir.path().join("store"))
        .expect("the store")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("manifest"))
        .map(|entry| entry.metadata().map_or(0, |meta| meta.len()))
        .sum();
    println!("manifest: {manifest} bytes");
    assert!(many.0 < 3 * few.0 && many.1 < 3 * few.1, "{few:?} with few, {many:?} with many");
    assert!(names < 1_000 || idle < 0.01, "{idle} of a processor with {names} names, and nothing to do");
    let started = Instant::now();
    for number in 0..names {
        store.drop_snapshot(&format!("name {number}"))?;
    }
    println!("dropping all: {:?}", started.elapsed());
    assert!(store.snapshots()?.iter().all(|snapshot| snapshot.name.is_none()));
    store.close()
}
