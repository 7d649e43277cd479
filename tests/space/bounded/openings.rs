//! Openings and closes under faults: a failure in an optional step does not prevent opening, and a reader retries once,
//! not a hundred times.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tenure::backing::{Backing, BackingFile, BackingLock};
use tenure::{Options, RecordId, Store};

use crate::bounded::counted::Counted;
use crate::common;

/// Bytes of the header of a segment.
const HEADER_BYTES: u64 = 128;

/// A backing in which one file cannot be read beyond its header.
#[derive(Debug)]
struct Unreadable {
    inner: Arc<dyn Backing>,
    name: String,
    failed: Arc<AtomicU64>,
}

#[derive(Debug)]
struct UnreadableFile {
    inner: Arc<dyn BackingFile>,
    failed: Arc<AtomicU64>,
}

impl Backing for Unreadable {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.inner.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let inner = self.inner.open(name)?;
        if name == self.name {
            return Ok(Arc::new(UnreadableFile { inner, failed: Arc::clone(&self.failed) }));
        }
        Ok(inner)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.inner.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.inner.lock()
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

impl BackingFile for UnreadableFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.inner.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset < HEADER_BYTES {
            return self.inner.read_at(offset, buffer);
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        Err(io::Error::other("a planned failure of the medium"))
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}

fn options() -> Options {
    Options::new().background(false)
}

fn put(store: &Store, bytes: &str) -> RecordId {
    let set = store.record_set("a").expect("a set");
    store.write(|tx| tx.insert(&set, bytes)).expect("commits")
}

/// A store with small segments that were never merged, of which the oldest is named. `is_killed`: not closed at last.
fn with_small_segments(is_killed: bool) -> (Arc<dyn Backing>, String, Vec<RecordId>) {
    let backing: Arc<dyn Backing> = common::memory_of(&std::collections::BTreeMap::new());
    let open = || options().collector(false).open_backing(Arc::clone(&backing)).expect("opens");
    let mut ids = Vec::new();
    for n in 0..12 {
        let store = open();
        ids.push(put(&store, &format!("value {n}")));
        store.close().expect("closes");
    }
    let store = open();
    ids.push(put(&store, "last"));
    store.sync().expect("syncs");
    let killed = common::memory_of(&common::read_backing(&*backing));
    store.close().expect("closes");
    let backing = if is_killed { killed } else { backing };
    let names = backing.list().expect("lists");
    let oldest = names.into_iter().filter(|name| name.starts_with("log-")).min().expect("a segment");
    (backing, oldest, ids)
}

fn unreadable(inner: &Arc<dyn Backing>, name: &str) -> (Arc<dyn Backing>, Arc<AtomicU64>) {
    let failed = Arc::default();
    let (inner, name) = (Arc::clone(inner), name.to_owned());
    (Arc::new(Unreadable { inner, name, failed: Arc::clone(&failed) }), failed)
}

#[test]
fn a_merge_that_cannot_read_keeps_nobody_out() {
    let (backing, oldest, ids) = with_small_segments(true);
    let (broken, failed) = unreadable(&backing, &oldest);
    let store = options().open_backing(broken).expect("opens, whatever cannot be merged");
    assert!(failed.load(Ordering::Relaxed) > 0, "it tried to merge");
    ids[1..].iter().for_each(|id| drop(store.get(*id).expect("is there")));
    let new = put(&store, "new");
    store.close().expect("closes");
    let store = options().open_backing(backing).expect("opens");
    ids.iter().chain([&new]).for_each(|id| drop(store.get(*id).expect("is there")));
}

#[test]
fn after_a_long_replay_a_snapshot_is_saved_by_the_thread_in_the_background_if_there_is_one() {
    let long = common::memory_of(&std::collections::BTreeMap::new());
    let store = options().open_backing(Arc::clone(&long)).expect("opens");
    let value = "x".repeat(1_000);
    let ids: Vec<RecordId> = (0..500).map(|_| put(&store, &value)).collect();
    store.sync().expect("syncs");
    let killed = common::read_backing(&*long);
    drop(store);
    for has_background in [false, true] {
        let backing = common::memory_of(&killed);
        let store = options().background(has_background).open_backing(Arc::clone(&backing)).expect("opens");
        let report = store.recovery_report().clone();
        assert!(report.bytes_replayed > 500_000, "{report}");
        let left = || store.stats().log_bytes_since_snapshot;
        if !has_background {
            assert!(left() < 1_000, "{} bytes", left());
        }
        let until = Instant::now() + Duration::from_mins(1);
        while left() > 1_000 {
            assert!(Instant::now() < until, "{} bytes are in no snapshot", left());
            std::thread::sleep(Duration::from_millis(5));
        }
        let killed = common::memory_of(&common::read_backing(&*backing));
        drop(store);
        let store = options().open_backing(killed).expect("opens");
        let report = store.recovery_report();
        assert!(report.bytes_replayed < 1_000, "{report}");
        for id in &ids {
            assert_eq!(store.get(*id).expect("is there").len(), 1_000);
        }
    }
}

#[test]
fn a_merge_that_cannot_read_costs_no_close_its_snapshot() {
    let (backing, oldest, ids) = with_small_segments(false);
    let (broken, failed) = unreadable(&backing, &oldest);
    let store = options().open_backing(broken).expect("opens");
    let new = put(&store, "new");
    assert_eq!(failed.load(Ordering::Relaxed), 0, "nothing has been merged");
    store.close().expect("closes");
    assert!(failed.load(Ordering::Relaxed) > 0, "it tried to merge");
    let store = options().open_backing(backing).expect("opens");
    assert!(store.recovery_report().clean, "{}", store.recovery_report());
    ids.iter().chain([&new]).for_each(|id| drop(store.get(*id).expect("is there")));
}

#[test]
fn a_reader_beside_damage_looks_twice() {
    let (backing, _, _) = with_small_segments(true);
    let mut files = common::read_backing(&*backing);
    let calls = |files: &_| {
        let backing = Counted::new(common::memory_of(files));
        let store = options().read_only(true).open_backing(Arc::new(backing.clone())).expect("opens");
        (backing.figures().calls, store.recovery_report().damaged.len())
    };
    let (whole, none) = calls(&files);
    // The header of a middle segment, which is read without it.
    let names: Vec<String> = files.keys().filter(|name| name.starts_with("log-")).cloned().collect();
    let (name, bytes) = files.iter_mut().find(|(name, _)| **name == names[names.len() / 2]).expect("a segment");
    bytes[40] ^= 1;
    let name = name.clone();
    let (damaged, lines) = calls(&files);
    assert_eq!((none, lines), (0, 1), "{name}");
    assert!(damaged < 3 * whole, "{damaged} calls, and {whole} without damage");
}
