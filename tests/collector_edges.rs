//! The collector interrupted: copies that end half way, and full disks.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::path::Path;
use std::sync::Arc;

use tenure::backing::{Backing, FaultBacking};
use tenure::{Durability, Options, RecordId, Store};

const SEGMENT: u64 = 64 << 10;

fn options() -> Options {
    Options::new().segment_bytes(SEGMENT).durability(Durability::Buffered).background(false)
}

fn insert(store: &Store, count: usize) -> Vec<RecordId> {
    let set = store.record_set("a").expect("a set");
    store.write(|tx| (0..count).map(|_| tx.insert(&set, [7; 200])).collect()).expect("inserts")
}

fn is_verified(store: Store, backing: &Arc<dyn Backing>) {
    common::assert_no_strays(&store, || backing.list().expect("lists"), "open");
    store.close().expect("closes");
    common::assert_no_strays_closed_backing(backing, "closed");
    let report = tenure::verify::verify_backing(backing, &mut |_| {}).expect("verifies");
    assert!(report.is_ok(), "{:?}", report.problems);
}

#[test]
fn a_store_that_died_while_it_was_copied_keeps_the_pages_that_it_stands_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let [path, backup, left] = ["store", "backup", "left"].map(|name| dir.path().join(name));
    let store = options().open(&path).expect("opens");
    let ids = insert(&store, 3_000);
    let mut is_taken = false;
    // The state after a kill in the middle of copying.
    let take = &mut |_| {
        if !is_taken {
            is_taken = true;
            let mut files = common::read_dir(&path);
            files.remove("lock");
            common::write_dir(&left, &files);
        }
    };
    store.backup_with(&backup, take).expect("backs up");
    drop(store);
    for round in 0..3_u8 {
        let store = options().open(&left).expect("opens");
        for id in &ids {
            assert_eq!(store.get(*id).expect("is there").len(), 200, "round {round}");
        }
        let other = store.record_set("b").expect("a set");
        store.write(|tx| tx.insert(&other, [round])).expect("inserts");
        store.save_snapshot().expect("saves");
        drop(store);
        assert!(tenure::verify::verify(Path::new(&left), &mut |_| {}).expect("verifies").is_ok());
    }
}

#[test]
fn a_collection_on_request_makes_room_on_a_full_disk_and_never_needs_a_second_copy() {
    let disk = FaultBacking::new();
    let backing: Arc<dyn Backing> = Arc::new(disk.clone());
    let store = options().open_backing(Arc::clone(&backing)).expect("opens");
    store.set_collecting(false);
    let ids: Vec<RecordId> = (0..10).flat_map(|_| insert(&store, 1_000)).collect();
    store.save_snapshot().expect("saves");
    store.set_collecting(true);
    drop(store.begin().expect("makes the reserve"));
    store.set_collecting(false);
    store.write(|tx| ids.iter().step_by(2).try_for_each(|id| tx.delete(*id))).expect("deletes");
    store.sync().expect("syncs");
    let before = disk.disk_bytes();
    disk.disk_bytes_max(Some(before));
    let collected = store.collect(None).expect("collects");
    assert!(collected.bytes_deleted > 1_000_000, "{collected:?}");
    disk.disk_bytes_max(None);
    assert!(disk.names().iter().any(|name| name.starts_with("reserve-")));
    is_verified(store, &backing);
}

#[test]
fn a_segment_that_ended_when_everything_was_synced_goes_too() {
    for survivors in [0, 1] {
        let backing: Arc<dyn Backing> = Arc::new(FaultBacking::new());
        let store = options().durability(Durability::Sync).open_backing(Arc::clone(&backing)).expect("opens");
        let ids = insert(&store, 40);
        let dead = ids.get(survivors..).expect("fewer");
        store.write(|tx| dead.iter().try_for_each(|id| tx.delete(*id))).expect("deletes");
        store.collect(None).expect("collects");
        let stats = store.stats();
        assert!(stats.retired.is_empty(), "{survivors} survivors: {:?}", stats.retired);
        let records = stats.segments.iter().filter(|segment| segment.kind == tenure::FileKind::Records);
        let bytes: u64 = records.map(|segment| segment.bytes).sum();
        assert!(bytes < 40 * 200, "{bytes} bytes of segments for {survivors} survivors");
        is_verified(store, &backing);
    }
}

