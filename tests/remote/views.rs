//! Reading a bucket from elsewhere, beside its writer, without a local copy.

use std::sync::Arc;

use tenure::backing::Memory;
use tenure::remote::{Bucket, Remote};
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
    let (second, _) = store.write_with(Durability::Remote, |tx| tx.insert(&notes, "second")).unwrap();
    assert!(view.has_newer().unwrap());
    let before = objects.counts.all();
    reader.refresh().unwrap();
    let requests = objects.counts.all() - before;
    assert!(requests <= 6, "{requests} requests for one commit");
    assert_eq!(reader.get(second).unwrap().as_slice(), Some(&b"second"[..]));
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
