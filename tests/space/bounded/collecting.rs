//! Collecting terminates: each victim gains space, and a store in which nothing can be gained is left alone.
//!
//! `TENURE_COLLECTED_STORES` sets the number of random stores, `TENURE_COLLECTED_FROM` the first seed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tenure::backing::{Backing, Memory};
use tenure::{Durability, FileKind, Options, RecordId, SegmentStats, Store};

use crate::bounded::rounds;
use crate::common;
use crate::common::Rng;

/// After so many collections nothing is left to gain. The first leaves an open segment of each generation, at most four, which
/// each of the next lifts by one generation; the copy of one alone is as long as itself.
const REPEATS_MAX: u64 = 8;
/// The frame with which a segment of the log ends.
const SEAL_BYTES: u64 = 64;

/// Bytes and live bytes of record segments in which something lives, or to which something may be copied.
fn segments(store: &Store) -> (u64, u64) {
    let stats = store.stats();
    let is_counted = |segment: &&SegmentStats| segment.live_bytes > 0 || segment.generation > 0;
    let records = stats.segments.iter().filter(|segment| segment.kind == FileKind::Records).filter(is_counted);
    records.fold((0, 0), |(bytes, live), segment| (bytes + segment.bytes, live + segment.live_bytes))
}

/// Collects, and gives up with a message once more was copied than is right. Gives what was copied.
fn collect_at_most(store: &Store, bytes_max: u64, what: &str) -> u64 {
    let check = &mut |done: tenure::Collected| {
        assert!(done.bytes_copied <= bytes_max, "{what}: {} bytes copied, {bytes_max} are enough", done.bytes_copied);
    };
    store.collect_with(None, check).expect("collects").bytes_copied
}

/// Collects, and compares what was copied with what was gained by it. Gives what was copied.
///
/// Each victim makes the segments shorter by a hundredth of it at least, so 99 times the gain is copied at most. Small segments
/// that are merged are each shorter than a quarter of the smallest. What the log grows by, as it tells of the moves, and the seal of its segment
/// hide that much of a gain.
fn collect_within_what_is_gained(store: &Store, segment_bytes: u64, what: &str) -> u64 {
    let small = (segment_bytes / 4).max(64 << 10) / 4;
    let state = || (segments(store), store.stats().log_bytes_appended);
    let ((bytes, live), appended) = state();
    let is_right = |done: tenure::Collected, gained: u64| done.bytes_copied <= 99 * gained + done.victims * small;
    // All that there is can be gained at most: a collection that does not end is stopped.
    let check = &mut |done: tenure::Collected| assert!(is_right(done, bytes), "{what}: {done:?} of {bytes} bytes");
    let done = store.collect_with(None, check).expect("collects");
    let ((bytes_after, live_after), appended_after) = state();
    assert_eq!(live_after, live, "{what}");
    let gained = (bytes + appended_after - appended + SEAL_BYTES).checked_sub(bytes_after);
    let gained = gained.unwrap_or_else(|| panic!("{what}: {bytes} bytes became {bytes_after}"));
    assert!(is_right(done, gained), "{what}: {done:?} for {gained} bytes");
    assert!(done.bytes_copied == 0 || gained > SEAL_BYTES, "{what}: {done:?} for nothing");
    done.bytes_copied
}

/// Closes a store, and asserts that it refers to every remaining file.
fn close_without_strays(held: (Vec<tenure::View>, Store), backing: &Arc<dyn Backing>, what: &str) {
    drop(held);
    common::assert_no_strays_closed_backing(backing, what);
}

/// A store of some shape: any size of segments, some sets in turn, values of one kind or all kinds, views that are held. Gives
/// what lives in it, and what was copied until nothing was left to gain.
fn random_store(seed: u64) -> (u64, u64) {
    let mut rng = Rng::new(seed);
    let segment_bytes = (64 << 10) << rng.below(5);
    let options = Options::new()
        .segment_bytes(segment_bytes)
        .snapshot_log_bytes(segment_bytes << rng.below(4))
        .generations(2 + u8::try_from(rng.below(4)).expect("small"))
        .durability(Durability::Buffered)
        .collector(rng.one_in(2))
        .background(false);
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let mut store = options.open_backing(Arc::clone(&backing)).expect("opens");
    let (sets, in_turn) = (1 + rng.below(9), rng.one_in(2));
    let (len_max, chunked) = ([8, 120, 900, 9_000, 60_000][rng.below(5)], [0, 3, 30][rng.below(3)]);
    let (per_commit, dying) = (1 + rng.below(12) * rng.below(2), rng.below(10));
    let commits = 20 + rng.below(if len_max > 1_000 { 60 } else { 400 });
    let (mut model, mut views, mut written) = (BTreeMap::<RecordId, Vec<u8>>::new(), Vec::new(), 0);
    for commit in 0..commits {
        if written > 4_000_000 {
            break;
        }
        let mut tx = store.begin().expect("begins");
        for turn in 0..per_commit {
            let set = if in_turn { commit * per_commit + turn } else { rng.below(sets) } % sets;
            let set = store.record_set(&format!("set {set}")).expect("a set");
            let is_chunked = chunked > 0 && rng.one_in(chunked);
            let len = if is_chunked { 65_000 + rng.below(90_000) } else { rng.below(len_max) };
            let value = rng.bytes(len);
            written += len;
            let some = model.keys().nth(rng.below(model.len())).copied();
            match some.filter(|_| rng.below(10) < dying) {
                Some(id) if rng.one_in(3) => {
                    tx.delete(id).expect("deletes");
                    model.remove(&id);
                }
                Some(id) => {
                    tx.update_staged(id, &store.stage(&value[..]).expect("stages")).expect("updates");
                    model.insert(id, value);
                }
                None => {
                    let id = tx.insert_staged(&set, &store.stage(&value[..]).expect("stages")).expect("inserts");
                    model.insert(id, value);
                }
            }
        }
        tx.commit_with(Durability::Buffered).expect("commits");
        if rng.one_in(40) {
            views.push(store.view());
        }
        if rng.one_in(100) {
            store.save_snapshot().expect("saves");
        }
        if rng.one_in(120) {
            views.clear();
            drop(store);
            store = options.open_backing(Arc::clone(&backing)).expect("opens");
        }
    }
    let what = format!("seed {seed}");
    let (_, live) = segments(&store);
    let (mut copied, mut repeats) = (0, 0);
    loop {
        let again = collect_within_what_is_gained(&store, segment_bytes, &what);
        copied += again;
        if again == 0 {
            break;
        }
        repeats += 1;
        assert!(repeats <= REPEATS_MAX, "{what}: {again} bytes of {live} copied by collection {repeats}");
    }
    assert_eq!(segments(&store).1, live, "{what}");
    let mut found = common::contents(&store).expect("reads").into_values().flatten().collect::<BTreeMap<_, _>>();
    assert!(found == model, "{what}: other contents");
    close_without_strays((views, store), &backing, &what);
    let store = options.open_backing(Arc::clone(&backing)).expect("opens");
    found = common::contents(&store).expect("reads").into_values().flatten().collect();
    assert!(found == model, "{what}: other contents after opening");
    drop(store);
    let report = tenure::verify::verify_backing(&backing, &mut |_| {}).expect("verifies");
    assert!(report.is_ok(), "{what}: {:?}", report.problems);
    (live, copied)
}

