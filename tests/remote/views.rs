//! Reading a bucket from elsewhere, beside its writer, without a local copy.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tenure::backing::{Backing, BackingFile, BackingLock, Memory, ReadAt};
use tenure::remote::{Bucket, BucketView, LogPoint, Remote};
use tenure::{Durability, Error, Options, RecordId, Result};

use crate::common::Rng;
use crate::flaky::Flaky;
use crate::{bucket, contents, open, quick, rounds, small};

#[test]
fn a_reader_elsewhere_sees_states_of_commits_and_goes_on() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    assert!(matches!(bucket.view(None), Err(Error::NotAStore { .. })));
    let store = open(&Memory::new(), &bucket, quick().part_bytes(64 << 10)).unwrap();
    let notes = store.record_set("notes").unwrap();
    let (first, _) = store.write_with(Durability::Remote, |tx| tx.insert(&notes, "first")).unwrap();
    let view = bucket.view(None).unwrap();
    let mut reader = Options::new().read_only(true).open_backing(Arc::new(view.clone())).unwrap();
    assert_eq!(reader.get(first).unwrap().as_slice(), Some(&b"first"[..]));
    let fixed = bucket.view(Some(view.point())).unwrap();
    let mut rng = Rng::new(1);
    for round in 0..10 {
        let value = rng.bytes(300_000);
        store
            .write_with(Durability::Remote, |tx| {
                tx.update(first, value.get(..1000).unwrap())?;
                tx.insert(&notes, &*value)
            })
            .unwrap();
        if round % 3 == 0 {
            store.save_snapshot().unwrap();
            store.collect(None).unwrap();
        }
        store.wait_remote(store.last_seq()).unwrap();
        reader.refresh().unwrap();
        assert_eq!(contents(&reader), contents(&store), "round {round}");
    }
    let past = Options::new().read_only(true).open_backing(Arc::new(fixed)).unwrap();
    assert_eq!(past.get(first).unwrap().as_slice(), Some(&b"first"[..]));
    assert!(matches!(reader.record_set("other"), Err(Error::NoSuchSet { .. })));
}

/// Requests to open a store by a view, and to read one of its records that was not read before.
fn requests(objects: &Flaky, bucket: &Bucket, id: RecordId) -> (u64, u64) {
    let all = || objects.counts.all();
    let before = all();
    let view = bucket.view(None).unwrap();
    let reader = Options::new().read_only(true).open_backing(Arc::new(view)).unwrap();
    let opened = all() - before;
    let before = all();
    assert_eq!(reader.get(id).unwrap().to_vec().unwrap().len(), 1000);
    (opened, all() - before)
}

#[test]
fn opening_and_a_cold_get_read_little() {
    // Each event in an object of its own is the most that a fast bucket can be given.
    for events_max in [1 << 16, 1] {
        let objects = Flaky::new(1);
        let bucket = bucket(&objects.store());
        let remote = Remote::new(Arc::new(Memory::new()), bucket.clone(), quick().events_max(events_max));
        let store = small().segment_bytes(4 << 20).open_backing(Arc::new(remote)).unwrap();
        let notes = store.record_set("notes").unwrap();
        let mut rng = Rng::new(1);
        let mut ids = Vec::new();
        for _ in 0..400 {
            let values: Vec<_> = (0..20).map(|_| rng.bytes(1000)).collect();
            let inserted =
                store.write(|tx| values.iter().map(|value| tx.insert(&notes, &**value)).collect::<Result<Vec<_>>>());
            ids.extend(inserted.unwrap());
        }
        drop(store);
        let (opened, gets) = requests(&objects, &bucket, ids[1_500]);
        println!("{opened} requests to open, {gets} for a cold get, with {events_max} events in an object");
        assert!(opened <= 80 && gets <= 2, "{opened} requests to open, {gets} for a cold get");
    }
}

