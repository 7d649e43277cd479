//! Regressions: each test failed before its fix.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tenure::backing::{Backing, BackingFile, BackingLock, Memory};
use tenure::{Durability, Error, Options, Store};

fn options() -> Options {
    Options::new().background(false).segment_bytes(64 << 10)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Files in memory whose manifests can be told to have no room, or to resist deletion.
#[derive(Debug, Clone, Default)]
struct Stubborn {
    inner: Memory,
    is_full: Arc<AtomicBool>,
    keeps_manifests: Arc<AtomicBool>,
}

#[derive(Debug)]
struct StubbornFile {
    inner: Arc<dyn BackingFile>,
    is_full: Option<Arc<AtomicBool>>,
}

impl BackingFile for StubbornFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if self.is_full.as_ref().is_some_and(|full| full.load(Ordering::SeqCst)) {
            self.inner.append(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
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

impl Backing for Stubborn {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let is_full = name.starts_with("manifest").then(|| Arc::clone(&self.is_full));
        Ok(Arc::new(StubbornFile { inner: self.inner.create(name)?, is_full }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.inner.open(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        if name.starts_with("manifest") && self.keeps_manifests.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::Other.into());
        }
        self.inner.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.inner.lock()
    }

    fn location(&self) -> String {
        "stubborn".to_owned()
    }
}

#[test]
fn a_cut_counts_whose_first_segment_is_the_head_of_the_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b, c) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
    let store = options().open(&a).unwrap();
    let set = store.record_set("x").unwrap();
    store.write(|tx| tx.insert(&set, "1")).unwrap();
    store.close().unwrap();
    let store = options().open(&a).unwrap();
    store.save_snapshot().unwrap();
    let set = store.record_set("x").unwrap();
    let mut tx = store.begin().unwrap();
    tx.insert(&set, "2").unwrap();
    copy(&a, &b);
    let second = options().open(&b).unwrap();
    let set = second.record_set("x").unwrap();
    let id = second.write(|tx| tx.insert(&set, "3")).unwrap();
    copy(&b, &c);
    let third = options().open(&c).unwrap();
    assert_eq!(third.get(id).unwrap().as_slice(), Some(&b"3"[..]));
}

#[test]
fn page_segments_survive_snapshots_that_found_no_room() {
    let backing = Stubborn::default();
    let store = options().open_backing(Arc::new(backing.clone())).unwrap();
    let (x, y) = (store.record_set("x").unwrap(), store.record_set("y").unwrap());
    let a = store.write(|tx| tx.insert(&x, "1")).unwrap();
    let b = store.write(|tx| tx.insert(&y, "1")).unwrap();
    store.save_snapshot().unwrap();
    store.close().unwrap();
    let store = options().open_backing(Arc::new(backing.clone())).unwrap();
    for round in 0..6 {
        store.write(|tx| tx.update(a, format!("v{round}"))).unwrap();
        backing.is_full.store(round < 3, Ordering::SeqCst);
        let saved = store.save_snapshot();
        assert_eq!(saved.is_err(), round < 3);
        assert!(saved.err().is_none_or(|error| matches!(error, Error::NoSpace { .. })));
        backing.is_full.store(false, Ordering::SeqCst);
    }
    store.close().unwrap();
    let store = options().open_backing(Arc::new(backing)).unwrap();
    assert!(store.recovery_report().clean);
    assert_eq!(store.get(a).unwrap().as_slice(), Some(&b"v5"[..]));
    assert_eq!(store.get(b).unwrap().as_slice(), Some(&b"1"[..]));
}

#[test]
fn a_torn_manifest_between_whole_ones_is_passed_over() {
    let backing = Stubborn::default();
    let store = options().open_backing(Arc::new(backing.clone())).unwrap();
    let set = store.record_set("x").unwrap();
    let id = store.write(|tx| tx.insert(&set, "1")).unwrap();
    store.write(|tx| tx.update(id, "2")).unwrap();
    store.close().unwrap();
    let store = options().open_backing(Arc::new(backing.clone())).unwrap();
    // Deletions that fail are as if the power had gone before them.
    backing.keeps_manifests.store(true, Ordering::SeqCst);
    backing.is_full.store(true, Ordering::SeqCst);
    assert!(store.save_snapshot().is_err());
    backing.is_full.store(false, Ordering::SeqCst);
    store.save_snapshot().unwrap();
    assert!(backing.list().unwrap().iter().filter(|name| name.starts_with("manifest")).count() >= 3);
    let reader = Options::new().read_only(true).open_backing(Arc::new(backing.inner.clone())).unwrap();
    assert_eq!(reader.get(id).unwrap().as_slice(), Some(&b"2"[..]));
    backing.keeps_manifests.store(false, Ordering::SeqCst);
    store.save_snapshot().unwrap();
    assert_eq!(backing.list().unwrap().iter().filter(|name| name.starts_with("manifest")).count(), 1);
}

#[test]
fn one_shot_reads_beside_a_writer_of_many_segments_find_no_damage() {
    let options = options().durability(Durability::Buffered);
    let store = options.open_backing(Arc::new(Memory::new())).unwrap();
    let set = store.record_set("x").unwrap();
    let id = store.write(|tx| tx.insert(&set, vec![0; 60_000])).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    store.get(id).unwrap();
                }
            });
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(700) {
            store.write(|tx| tx.update(id, vec![1; 60_000])).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_crash_while_a_store_is_made_lets_it_be_made_again() {
    let dir = tempfile::tempdir().unwrap();
    Store::open(dir.path().join("a")).unwrap().close().unwrap();
    let name = "manifest-000000000001.man";
    let whole = std::fs::read(dir.path().join("a").join(name)).unwrap();
    for len in 0..=whole.len() {
        for keep in [len, len / 2] {
            // Bytes behind `keep` never reached the medium: the file has its length and zeroes.
            let mut bytes = whole[..keep].to_vec();
            bytes.resize(len, 0);
            let path = dir.path().join(format!("{len}-{keep}"));
            if path.exists() {
                continue;
            }
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("lock"), "").unwrap();
            std::fs::write(path.join(name), &bytes).unwrap();
            let reading = Options::new().read_only(true).open(&path);
            assert!(reading.is_ok() || matches!(reading, Err(Error::NotAStore { .. })), "{len} {keep}: {reading:?}");
            assert_eq!(std::fs::read(path.join(name)).unwrap(), bytes, "reading writes nothing");
            let store = options().open(&path).unwrap_or_else(|error| panic!("{len} {keep}: {error}"));
            let set = store.record_set("x").unwrap();
            let id = store.write(|tx| tx.insert(&set, "1")).unwrap();
            store.close().unwrap();
            assert_eq!(Store::open(&path).unwrap().get(id).unwrap().as_slice(), Some(&b"1"[..]));
        }
    }
}

