//! A full disk on which the reserve was given up and could not be restored: a view retains the reclaimed space.

use std::sync::Arc;

use tenure::backing::{Backing, FaultBacking};
use tenure::{Durability, Error, Options, RecordId, Result, Store, View};

const SEGMENT: u64 = 64 << 10;

/// A ratio that no disk here allows: only a full one makes the collector work.
fn options() -> Options {
    let options = Options::new().segment_bytes(SEGMENT).durability(Durability::Buffered);
    options.background(false).space_ratio(20.0)
}

fn insert(store: &Store, count: usize) -> Vec<RecordId> {
    let set = store.record_set("a").expect("a set");
    (0..count / 100)
        .flat_map(|_| store.write(|tx| tx.insert_many(&set, &vec![[7; 200]; 100])).expect("inserts"))
        .collect()
}

struct Stuck {
    disk: FaultBacking,
    store: Store,
    ids: Vec<RecordId>,
    view: View,
}

impl Stuck {
    fn new(segments_of_room: u64) -> Self {
        let disk = FaultBacking::new();
        let backing: Arc<dyn Backing> = Arc::new(disk.clone());
        let store = options().open_backing(backing).expect("opens");
        let ids = insert(&store, 8_000);
        disk.disk_bytes_max(Some(disk.disk_bytes() + segments_of_room * SEGMENT));
        let view = store.view();
        let stuck = Self { disk, store, ids, view };
        let mut refused = 0;
        for round in 0.. {
            match stuck.update(round) {
                Ok(()) => refused = 0,
                Err(Error::NoSpace { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            if refused == 10 {
                break;
            }
        }
        stuck
    }

    fn update(&self, round: usize) -> Result<()> {
        self.store.write(|tx| tx.update(self.ids[round % self.ids.len()], [1; 200]))
    }

    fn has_reserve(&self) -> bool {
        self.disk.names().iter().any(|name| name.starts_with("reserve-"))
    }
}

#[test]
fn no_commit_takes_room_that_is_less_than_the_reserve() {
    let stuck = Stuck::new(14);
    stuck.disk.disk_bytes_max(Some(stuck.disk.disk_bytes()));
    let last = stuck.store.last_seq();
    for round in 0..300 {
        let error = stuck.update(round).expect_err("there is no reserve");
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    }
    assert_eq!(stuck.store.last_seq(), last, "nothing was written");
    // With the space that the view retained there is.
    stuck.disk.disk_bytes_max(Some(stuck.disk.disk_bytes() + 3 * SEGMENT));
    drop(stuck.view);
    assert!((0..300).filter(|_| stuck.store.write(|tx| tx.update(stuck.ids[0], [2; 200])).is_ok()).count() > 290);
}

#[test]
fn a_store_that_collects_nothing_makes_its_reserve_anew() {
    let stuck = Stuck::new(14);
    stuck.store.set_collecting(false);
    stuck.disk.disk_bytes_max(None);
    // Once a second it is tried.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    assert!((0..300).filter(|round| stuck.update(*round).is_ok()).count() > 290);
    assert!(stuck.has_reserve());
}

#[test]
fn a_store_without_a_reserve_closes_with_a_snapshot() {
    let Stuck { disk, store, view, .. } = Stuck::new(14);
    disk.disk_bytes_max(Some(disk.disk_bytes()));
    let set = store.record_set("a").expect("is there");
    store.write(|tx| tx.insert(&set, [1; 10])).expect_err("there is no reserve");
    disk.disk_bytes_max(None);
    drop(view);
    store.close().expect("closes, and logs the ID that came to nothing");
    let backing: Arc<dyn Backing> = Arc::new(disk);
    let report = tenure::verify::verify_backing(&backing, &mut |_| {}).expect("verifies");
    assert!(report.is_ok(), "{:?}", report.problems);
}

#[test]
fn a_limit_on_changed_pages_that_needs_a_snapshot_on_a_full_disk_wakes_the_collector() {
    let disk = FaultBacking::new();
    let backing: Arc<dyn Backing> = Arc::new(disk.clone());
    let store = options().dirty_bytes_max(1 << 20).snapshot_log_bytes(1 << 40).open_backing(backing).expect("opens");
    // Their pages are more than the limit.
    let ids = insert(&store, 160_000);
    store.save_snapshot().expect("saves");
    for some in ids.chunks(1_000).take(40) {
        store.write(|tx| some.iter().try_for_each(|id| tx.update(*id, [9; 200]))).expect("updates");
    }
    store.save_snapshot().expect("saves");
    store.save_snapshot().expect("saves");
    disk.disk_bytes_max(Some(disk.disk_bytes() + 3 * SEGMENT));
    let mut refused = 0;
    for round in 0..5_000 {
        let result = store.write(|tx| tx.update(ids[(round * 5_123) % ids.len()], [1; 20]));
        refused = if result.is_ok() { 0 } else { refused + 1 };
        assert!(refused < 100, "{result:?}");
    }
}

#[test]
fn a_segment_of_which_more_lives_than_the_reserve_takes_is_passed_over() {
    let disk = FaultBacking::new();
    let backing: Arc<dyn Backing> = Arc::new(disk.clone());
    let store = options().open_backing(backing).expect("opens");
    let set = store.record_set("a").expect("a set");
    // One frame, and so one segment: the oldest, and the one of which most is dead.
    let large = store.write(|tx| tx.insert_many(&set, &vec![vec![7; 50_000]; 40])).expect("inserts");
    let ids = insert(&store, 8_000);
    store.write(|tx| tx.delete_many(&large[..16])).expect("deletes");
    let some: Vec<RecordId> = ids.iter().copied().step_by(5).collect();
    for some in some.chunks(100) {
        store.write(|tx| some.iter().try_for_each(|id| tx.update(*id, [9; 200]))).expect("updates");
    }
    store.save_snapshot().expect("saves");
    store.save_snapshot().expect("saves");
    disk.disk_bytes_max(Some(disk.disk_bytes() + SEGMENT));
    let mut refused = 0;
    for round in 0..3_000 {
        let result = store.write(|tx| tx.update(ids[(round * 5_123) % ids.len()], [1; 200]));
        refused = if result.is_ok() { 0 } else { refused + 1 };
        assert!(refused < 100, "{result:?}");
    }
}

#[test]
fn going_back_has_the_room_of_the_reserve() {
    let disk = FaultBacking::new();
    let backing: Arc<dyn Backing> = Arc::new(disk.clone());
    let store = options().open_backing(Arc::clone(&backing)).expect("opens");
    let ids = insert(&store, 8_000);
    store.save_named_snapshot("before").expect("saves");
    for id in ids.iter().step_by(100) {
        store.write(|tx| tx.update(*id, [1; 200])).expect("updates");
    }
    disk.disk_bytes_max(Some(disk.disk_bytes()));
    let point = tenure::Point::Name("before".to_owned());
    let store = store.roll_back_to(&point).expect("goes back on a disk without a free block");
    assert!(ids.iter().all(|id| store.get(*id).is_ok_and(|record| record.as_slice() == Some(&[7; 200][..]))));
    store.write(|tx| tx.delete(ids[0])).expect("deletes");
    store.close().expect("closes");
    options().open_backing(backing).expect("opens again");
}

/// Bytes of the reserve of a store in a directory.
fn reserve_bytes(path: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(path).expect("lists").flatten();
    let reserve = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("reserve-"));
    reserve.map(|entry| entry.metadata().expect("is there").len()).sum()
}

/// `TENURE_SHRINKS_FROM_MB=2000` makes the store as large as one that was seen to keep 76 MB, with the segments of the default.
#[test]
fn the_reserve_follows_a_store_down() {
    let megabytes = std::env::var("TENURE_SHRINKS_FROM_MB").map_or(24, |text| text.parse().expect("a number"));
    for segment_bytes in [1 << 20, 64 << 20] {
        for (closes, collects) in [(false, false), (false, true), (true, false), (true, true)] {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("store");
            let options = || Options::new().segment_bytes(segment_bytes).durability(Durability::Buffered);
            let store = options().background(false).open(&path).expect("opens");
            let set = store.record_set("a").expect("a set");
            let mut ids = Vec::new();
            for _ in 0..megabytes {
                ids.extend(store.write(|tx| tx.insert_many(&set, &vec![[7; 1_000]; 1_000])).expect("inserts"));
            }
            store.sync().expect("syncs");
            let large = reserve_bytes(&path);
            let store = if closes {
                store.close().expect("closes");
                options().background(false).open(&path).expect("opens")
            } else {
                store
            };
            for ids in ids[1_000..].chunks(100_000) {
                store.write(|tx| ids.iter().try_for_each(|id| tx.delete(*id))).expect("deletes");
            }
            let deleted = reserve_bytes(&path);
            if collects {
                store.collect(None).expect("collects");
            }
            let collected = reserve_bytes(&path);
            store.close().expect("closes");
            let closed = reserve_bytes(&path);
            println!(
                "segments of {} MB, {megabytes} MB, collects: {collects}: {large}, deleted: {deleted}, collected: {collected}, closed: {closed}",
                segment_bytes >> 20
            );
            // What lives in one segment, with a quarter more, twice of it all, and the pieces that are kept.
            assert!(large > (1 << 20) + (256 << 10));
            assert!(
                closed <= 4 << 20 && (!collects || collected <= 4 << 20),
                "{collected}, {closed} bytes for a store of 1 MB"
            );
        }
    }
}

#[test]
fn a_store_that_closed_keeps_no_reserve_for_what_nobody_replays() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let options = || Options::new().durability(Durability::Buffered).background(false);
    let store = options().open(&path).expect("opens");
    let set = store.record_set("a").expect("a set");
    let id = store.write(|tx| tx.insert(&set, [0; 1_000])).expect("inserts");
    store.close().expect("closes");
    let store = options().open(&path).expect("opens");
    for round in 0..8_u8 {
        let value = [round; 1_000];
        store.write(|tx| (0..1_000).try_for_each(|_| tx.insert(&set, value).map(drop))).expect("inserts");
        let ids: Vec<_> =
            store.view().scan(&set).map(|entry| entry.expect("reads").id()).filter(|i| *i != id).collect();
        store.write(|tx| ids.iter().try_for_each(|id| tx.delete(*id))).expect("deletes");
    }
    let open = reserve_bytes(&path);
    store.close().expect("closes");
    let closed = reserve_bytes(&path);
    assert!(closed <= 1 << 20, "{open} bytes while 8 MB were in the log, {closed} after closing with 1 KB");
}