/// The table of files of a store of 100 GB has 1,600 segments of 64 MiB in eight parts each. Here they are as many, but smaller.
#[test]
fn requests_to_open_do_not_follow_the_number_of_files() {
    let segments = rounds("TENURE_REMOTE_SEGMENTS", 150);
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let how = quick().part_bytes(64 << 10);
    let remote = Remote::new(Arc::new(Memory::new()), bucket.clone(), how);
    let options =
        Options::new().background(false).collector(false).segment_bytes(512 << 10).snapshot_log_bytes(64 << 20);
    let store = options.open_backing(Arc::new(remote)).unwrap();
    let notes = store.record_set("notes").unwrap();
    let mut rng = Rng::new(1);
    let mut ids = Vec::new();
    for _ in 0..segments {
        let value = rng.bytes(1000);
        let inserted = store.write(|tx| (0..490).map(|_| tx.insert(&notes, &*value)).collect::<Result<Vec<_>>>());
        ids.extend(inserted.unwrap());
    }
    drop(store);
    let status = bucket.status().unwrap().unwrap();
    let (opened, gets) = requests(&objects, &bucket, ids[ids.len() / 3]);
    println!("{} files, {} MB: {opened} requests to open, {gets} for a cold get", status.files, status.bytes >> 20);
    assert!(status.files >= segments, "{status:?}");
    assert!(opened <= 100 && gets <= 2, "{opened} requests to open, {gets} for a cold get");
}

#[test]
fn a_state_far_behind_the_newest_is_gone_after_few_requests() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let store = open(&Memory::new(), &bucket, quick()).unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    for number in [1_000_000_000_000, u64::MAX] {
        let before = objects.counts.all();
        let gone = bucket.view(Some(LogPoint { epoch: 1, number }));
        assert!(matches!(gone, Err(Error::PointGone { .. })), "{gone:?}");
        let requests = objects.counts.all() - before;
        assert!(requests <= 100, "{requests} requests");
    }
}

#[test]
fn asking_for_a_newer_state_is_one_request() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let store = open(&Memory::new(), &bucket, quick()).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "first")).unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    let view = bucket.view(None).unwrap();
    let mut reader = Options::new().read_only(true).open_backing(Arc::new(view.clone())).unwrap();
    for _ in 0..3 {
        let before = objects.counts.all();
        assert!(!view.has_newer().unwrap());
        assert_eq!(objects.counts.all() - before, 1);
    }
    let large = vec![7; 40_000];
    let (second, _) = store.write_with(Durability::Remote, |tx| tx.insert(&notes, &*large)).unwrap();
    let bytes = objects.counts.get_bytes.load(Ordering::Relaxed);
    assert!(view.has_newer().unwrap());
    assert_eq!(objects.counts.get_bytes.load(Ordering::Relaxed) - bytes, 0, "asking sends nothing of it");
    let before = objects.counts.all();
    reader.refresh().unwrap();
    let requests = objects.counts.all() - before;
    assert!(requests <= 6, "{requests} requests for one commit");
    assert_eq!(reader.get(second).unwrap().as_slice(), Some(&large[..]));
    // The end of an epoch and the begin of the next are newer states as well.
    drop(store);
    assert!(view.has_newer().unwrap());
    reader.refresh().unwrap();
    assert!(!view.has_newer().unwrap());
    let store = open(&Memory::new(), &bucket, quick()).unwrap();
    let notes = store.record_set("notes").unwrap();
    let (third, _) = store.write_with(Durability::Remote, |tx| tx.insert(&notes, "third")).unwrap();
    assert!(view.has_newer().unwrap());
    reader.refresh().unwrap();
    assert_eq!(reader.get(third).unwrap().as_slice(), Some(&b"third"[..]));
    assert!((0..64).any(|_| view.has_newer().unwrap()), "the log is never listed");
    assert!(!bucket.view(Some(view.point())).unwrap().has_newer().unwrap());
}

