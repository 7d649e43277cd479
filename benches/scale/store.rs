//! The store's measurements: without an index for the load, and with two for everything else.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use tenure::{Index, Options, Store};

use crate::plain;
use crate::plain::Limits;
use crate::run::Figure;
use crate::support::allocator;
use crate::support::records::{
    BATCH, KEY_BYTES, Loaded, Numbers, RANGE, commit, key_of, questions, section, value_of, values, words,
};

/// Gets, and lookups of keys.
pub(crate) const GETS: usize = 500_000;
pub(crate) const RANGES: usize = 5000;
pub(crate) const UPDATES: usize = 50_000;
pub(crate) const UPDATES_OF_BATCH: usize = 100;
/// Records changed before a snapshot.
const CHANGED: usize = 1000;
const SNAPSHOTS: usize = 5;
/// Log replayed after the kill.
pub(crate) const TAIL_BYTES: u64 = 16 << 20;

/// Nanoseconds per operation.
pub(crate) fn nanos(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(u32::try_from(count).expect("32 bits"))
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

fn load(loaded: &mut Loaded, records: usize) -> f64 {
    let mut time = Duration::ZERO;
    for first in (0..records).step_by(BATCH) {
        let batch = values(first, records);
        let start = Instant::now();
        loaded.insert(&batch);
        time += start.elapsed();
    }
    nanos(time, records)
}

fn get(loaded: &Loaded) -> f64 {
    let asked = loaded.asked(GETS);
    let all = || {
        asked.iter().fold(0_u64, |sum, id| {
            let record = loaded.store.get(*id).expect("there");
            sum.wrapping_add(words(record.as_slice().expect("small")))
        })
    };
    black_box(all());
    let start = Instant::now();
    black_box(all());
    nanos(start.elapsed(), GETS)
}

fn lookups(store: &Store, unique: &Index, records: usize) -> f64 {
    let keys: Vec<[u8; KEY_BYTES]> = questions(GETS, records).map(key_of).collect();
    let view = store.view();
    let start = Instant::now();
    for key in &keys {
        let record = unique.fetch(&view, &key[..]).expect("read").expect("there");
        black_box(words(record.as_slice().expect("small")));
    }
    nanos(start.elapsed(), GETS)
}

fn ranges(store: &Store, by_section: &Index, records: usize) -> f64 {
    let sections: Vec<u32> = questions(RANGES, records).map(|number| section(&value_of(number))).collect();
    let view = store.view();
    let start = Instant::now();
    for first in &sections {
        for record in by_section.range(&view, *first..).expect("a range").records(&view).take(RANGE) {
            black_box(words(record.expect("read").as_slice().expect("small")));
        }
    }
    nanos(start.elapsed(), RANGES)
}

/// Updates that leave the keys as they are.
fn update(loaded: &Loaded, numbers: &[usize]) {
    let mut tx = loaded.begin();
    for number in numbers {
        tx.update(loaded.ids[*number], value_of(*number)).expect("updated");
    }
    commit(tx);
}

fn updates(loaded: &Loaded) -> f64 {
    let asked: Vec<usize> = questions(UPDATES, loaded.ids.len()).collect();
    let start = Instant::now();
    for batch in asked.chunks(UPDATES_OF_BATCH) {
        update(loaded, batch);
    }
    nanos(start.elapsed(), UPDATES)
}

/// Milliseconds of a snapshot of a thousand updates, and of writing as many bytes.
fn snapshots(dir: &Path, loaded: &Loaded) -> (f64, f64) {
    loaded.store.save_snapshot().expect("saved");
    let mut numbers = Numbers(3);
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..SNAPSHOTS {
        let changed: Vec<usize> = (0..CHANGED).map(|_| numbers.below(loaded.ids.len())).collect();
        update(loaded, &changed);
        let start = Instant::now();
        let saved = loaded.store.save_snapshot().expect("saved");
        times[0].push(nanos(start.elapsed(), 1) / 1e6);
        times[1].push(nanos(plain::write_and_sync(&dir.join("written"), saved.bytes_written), 1) / 1e6);
    }
    let [store, limit] = times.map(crate::median);
    (store, limit)
}

/// The store again, without anything that saves a snapshot by itself: neither the log nor changed pages nor the
/// collector.
fn reopened(loaded: Loaded, path: &Path) -> Loaded {
    loaded.store.close().expect("closed");
    let options = Options::new().background(false).collector(false);
    let again = Loaded::new(options.snapshot_log_bytes(u64::MAX).dirty_bytes_max(1 << 40), path);
    again.indexes();
    Loaded { ids: loaded.ids, ..again }
}

/// A tail of the log in which both keys of each record change.
fn write_tail(loaded: &Loaded) {
    let (mut numbers, mut fresh) = (Numbers(5), loaded.ids.len());
    while loaded.store.stats().log_bytes_since_snapshot < TAIL_BYTES {
        let mut tx = loaded.begin();
        for _ in 0..BATCH {
            tx.update(loaded.ids[numbers.below(loaded.ids.len())], value_of(fresh)).expect("updated");
            fresh += 1;
        }
        commit(tx);
    }
    loaded.store.sync().expect("synced");
    // The next frame records that those before it were durable.
    loaded.store.mark("synced").expect("marked");
}

/// Everything measured in the process that loads. The store is left open, with a log tail after its last snapshot.
pub(crate) fn measure(dir: &Path, records: usize, limits: &Limits) -> Loaded {
    let bare_path = dir.join("bare");
    let mut bare = Loaded::new(Options::new(), &bare_path);
    Figure::tell("load, no index", "ns a record", load(&mut bare, records), limits.load);
    drop(bare);
    std::fs::remove_dir_all(&bare_path).expect("removed");

    allocator::set_counting(true);
    let before = allocator::bytes();
    let mut loaded = Loaded::new(Options::new(), &dir.join("store"));
    let (unique, by_section) = loaded.indexes();
    Figure::tell("load, two indexes", "ns a record", load(&mut loaded, records), limits.load_indexed);
    loaded.store.save_snapshot().expect("saved");
    // The IDs belong to the caller.
    let ids_bytes = loaded.ids.capacity() * size_of::<tenure::RecordId>();
    let heap = allocator::bytes() - before - i64::try_from(ids_bytes).expect("64 bits");
    allocator::set_counting(false);

    Figure::tell("get, one-shot", "ns", get(&loaded), limits.get);
    Figure::tell("unique key to record", "ns", lookups(&loaded.store, &unique, records), limits.key);
    let range = ranges(&loaded.store, &by_section, records);
    Figure::tell("range of 100 records", "µs", range / 1e3, limits.range / 1e3);
    Figure::tell("update, batch of 100", "ns a record", updates(&loaded), limits.update);
    let (store, limit) = snapshots(dir, &loaded);
    Figure::tell("snapshot of 1,000 updates", "ms", store, limit);
    #[expect(clippy::cast_precision_loss, reason = "figures")]
    let (heap, limit) = (mib(heap as f64), mib(limits.heap_bytes as f64));
    Figure::tell("heap, pages saved", "MiB", heap, limit);

    // The rest is for the process that opens.
    let loaded = reopened(loaded, &dir.join("store"));
    write_tail(&loaded);
    loaded
}

/// Opens what a killed process left, and closes it.
pub(crate) fn recover(dir: &Path) {
    let limit = plain::read_tail(&dir.join("tail"));
    let start = Instant::now();
    // What was replayed is saved in the background.
    let store = Options::new().open(dir.join("store")).expect("opened");
    let time = start.elapsed();
    let report = store.recovery_report();
    assert!(report.bytes_replayed >= TAIL_BYTES, "{report}");
    #[expect(clippy::cast_precision_loss, reason = "figures")]
    let (replayed, tail) = (mib(report.bytes_replayed as f64), mib(TAIL_BYTES as f64));
    let millis = |time: Duration| nanos(time, 1) / 1e6;
    Figure::tell("recovery, a MiB of log", "ms", millis(time) / replayed, millis(limit) / tail);
    store.close().expect("closed");
}

/// Opens what was closed.
pub(crate) fn open_closed(dir: &Path) {
    let limit = plain::open_and_map(&dir.join("mapped"));
    let start = Instant::now();
    let store = Options::new().background(false).open(dir.join("store")).expect("opened");
    let time = start.elapsed();
    assert!(store.recovery_report().clean, "there is something to replay");
    Figure::tell("open after close", "µs", nanos(time, 1) / 1e3, nanos(limit, 1) / 1e3);
}
