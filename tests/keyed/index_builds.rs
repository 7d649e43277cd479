//! Indexes with more keys than the heap may hold are built from sorted runs, concurrently with commits.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tenure::backing::{Backing, BackingFile, BackingLock, Memory};
use tenure::extract::{Extractor, Keys};
use tenure::{Durability, Error, FileKind, Options, RecordId, RecordSet, Store};

use crate::common::Rng;

/// With the smallest limit, keys of so many records make more runs than are merged at once.
const RECORDS: usize = 60_000;

fn options() -> Options {
    Options::new().durability(Durability::Buffered).segment_bytes(1 << 20).dirty_bytes_max(1 << 20)
}

fn load(store: &Store) -> (RecordSet, Vec<RecordId>) {
    let set = store.record_set("a").unwrap();
    let mut rng = Rng::new(5);
    let mut ids = Vec::new();
    for _ in 0..RECORDS / 1000 {
        let mut batch = Vec::new();
        let insert = |tx: &mut tenure::Transaction| -> tenure::Result<_> {
            batch = (0..1000).map(|_| tx.insert(&set, rng.bytes(24))).collect::<Result<_, _>>()?;
            Ok(())
        };
        store.write(insert).unwrap();
        ids.append(&mut batch);
    }
    (set, ids)
}

/// What is done while an index is built, each when so many records have been looked at.
type Script = Vec<(u64, Box<dyn Fn() + Send>)>;

/// An extractor that follows the script on its way.
fn extractor(script: Script, of: impl Fn(&[u8], &mut Keys) + Send + Sync + 'static) -> Extractor {
    let (script, calls) = (Mutex::new(script), AtomicU64::new(0));
    Extractor::new("keys", 1, move |record, keys| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        let due = script.try_lock().map(|mut all| all.extract_if(.., |(at, _)| *at == call).collect::<Script>());
        due.into_iter().flatten().for_each(|(_, work)| work());
        of(record, keys);
    })
}

/// The record and its first byte, so that keys have one record and hundreds.
fn keys(script: Script) -> Extractor {
    extractor(script, |record, keys| {
        keys.push(record);
        keys.push(&record[..1]);
    })
}

/// Runs a function in a separate thread, as another user of the store would.
fn aside(store: &Store, work: impl Fn(&Store) + Send + Sync + 'static) -> Box<dyn Fn() + Send> {
    let (store, work) = (store.clone(), Arc::new(work));
    Box::new(move || {
        let (store, work) = (store.clone(), Arc::clone(&work));
        std::thread::spawn(move || work(&store)).join().unwrap();
    })
}

fn page_files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter(|name| FileKind::parse_name(name).is_some_and(|(kind, _)| kind == FileKind::Pages)).collect();
    names.sort();
    names
}

#[test]
fn what_is_committed_while_keys_are_sorted_is_in_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let store = options().open(&path).unwrap();
    let (set, ids) = load(&store);
    let (of, targets) = (set.clone(), ids.clone());
    let script: Script = (0..50)
        .map(|round| {
            let (of, targets) = (of.clone(), targets.clone());
            // Records that the scan has seen, that it will see, and new ones; each also twice in a row.
            let work = aside(&store, move |store| {
                let change = |tx: &mut tenure::Transaction| {
                    for at in (round..RECORDS).step_by(997) {
                        match at % 3 {
                            0 => drop(tx.delete(targets[at])),
                            _ => drop(tx.update(targets[at], format!("round {round} at {at:07}"))),
                        }
                    }
                    tx.insert(&of, format!("new in {round}"))
                };
                let id = store.write(change).unwrap();
                store.write(|tx| tx.update(id, format!("newer in {round}"))).unwrap();
            });
            (u64::try_from(round).unwrap() * 1201 + 7, work)
        })
        .collect();
    let index = store.index(&set, "keys", keys(script)).unwrap();
    let check = |store: &Store, index: &tenure::Index| {
        assert_eq!(store.verify_index(index).unwrap(), Vec::<String>::new());
        let view = store.view();
        for round in 0..50 {
            assert!(index.get(&view, format!("newer in {round}").as_bytes()).unwrap().is_some());
            assert!(index.get(&view, format!("new in {round}").as_bytes()).unwrap().is_none());
        }
    };
    check(&store, &index);
    let listed = |store: &Store| {
        let mut names: Vec<_> = store.stats().segments.into_iter().filter(|row| row.kind == FileKind::Pages).collect();
        names.sort_by(|a, b| a.file.cmp(&b.file));
        names
    };
    // A snapshot later, what the build wrote is there, and nothing of its runs.
    store.save_snapshot().unwrap();
    assert_eq!(page_files(&path), listed(&store).iter().map(|row| row.file.clone()).collect::<Vec<_>>());
    store.close().unwrap();

    let store = options().open(&path).unwrap();
    let index = store.index(&set_of(&store), "keys", keys(Vec::new())).unwrap();
    check(&store, &index);
    // Its pages live as all others do: they go with it.
    store.drop_index(&index).unwrap();
    let before: u64 = listed(&store).iter().map(|row| row.live_bytes).sum();
    store.save_snapshot().unwrap();
    let after: u64 = listed(&store).iter().map(|row| row.live_bytes).sum();
    assert!(after * 2 < before, "{before} live bytes of pages have become {after}");
}