#[test]
fn a_full_disk_is_made_room_on_when_a_view_lets_go() {
    let disk = FaultBacking::new();
    let backing: Arc<dyn Backing> = Arc::new(disk.clone());
    // A ratio that the disk cannot reach: only the full disk starts the collector.
    let store = options().space_ratio(20.0).open_backing(Arc::clone(&backing)).expect("opens");
    let ids: Vec<RecordId> = (0..80).flat_map(|_| insert(&store, 100)).collect();
    disk.disk_bytes_max(Some(disk.disk_bytes() + 14 * SEGMENT));
    let view = store.view();
    let mut updates = ids.iter().cycle();
    let mut update = || store.write(|tx| tx.update(*updates.next().expect("has no end"), [1; 200]));
    let mut refused = 0;
    while refused < 20 {
        match update() {
            Ok(()) => refused = 0,
            Err(tenure::Error::NoSpace { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    // The view has retained the segments emptied meanwhile.
    for id in &ids {
        assert_eq!(view.get(*id).expect("is there").to_vec().expect("reads"), [7; 200]);
    }
    drop(view);
    let done = (0..10_000).filter(|_| update().is_ok()).count();
    assert!(done > 9_900, "{done} of 10,000 updates");
    assert!(disk.names().iter().any(|name| name.starts_with("reserve-")));
    disk.disk_bytes_max(None);
    is_verified(store, &backing);
}

fn small_segments() -> Options {
    Options::new().segment_bytes(1 << 20).durability(Durability::Buffered).background(false)
}

/// Inserts this many bytes into a store, ten records per transaction.
fn append(store: &Store, bytes: usize) -> Vec<RecordId> {
    let set = store.record_set("a").expect("a set");
    let batches = (0..bytes / 50_000).map(|_| store.write(|tx| tx.insert_many(&set, &vec![vec![7; 5_000]; 10])));
    batches.flat_map(|ids| ids.expect("inserts")).collect()
}

/// Files of records with their bytes, but for the one that is appended to.
fn ended(store: &Store) -> Vec<(String, u64)> {
    let segments = store.stats().segments;
    let records = segments.into_iter().filter(|segment| segment.kind == tenure::FileKind::Records);
    let mut all: Vec<_> = records.map(|segment| (segment.file, segment.bytes)).collect();
    all.sort();
    all.pop();
    all
}

#[test]
fn segments_grow_with_what_lives() {
    let backing: Arc<dyn Backing> = Arc::new(FaultBacking::new());
    for is_collecting in [true, false] {
        let backing: Arc<dyn Backing> = Arc::new(FaultBacking::new());
        let store = small_segments().collector(is_collecting).open_backing(backing).expect("opens");
        append(&store, 6 << 20);
        let small = ended(&store);
        assert!(small.iter().all(|(_, bytes)| (150 << 10..=256 << 10).contains(bytes)), "{small:?}");
        append(&store, 36 << 20);
        let (file, bytes) = ended(&store).pop().expect("a segment");
        assert!((900 << 10..=1 << 20).contains(&bytes), "{file}: {bytes}");
    }
    let store = small_segments().open_backing(Arc::clone(&backing)).expect("opens");
    let ids = append(&store, 42 << 20);
    // They are the larger again after opening, and what was ended when they were smaller is not worth a copy.
    store.close().expect("closes");
    let store = small_segments().open_backing(Arc::clone(&backing)).expect("opens");
    let before = ended(&store).len();
    append(&store, 3 << 20);
    let after = ended(&store);
    // The last from before is followed by the first that was made since.
    let (file, bytes) = &after[before + 1];
    assert!((900 << 10..=1 << 20).contains(bytes), "{file}: {bytes}");
    let collected = store.collect(None).expect("collects");
    assert!(collected.bytes_copied < 1 << 20, "{collected:?}");
    assert!(ended(&store).last().is_some_and(|(_, bytes)| *bytes > 900 << 10));
    store.write(|tx| ids.iter().step_by(3).try_for_each(|id| tx.delete(*id))).expect("deletes");
    store.close().expect("closes");
    let store = small_segments().open_backing(Arc::clone(&backing)).expect("opens");
    store.collect(None).expect("collects");
    assert!(ended(&store).len() < 50, "{:?}", ended(&store));
    is_verified(store, &backing);
}

#[test]
fn frames_that_are_larger_than_a_segment_leave_no_empty_files() {
    let disk = FaultBacking::new();
    let backing: Arc<dyn Backing> = Arc::new(disk.clone());
    let store = small_segments().background(true).open_backing(Arc::clone(&backing)).expect("opens");
    let set = store.record_set("a").expect("a set");
    for _ in 0..8 {
        // Nothing small comes between, which would go to the segment that is made ready in the meantime.
        store.write(|tx| tx.insert_many(&set, &vec![vec![7; 50_000]; 6])).expect("inserts");
        std::thread::sleep(std::time::Duration::from_millis(130));
    }
    let empty = |name: &String| name.starts_with("log-") && disk.contents(name).is_some_and(|bytes| bytes.len() <= 128);
    assert!(disk.names().iter().filter(|name| empty(name)).count() <= 2, "{:?}", disk.names());
    is_verified(store, &backing);
}

#[test]
fn a_file_that_had_only_begun_where_the_store_was_copied_in_order_is_as_good_as_deleted() {
    let dir = tempfile::tempdir().expect("a directory");
    let [path, copy] = ["store", "copy"].map(|name| dir.path().join(name));
    let store = options().open(&path).expect("opens");
    let ids: Vec<RecordId> = (0..30).flat_map(|_| insert(&store, 100)).collect();
    store.save_snapshot().expect("saves");
    let mut listed = common::read_dir(&path);
    listed.remove("lock");
    // The snapshot lists segments that the collector deletes before there is another one.
    let (kept, deleted) = ids.split_at(100);
    store.write(|tx| deleted.iter().try_for_each(|id| tx.delete(*id))).expect("deletes");
    store.collect(None).expect("collects");
    store.sync().expect("synced");
    let mut image = common::read_dir(&path);
    image.remove("lock");
    let gone: Vec<&String> = listed.keys().filter(|name| !image.contains_key(*name)).collect();
    assert!(gone.iter().any(|name| name.starts_with("log-")), "{gone:?}");
    for bytes in [0, 1, 127] {
        let mut image = image.clone();
        for name in &gone {
            image.insert((*name).clone(), listed[*name][..bytes].to_vec());
        }
        common::write_dir(&copy, &image);
        let store = options().open(&copy).expect("opens");
        assert!(kept.iter().all(|id| store.get(*id).is_ok()), "{bytes} bytes");
        assert!(deleted.iter().all(|id| store.get(*id).is_err()), "{bytes} bytes");
        store.close().expect("closes");
        assert!(tenure::verify::verify(&copy, &mut |_| {}).expect("verifies").is_ok());
        std::fs::remove_dir_all(&copy).expect("removed");
    }
    // A segment with records that are alive is missed.
    let logs = gone.iter().filter(|name| name.starts_with("log-"));
    let needed = logs.max_by_key(|name| listed[**name].len()).expect("a log");
    let mut image = listed.clone();
    image.insert((*needed).clone(), Vec::new());
    common::write_dir(&copy, &image);
    let error = options().open(&copy).expect_err("records are missing");
    assert!(error.is_corruption() && error.to_string().contains("ends within its header"), "{error}");
    assert_eq!(common::read_dir(&copy)[*needed], Vec::<u8>::new(), "nothing was deleted");
}