#[test]
fn a_file_that_is_not_ours_is_not_taken_for_an_unfinished_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("manifest-000000000001.man");
    std::fs::write(&path, "somebody's notes").unwrap();
    assert!(Store::open(dir.path()).is_err());
    assert_eq!(std::fs::read(path).unwrap(), b"somebody's notes");
}

#[test]
fn ids_that_transactions_held_while_another_handle_closed_never_come_back() {
    for round in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let options = Options::new().segment_bytes(64 << 10).durability(Durability::Buffered);
        let store = options.open(&path).unwrap();
        let set = store.record_set("x").unwrap();
        let writer = |store: Store| {
            let (mut kept, mut lost) = (Vec::new(), Vec::new());
            loop {
                let mut handed = None;
                let result = store.write(|tx| -> tenure::Result<_> {
                    let id = tx.insert(&set, "1")?;
                    handed = Some(id);
                    Ok(id)
                });
                match result {
                    Ok(id) => kept.push(id),
                    Err(_) => {
                        lost.extend(handed);
                        return (kept, lost);
                    }
                }
            }
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| writer(store.clone()))).collect();
            std::thread::sleep(Duration::from_millis(4 + round));
            store.clone().close().unwrap();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        drop(store);
        let store = Store::open(&path).unwrap();
        let mut lost = HashSet::new();
        for (kept, gone) in results {
            lost.extend(gone);
            for id in kept {
                store.get(id).unwrap_or_else(|error| panic!("{error}: {}", store.recovery_report()));
            }
        }
        let set = store.record_set("x").unwrap();
        store
            .write(|tx| -> tenure::Result<_> {
                for _ in 0..2000 {
                    let id = tx.insert(&set, "n")?;
                    assert!(!lost.contains(&id), "{id} came back: {}", store.recovery_report());
                }
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn an_id_that_a_transaction_holds_beyond_the_close_never_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path().join("a")).unwrap();
    let set = store.record_set("x").unwrap();
    store.write(|tx| tx.insert(&set, "1")).unwrap();
    let mut tx = store.begin().unwrap();
    let id = tx.insert(&set, "2").unwrap();
    store.close().unwrap();
    drop(tx);
    let store = options().open(dir.path().join("a")).unwrap();
    let set = store.record_set("x").unwrap();
    store.write(|tx| (0..1200).try_for_each(|_| tx.insert(&set, "3").map(|new| assert_ne!(new, id)))).unwrap();
}

