//! What ends waiting, what a failing look costs, and which store is taken over.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tenure::backing::{Backing, BackingFile, BackingLock, Memory};
use tenure::{Error, Follower, Options, Seq, Store};

use crate::following::LONG;

fn quick() -> Options {
    Options::new().follow_interval(Some(Duration::from_millis(10)))
}

/// A backing that fails, or panics, when asked to.
#[derive(Debug, Default)]
struct Faulty {
    memory: Memory,
    is_down: AtomicBool,
    panics: AtomicBool,
    listed: AtomicU64,
}

impl Backing for Faulty {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.memory.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let is_follower = std::thread::current().name() == Some("tenure-follower");
        assert!(!(is_follower && self.panics.load(Ordering::Relaxed)), "a planted panic");
        if self.is_down.load(Ordering::Relaxed) { Err(io::Error::other("planted")) } else { self.memory.open(name) }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.listed.fetch_add(1, Ordering::Relaxed);
        if self.is_down.load(Ordering::Relaxed) { Err(io::Error::other("planted")) } else { self.memory.list() }
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.memory.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.memory.lock()
    }

    fn location(&self) -> String {
        "a backing that fails".to_owned()
    }
}

/// What a thread gets that waits for a commit that never comes.
fn waiting(follower: &Arc<Follower>) -> mpsc::Receiver<tenure::Result<bool>> {
    let (sender, receiver) = mpsc::channel();
    let follower = Arc::clone(follower);
    std::thread::spawn(move || sender.send(follower.wait_for(Seq(u64::MAX), Duration::MAX)));
    std::thread::sleep(Duration::from_millis(50));
    receiver
}

#[test]
fn who_waits_is_told_that_the_handle_was_closed() {
    let dir = tempfile::tempdir().unwrap();
    let _writer = Store::open(dir.path().join("s")).unwrap();
    let follower = Arc::new(quick().follow(dir.path().join("s")).unwrap());
    let told = waiting(&follower);
    follower.store().clone().close().unwrap();
    let result = told.recv_timeout(Duration::from_secs(20)).expect("it ends");
    assert!(matches!(result, Err(Error::Closed)), "{result:?}");
}

#[test]
fn who_waits_is_told_that_the_thread_has_ended() {
    let backing = Arc::new(Faulty::default());
    let _writer = Options::new().open_backing(Arc::clone(&backing) as Arc<dyn Backing>).unwrap();
    let follower = Arc::new(quick().follow_backing(Arc::clone(&backing) as Arc<dyn Backing>).unwrap());
    let told = waiting(&follower);
    backing.panics.store(true, Ordering::Relaxed);
    let result = told.recv_timeout(Duration::from_secs(20)).expect("it ends");
    assert!(matches!(result, Err(Error::Poisoned { .. })), "{result:?}");
}

#[test]
fn looks_that_fail_become_rare() {
    let backing = Arc::new(Faulty::default());
    let writer = Options::new().open_backing(Arc::clone(&backing) as Arc<dyn Backing>).unwrap();
    let follower = quick().follow_backing(Arc::clone(&backing) as Arc<dyn Backing>).unwrap();
    let notes = writer.record_set("notes").unwrap();
    writer.write(|tx| tx.insert(&notes, "x")).unwrap();
    assert!(follower.wait_for(writer.last_seq(), LONG).unwrap());
    backing.is_down.store(true, Ordering::Relaxed);
    let before = follower.progress().looks;
    std::thread::sleep(Duration::from_millis(1500));
    let progress = follower.progress();
    assert!(progress.error.is_some(), "{progress:?}");
    assert!(progress.looks - before <= 20, "{} looks in 1.5 seconds", progress.looks - before);
    backing.is_down.store(false, Ordering::Relaxed);
    writer.write(|tx| tx.insert(&notes, "y")).unwrap();
    assert!(follower.wait_for(writer.last_seq(), LONG).unwrap(), "{:?}", follower.progress());
    assert!(follower.progress().error.is_none());
}

#[test]
fn another_store_in_its_place_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let [path, moved] = ["s", "moved"].map(|name| dir.path().join(name));
    let writer = Store::open(&path).unwrap();
    let notes = writer.record_set("notes").unwrap();
    let note = writer.write(|tx| tx.insert(&notes, "ours")).unwrap();
    let follower = quick().follow(&path).unwrap();
    // It stays with the directory, wherever that is.
    assert!(std::process::Command::new("mv").args([&path, &moved]).status().unwrap().success());
    writer.close().unwrap();
    let later = Store::open(&moved).unwrap();
    let notes = later.record_set("notes").unwrap();
    later.write(|tx| tx.update(note, "ours, later")).unwrap();
    later.write(|tx| tx.insert(&notes, "more")).unwrap();
    assert!(follower.wait_for(later.last_seq(), LONG).unwrap(), "{:?}", follower.progress());
    assert_eq!(follower.get(note).unwrap().as_slice(), Some(&b"ours, later"[..]));
    later.close().unwrap();
    let other = Store::open(&path).unwrap();
    other.record_set("others").unwrap();
    other.close().unwrap();
    let files = || {
        let entries = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> = entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().len())).collect();
        files.sort();
        files
    };
    let before = files();
    let refused = follower.promote(&Options::new(), Duration::from_secs(5)).map(drop);
    assert!(matches!(&refused, Err(Error::NotAStore { why, .. }) if why.contains("another store")), "{refused:?}");
    assert_eq!(files(), before, "nothing was written to it");
}
