//! Verification: its progress, its reads of states that share pages, and the indexes it names.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tenure::backing::{Backing, BackingFile, BackingLock, Memory};
use tenure::extract::Extractor;
use tenure::verify::{Progress, VerifyReport, verify_backing};
use tenure::{Options, RecordId, Store};

/// Files in memory that count the bytes that are read of them.
#[derive(Debug, Clone, Default)]
struct Counting {
    memory: Memory,
    read: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountingFile {
    file: Arc<dyn BackingFile>,
    read: Arc<AtomicU64>,
}

impl Counting {
    fn count(&self, file: Arc<dyn BackingFile>) -> Arc<dyn BackingFile> {
        Arc::new(CountingFile { file, read: Arc::clone(&self.read) })
    }
}

impl Backing for Counting {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.memory.create(name).map(|file| self.count(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.memory.open(name).map(|file| self.count(file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.memory.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.memory.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.memory.lock()
    }

    fn location(&self) -> String {
        "counting".to_owned()
    }
}

impl BackingFile for CountingFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.file.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

const RECORDS: u64 = 4_000;

fn record(number: u64) -> String {
    format!("{{\"number\":{number},\"text\":{:?}}}", "x".repeat(400))
}

fn fill(store: &Store) -> Vec<RecordId> {
    let set = store.record_set("a").unwrap();
    store.write(|tx| (0..RECORDS).map(|number| tx.insert(&set, record(number))).collect()).unwrap()
}

fn build(names: u64, is_indexed: bool) -> Counting {
    let backing = Counting::default();
    let options = Options::new().background(false).segment_bytes(256 << 10);
    let store = options.open_backing(Arc::new(backing.clone())).unwrap();
    let ids = fill(&store);
    let set = store.record_set("a").unwrap();
    if is_indexed {
        for name in ["one", "two", "three"] {
            store.index(&set, name, Extractor::json("json:/number:integer".parse().unwrap())).unwrap();
        }
        store.index(&set, "of code", Extractor::new("length", 1, |record, keys| keys.push(&record.len()))).unwrap();
    }
    for name in 0..names {
        // A few records change between two snapshots.
        let id = ids[usize::try_from(name).unwrap()];
        store.write(|tx| tx.update(id, record(name))).unwrap();
        store.save_named_snapshot(&format!("name {name}")).unwrap();
    }
    store.close().unwrap();
    backing
}

/// What is read, and the progress that is told meanwhile beside it.
fn verified(backing: &Counting) -> (VerifyReport, u64, Vec<(u64, Progress)>) {
    backing.read.store(0, Ordering::Relaxed);
    let mut told = Vec::new();
    let shared: Arc<dyn Backing> = Arc::new(backing.clone());
    let report = verify_backing(&shared, &mut |progress| told.push((backing.read.load(Ordering::Relaxed), progress)));
    let report = report.unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
    (report, backing.read.load(Ordering::Relaxed), told)
}

/// Parts of a thousand.
fn part(of: u64, all: u64) -> u64 {
    of * 1_000 / all.max(1)
}

#[test]
fn progress_counts_what_is_left_of_indexes_and_snapshots() {
    for (names, is_indexed) in [(0, false), (0, true), (1, false), (3, true)] {
        let (report, read, told) = verified(&build(names, is_indexed));
        let what = format!("{names} names, indexed: {is_indexed}");
        assert_eq!((report.snapshots >= names, report.indexes), (true, if is_indexed { 4 } else { 0 }), "{what}");
        let (mut before, mut apart, mut total) = (0, 0, 0);
        // The reads of opening the store come first.
        let opened = told[0].0;
        for (read_by_then, progress) in &told {
            let now = part(progress.bytes, progress.bytes_total);
            assert!(now >= before && now <= 1_000, "{what}: from {before} to {now} of a thousand");
            // It goes on in small steps, within indexes too. Where snapshots share, all that is left may turn out to be nothing.
            let is_shared = progress.bytes_total != total;
            assert!(is_shared || now - before < 150, "{what}: a step from {before} to {now} of a thousand");
            (before, total) = (now, progress.bytes_total);
            // Trees are read from a cache, and records in pieces; so bytes are compared only without an index.
            if names == 0 && !is_indexed {
                apart = apart.max(now.abs_diff(part(read_by_then - opened, read - opened)));
            }
        }
        assert_eq!(before, 1_000, "{what}: it ends before the end");
        assert!(apart < 120, "{what}: progress and what was read are {apart} of a thousand apart");
        let all = told.iter().find(|(_, progress)| progress.records == report.records).unwrap();
        let then = part(all.1.bytes, all.1.bytes_total);
        // Three indexes read all records once more each.
        assert!(!is_indexed || then < 400, "{what}: {then} of a thousand when the records are read");
    }
}

#[test]
fn what_snapshots_share_is_read_once() {
    let (_, none, _) = verified(&build(0, true));
    let (report, some, _) = verified(&build(50, false));
    assert!(report.snapshots >= 50, "{report:?}");
    let (_, one, _) = verified(&build(1, false));
    // What differs is a leaf page of eight, and what opening a snapshot reads.
    assert!(some < 15 * one, "{some} bytes with fifty names, {one} with one, {none} with indexes");
}

#[test]
fn indexes_that_were_not_compared_are_named() {
    let (report, ..) = verified(&build(2, true));
    let named: Vec<&str> = report.indexes_not_compared.iter().map(|each| &*each.index).collect();
    assert_eq!(named, ["a.of code"]);
    assert_eq!((report.indexes, report.indexes_compared), (4, 3));
    let why = &report.indexes_not_compared[0].why;
    assert!(why.contains("code of its own") && why.contains("verify_index"), "{why}");
}