#[test]
fn random_stores_are_collected_with_little_copying_and_then_left_alone() {
    let first = rounds("TENURE_COLLECTED_FROM", 0);
    let (end, next) = (first + rounds("TENURE_COLLECTED_STORES", 60), AtomicU64::new(first));
    let sums = Mutex::new((0, 0));
    // Side by side: a collection waits for views that it cannot know to stay.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < end) {
                    let (live, copied) = random_store(seed);
                    let mut sums = sums.lock().expect("no other has panicked");
                    *sums = (sums.0 + live, sums.1 + copied);
                }
            });
        }
    });
    let (live, copied) = *sums.lock().expect("none has panicked");
    println!("{copied} bytes copied of {live}");
    assert!(copied <= live / 2, "{copied} bytes copied of {live}");
}

/// Two sets written in turn, a record a commit.
fn two_sets_in_turn(options: &Options, records: usize) -> Store {
    let store = options.open_backing(Arc::new(Memory::new())).expect("opens");
    let sets = ["a", "b"].map(|name| store.record_set(name).expect("a set"));
    for set in sets.iter().cycle().take(records) {
        store.write(|tx| tx.insert(set, [7; 100])).expect("inserts");
    }
    store
}

#[test]
fn two_sets_written_in_turn_are_copied_once() {
    let options = Options::new().segment_bytes(1 << 20).durability(Durability::Buffered).background(false);
    let store = two_sets_in_turn(&options.collector(false), 20_000);
    let (_, live) = segments(&store);
    let copied = collect_at_most(&store, live * 11 / 10, "the first collection");
    assert!(copied > live / 2, "only {copied} bytes were copied of {live}");
    let (bytes, live) = segments(&store);
    assert!(bytes <= live * 102 / 100, "{bytes} bytes for {live}");
    assert_eq!(collect_at_most(&store, 0, "the second collection"), 0);
}

#[test]
fn the_collector_is_idle_beside_an_idle_store() {
    // A store far above its cap, of which every copy is as long as what it is a copy of.
    let options = Options::new().segment_bytes(64 << 10).durability(Durability::Buffered).space_ratio(1.05);
    let store = two_sets_in_turn(&options, 12_000);
    let (_, live) = segments(&store);
    let (begun, mut before, mut since) = (Instant::now(), store.stats().collected, Instant::now());
    while since.elapsed() < Duration::from_millis(250) {
        let now = store.stats().collected;
        assert!(now.bytes_copied <= 3 * live, "{} bytes copied of {live}", now.bytes_copied);
        assert!(begun.elapsed() < Duration::from_mins(1), "still at work: {now:?}");
        if now != before {
            (before, since) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_collection_ends_beside_writers_that_never_stop() {
    let options = Options::new().segment_bytes(64 << 10).durability(Durability::Buffered).background(false);
    let store = options.open_backing(Arc::new(Memory::new())).expect("opens");
    let set = store.record_set("a").expect("a set");
    let insert = |tx: &mut tenure::Transaction| (0..3_000).map(|_| tx.insert(&set, [1; 100])).collect();
    let ids: Vec<RecordId> = store.write(insert).expect("inserts");
    let mut rng = Rng::new(5);
    let mut update = || {
        for _ in 0..20 {
            let part = rng.below(ids.len() - 30);
            store.write(|tx| ids[part..part + 30].iter().try_for_each(|id| tx.update(*id, [2; 100]))).expect("updates");
        }
    };
    update();
    let (mut slices, mut said) = (0, 0);
    // More dies with each slice than it gains.
    let progress = &mut |done: tenure::Collected| {
        (slices, said) = (slices + 1, done.bytes_copied);
        assert!(slices < 400, "{slices} slices, {said} bytes copied of 3,000 records");
        update();
    };
    store.collect_with(None, progress).expect("collects");
    assert!(slices > 2, "only {slices} slices: nothing was shown");
}
