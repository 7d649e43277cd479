//! The collector where something comes between: copies that end half way, and full disks.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::path::Path;
use std::sync::Arc;

use tenure::Durability;
use tenure::Options;
use tenure::RecordId;
use tenure::Store;
use tenure::backing::Backing;
use tenure::backing::FaultBacking;

const SEGMENT: u64 = 64 << 10;

fn options() -> Options {
    Options::new().segment_bytes(SEGMENT).durability(Durability::Buffered).background(false)
}

fn insert(store: &Store, count: usize) -> Vec<RecordId> {
    let set = store.record_set("a").expect("a set");
    store.write(|tx| (0..count).map(|_| tx.insert(&set, [7; 200])).collect()).expect("inserts")
}

fn is_verified(store: Store, backing: &Arc<dyn Backing>) {
    store.close().expect("closes");
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
    // What a kill in the middle of copying leaves.
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
    assert!(disk.names().iter().any(|name| name == "reserve"));
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
    // A ratio that the disk does not allow: only the full disk makes the collector work.
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
    // What was emptied meanwhile the view has kept.
    for id in &ids {
        assert_eq!(view.get(*id).expect("is there").to_vec().expect("reads"), [7; 200]);
    }
    drop(view);
    let done = (0..10_000).filter(|_| update().is_ok()).count();
    assert!(done > 9_900, "{done} of 10,000 updates");
    assert!(disk.names().iter().any(|name| name == "reserve"));
    disk.disk_bytes_max(None);
    is_verified(store, &backing);
}

#[test]
fn segments_grow_with_what_lives() {
    let backing: Arc<dyn Backing> = Arc::new(FaultBacking::new());
    let options = Options::new().segment_bytes(1 << 20).durability(Durability::Buffered).background(false);
    let store = options.open_backing(Arc::clone(&backing)).expect("opens");
    let set = store.record_set("a").expect("a set");
    let append = |bytes: usize| {
        for _ in 0..bytes / 50_000 {
            store.write(|tx| (0..10).try_for_each(|_| tx.insert(&set, [7; 5_000]).map(drop))).expect("inserts");
        }
    };
    let sizes = || {
        let segments = store.stats().segments;
        let ended = segments.into_iter().filter(|segment| segment.kind == tenure::FileKind::Records);
        let mut ended: Vec<_> = ended.map(|segment| (segment.file, segment.bytes)).collect();
        ended.sort();
        ended.pop();
        ended
    };
    append(6 << 20);
    let small = sizes();
    assert!(small.iter().all(|(_, bytes)| (150 << 10..=256 << 10).contains(bytes)), "{small:?}");
    append(36 << 20);
    let all = sizes();
    let (file, bytes) = all.last().expect("a segment");
    assert!((900 << 10..=1 << 20).contains(bytes), "{file}: {bytes}");
    // A frame that is larger than a segment has one to itself, as before.
    store.write(|tx| (0..50).try_for_each(|_| tx.insert(&set, vec![7; 50_000]).map(drop))).expect("inserts");
    append(100_000);
    assert!(sizes().last().is_some_and(|(_, bytes)| *bytes > 2_500_000));
    is_verified(store, &backing);
}
