//! What goes on while there is no room: deleting what nothing needs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tenure::backing::{Backing, BackingFile, BackingLock, FaultBacking};
use tenure::{Options, RecordId, Store};

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
