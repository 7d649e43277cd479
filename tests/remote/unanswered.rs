//! Handles that end although a request is never answered, or the local disk is slow.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tenure::backing::{Backing, BackingFile, BackingLock, Memory};
use tenure::remote::{Bucket, Remote, RemoteOptions};
use tenure::{Durability, Follower, Options, Store};

use crate::flaky::Flaky;
use crate::{bucket, contents, in_time, open, quick, small};

/// A bucket with a store, and a follower of it whose thread has sent a request that is never answered.
fn stuck(objects: &Arc<Flaky>, follow: impl FnOnce(&Bucket) -> Follower) -> (Bucket, Store, Follower) {
    let bucket = bucket(&objects.store());
    let store = open(&Memory::new(), &bucket, quick()).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "x")).unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    let follower = follow(&bucket);
    objects.hang(true);
    let begun = Instant::now();
    while objects.hanging() == 0 {
        assert!(begun.elapsed() < Duration::from_mins(1), "it sends no request");
        std::thread::sleep(Duration::from_millis(1));
    }
    (bucket, store, follower)
}

fn often() -> Options {
    Options::new().follow_interval(Some(Duration::from_millis(10)))
}

#[test]
fn a_follower_ends_although_a_request_is_never_answered() {
    let of_bucket = |bucket: &Bucket| often().follow_bucket(bucket).unwrap();
    let of_view = |bucket: &Bucket| often().follow_backing(Arc::new(bucket.view(None).unwrap())).unwrap();
    for follow in [of_bucket as fn(&Bucket) -> Follower, of_view] {
        let objects = Flaky::new(1);
        let (_bucket, store, follower) = stuck(&objects, follow);
        let reader = follower.store().clone();
        in_time(move || drop(follower));
        // Its request is still without an answer, and others are answered.
        assert_eq!(objects.hanging(), 1);
        objects.hang(false);
        let notes = store.record_set("notes").unwrap();
        let (more, _) = store.write_with(Durability::Remote, |tx| tx.insert(&notes, "more")).unwrap();
        let mut reader = reader;
        reader.refresh().unwrap();
        assert_eq!(reader.get(more).unwrap().as_slice(), Some(&b"more"[..]));
    }
}

#[test]
fn a_follower_ends_although_who_goes_on_beside_it_gets_no_answer() {
    let objects = Flaky::new(1);
    let (_bucket, _store, follower) = stuck(&objects, |bucket| {
        let follower = Options::new().follow_interval(Some(Duration::from_millis(200))).follow_bucket(bucket).unwrap();
        let mut beside = follower.store().clone();
        objects.hang(true);
        // Not the follower's own thread, which would find the same.
        std::thread::spawn(move || beside.refresh());
        follower
    });
    // Its own thread looks meanwhile, too.
    std::thread::sleep(Duration::from_millis(300));
    in_time(move || drop(follower));
}

#[test]
fn a_bucket_is_taken_over_by_a_follower_that_waited_for_an_answer() {
    let objects = Flaky::new(1);
    let (_bucket, store, follower) = stuck(&objects, |bucket| often().follow_bucket(bucket).unwrap());
    objects.hang(false);
    let expected = contents(&store);
    let promoted = in_time(move || follower.promote_into(Arc::new(Memory::new()), &small(), quick())).unwrap();
    assert_eq!(objects.hanging(), 1);
    assert_eq!(contents(&promoted), expected);
}

/// A local backing of which the uploader reads slowly, when told so.
#[derive(Debug, Clone)]
struct Slow {
    local: Memory,
    waits: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn BackingFile>,
    slow: Slow,
}

impl BackingFile for SlowFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if std::thread::current().name() == Some("tenure-uploader") && self.slow.waits.load(Ordering::Relaxed) {
            self.slow.reads.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
        }
        self.file.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl Backing for Slow {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        Ok(Arc::new(SlowFile { file: self.local.create(name)?, slow: self.clone() }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        Ok(Arc::new(SlowFile { file: self.local.open(name)?, slow: self.clone() }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.local.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.local.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.local.lock()
    }

    fn location(&self) -> String {
        self.local.location()
    }
}

#[test]
fn closing_does_not_wait_for_a_large_difference_to_be_read() {
    const PARTS: u64 = 400;
    let local = Slow { local: Memory::new(), waits: Arc::default(), reads: Arc::default() };
    let large = || small().segment_bytes(64 << 20).snapshot_log_bytes(1 << 30);
    let store = large().open_backing(Arc::new(local.clone())).unwrap();
    let notes = store.record_set("notes").unwrap();
    for number in 0..5 {
        store.write(|tx| tx.insert(&notes, vec![number; 5 << 20])).unwrap();
    }
    let expected = contents(&store);
    store.close().unwrap();
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let ship = |how: RemoteOptions| {
        let how = how.part_bytes(64 << 10);
        large().open_backing(Arc::new(Remote::new(Arc::new(local.clone()), bucket.clone(), how)))
    };
    local.waits.store(true, Ordering::Relaxed);
    let store = ship(quick().close_wait(Duration::from_millis(100))).unwrap();
    let begun = Instant::now();
    while local.reads.load(Ordering::Relaxed) == 0 {
        assert!(begun.elapsed() < Duration::from_mins(1), "nothing is read");
        std::thread::sleep(Duration::from_millis(1));
    }
    in_time(move || drop(store));
    let reads = local.reads.load(Ordering::Relaxed);
    println!("{reads} parts of {PARTS} were read");
    assert!(reads < PARTS / 2, "{reads} parts of {PARTS} were read");
    // The next opening begins with the same.
    local.waits.store(false, Ordering::Relaxed);
    let store = ship(quick()).unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    drop(store);
    let image = Memory::new();
    bucket.restore(None, &image).unwrap();
    assert_eq!(contents(&large().open_backing(Arc::new(image)).unwrap()), expected);
}