#[test]
fn many_ids_that_came_to_nothing_do_not_stand_in_the_way_of_a_large_commit() {
    let options = options().transaction_bytes_max(255 << 20).durability(Durability::Buffered);
    let store = options.open_backing(Arc::new(Memory::new())).unwrap();
    let set = store.record_set("x").unwrap();
    let mut tx = store.begin().unwrap();
    let first = tx.insert(&set, "").unwrap();
    for _ in 0..300_000 {
        tx.insert(&set, "").unwrap();
    }
    drop(tx);
    let id = store.write(|tx| tx.insert(&set, "after")).unwrap();
    assert_eq!(store.get(id).unwrap().as_slice(), Some(&b"after"[..]));
    assert!(matches!(store.get(first), Err(Error::Deleted { .. })));
    let seq = store.last_seq();
    assert!(seq.0 >= 5, "the burned IDs stand in frames of their own: {seq}");
}

#[test]
fn a_set_of_another_store_is_refused() {
    let (one, other) = (Store::in_memory().unwrap(), Store::in_memory().unwrap());
    let (set, foreign) = (one.record_set("x").unwrap(), other.record_set("x").unwrap());
    let id = one.write(|tx| tx.insert(&set, "1")).unwrap();
    let refused = one.write(|tx| tx.insert(&foreign, "1"));
    assert!(matches!(refused, Err(Error::OtherStore { .. })), "{refused:?}");
    let view = one.view();
    assert!(matches!(view.get_in(&foreign, id), Err(Error::OtherStore { .. })));
    assert!(matches!(view.scan(&foreign).next(), Some(Err(Error::OtherStore { .. }))));
    assert_eq!(view.len(&foreign), 0);
}

#[test]
fn copying_what_was_not_durable_does_not_take_back_the_burning_of_slots() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let options = options().durability(Durability::Buffered);
    let store = options.open(&a).unwrap();
    let set = store.record_set("x").unwrap();
    let ids = store.write(|tx| (0..2048).map(|_| tx.insert(&set, "1")).collect::<Result<Vec<_>, _>>()).unwrap();
    store.write(|tx| ids.iter().take(1024).try_for_each(|id| tx.delete(*id))).unwrap();
    // Durable, so that the slots can be used again, and not yet proven so by a later frame.
    store.sync().unwrap();
    let mut tx = store.begin().unwrap();
    let held: HashSet<_> = (0..3000).map(|_| tx.insert(&set, "2").unwrap()).collect();
    assert!(held.iter().any(|id| id.reuse_count() == 2), "a slot is used again");
    copy(&a, &b);
    let store = options.open(&b).unwrap();
    assert!(store.recovery_report().bytes_copied > 0);
    let set = store.record_set("x").unwrap();
    store.write(|tx| (0..6000).try_for_each(|_| tx.insert(&set, "3").map(|id| assert!(!held.contains(&id))))).unwrap();
    for id in ids.iter().skip(1024) {
        assert_eq!(store.get(*id).unwrap().as_slice(), Some(&b"1"[..]));
    }
    let segments = store.stats().segments;
    let live: u64 = segments.iter().filter(|row| row.file.starts_with("log")).map(|row| row.live_bytes).sum();
    assert_eq!(live, 7024 * 32, "live bytes are exact");
}

#[test]
fn files_with_absurd_numbers_are_not_ours() {
    for name in ["log-18446744073709551615.seg", "pages-18446744073709551614.seg", "manifest-18446744073709551615.man"]
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let store = options().open(&path).unwrap();
        let set = store.record_set("x").unwrap();
        let id = store.write(|tx| tx.insert(&set, "1")).unwrap();
        store.close().unwrap();
        std::fs::write(path.join(name), "junk").unwrap();
        let store = options().open(&path).unwrap();
        store.write(|tx| tx.update(id, "2")).unwrap();
        store.close().unwrap();
        assert_eq!(std::fs::read(path.join(name)).unwrap(), b"junk");
        let reader = Options::new().read_only(true).open(&path).unwrap();
        assert_eq!(reader.get(id).unwrap().as_slice(), Some(&b"2"[..]));
    }
}

