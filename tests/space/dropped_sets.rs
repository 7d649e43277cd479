//! Emptying sets that were dropped: in commits of bounded size, beside everything else that the thread in the background does, and
//! past damage.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure::backing::{Backing, Event, FaultBacking};
use tenure::planted::plant_frees;
use tenure::{Durability, Error, FileKind, Options, RecordId, RecordSet, Store};

use crate::common;

/// IDs that a commit frees while a test has lowered it.
const FREES: usize = 8;
/// Bytes of data in a chunk of a large value.
const CHUNK_BYTES: usize = 65_472;
/// How long a test waits for a thread in the background.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lowers the number of IDs that a commit frees, for stores that this thread opens until it is dropped.
struct Few;

impl Few {
    fn new() -> Self {
        plant_frees(Some(FREES));
        Self
    }
}

impl Drop for Few {
    fn drop(&mut self) {
        plant_frees(None);
    }
}

fn options() -> Options {
    Options::new().background(false).collector(false)
}

fn open(options: &Options, backing: &FaultBacking) -> Store {
    options.open_backing(Arc::new(backing.clone())).expect("opens")
}

fn insert(store: &Store, set: &RecordSet, count: usize) -> Vec<RecordId> {
    store.write(|tx| tx.insert_many(set, &vec!["a record"; count])).expect("commits")
}

/// A value of so many chunks.
fn large(store: &Store, set: &RecordSet, chunks: usize, byte: u8) -> RecordId {
    store.write(|tx| tx.insert(set, vec![byte; chunks * CHUNK_BYTES])).expect("commits")
}

