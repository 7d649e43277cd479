//! What goes on while there is no room: deleting what nothing needs, and waiting.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tenure::backing::{Backing, BackingFile, BackingLock, FaultBacking};
use tenure::{Error, Options, RecordId, Store};

/// What a backing was asked, and refuses.
#[derive(Debug, Default)]
struct Asked {
    /// Checks of the lock.
    checks: AtomicU64,
    /// The log has no room, and no file can be created, until a file of the log is deleted.
    is_full: AtomicBool,
    /// Deleted files of the log.
    deleted: AtomicU64,
}

/// A backing with a log that can be full.
#[derive(Debug, Clone)]
struct Room {
    inner: FaultBacking,
    asked: Arc<Asked>,
}

#[derive(Debug)]
struct RoomFile {
    inner: Arc<dyn BackingFile>,
    asked: Arc<Asked>,
}

#[derive(Debug)]
struct RoomLock {
    inner: Box<dyn BackingLock>,
    asked: Arc<Asked>,
}

impl Asked {
    fn meet(&self, name: &str) -> io::Result<()> {
        let is_met = !name.starts_with("log-") && !name.starts_with("reserve-");
        if is_met || !self.is_full.load(Ordering::Acquire) { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }
}

impl Room {
    fn new(inner: FaultBacking) -> Self {
        Self { inner, asked: Arc::default() }
    }

    fn open(&self, options: &Options) -> Store {
        options.open_backing(Arc::new(self.clone())).expect("opens")
    }
}

impl Backing for Room {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.asked.meet(name)?;
        let (inner, asked) = (self.inner.create(name)?, Arc::clone(&self.asked));
        Ok(if name.starts_with("log-") { Arc::new(RoomFile { inner, asked }) } else { inner })
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.inner.open(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.inner.delete(name)?;
        if name.starts_with("log-") {
            self.asked.deleted.fetch_add(1, Ordering::AcqRel);
            self.asked.is_full.store(false, Ordering::Release);
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        let asked = Arc::clone(&self.asked);
        self.inner.lock().map(|inner| Box::new(RoomLock { inner, asked }) as Box<dyn BackingLock>)
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

impl BackingFile for RoomFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.asked.meet("log-")?;
        self.inner.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}

impl BackingLock for RoomLock {
    fn check(&self) -> io::Result<()> {
        self.asked.checks.fetch_add(1, Ordering::AcqRel);
        self.inner.check()
    }
}

fn options() -> Options {
    Options::new().background(false).collector(false).segment_bytes(64 << 10)
}

fn insert(store: &Store, count: usize) -> Vec<RecordId> {
    let set = store.record_set("a").expect("a set");
    store.write(|tx| tx.insert_many(&set, &vec![[7_u8; 1_000]; count])).expect("commits")
}

#[test]
fn what_nothing_needs_is_deleted_though_a_consumer_cannot_be_dropped_for_lack_of_room() {
    let room = Room::new(FaultBacking::new());
    let store = room.open(&options().consumer_bytes_max(Some(10_000)));
    // Half of it moves to segments of survivors, which no consumer needs.
    let ids: Vec<RecordId> = (0..10).flat_map(|_| insert(&store, 40)).collect();
    let (some, rest) = ids.split_at(200);
    store.write(|tx| some.iter().step_by(2).try_for_each(|id| tx.delete(*id))).expect("commits");
    store.collect(None).expect("collects");
    store.add_consumer("slow", store.last_seq()).expect("adds");
    let new: Vec<RecordId> = (0..10).flat_map(|_| insert(&store, 40)).collect();
    let left = some.iter().skip(1).step_by(2).chain(rest).chain(&new);
    store.write(|tx| left.clone().try_for_each(|id| tx.delete(*id))).expect("commits");
    let before = store.stats();
    assert!(before.segments.iter().any(|segment| segment.generation > 0), "{:?}", before.segments);
    assert_eq!(before.consumers.iter().map(|each| each.is_dropped).collect::<Vec<_>>(), [false]);
    assert!(room.asked.deleted.swap(0, Ordering::AcqRel) > 0, "the first collection has deleted files");

    room.asked.is_full.store(true, Ordering::Release);
    store.collect(None).expect("what it deletes makes room for the rest");
    let stats = store.stats();
    assert!(room.asked.deleted.load(Ordering::Acquire) > 0);
    assert!(stats.segments.iter().all(|segment| segment.generation == 0), "{:?}", stats.segments);
    assert_eq!(stats.consumers.iter().map(|each| each.is_dropped).collect::<Vec<_>>(), [true]);
    assert!(stats.consumers[0].kept_bytes <= 10_000 && stats.retired.is_empty(), "{stats:?}");
}

/// Writes until the disk is full, and deletes records with the space of the reserve, while others take what is free.
fn fill(store: &Store, disk: &FaultBacking, ids: &[RecordId]) {
    let set = store.record_set("a").expect("a set");
    for id in ids {
        disk.disk_bytes_max(Some(disk.disk_bytes()));
        while store.write(|tx| tx.insert(&set, [7; 1_000])).is_ok() {}
        disk.disk_bytes_max(Some(disk.disk_bytes()));
        if let Err(error) = store.write(|tx| tx.delete(*id)) {
            assert!(matches!(error, Error::NoSpace { .. }), "{error}");
            return;
        }
    }
}

#[test]
fn the_thread_in_the_background_waits_while_a_snapshot_is_due_that_the_reserve_is_too_short_for() {
    let room = Room::new(FaultBacking::new());
    // A snapshot is due after each commit.
    let store = room.open(&options().background(true).snapshot_log_bytes(1));
    let ids = insert(&store, 20);
    fill(&store, &room.inner, &ids);
    assert!(store.stats().log_bytes_since_snapshot > 1, "a snapshot is due");
    let error = store.record_set("b").expect_err("the reserve is short");
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    let before = room.asked.checks.load(Ordering::Acquire);
    std::thread::sleep(Duration::from_millis(300));
    let checks = room.asked.checks.load(Ordering::Acquire) - before;
    assert!(checks < 20, "{checks} times in 300 milliseconds");
    room.inner.disk_bytes_max(None);
    store.close().expect("closes");
}

#[test]
fn an_opening_that_needed_the_reserve_saves_what_it_replayed_itself() {
    let disk = FaultBacking::new();
    let store = options().segment_bytes(4 << 20).open_backing(Arc::new(disk.clone())).expect("opens");
    let ids = insert(&store, 500);
    let killed = disk.kill_image();
    drop(store);
    killed.disk_bytes_max(Some(killed.disk_bytes()));
    let room = Room::new(killed);
    let store = room.open(&options().segment_bytes(4 << 20).background(true));
    let report = store.recovery_report();
    assert!(report.bytes_replayed > 500_000, "{report}");
    let left = store.stats().log_bytes_since_snapshot;
    assert!(left < 1_000, "{left} bytes are in no snapshot");
    for id in ids {
        store.get(id).expect("is there");
    }
}
