//! The limit on dirty pages: writers stay below it by waiting for snapshots, and none of them waits forever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tenure::backing::{FaultBacking, Memory};
use tenure::extract::Extractor;
use tenure::{Durability, Error, Index, Options, RecordSet, Result, Store};

use crate::common::Rng;

const LIMIT: u64 = 1 << 20;
const BATCH: usize = 50;

fn options(background: bool) -> Options {
    let options = Options::new().dirty_bytes_max(LIMIT).background(background).durability(Durability::Buffered);
    // Only the limit triggers a snapshot.
    options.snapshot_log_bytes(1 << 40)
}

fn set_and_index(store: &Store) -> (RecordSet, Index) {
    let set = store.record_set("a").unwrap();
    let key = Extractor::new("whole", 1, |record, keys| keys.push(record));
    let index = store.unique_index(&set, "key", key).unwrap();
    (set, index)
}

fn insert(store: &Store, set: &RecordSet, rng: &mut Rng, count: usize) -> Result<()> {
    let mut tx = store.begin()?;
    for _ in 0..count {
        tx.insert(set, rng.bytes(16))?;
    }
    tx.commit_with(Durability::Buffered).map(drop)
}

fn check(store: &Store, index: &Index, records: usize) {
    assert_eq!(index.len(&store.view()).unwrap(), u64::try_from(records).unwrap());
    assert_eq!(store.verify_index(index).unwrap(), Vec::<String>::new());
}

#[test]
fn changed_pages_stay_below_the_limit() {
    for background in [false, true] {
        let backing = Arc::new(Memory::new());
        let store = options(background).open_backing(Arc::<Memory>::clone(&backing)).unwrap();
        let (set, index) = set_and_index(&store);
        let mut rng = Rng::new(1);
        let mut most = 0;
        for _ in 0..800 {
            insert(&store, &set, &mut rng, BATCH).unwrap();
            most = most.max(store.stats().dirty_bytes);
        }
        assert!(most <= LIMIT, "{most} bytes with background {background}");
        assert!(most > LIMIT / 4, "{most} bytes: the limit was never near");
        // The tree would not have fitted.
        let pages = store.stats().segments.iter().filter(|segment| segment.kind == tenure::FileKind::Pages).count();
        assert!(pages > 0);
        check(&store, &index, 800 * BATCH);
        let view = store.view();
        insert(&store, &set, &mut rng, BATCH).unwrap();
        assert_eq!(index.len(&view).unwrap(), 40_000, "a view stands still");
        drop(view);
        store.close().unwrap();
        let store = options(background).open_backing(backing).unwrap();
        check(&store, &store.find_index(&set, "key").map(|_| set_and_index(&store).1).unwrap(), 801 * BATCH);
    }
}

#[test]
fn several_writers_stay_below_it_together() {
    let store = options(true).open_backing(Arc::new(Memory::new())).unwrap();
    let (set, index) = set_and_index(&store);
    let most = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (store, set, most) = (&store, &set, &most);
            scope.spawn(move || {
                let mut rng = Rng::new(100 + seed);
                for _ in 0..200 {
                    insert(store, set, &mut rng, BATCH).unwrap();
                    most.fetch_max(store.stats().dirty_bytes, Ordering::Relaxed);
                }
            });
        }
    });
    check(&store, &index, 4 * 200 * BATCH);
    let most = most.into_inner();
    assert!(most <= LIMIT && most > LIMIT / 4, "{most} bytes");
}

#[test]
fn a_view_that_is_held_for_ever_holds_up_nobody() {
    let store = options(false).open_backing(Arc::new(Memory::new())).unwrap();
    let (set, index) = set_and_index(&store);
    let mut rng = Rng::new(2);
    let mut views = Vec::new();
    for round in 0..400 {
        insert(&store, &set, &mut rng, BATCH).unwrap();
        if round % 40 == 0 {
            views.push((store.view(), (round + 1) * BATCH));
        }
    }
    for (view, records) in &views {
        assert_eq!(index.len(view).unwrap(), u64::try_from(*records).unwrap());
        assert_eq!(index.all(view).unwrap().count(), *records);
    }
    check(&store, &index, 400 * BATCH);
}

#[test]
fn a_transaction_that_changes_more_than_the_limit_goes_on() {
    let store = options(false).open_backing(Arc::new(Memory::new())).unwrap();
    let (set, index) = set_and_index(&store);
    let mut rng = Rng::new(3);
    for _ in 0..3 {
        insert(&store, &set, &mut rng, 20_000).unwrap();
    }
    check(&store, &index, 60_000);
}

#[test]
fn without_room_on_the_medium_commits_fail_and_later_ones_go_on() {
    for background in [false, true] {
        let backing = FaultBacking::new();
        let store = options(background).open_backing(Arc::new(backing.clone())).unwrap();
        let (set, index) = set_and_index(&store);
        let (mut rng, mut records) = (Rng::new(4), 0);
        while store.stats().dirty_bytes < LIMIT / 3 {
            insert(&store, &set, &mut rng, BATCH).unwrap();
            records += BATCH;
        }
        // Enough for some commits, and not for a snapshot.
        backing.disk_bytes_max(Some(backing.disk_bytes() + 100_000));
        let started = Instant::now();
        let error = loop {
            match insert(&store, &set, &mut rng, BATCH) {
                Ok(()) => records += BATCH,
                Err(error) => break error,
            }
            assert!(started.elapsed() < Duration::from_mins(1));
        };
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        check(&store, &index, records);
        backing.heal();
        for _ in 0..100 {
            insert(&store, &set, &mut rng, BATCH).unwrap();
        }
        check(&store, &index, records + 100 * BATCH);
    }
}

#[test]
fn a_writer_that_waits_ends_when_the_store_is_closed() {
    let store = options(true).open_backing(Arc::new(Memory::new())).unwrap();
    let (set, _) = set_and_index(&store);
    let other = store.clone();
    let writer = std::thread::spawn(move || {
        let mut rng = Rng::new(5);
        loop {
            if let Err(error) = insert(&other, &set, &mut rng, BATCH) {
                return error;
            }
        }
    });
    std::thread::sleep(Duration::from_millis(300));
    store.close().unwrap();
    let error = writer.join().unwrap();
    assert!(matches!(error, Error::Closed), "{error}");
}

#[test]
fn a_limit_that_is_too_small_is_refused() {
    let error = Options::new().dirty_bytes_max(1000).open_backing(Arc::new(Memory::new())).unwrap_err();
    assert!(matches!(error, Error::BadOption { option: "dirty_bytes_max", .. }), "{error}");
}