fn set_of(store: &Store) -> RecordSet {
    store.record_set("a").unwrap()
}

/// Memory that can be made to have no room for the manifest.
#[derive(Debug, Clone, Default)]
struct Narrow {
    memory: Memory,
    is_full: Arc<AtomicBool>,
}

#[derive(Debug)]
struct NarrowFile {
    file: Arc<dyn BackingFile>,
    is_full: Option<Arc<AtomicBool>>,
}

impl BackingFile for NarrowFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        match &self.is_full {
            Some(is_full) if is_full.load(Ordering::Relaxed) => Err(io::ErrorKind::StorageFull.into()),
            _ => self.file.append(bytes),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl Backing for Narrow {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let is_manifest = FileKind::parse_name(name).is_some_and(|(kind, _)| kind == FileKind::Manifest);
        let is_full = is_manifest.then(|| Arc::clone(&self.is_full));
        Ok(Arc::new(NarrowFile { file: self.memory.create(name)?, is_full }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.memory.open(name)
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
        self.memory.location()
    }
}

#[test]
fn a_tree_that_was_written_aside_can_change_and_go_before_a_snapshot_lists_it() {
    for is_dropped in [false, true] {
        let backing = Narrow::default();
        let store = options().background(false).open_backing(Arc::new(backing.clone())).unwrap();
        let (set, ids) = load(&store);
        store.save_snapshot().unwrap();
        let fills_up = Arc::clone(&backing.is_full);
        let fill = Box::new(move || fills_up.store(true, Ordering::Relaxed));
        let made = store.index(&set, "keys", keys(vec![(100, fill)]));
        assert!(matches!(made, Err(Error::NoSpace { .. })), "its snapshot found no room: {made:?}");
        backing.is_full.store(false, Ordering::Relaxed);
        let index = store.find_index(&set, "keys").unwrap();
        store.write(|tx| ids.iter().step_by(500).try_for_each(|id| tx.delete(*id))).unwrap();
        assert_eq!(store.verify_index(&index).unwrap(), Vec::<String>::new());
        if is_dropped {
            store.drop_index(&index).unwrap();
        }
        for _ in 0..3 {
            // What no retained snapshot lists is deleted.
            store.write(|tx| tx.insert(&set, "one more")).unwrap();
            store.save_snapshot().unwrap();
        }
        let rows: Vec<_> = store.stats().segments.into_iter().filter(|row| row.kind == FileKind::Pages).collect();
        let bytes: u64 = rows.iter().map(|row| row.live_bytes).sum();
        assert_eq!(bytes > 2 << 20, !is_dropped, "{bytes} live bytes of pages");
        store.close().unwrap();
        let backing: Arc<dyn Backing> = Arc::new(backing);
        let report = tenure::verify::verify_backing(&backing, &mut |_| ()).unwrap();
        assert!(report.is_ok(), "{:?}", report.problems);
    }
}

#[test]
fn a_key_of_two_records_is_found_across_runs_and_among_late_commits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let store = options().open(&path).unwrap();
    let (set, ids) = load(&store);
    store.save_snapshot().unwrap();
    let whole = |script: Script| extractor(script, |record, keys| keys.push(record));
    let twin = |at: usize| {
        let of = set.clone();
        let bytes = store.view().get(ids[at]).unwrap().to_vec().unwrap();
        aside(&store, move |store| {
            store.write(|tx| tx.insert(&of, &bytes)).unwrap();
        })
    };
    let last = u64::try_from(RECORDS).unwrap() - 1;
    // In front of the scan's end, and behind the last record that it looks at.
    for at in [10, last] {
        let before = page_files(&path);
        let made = store.unique_index(&set, "whole", whole(vec![(at, twin(3))]));
        assert!(matches!(made, Err(Error::UniqueViolation { .. })), "{made:?}");
        assert!(store.find_index(&set, "whole").is_none());
        store.save_snapshot().unwrap();
        assert!(page_files(&path).len() <= before.len() + 1, "the build left its files");
        let view = store.view();
        let twins: Vec<RecordId> =
            view.scan(&set).map(|record| record.unwrap().id()).filter(|id| !ids.contains(id)).collect();
        assert_eq!(twins.len(), 1);
        store.write(|tx| tx.delete(twins[0])).unwrap();
    }
    // One that is gone by the end is no violation.
    let (of, bytes) = (set.clone(), store.view().get(ids[3]).unwrap().to_vec().unwrap());
    let come_and_go = aside(&store, move |store| {
        let id = store.write(|tx| tx.insert(&of, &bytes)).unwrap();
        store.write(|tx| tx.delete(id)).unwrap();
    });
    let index = store.unique_index(&set, "whole", whole(vec![(last, come_and_go)])).unwrap();
    assert_eq!(index.len(&store.view()).unwrap(), u64::try_from(RECORDS).unwrap());
    assert_eq!(store.verify_index(&index).unwrap(), Vec::<String>::new());
}
