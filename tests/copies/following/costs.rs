//! What going on costs: by what is new, not by what the store has. `TENURE_FOLLOW_FILES` sets how many files a directory has for which
//! looks are timed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tenure::backing::{Backing, BackingFile, BackingLock, Memory};
use tenure::{Options, Store};

use crate::following::{LONG, amount};

#[derive(Debug, Default)]
struct Counts {
    opens: AtomicU64,
    bytes: AtomicU64,
    lists: AtomicU64,
}

/// Memory without maps that counts what is read.
#[derive(Debug, Clone)]
struct Counting(Memory, Arc<Counts>);

#[derive(Debug)]
struct CountingFile(Arc<dyn BackingFile>, Arc<Counts>);

impl BackingFile for CountingFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.1.bytes.fetch_add(u64::try_from(buffer.len()).unwrap(), Ordering::Relaxed);
        self.0.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

impl Backing for Counting {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.0.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.1.opens.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(CountingFile(self.0.open(name)?, Arc::clone(&self.1))))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.1.lists.fetch_add(1, Ordering::Relaxed);
        self.0.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.0.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.0.lock()
    }

    fn location(&self) -> String {
        self.0.location()
    }
}

/// Opens and bytes read for refreshes after single commits, beside a store of so many records, and for opening it.
fn cost(records: usize) -> [(u64, u64); 2] {
    let memory = Memory::new();
    let options = Options::new().background(false).segment_bytes(1 << 20);
    let store: Store = options.open_backing(Arc::new(memory.clone())).unwrap();
    let notes = store.record_set("notes").unwrap();
    for part in 0..records / 500 {
        store
            .write(|tx| (0..500).try_for_each(|at| tx.insert(&notes, vec![1; 100 + (part + at) % 50]).map(drop)))
            .unwrap();
    }
    store.save_snapshot().unwrap();
    store.write(|tx| tx.insert(&notes, "after the snapshot")).unwrap();
    let counts = Arc::new(Counts::default());
    let taken = || (counts.opens.swap(0, Ordering::Relaxed), counts.bytes.swap(0, Ordering::Relaxed));
    let backing = Counting(memory, Arc::clone(&counts));
    let mut reader = Options::new().read_only(true).open_backing(Arc::new(backing)).unwrap();
    let opening = taken();
    for round in 0..10 {
        let id = store.write(|tx| tx.insert(&notes, format!("note {round}").as_bytes())).unwrap();
        reader.refresh().unwrap();
        assert_eq!(reader.get(id).unwrap().to_vec().unwrap(), format!("note {round}").as_bytes());
    }
    [opening, taken()]
}

#[test]
fn a_refresh_costs_by_the_change() {
    let [small, large] = [2_000, 40_000].map(cost);
    println!("2,000 records: opening {:?}, ten refreshes {:?} (opens, bytes)", small[0], small[1]);
    println!("40,000 records: opening {:?}, ten refreshes {:?} (opens, bytes)", large[0], large[1]);
    let [(small_opens, small_bytes), (opens, bytes)] = [small[1], large[1]];
    assert!(opens <= small_opens + 10 && bytes <= small_bytes + (64 << 10), "{small:?} {large:?}");
}

#[test]
fn commits_in_the_same_segment_are_followed_without_listing_files() {
    let memory = Memory::new();
    let store = Options::new().background(false).open_backing(Arc::new(memory.clone())).unwrap();
    let notes = store.record_set("notes").unwrap();
    let counts = Arc::new(Counts::default());
    let interval = Some(Duration::from_millis(10));
    let backing = Arc::new(Counting(memory, Arc::clone(&counts)));
    let follower = Options::new().follow_interval(interval).follow_backing(backing).unwrap();
    counts.lists.store(0, Ordering::Relaxed);
    for round in 0..100 {
        let id = store.write(|tx| tx.insert(&notes, format!("note {round}").as_bytes())).unwrap();
        assert!(follower.wait_for(store.last_seq(), LONG).unwrap(), "{:?}", follower.progress());
        assert_eq!(follower.get(id).unwrap().to_vec().unwrap(), format!("note {round}").as_bytes());
    }
    let lists = counts.lists.load(Ordering::Relaxed);
    println!("{lists} listings for 100 commits, {:?}", follower.progress());
    assert!(lists <= 40, "{lists} listings for 100 commits");
}

#[test]
fn looks_at_a_directory_of_many_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().background(false).open(dir.path().join("s")).unwrap();
    let notes = store.record_set("notes").unwrap();
    let follower = Options::new().follow_interval(Some(LONG)).follow(dir.path().join("s")).unwrap();
    let files = amount("TENURE_FOLLOW_FILES", 100);
    for files in [0, files] {
        for number in 0..files {
            std::fs::write(dir.path().join(format!("s/other-{number:012}")), "").unwrap();
        }
        let begun = Instant::now();
        for round in 0..50 {
            let id = store.write(|tx| tx.insert(&notes, format!("note {round}").as_bytes())).unwrap();
            follower.look().unwrap();
            assert_eq!(follower.get(id).unwrap().to_vec().unwrap(), format!("note {round}").as_bytes());
        }
        println!("{:?} for a commit and a close look beside {files} other files", begun.elapsed() / 50);
    }
}
