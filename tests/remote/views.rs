//! Reading a bucket from elsewhere, beside its writer, without a local copy.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tenure::backing::Memory;
use tenure::remote::Remote;
use tenure::{Durability, Error, Options};

use crate::common::Rng;
use crate::flaky::Flaky;
use crate::{bucket, contents, open, quick, small};

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

#[test]
fn opening_and_a_cold_get_read_little() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let remote = Remote::new(Arc::new(Memory::new()), bucket.clone(), quick());
    let store = small().segment_bytes(4 << 20).open_backing(Arc::new(remote)).unwrap();
    let notes = store.record_set("notes").unwrap();
    let mut rng = Rng::new(1);
    let mut ids = Vec::new();
    for _ in 0..400 {
        let values: Vec<_> = (0..20).map(|_| rng.bytes(1000)).collect();
        let inserted =
            store.write(|tx| values.iter().map(|value| tx.insert(&notes, &**value)).collect::<Result<Vec<_>, _>>());
        ids.extend(inserted.unwrap());
    }
    drop(store);
    let view = bucket.view(None).unwrap();
    let before = objects.counts.gets.load(Ordering::Relaxed);
    let reader = Options::new().read_only(true).open_backing(Arc::new(view)).unwrap();
    let opened = objects.counts.gets.load(Ordering::Relaxed) - before;
    // In the middle of a segment: its ends were read when the store was opened.
    let before = objects.counts.gets.load(Ordering::Relaxed);
    assert_eq!(reader.get(ids[1_500]).unwrap().to_vec().unwrap().len(), 1000);
    let gets = objects.counts.gets.load(Ordering::Relaxed) - before;
    println!("{opened} requests to open, {gets} for a cold get");
    assert!(opened <= 100 && (1..=2).contains(&gets), "{opened} requests to open, {gets} for a cold get");
}