#[test]
fn a_strangers_file_under_the_name_of_a_manifest_is_never_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let store = options().open(&path).unwrap();
    let set = store.record_set("x").unwrap();
    let id = store.write(|tx| tx.insert(&set, "1")).unwrap();
    store.close().unwrap();
    let diary = path.join("manifest-000000000099.man");
    std::fs::write(&diary, "my diary").unwrap();
    for _ in 0..3 {
        let store = options().open(&path).unwrap();
        store.write(|tx| tx.update(id, "2")).unwrap();
        store.close().unwrap();
    }
    assert_eq!(std::fs::read(&diary).unwrap(), b"my diary");
    assert_eq!(options().open(&path).unwrap().get(id).unwrap().as_slice(), Some(&b"2"[..]));
}

#[test]
fn a_lock_that_is_no_file_is_refused_and_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    options().open(&path).unwrap().close().unwrap();
    std::fs::remove_file(path.join("lock")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("foreign"), path.join("lock")).unwrap();
    assert!(options().open(&path).is_err());
    assert!(!dir.path().join("foreign").exists());
}

#[test]
fn segments_that_are_complete_keep_no_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().durability(Durability::Buffered).open(dir.path().join("a")).unwrap();
    let set = store.record_set("x").unwrap();
    // Other tests of this process have theirs.
    let path = dir.path().canonicalize().unwrap();
    let is_of_the_store = |entry: &std::fs::DirEntry| entry.path().read_link().is_ok_and(|to| to.starts_with(&path));
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().flatten().filter(|entry| is_of_the_store(entry)).count();
    let before = open();
    for _ in 0..200 {
        store.write(|tx| tx.insert(&set, vec![0; 60_000])).unwrap();
    }
    store.sync().unwrap();
    assert!(store.stats().segments.len() > 100);
    assert!(before > 0 && open() < before + 20, "{} descriptors instead of {before}", open());
    store.close().unwrap();
    let store = options().open(dir.path().join("a")).unwrap();
    assert!(open() < before + 20, "{} descriptors instead of {before}", open());
    assert_eq!(store.view().scan(&set).flatten().count(), 200);
}

#[test]
fn every_commit_that_was_appended_and_not_synced_is_indeterminate() {
    use tenure::backing::{FailFor, FaultBacking};
    for _ in 0..20 {
        let backing = FaultBacking::new();
        let store = options().open_backing(Arc::new(backing.clone())).unwrap();
        let set = store.record_set("x").unwrap();
        let transactions: Vec<_> = (0..3)
            .map(|_| {
                let mut tx = store.begin().unwrap();
                tx.insert(&set, "1").unwrap();
                tx
            })
            .collect();
        backing.fail_at(backing.steps() + 3, io::ErrorKind::Other, FailFor::Always);
        let results: Vec<_> = std::thread::scope(|scope| {
            let commit = |tx: tenure::Transaction| scope.spawn(move || tx.commit_with(Durability::Sync));
            let threads: Vec<_> = transactions.into_iter().map(commit).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        // A commit that says `Poisoned` or `Io` was not appended.
        let reopened = options().open_backing(Arc::new(backing.kill_image())).unwrap();
        let found = reopened.view().len(&set);
        let may_be = results.iter().filter(|result| matches!(result, Err(Error::Indeterminate { .. }) | Ok(_))).count();
        assert!(found <= u64::try_from(may_be).unwrap(), "{found} are there: {results:?}");
    }
}

#[test]
fn replacing_a_record_beside_commits_into_new_segments_is_at_most_a_conflict() {
    let store = options().durability(Durability::Buffered).open_backing(Arc::new(Memory::new())).unwrap();
    let set = store.record_set("x").unwrap();
    let id = store.write(|tx| tx.insert(&set, vec![0; 60_000])).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let mut tx = store.begin()?;
                tx.update(id, vec![2; 60_000])?;
            }
            Ok::<(), Error>(())
        });
        for _ in 0..3_000 {
            // Each commit needs a segment of its own, which the state in the hand of the other does not know.
            store.write(|tx| tx.update(id, vec![1; 60_000])).unwrap();
        }
        done.store(true, Ordering::Release);
        ended.join().unwrap().unwrap();
    });
}
