//! A feed in a read-only handle, beside the writer.

use std::time::Duration;

use tenure::{Durability, Options, RecordId, Seq, Store};

use crate::changes::mirror::{Mirror, records_of};
use crate::common::Rng;

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).snapshot_log_bytes(256 << 10)
}

#[test]
fn a_reader_beside_the_writer_gets_every_durable_commit_without_refreshing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut store = options().open(&path).unwrap();
    let mut ids: Vec<RecordId> = Vec::new();
    store.add_consumer("reader", Seq::ZERO).unwrap();
    let reader = Options::new().read_only(true).open(&path).unwrap();
    let mut feed = reader.changes(Seq::ZERO).unwrap();
    let mut mirror = Mirror::default();
    let mut rng = Rng::new(5);
    let set = store.record_set("a").unwrap();
    for round in 0..40 {
        for _ in 0..rng.below(40) {
            let value = rng.bytes(300);
            let (id, _) = store.write_with(Durability::Buffered, |tx| tx.insert(&set, &value)).unwrap();
            ids.push(id);
        }
        if ids.len() > 200 {
            let gone: Vec<_> = ids.drain(..100).collect();
            store.write_with(Durability::Buffered, |tx| tx.delete_many(&gone)).unwrap();
        }
        if rng.one_in(8) {
            // As large as several segments.
            ids.extend(store.write(|tx| tx.insert_many(&set, &vec![vec![round; 1_000]; 200])).unwrap());
        }
        match rng.below(8) {
            0 => drop(store.collect(None).unwrap()),
            1 => {
                store.close().unwrap();
                store = options().open(&path).unwrap();
            }
            _ => {}
        }
        store.sync().unwrap();
        let wanted = store.durable_seq();
        // An idle writer says what is durable.
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while feed.passed() < wanted {
            assert!(std::time::Instant::now() < until, "round {round}: {} of {wanted}", feed.passed());
            if let Some(commit) = feed.next_timeout(Duration::from_millis(50)).unwrap() {
                mirror.apply(&commit);
            }
        }
        if round % 4 == 0 {
            assert_eq!(mirror.records, records_of(&store, &store.view()), "round {round}");
        }
    }
    assert_eq!(mirror.records, records_of(&store, &store.view()));
}

#[test]
fn what_is_not_durable_is_not_shown_beside_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().background(false).open(&path).unwrap();
    let set = store.record_set("a").unwrap();
    store.sync().unwrap();
    let since = store.last_seq();
    store.write_with(Durability::Buffered, |tx| tx.insert(&set, "1")).unwrap();
    let reader = Options::new().read_only(true).open(&path).unwrap();
    let mut feed = reader.changes(since).unwrap();
    assert!(feed.next_timeout(Duration::from_millis(60)).unwrap().is_none());
    let mut early = reader.changes(since).unwrap().early();
    assert!(early.try_next().unwrap().is_some());
    assert!(early.try_next().unwrap().is_none());
    store.sync().unwrap();
    // The next commit says that this one is durable.
    store.write_with(Durability::Buffered, |tx| tx.insert(&set, "2")).unwrap();
    assert!(feed.next_timeout(Duration::from_secs(20)).unwrap().is_some());
    assert!(feed.next_timeout(Duration::from_millis(60)).unwrap().is_none());
    assert!(early.try_next().unwrap().is_some());
    store.close().unwrap();
    assert!(feed.next_timeout(Duration::from_secs(20)).unwrap().is_some(), "a closed store is durable");
}

#[test]
fn a_closed_store_that_is_open_read_only_has_its_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().open(&path).unwrap();
    // The large value exceeds what a small store may have in dead bytes until it counts: without a consumer the collector may take the
    // log before it.
    store.add_consumer("reader", Seq::ZERO).unwrap();
    let set = store.record_set("a").unwrap();
    let id = store.write(|tx| tx.insert(&set, vec![1; 200_000])).unwrap();
    store.close().unwrap();
    let reader = Options::new().read_only(true).open(&path).unwrap();
    let mut mirror = Mirror::default();
    mirror.follow(&mut reader.changes(Seq::ZERO).unwrap()).unwrap();
    assert_eq!(mirror.records[&set.number()][&id], vec![1; 200_000]);
    let error = Store::open(path.join("nothing-here").join("deeper"));
    assert!(error.is_err());
}
