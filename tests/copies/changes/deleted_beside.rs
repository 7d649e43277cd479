//! Consumers that are added while the collector deletes what they want.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use tenure::backing::{Backing, BackingFile, BackingLock, Memory};
use tenure::{Durability, Error, Options, Seq};

/// Holds the first deletion of a log segment back, once it waits for one.
#[derive(Debug)]
struct Slow {
    memory: Memory,
    waits: AtomicBool,
    /// Met where a deletion has begun.
    begun: Barrier,
    /// Somebody has been told that the log is there.
    is_told: AtomicBool,
}

impl Backing for Slow {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.memory.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.memory.open(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.memory.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        if name.starts_with("log-") && self.waits.swap(false, Ordering::SeqCst) {
            self.begun.wait();
            let until = Instant::now() + Duration::from_millis(700);
            while !self.is_told.load(Ordering::SeqCst) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.memory.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.memory.lock()
    }

    fn location(&self) -> String {
        self.memory.location()
    }
}

#[test]
fn a_consumer_is_not_promised_what_is_being_deleted() {
    let backing = Arc::new(Slow {
        memory: Memory::new(),
        waits: AtomicBool::new(false),
        begun: Barrier::new(2),
        is_told: AtomicBool::new(false),
    });
    // Nothing is deleted before it is asked for.
    let options = Options::new().segment_bytes(64 << 10).background(false).collector(false);
    let store = options.open_backing(backing.clone()).unwrap();
    let set = store.record_set("a").unwrap();
    let ids = store.write(|tx| tx.insert_many(&set, &vec![vec![0; 500]; 200])).unwrap();
    let since = store.last_seq();
    for round in 0..40 {
        let changes: Vec<_> = ids.iter().map(|id| (*id, vec![round; 500])).collect();
        store.write_with(Durability::Buffered, |tx| tx.update_many(&changes)).unwrap();
    }
    store.sync().unwrap();
    backing.waits.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            store.save_snapshot().unwrap();
            store.save_snapshot().unwrap();
            store.collect(None).unwrap();
        });
        backing.begun.wait();
        let added = store.add_consumer("mirror", since);
        backing.is_told.store(true, Ordering::SeqCst);
        assert!(!matches!(added, Err(ref error) if !matches!(error, Error::Gone { .. })), "{added:?}");
    });
    store.collect(None).unwrap();
    match store.consumer("mirror") {
        Ok(consumer) => {
            let mut changes = consumer.changes().unwrap();
            let mut seen = Seq(since.0);
            while let Some(commit) = changes.try_next().unwrap() {
                seen = commit.seq();
            }
            assert_eq!(seen, store.last_seq(), "it was promised all of it");
        }
        Err(error) => assert!(matches!(error, Error::NoSuchConsumer { .. }), "{error}"),
    }
}
