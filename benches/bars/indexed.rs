//! Records with two key indexes: a unique one over 16 random bytes, and one in which many records have the same key.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use tenure::extract::Extractor;
use tenure::{Durability, Index, Options, RecordId, RecordSet, Store};

use crate::common::{
    BATCH, KEY_BYTES, Numbers, VALUE_BYTES, figure, median, on_cpu, questions, rate, to_index, value, values, words,
};

/// Distinct keys of the non-unique index.
const SECTIONS: u32 = 1000;
/// Entries per range.
const RANGE: usize = 100;

fn section(record: &[u8]) -> u32 {
    u32::from_le_bytes(record[KEY_BYTES..KEY_BYTES + 4].try_into().expect("four bytes")) % SECTIONS
}

/// The two indexes of a set.
pub(crate) fn indexes(store: &Store, set: &RecordSet) -> (Index, Index) {
    let key = Extractor::new("key", 1, |record, keys| keys.push(&record[..KEY_BYTES]));
    let by_section = Extractor::new("section", 1, |record, keys| keys.push(&section(record)));
    let unique = store.unique_index(set, "key", key).expect("a unique index");
    (unique, store.index(set, "section", by_section).expect("an index"))
}

fn open(path: &Path) -> (Store, RecordSet) {
    let store = Options::new().durability(Durability::Buffered).open(path).expect("a store");
    let set = store.record_set("things").expect("a set");
    (store, set)
}

fn load(store: &Store, set: &RecordSet, count: usize) -> (Duration, Vec<RecordId>) {
    let (mut ids, mut time) = (Vec::with_capacity(count), Duration::ZERO);
    for first in (0..count).step_by(BATCH) {
        let batch = values(first, count);
        let start = Instant::now();
        let mut tx = store.begin().expect("begin");
        for bytes in &batch {
            ids.push(tx.insert(set, bytes).expect("insert"));
        }
        tx.commit_with(Durability::Buffered).expect("commit");
        time += start.elapsed();
    }
    (time, ids)
}

fn key_of(number: usize) -> [u8; KEY_BYTES] {
    let mut bytes = [0; VALUE_BYTES];
    value(number as u64, &mut bytes);
    bytes[..KEY_BYTES].try_into().expect("a key")
}

/// Unique lookups, each with its record fetched and read.
fn fetch(store: &Store, unique: &Index, count: usize, gets: usize) -> Duration {
    let asked: Vec<[u8; KEY_BYTES]> = questions(gets, count).map(key_of).collect();
    let view = store.view();
    let start = Instant::now();
    let mut sum = 0_u64;
    for key in &asked {
        let record = unique.fetch(&view, &key[..]).expect("read").expect("there");
        sum = sum.wrapping_add(words(record.as_slice().expect("small")));
    }
    black_box(sum);
    start.elapsed()
}

/// Ranges of a hundred entries, each record fetched and read.
fn ranges(store: &Store, unique: &Index, count: usize, rounds: usize) -> Duration {
    let asked: Vec<[u8; KEY_BYTES]> = questions(rounds, count).map(key_of).collect();
    let view = store.view();
    let start = Instant::now();
    let (mut sum, mut entries) = (0_u64, 0);
    for key in &asked {
        for record in unique.range(&view, &key[..]..).expect("a range").records(&view).take(RANGE) {
            let record = record.expect("there");
            sum = sum.wrapping_add(words(record.as_slice().expect("small")));
            entries += 1;
        }
    }
    black_box((sum, entries));
    start.elapsed()
}

/// Updates a thousand records without changing keys; returns log bytes and dirty pages.
fn update_payloads(store: &Store, ids: &[RecordId]) -> (u64, u64) {
    store.save_snapshot().expect("saved");
    let before = store.stats();
    let mut numbers = Numbers(3);
    for _ in 0..10 {
        let mut tx = store.begin().expect("begin");
        for _ in 0..100 {
            let number = to_index(numbers.next()) % ids.len();
            let mut bytes = [0; VALUE_BYTES];
            value(number as u64, &mut bytes);
            bytes[VALUE_BYTES - 8..].copy_from_slice(&numbers.next().to_le_bytes());
            tx.update(ids[number], bytes).expect("updated");
        }
        tx.commit_with(Durability::Buffered).expect("commit");
    }
    let after = store.stats();
    (after.log_bytes_appended - before.log_bytes_appended, after.dirty_pages - before.dirty_pages)
}