/// Bytes of records in the log that are not freed.
fn live_bytes(store: &Store) -> u64 {
    let segments = store.stats().segments.into_iter();
    segments.filter(|segment| segment.kind == FileKind::Records).map(|segment| segment.live_bytes).sum()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn is_of_the_log(name: &str) -> bool {
    name.starts_with("log-")
}

fn verify(backing: &FaultBacking) -> u64 {
    let backing: Arc<dyn Backing> = Arc::new(backing.clone());
    let report = tenure::verify::verify_backing(&backing, &mut |_| {}).expect("is a store");
    assert!(report.is_ok(), "{:?}", report.problems);
    report.records
}

#[test]
fn syncs_at_intervals_go_on_while_a_set_is_emptied() {
    let _few = Few::new();
    let backing = FaultBacking::new();
    let options = Options::new().collector(false).durability(Durability::Buffered).sync_interval(Some(Duration::ZERO));
    let store = open(&options, &backing);
    let set = store.record_set("a").expect("a set");
    insert(&store, &set, 2_000);
    store.sync().expect("syncs");
    store.drop_set(&set).expect("drops");
    wait_until("the set is not emptied", || live_bytes(&store) == 0);
    store.close().expect("closes");
    let (mut unsynced, mut most) = (0_usize, 0_usize);
    for event in backing.events() {
        match event {
            // Not what the test itself has written at once.
            Event::Append { name, bytes } if is_of_the_log(&name) && bytes < 20_000 => unsynced += bytes,
            Event::Sync { name } if is_of_the_log(&name) => unsynced = 0,
            _ => {}
        }
        most = most.max(unsynced);
    }
    // Two thousand IDs take 16,000 bytes.
    assert!(most < 2_000, "{most} bytes were not durable");
}

#[test]
fn emptying_a_set_keeps_to_the_limit_of_changed_pages() {
    const LIMIT: u64 = 1 << 20;
    let backing = FaultBacking::new();
    let options = options().dirty_bytes_max(LIMIT).durability(Durability::Buffered);
    let store = open(&options, &backing);
    let set = store.record_set("a").expect("a set");
    for _ in 0..20 {
        insert(&store, &set, 10_240);
    }
    store.save_snapshot().expect("saves");
    assert_eq!(store.stats().dirty_bytes, 0);
    store.drop_set(&set).expect("drops");
    let dirty = store.stats().dirty_bytes;
    assert!(dirty <= LIMIT, "{dirty} bytes");
    assert_eq!(live_bytes(&store), 0);
    store.close().expect("closes");
    assert_eq!(verify(&backing), 0);
}

/// A store with large values in one page of a set, and one of another set.
fn with_large_values(backing: &FaultBacking) -> (Store, RecordSet, RecordId) {
    let store = open(&options(), backing);
    let (set, other) = (store.record_set("a").expect("a set"), store.record_set("b").expect("a set"));
    for chunks in [2, 60, 3] {
        large(&store, &set, chunks, 1);
    }
    insert(&store, &set, 20);
    let kept = large(&store, &other, 2, 2);
    (store, set, kept)
}

#[test]
fn a_large_value_is_freed_in_commits_of_bounded_size() {
    let _few = Few::new();
    let backing = FaultBacking::new();
    let (store, set, kept) = with_large_values(&backing);
    let before = backing.events().len();
    store.drop_set(&set).expect("drops");
    let appended = |event: &Event| match event {
        Event::Append { name, bytes } if is_of_the_log(name) => Some(*bytes),
        _ => None,
    };
    let appended: Vec<usize> = backing.events().iter().skip(before).filter_map(appended).collect();
    // 88 IDs, eight bytes each, of which no commit frees more than nine.
    assert!(appended.iter().all(|bytes| *bytes < 250), "{appended:?}");
    assert!(appended.len() >= 11, "{appended:?}");
    assert_eq!(store.stats().chunks.records, 2);
    assert_eq!(store.get(kept).expect("is there").to_vec().expect("reads"), vec![2; 2 * CHUNK_BYTES]);
    store.close().expect("closes");
    assert_eq!(verify(&backing), 3);
}

#[test]
fn a_large_value_of_which_a_crash_left_a_part_is_freed_and_no_other_record_is() {
    let _few = Few::new();
    let backing = FaultBacking::new();
    let (store, set, kept) = with_large_values(&backing);
    backing.record();
    store.drop_set(&set).expect("drops");
    let images = backing.take_recorded();
    let (mut partial, mut again) = (0, 0);
    for image in images {
        let store = open(&options(), &image);
        let other = store.record_set("b").expect("a set");
        let left = store.stats().chunks.records;
        partial += u64::from((3..67).contains(&left));
        if store.find_set("a").is_none() {
            drop(store);
            verify(&image.kill_image());
            let store = open(&options(), &image.kill_image());
            // Its chunks get slots of those that are gone.
            let new = large(&store, &other, 40, 3);
            store.collect(None).expect("collects");
            let stats = store.stats();
            assert_eq!((stats.records, stats.chunks.records), (2, 42), "{left} chunks were left");
            assert_eq!(store.get(kept).expect("is there").to_vec().expect("reads"), vec![2; 2 * CHUNK_BYTES]);
            assert_eq!(store.get(new).expect("is there").to_vec().expect("reads"), vec![3; 40 * CHUNK_BYTES]);
            again += 1;
        }
    }
    assert!(partial >= 5 && again >= 10, "{partial} of {again} images have a part of the value");
}

/// A store with two sets of which one has a leaf page that cannot be read, and a record of that page.
fn damaged() -> (FaultBacking, u64) {
    let backing = FaultBacking::new();
    let store = open(&options(), &backing);
    let (first, second) = (store.record_set("a").expect("a set"), store.record_set("b").expect("a set"));
    let of_first = insert(&store, &first, 1_100);
    let of_second = insert(&store, &second, 600);
    store.close().expect("closes");
    let files: BTreeMap<String, Vec<u8>> = backing
        .names()
        .into_iter()
        .map(|name| (name.clone(), backing.contents(&name).expect("a file")))
        .filter(|(name, _)| name.starts_with("pages-"))
        .collect();
    for (name, bytes) in files {
        for offset in (0..bytes.len()).step_by(1_000) {
            let image = backing.kill_image();
            image.corrupt(&name, u64::try_from(offset).expect("64 bits"), 0x10);
            let options = options().read_only(true);
            let Ok(store) = options.open_backing(Arc::new(image.kill_image())) else { continue };
            let is_damaged = |id: &&RecordId| matches!(store.get(**id), Err(Error::Corrupt(_)));
            let left = of_first.iter().filter(is_damaged).count();
            if left > 0 && left < of_first.len() && of_second.iter().filter(is_damaged).count() == 0 {
                return (image, u64::try_from(left).expect("64 bits"));
            }
        }
    }
    panic!("no byte damages a leaf of one set only");
}

fn drop_both(store: &Store) {
    for name in ["a", "b"] {
        let set = store.find_set(name).expect("a set");
        store.drop_set(&set).expect("what cannot be emptied is dropped nevertheless");
    }
    assert_eq!(store.record_sets(), []);
}

/// Bytes of a record of these tests.
const RECORD_BYTES: u64 = 32;

#[test]
fn a_damaged_page_of_a_dropped_set_keeps_no_other_from_being_emptied() {
    let (backing, damaged) = damaged();
    let store = open(&options(), &backing);
    drop_both(&store);
    assert_eq!(live_bytes(&store), damaged * RECORD_BYTES, "of the page that cannot be read");
    store.collect(None).expect("collects whatever can be read");
    let cleared = store.record_set("c").expect("a set");
    insert(&store, &cleared, 10);
    store.clear_set(&cleared).expect("clears");
    assert_eq!(live_bytes(&store), damaged * RECORD_BYTES);
    // The next opening tries again, and has the same success.
    store.close().expect("closes");
    let store = open(&options(), &backing);
    store.collect(None).expect("collects");
    assert_eq!(live_bytes(&store), damaged * RECORD_BYTES);
}

#[test]
fn nor_does_it_in_the_background() {
    let (backing, damaged) = damaged();
    let store = open(&options().background(true), &backing);
    drop_both(&store);
    wait_until("the other set is not emptied", || live_bytes(&store) == damaged * RECORD_BYTES);
    store.collect(None).expect("collects");
    store.close().expect("closes");
    drop(common::contents(&open(&options(), &backing)).expect("reads"));
}
