//! What a follower shows, and taking over.

use std::time::Duration;

use tenure::extract::Extractor;
use tenure::{Durability, Error, Options, Store};

use crate::following::LONG;
use crate::following::ledger::{Reader, Writer, options};

fn whole(version: u32) -> Extractor {
    Extractor::new("whole", version, |record, keys| keys.push(record))
}

pub fn quick() -> Options {
    Options::new().follow_interval(Some(Duration::from_millis(10)))
}

#[test]
fn a_follower_goes_on_with_sets_indexes_and_views() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let writer = Store::open(&path).unwrap();
    let follower = quick().follow(&path).unwrap();
    let clone = follower.store().clone();
    let notes = writer.record_set("notes").unwrap();
    let first = writer.write(|tx| tx.insert(&notes, "first")).unwrap();
    let wait = || assert!(follower.wait_for(writer.last_seq(), LONG).unwrap(), "{:?}", follower.progress());
    wait();
    assert_eq!(follower.get(first).unwrap().as_slice(), Some(&b"first"[..]));
    assert_eq!(clone.get(first).unwrap().as_slice(), Some(&b"first"[..]));
    let before = follower.view();
    // An index that is built, one that is replaced, one that is dropped.
    let index = writer.index(&notes, "whole", whole(1)).unwrap();
    wait();
    let seen = follower.find_set("notes").unwrap();
    let ready = |name: &str| {
        for _ in 0..1000 {
            follower.look().unwrap();
            if follower.indexes(&seen).iter().any(|index| index.name == name && index.ready) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{:?}", follower.indexes(&seen));
    };
    ready("whole");
    let found = follower.find_index(&seen, "whole").unwrap();
    assert_eq!(found.get(&follower.view(), &b"first"[..]).unwrap(), Some(first));
    writer.rebuild_index(&index).unwrap();
    let second = writer.write(|tx| tx.insert(&notes, "second")).unwrap();
    wait();
    assert_eq!(found.get(&follower.view(), &b"second"[..]).unwrap(), Some(second));
    assert_eq!((before.len(&seen), before.get(first).unwrap().as_slice()), (1, Some(&b"first"[..])));
    writer.drop_index(&index).unwrap();
    writer.rename_set(&notes, "letters").unwrap();
    writer.write(|tx| tx.delete(first)).unwrap();
    wait();
    assert!(follower.find_index(&seen, "whole").is_none() && follower.find_set("letters").is_some());
    assert!(matches!(follower.get(first).map(drop), Err(Error::Deleted { .. })));
    assert!(matches!(follower.begin().map(drop), Err(Error::ReadOnly)));
    // A large value, and a commit larger than a segment.
    let large = vec![7; 300_000];
    let streamed = writer.write(|tx| tx.insert(&notes, &*large)).unwrap();
    wait();
    assert_eq!(follower.get(streamed).unwrap().to_vec().unwrap(), large);
    let progress = follower.progress();
    assert!(progress.error.is_none() && progress.advances > 3 && progress.seq == writer.last_seq(), "{progress:?}");
}

#[test]
fn waiting_ends_with_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Store::open(dir.path().join("s")).unwrap();
    let follower = quick().follow(dir.path().join("s")).unwrap();
    assert!(!follower.wait_for(writer.last_seq().next(), Duration::from_millis(30)).unwrap());
    assert!(follower.wait_for(writer.last_seq(), Duration::ZERO).unwrap());
    let refused = Options::new().follow_interval(Some(Duration::from_millis(9))).follow(dir.path().join("s"));
    assert!(matches!(refused, Err(Error::BadOption { option: "follow_interval", .. })));
    assert!(matches!(Store::follow(dir.path().join("none")), Err(Error::NotAStore { .. })));
}

#[test]
fn a_follower_that_looks_rarely_goes_on_however_far_it_is_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let buffered = || options().durability(Durability::Buffered);
    let mut writer = Writer::new(buffered().open(&path).unwrap(), 1);
    let follower = Options::new().follow_interval(Some(Duration::from_hours(1))).follow(&path).unwrap();
    let reader = Reader::new(&follower).unwrap();
    for round in 0..6 {
        // Snapshots, and what the collector deletes, leave nothing of the log that the follower has seen.
        for _ in 0..300 {
            writer.commit().unwrap();
        }
        writer.event().unwrap();
        writer.store.save_snapshot().unwrap();
        writer.store.save_snapshot().unwrap();
        writer.store.collect(None).unwrap();
        if round == 3 {
            let store = writer.into_store();
            store.close().unwrap();
            writer = Writer::new(buffered().open(&path).unwrap(), 2);
        }
        assert!(reader.check(&follower.view()).unwrap() > 0);
        assert_eq!(follower.look().unwrap(), writer.store.last_seq());
        reader.check(&follower.view()).unwrap();
    }
    assert!(follower.progress().reloads > 3, "{:?}", follower.progress());
}

#[test]
fn a_store_is_taken_over_once_its_writer_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let writer = Store::open(&path).unwrap();
    let notes = writer.record_set("notes").unwrap();
    let note = writer.write(|tx| tx.insert(&notes, "kept")).unwrap();
    let refused = Store::follow(&path).unwrap().promote(&Options::new(), Duration::from_millis(60));
    assert!(matches!(refused, Err(Error::Locked { .. })));
    let follower = Store::follow(&path).unwrap();
    let promoted = std::thread::spawn(move || follower.promote(&Options::new(), LONG));
    writer.close().unwrap();
    let store = promoted.join().unwrap().unwrap();
    assert_eq!(store.get(note).unwrap().as_slice(), Some(&b"kept"[..]));
    let notes = store.record_set("notes").unwrap();
    store.write(|tx| tx.insert(&notes, "more")).unwrap();
}