#[test]
fn what_several_reads_need_is_read_once() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let remote = Remote::new(Arc::new(Memory::new()), bucket.clone(), quick().part_bytes(64 << 10));
    let store = small().segment_bytes(4 << 20).open_backing(Arc::new(remote)).unwrap();
    let notes = store.record_set("notes").unwrap();
    let mut rng = Rng::new(1);
    let values: Vec<_> = (0..2_000).map(|_| rng.bytes(100)).collect();
    let ids = store.write(|tx| values.iter().map(|value| tx.insert(&notes, &**value)).collect::<Result<Vec<_>>>());
    let ids = ids.unwrap();
    drop(store);
    let reader = Options::new().read_only(true).open_backing(Arc::new(bucket.view(None).unwrap())).unwrap();
    let before = objects.counts.gets.load(Ordering::Relaxed);
    let shown = reader.view();
    let found = shown.get_many(&ids).into_iter().map(|record| record.unwrap().to_vec().unwrap());
    assert_eq!(found.collect::<Vec<_>>(), values);
    let gets = objects.counts.gets.load(Ordering::Relaxed) - before;
    println!("{gets} requests for {} records of {} bytes in all", ids.len(), ids.len() * 100);
    assert!(gets <= 12, "{gets} requests");
}

/// A view that counts how it is read.
#[derive(Debug)]
struct Several {
    view: BucketView,
    together: AtomicU64,
}

impl Backing for Several {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.view.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.view.open(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.view.list()
    }

    fn reads_at_once(&self) -> usize {
        self.view.reads_at_once()
    }

    fn read_many(&self, reads: &mut [ReadAt<'_>]) -> io::Result<()> {
        self.together.fetch_add(u64::try_from(reads.len()).unwrap(), Ordering::Relaxed);
        self.view.read_many(reads)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.view.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.view.lock()
    }

    fn location(&self) -> String {
        self.view.location()
    }
}

#[test]
fn an_opening_reads_directory_pages_at_once() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let remote = Remote::new(Arc::new(Memory::new()), bucket.clone(), quick());
    let options = Options::new().background(false).collector(false).snapshot_log_bytes(64 << 20);
    let store = options.open_backing(Arc::new(remote)).unwrap();
    let notes = store.record_set("notes").unwrap();
    // A directory page has 65,536 of them.
    let values = vec![b"x"; 50_000];
    for _ in 0..6 {
        store.write(|tx| tx.insert_many(&notes, &values)).unwrap();
    }
    drop(store);
    let view = Arc::new(Several { view: bucket.view(None).unwrap(), together: AtomicU64::new(0) });
    let reader = Options::new().read_only(true).open_backing(Arc::clone(&view) as Arc<dyn Backing>).unwrap();
    assert_eq!(reader.view().len(&reader.find_set("notes").unwrap()), 300_000);
    let together = view.together.load(Ordering::Relaxed);
    assert!(together >= 5, "{together} read at once");
}

#[test]
fn what_opening_lists_does_not_follow_the_number_of_openings() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let local = Memory::new();
    let how = quick().base_every(16).prune_every(None).retention(Duration::ZERO);
    let mut listed = Vec::new();
    for opening in 0..100_u32 {
        let remote = Arc::new(Remote::new(Arc::new(local.clone()), bucket.clone(), how.clone()));
        let store = small().open_backing(Arc::clone(&remote) as Arc<dyn Backing>).unwrap();
        let notes = store.record_set("notes").unwrap();
        store.write_with(Durability::Remote, |tx| tx.insert(&notes, &opening.to_le_bytes()[..])).unwrap();
        // Of the bases the newest are left, of the epochs all.
        remote.prune().unwrap();
        drop((store, remote));
        let before = objects.counts.listed.load(Ordering::Relaxed);
        drop(Options::new().read_only(true).open_backing(Arc::new(bucket.view(None).unwrap())).unwrap());
        listed.push(objects.counts.listed.load(Ordering::Relaxed) - before);
    }
    println!("{listed:?} objects listed");
    assert!(listed.iter().all(|listed| *listed < 60), "{listed:?}");
}
