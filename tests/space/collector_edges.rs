//! The collector interrupted: copies that end half way, and full disks.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenure::backing::{Backing, BackingFile, BackingLock, FaultBacking};
use tenure::{Durability, Options, RecordId, Store};

use crate::common;

const SEGMENT: u64 = 64 << 10;
/// Of a random writer.
const ROUNDS: u32 = 1_500;

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
        std::thread::sleep(Duration::from_millis(130));
    }
    let empty = |name: &String| name.starts_with("log-") && disk.contents(name).is_some_and(|bytes| bytes.len() <= 128);
    assert!(disk.names().iter().filter(|name| empty(name)).count() <= 2, "{:?}", disk.names());
    is_verified(store, &backing);
}

type Files = BTreeMap<String, Vec<u8>>;

/// Keeps what a directory contains whenever a record segment is deleted, with the deleted file.
#[derive(Debug)]
struct Deletions {
    disk: FaultBacking,
    images: Mutex<Vec<(String, Files)>>,
}

impl Backing for Deletions {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.disk.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.disk.open(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        if name.starts_with("log-") {
            self.images.lock().expect("no panic").push((name.to_owned(), common::read_backing(&self.disk)));
        }
        self.disk.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.disk.lock()
    }

    fn location(&self) -> String {
        self.disk.location()
    }
}

type Records = BTreeMap<RecordId, u8>;

/// Whether a store with these files opens, and has the records from before or after what was done when they were kept.
fn opens_with(files: &Files, records: [&Records; 2], what: &str) -> bool {
    let backing = common::memory_of(files);
    let report = tenure::verify::verify_backing(&backing, &mut |_| {});
    let Ok(store) = options().open_backing(Arc::clone(&backing)) else { return false };
    let report = report.expect(what);
    assert!(report.is_ok(), "{what}, before it was opened: {:?}", report.problems);
    let set = store.find_set("a").expect(what);
    let view = store.view();
    let scanned = view.scan(&set).map(|record| record.and_then(|record| Ok((record.id(), record.to_vec()?))));
    let found: BTreeMap<RecordId, Vec<u8>> = scanned.collect::<Result<_, _>>().expect(what);
    let are_found = |records: &Records| {
        found.len() == records.len()
            && records.iter().all(|(id, byte)| found.get(id).is_some_and(|bytes| *bytes == vec![*byte; 200]))
    };
    assert!(records.into_iter().any(are_found), "{what}: {} records", found.len());
    drop(view);
    store.close().expect(what);
    let report = tenure::verify::verify_backing(&backing, &mut |_| {}).expect(what);
    assert!(report.is_ok(), "{what}: {:?}", report.problems);
    // It goes once no snapshot that is kept lists it.
    let store = options().open_backing(Arc::clone(&backing)).expect(what);
    store.collect(None).expect(what);
    store.close().expect(what);
    for name in backing.list().expect("lists").iter().filter(|name| name.starts_with("log-")) {
        let bytes = backing.open(name).expect("opens").len().expect("measures");
        assert!(bytes >= 128, "{what}: {name}, of which only {bytes} bytes are there, stays");
    }
    true
}

/// A copy that follows the store in order, as a bucket does after its store was opened again, may have begun with a file at the
/// moment at which the store deletes it.
#[test]
fn a_file_that_had_only_begun_when_it_was_deleted_is_as_good_as_deleted() {
    let watched = Arc::new(Deletions { disk: FaultBacking::new(), images: Mutex::default() });
    let store = options().open_backing(watched.clone()).expect("opens");
    let set = store.record_set("a").expect("a set");
    let (mut rng, mut records) = (common::Rng::new(7), Records::new());
    let mut cases = 0;
    for round in 0..ROUNDS {
        let (before, byte) = (records.clone(), round.to_le_bytes()[0]);
        let some = |rng: &mut common::Rng, records: &Records, n: usize| -> Vec<RecordId> {
            let from = rng.below(records.len().max(1));
            records.keys().copied().skip(from).take(n).collect()
        };
        match rng.below(12) {
            0..=3 => {
                let n = rng.below(60);
                let ids = store.write(|tx| (0..n).map(|_| tx.insert(&set, [byte; 200])).collect::<Result<Vec<_>, _>>());
                records.extend(ids.expect("inserts").into_iter().map(|id| (id, byte)));
            }
            4..=6 => {
                let n = rng.below(40);
                let ids = some(&mut rng, &records, n);
                store.write(|tx| ids.iter().try_for_each(|id| tx.update(*id, [byte; 200]))).expect("updates");
                records.extend(ids.into_iter().map(|id| (id, byte)));
            }
            7..=9 => {
                let n = rng.below(120);
                let ids = some(&mut rng, &records, n);
                store.write(|tx| ids.iter().try_for_each(|id| tx.delete(*id))).expect("deletes");
                records.retain(|id, _| !ids.contains(id));
            }
            10 => drop(store.save_snapshot().expect("saves")),
            _ => drop(store.collect(Some(Duration::from_millis(rng.below(2) as u64))).expect("collects")),
        }
        for (name, image) in watched.images.lock().expect("no panic").drain(..) {
            assert!(opens_with(&image, [&before, &records], "as it was"), "round {round}: {name} whole");
            for bytes in [0, 1, 127] {
                let mut image = image.clone();
                image.get_mut(&name).expect("the file").truncate(bytes);
                let what = format!("round {round}: {name} with {bytes} bytes");
                assert!(opens_with(&image, [&before, &records], &what), "{what}");
                cases += 1;
            }
        }
    }
    // How many files a collection deletes depends on its time.
    assert!(cases > 100, "{cases}");
}

#[test]
fn a_file_that_has_only_begun_and_is_needed_is_missed() {
    let dir = tempfile::tempdir().expect("a directory");
    let [path, copy] = ["store", "copy"].map(|name| dir.path().join(name));
    let store = options().open(&path).expect("opens");
    for _ in 0..30 {
        insert(&store, 100);
    }
    store.save_snapshot().expect("saves");
    let mut listed = common::read_dir(&path);
    listed.remove("lock");
    let logs = listed.keys().filter(|name| name.starts_with("log-"));
    let needed = logs.max_by_key(|name| listed[*name].len()).expect("a log").clone();
    let mut image = listed;
    image.insert(needed.clone(), Vec::new());
    common::write_dir(&copy, &image);
    let error = options().open(&copy).expect_err("records are missing");
    assert!(error.is_corruption() && error.to_string().contains("ends within its header"), "{error}");
    assert_eq!(common::read_dir(&copy)[&needed], Vec::<u8>::new(), "nothing was deleted");
}
