//! A store of many small segments: more than the maps a process may have.
//!
//! `TENURE_SMALL_SEGMENTS_GB=20` makes it as large as the target demands; `TMPDIR` sets its place.

use std::path::Path;
use std::time::{Duration, Instant};

use tenure::{Durability, Error, Options, RecordId, Store};

const VALUE_BYTES: usize = 2_000;
/// Two commits fill a segment.
const BATCH: usize = 15;

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).durability(Durability::Buffered)
}

fn value(number: usize, version: u8) -> Vec<u8> {
    let mut value = vec![version; VALUE_BYTES];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

/// Maps and descriptors of this process, and its resident memory.
fn held() -> (usize, usize, u64) {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux").lines().count();
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("Linux").count();
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    (maps, descriptors, rss.and_then(|rss| rss.trim().trim_end_matches(" kB").parse().ok()).expect("a number"))
}

fn tell(what: &str, since: Instant) {
    let (maps, descriptors, rss) = held();
    println!("{what}: {:.2?}; {maps} maps, {descriptors} descriptors, {} MB in memory", since.elapsed(), rss >> 10);
    assert!(maps < 60_000, "the allocator needs maps too");
    assert!(descriptors < 1_500);
}

fn build(path: &Path, records: usize) -> Vec<RecordId> {
    let store = options().open(path).expect("opens");
    let set = store.record_set("x").expect("a set");
    let mut ids: Vec<RecordId> = Vec::with_capacity(records);
    let mut since = Instant::now();
    while ids.len() < records {
        let numbers = ids.len()..records.min(ids.len() + BATCH);
        let more = store
            .write(|tx| numbers.clone().map(|number| tx.insert(&set, value(number, 0))).collect::<Result<Vec<_>, _>>());
        let before = ids.len() >> 18;
        ids.extend(more.expect("commits"));
        if ids.len() >> 18 != before {
            tell(&format!("{} records more", 1 << 18), since);
            since = Instant::now();
        }
    }
    store.close().expect("closes");
    ids
}

fn check(store: &Store, ids: &[RecordId], numbers: impl Iterator<Item = usize>, version: impl Fn(usize) -> Option<u8>) {
    for number in numbers {
        match (store.get(ids[number]), version(number)) {
            (Ok(found), Some(version)) => assert!(found.to_vec().expect("reads") == value(number, version), "{number}"),
            (Err(Error::Deleted { .. }), None) => {}
            (other, version) => panic!("{number}: {other:?} instead of version {version:?}"),
        }
    }
}

#[test]
fn a_store_of_more_segments_than_maps_works() {
    let gigabytes: f64 = std::env::var("TENURE_SMALL_SEGMENTS_GB").map_or(0.02, |text| text.parse().expect("a number"));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few million")]
    let records = (gigabytes * 1e9) as usize / VALUE_BYTES;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let since = Instant::now();
    let ids = build(&path, records);
    tell("built", since);
    println!("{} files", std::fs::read_dir(&path).expect("lists").count());

    let since = Instant::now();
    let store = options().open(&path).expect("opens");
    tell("opened", since);
    let every = (records / 100_000).max(1);
    let since = Instant::now();
    check(&store, &ids, (0..records).step_by(every), |_| Some(0));
    tell(&format!("{} records read, all over the store", records / every), since);
    let hot = records - records / 50..records;
    for round in ["the first time", "again"] {
        let since = Instant::now();
        check(&store, &ids, hot.clone(), |_| Some(0));
        tell(&format!("{} records read, {round}", hot.len()), since);
    }

    let set = store.record_set("x").expect("a set");
    let updated = |number: usize| number.is_multiple_of(every) && number < records / 2;
    let deleted = |number: usize| (records / 2..records / 2 + records / 50).contains(&number);
    let version = |number: usize| (!deleted(number)).then(|| u8::from(updated(number)));
    let since = Instant::now();
    let numbers: Vec<usize> = (0..records).filter(|number| updated(*number)).collect();
    for numbers in numbers.chunks(BATCH) {
        let change = |tx: &mut tenure::Transaction| {
            numbers.iter().try_for_each(|number| tx.update(ids[*number], value(*number, 1)).map(drop))
        };
        store.write(change).expect("commits");
    }
    tell(&format!("{} records updated", numbers.len()), since);
    let since = Instant::now();
    let numbers: Vec<usize> = (0..records).filter(|number| deleted(*number)).collect();
    for numbers in numbers.chunks(1_000) {
        store.write(|tx| numbers.iter().try_for_each(|number| tx.delete(ids[*number]))).expect("commits");
    }
    tell(&format!("{} records deleted", numbers.len()), since);
    let since = Instant::now();
    let collected = store.collect(Some(Duration::from_secs(5))).expect("collects");
    tell(&format!("{} files collected", collected.files_deleted), since);
    assert!(collected.files_deleted > 0);
    check(&store, &ids, (0..records).step_by(every), version);
    let (set, since) = (set, Instant::now());
    assert_eq!(store.view().scan(&set).flatten().count(), records - records / 50);
    tell("scanned", since);
    let since = Instant::now();
    store.close().expect("closes");
    tell("closed", since);

    let since = Instant::now();
    let store = options().open(&path).expect("opens again");
    tell("opened again", since);
    check(&store, &ids, (0..records).step_by(every), version);
    store.close().expect("closes");
}