fn page_bytes(store: &Store) -> u64 {
    store.save_snapshot().expect("saved");
    let segments = store.stats().segments;
    segments.iter().filter(|segment| segment.kind == tenure::FileKind::Pages).map(|segment| segment.live_bytes).sum()
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn each(bytes: u64, entries: usize) -> f64 {
    bytes as f64 / entries as f64
}

/// Bytes of the log and of pages that indexes add, by comparing stores with and without them.
fn sizes(count: usize) {
    let dir = tempfile::tempdir().expect("a directory");
    let (bare, set) = open(&dir.path().join("bare"));
    let (_, bare_ids) = load(&bare, &set, count);
    let (bare_log, bare_pages) = (bare.stats().log_bytes_appended, page_bytes(&bare));
    let bare_updates = update_payloads(&bare, &bare_ids);

    let (store, set) = open(&dir.path().join("unique"));
    let key = || Extractor::new("key", 1, |record, keys| keys.push(&record[..KEY_BYTES]));
    let index = store.unique_index(&set, "key", key()).expect("a unique index");
    let key_bytes = tenure::key::Key::new(&key_of(0)[..]).expect("a key").as_bytes().len();
    let (_, ids) = load(&store, &set, count);
    let log = each(store.stats().log_bytes_appended - bare_log, count);
    let bar = u32::try_from(KEY_BYTES + 16).expect("small").into();
    figure(&format!("log bytes an entry of a {KEY_BYTES}-byte key ({key_bytes} encoded)"), log, bar, false, "bytes");
    let random = each(page_bytes(&store) - bare_pages, count);
    store.drop_index(&index).expect("dropped");
    store.unique_index(&set, "key", key()).expect("a unique index");
    let built = each(page_bytes(&store) - bare_pages, count);
    println!("page bytes an entry: {random:.2} after a random load, {built:.2} after a bulk build");

    store
        .index(&set, "section", Extractor::new("section", 1, |record, keys| keys.push(&section(record))))
        .expect("made");
    let updates = update_payloads(&store, &ids);
    let (log_bytes, pages) = (updates.0.abs_diff(bare_updates.0), updates.1.abs_diff(bare_updates.1));
    figure("log bytes of indexes in 1,000 updates of the payload", each(log_bytes, 1), 0.0, false, "bytes");
    figure("index nodes that 1,000 updates of the payload made dirty", each(pages, 1), 0.0, false, "nodes");
}

/// All figures of records with indexes.
pub(crate) fn measure(count: usize, rounds: usize) {
    let (mut loaded, mut fetched, mut ranged) = (Vec::new(), Vec::new(), Vec::new());
    let mut cpu = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, set) = open(&dir.path().join("store"));
        let (unique, _) = indexes(&store, &set);
        let before = on_cpu();
        let (time, _) = load(&store, &set, count);
        cpu[0].push(rate(count, on_cpu().saturating_sub(before)));
        loaded.push(rate(count, time));
        let gets = count.min(1_000_000);
        fetch(&store, &unique, count, gets);
        let before = on_cpu();
        fetched.push(rate(gets, fetch(&store, &unique, count, gets)));
        cpu[1].push(rate(gets, on_cpu().saturating_sub(before)));
        let walks = gets / RANGE;
        ranges(&store, &unique, count, walks);
        let before = on_cpu();
        ranged.push(1e6 / rate(walks, ranges(&store, &unique, count, walks)));
        cpu[2].push(1e6 / rate(walks, on_cpu().saturating_sub(before)));
        store.save_snapshot().expect("saved");
        let (clean, clean_range) = (fetch(&store, &unique, count, gets), ranges(&store, &unique, count, walks));
        let clean_range = 1e6 / rate(walks, clean_range);
        println!("on clean pages: fetch {:.0}/s, range of {RANGE} {clean_range:.1} us", rate(gets, clean));
    }
    figure("load with two indexes", median(loaded), 400_000.0, true, "records/s");
    figure("unique lookup and fetch", median(fetched), 600_000.0, true, "records/s");
    figure("range of 100, each fetched", median(ranged), 37.0, false, "us");
    let [loaded, fetched, ranged] = cpu.map(median);
    println!(
        "by time on a processor, questions included: load {loaded:.0}/s, fetch {fetched:.0}/s, range of {RANGE} {ranged:.1} us"
    );
    sizes(count);
}
