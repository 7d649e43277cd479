//! Syncs that fail: two threads at the same files, of which the system tells only one, and a manifest for which there is no room.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tenure::backing::{Backing, BackingFile, BackingLock, FailFor, FaultBacking};
use tenure::{Error, Options, Store};

/// How long the first thread waits for the other. A store that lets one thread at a time sync a file makes it wait so long.
const WAIT: Duration = Duration::from_millis(700);

/// The first file of the log that is synced once this is armed.
#[derive(Debug, Default)]
struct Gate {
    is_armed: bool,
    was_short: bool,
    file: Option<String>,
    calls: u32,
    has_failed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    gate: Mutex<Gate>,
    changed: Condvar,
}

/// Has no descriptor left once, so that the commit that creates a file syncs those before. Fails one sync of one file, once another thread
/// syncs it too; that one succeeds, as it would on Linux.
#[derive(Debug)]
struct ToldOnce {
    inner: FaultBacking,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct File {
    inner: Arc<dyn BackingFile>,
    name: String,
    shared: Arc<Shared>,
}

impl BackingFile for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.inner.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let Shared { gate, changed } = &*self.shared;
        let mut gate = gate.lock().expect("a lock");
        if !gate.is_armed || *gate.file.get_or_insert_with(|| self.name.clone()) != self.name {
            drop(gate);
            return self.inner.sync();
        }
        gate.calls += 1;
        changed.notify_all();
        if gate.calls == 1 {
            let (mut gate, _) = changed.wait_timeout_while(gate, WAIT, |gate| gate.calls < 2).expect("a lock");
            gate.has_failed = true;
            changed.notify_all();
            return Err(io::Error::other("a write failed"));
        }
        drop(changed.wait_while(gate, |gate| !gate.has_failed).expect("a lock"));
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}

impl Backing for ToldOnce {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let mut gate = self.shared.gate.lock().expect("a lock");
        if gate.is_armed && name.starts_with("log-") && !std::mem::replace(&mut gate.was_short, true) {
            return Err(io::Error::from_raw_os_error(24));
        }
        drop(gate);
        let inner = self.inner.create(name)?;
        let shared = Arc::clone(&self.shared);
        Ok(if name.starts_with("log-") { Arc::new(File { inner, name: name.to_owned(), shared }) } else { inner })
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.inner.open(name)
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

fn options() -> Options {
    Options::new().background(false).segment_bytes(64 << 10).snapshot_log_bytes(1 << 40)
}

#[test]
fn a_failed_sync_of_which_another_thread_is_told_acknowledges_nothing() {
    let shared = Arc::<Shared>::default();
    let backing = ToldOnce { inner: FaultBacking::new(), shared: Arc::clone(&shared) };
    let store = options().durability(tenure::Durability::Buffered).open_backing(Arc::new(backing)).expect("opens");
    let set = store.record_set("records").expect("a set");
    store.sync().expect("syncs");
    shared.gate.lock().expect("a lock").is_armed = true;
    // Nobody syncs the log until a commit finds no descriptor for the next segment.
    let writing = std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..5_000).find_map(|_| store.write(|tx| tx.insert(&set, [7; 8_000])).err()));
        let gate = shared.gate.lock().expect("a lock");
        let wait = Duration::from_mins(2);
        let (gate, _) = shared.changed.wait_timeout_while(gate, wait, |gate| gate.calls == 0).expect("a lock");
        assert_eq!(gate.calls, 1, "the writer syncs");
        drop(gate);
        let synced = store.sync();
        assert!(matches!(synced, Err(Error::Indeterminate { .. })), "commits that may be lost are durable: {synced:?}");
        writer.join().expect("it ends")
    });
    assert!(matches!(&writing, Some(Error::Io { .. } | Error::Poisoned { .. })), "{writing:?}");
    assert!(store.stats().stopped.is_some());
}

#[test]
fn a_snapshot_that_the_manifest_may_name_keeps_its_pages_if_there_was_no_room() {
    let base = FaultBacking::new();
    let insert = |store: &Store, count: u32| {
        let set = store.record_set("records").expect("a set");
        let values: Vec<_> = (0..count).map(u32::to_le_bytes).collect();
        store.write(|tx| tx.insert_many(&set, &values)).expect("inserts");
    };
    let store = options().open_backing(Arc::new(base.clone())).expect("opens");
    insert(&store, 3_000);
    store.close().expect("closes");
    let (mut after, mut failed) = (0, 0);
    loop {
        let backing = base.kill_image();
        let store = options().open_backing(Arc::new(backing.clone())).expect("opens");
        insert(&store, 3_000);
        let step = backing.steps() + after;
        backing.fail_at(step, io::ErrorKind::StorageFull, FailFor::Once);
        failed += u32::from(store.save_snapshot().is_err());
        let was_met = backing.steps() > step;
        backing.heal();
        let mut images = vec![backing.kill_image(), backing.crash_image_keep_all(), backing.crash_image_lose_all()];
        drop(store);
        images.push(backing.kill_image());
        for (number, image) in images.into_iter().enumerate() {
            let store = options().open_backing(Arc::new(image)).expect("opens");
            let report = store.recovery_report();
            assert!(report.fell_back.is_empty() && report.damaged.is_empty(), "call {after}, image {number}: {report}");
            assert_eq!(store.stats().records, 6_000, "call {after}, image {number}");
        }
        if !was_met {
            break;
        }
        after += 1;
    }
    assert!(after > 4 && failed > 3, "{after} calls, {failed} snapshots");
}
