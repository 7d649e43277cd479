//! Named consumers: what is kept for them, for how long, and how much at most.

use tenure::{Durability, Error, FileNeed, Options, RecordId, Seq, Store};

use crate::changes::mirror::{Mirror, records_of};

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).snapshot_log_bytes(256 << 10).background(false)
}

/// Updates all records again and again, and collects everything that can be collected.
fn churn(store: &Store, ids: &[RecordId], rounds: u8) {
    for round in 0..rounds {
        let changes: Vec<_> = ids.iter().map(|id| (*id, vec![round; 500])).collect();
        store.write_with(Durability::Buffered, |tx| tx.update_many(&changes)).unwrap();
    }
    store.sync().unwrap();
    store.save_snapshot().unwrap();
    store.save_snapshot().unwrap();
    store.collect(None).unwrap();
}

fn records(store: &Store) -> Vec<RecordId> {
    let set = store.record_set("churn").unwrap();
    store.write(|tx| tx.insert_many(&set, &vec![vec![0; 500]; 200])).unwrap()
}

#[test]
fn what_a_consumer_has_not_acknowledged_is_kept_across_openings() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut store = options().open(&path).unwrap();
    let mut mirror = Mirror::default();
    store.add_consumer("mirror", Seq::ZERO).unwrap();
    let ids = records(&store);
    for _ in 0..4 {
        churn(&store, &ids, 20);
        store.close().unwrap();
        store = options().open(&path).unwrap();
    }
    let kept = store.stats().consumers;
    assert_eq!((kept.len(), kept[0].name.as_str(), kept[0].seq, kept[0].is_dropped), (1, "mirror", Seq(0), false));
    // 80 updates of 200 records of 500 bytes.
    assert!(kept[0].kept_bytes > 6_000_000, "{kept:?}");
    assert!(store.files().unwrap().iter().any(|file| file.need == FileNeed::Consumer));
    let consumer = store.consumer("mirror").unwrap();
    let mut feed = consumer.changes().unwrap();
    mirror.follow(&mut feed).unwrap();
    assert_eq!(mirror.records, records_of(&store, &store.view()));
    assert_eq!(mirror.applied, 1 + 200 + 4 * 20 * 200);
    let before = store.files().unwrap().len();
    drop(feed);
    consumer.acknowledge(mirror.position).unwrap();
    assert_eq!(consumer.position().unwrap(), mirror.position);
    // An older acknowledgement changes nothing.
    consumer.acknowledge(Seq(3)).unwrap();
    assert_eq!(consumer.position().unwrap(), mirror.position);
    store.collect(None).unwrap();
    let after = store.stats().consumers[0].kept_bytes;
    assert!(after < 200_000, "{after}");
    assert!(store.files().unwrap().len() + 50 < before, "the log is gone from the disk");
    // What was acknowledged counts at the next opening.
    store.close().unwrap();
    store = options().open(&path).unwrap();
    assert_eq!(store.consumer("mirror").unwrap().position().unwrap(), mirror.position);
    mirror.follow(&mut store.consumer("mirror").unwrap().changes().unwrap()).unwrap();
    assert_eq!(mirror.records, records_of(&store, &store.view()));
}

#[test]
fn the_slowest_consumer_is_dropped_when_too_much_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().consumer_bytes_max(Some(4 << 20)).open(&path).unwrap();
    let ids = records(&store);
    let slow = store.add_consumer("slow", store.last_seq()).unwrap();
    let fast = store.add_consumer("fast", store.last_seq()).unwrap();
    for _ in 0..10 {
        churn(&store, &ids, 10);
        let mut feed = fast.changes().unwrap();
        while feed.try_next().unwrap().is_some() {}
        fast.acknowledge(feed.passed()).unwrap();
    }
    store.collect(None).unwrap();
    assert!(matches!(slow.changes(), Err(Error::ConsumerDropped { .. })));
    assert!(matches!(slow.acknowledge(store.durable_seq()), Err(Error::ConsumerDropped { .. })));
    let stats = store.stats().consumers;
    assert_eq!(stats.iter().map(|each| each.is_dropped).collect::<Vec<_>>(), [false, true], "{stats:?}");
    assert!(stats.iter().all(|each| each.kept_bytes <= 4 << 20), "{stats:?}");
    fast.changes().unwrap().try_next().unwrap();
    // It stays dropped until it is removed and added again.
    store.close().unwrap();
    let store = options().open(&path).unwrap();
    assert!(matches!(store.consumer("slow").unwrap().position(), Err(Error::ConsumerDropped { .. })));
    store.remove_consumer("slow").unwrap();
    store.add_consumer("slow", store.last_seq()).unwrap();
}

#[test]
fn consumers_have_names_and_begin_where_the_log_still_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path().join("store")).unwrap();
    let ids = records(&store);
    churn(&store, &ids, 20);
    assert!(matches!(store.add_consumer("", Seq::ZERO), Err(Error::BadName { .. })));
    assert!(matches!(store.add_consumer("late", Seq::ZERO), Err(Error::Gone { .. })));
    assert!(matches!(store.consumer("late"), Err(Error::NoSuchConsumer { .. })), "nothing of it remains");
    assert!(matches!(store.add_consumer("early", Seq(1 << 40)), Err(Error::PointGone { .. })));
    let consumer = store.add_consumer("a", store.last_seq()).unwrap();
    assert!(matches!(store.add_consumer("a", store.last_seq()), Err(Error::BadName { .. })));
    assert!(matches!(consumer.acknowledge(Seq(1 << 40)), Err(Error::PointGone { .. })));
    store.remove_consumer("a").unwrap();
    assert!(matches!(store.remove_consumer("a"), Err(Error::NoSuchConsumer { .. })));
    assert!(matches!(consumer.changes(), Err(Error::NoSuchConsumer { .. })));
    assert_eq!(store.stats().consumers, []);
}

#[test]
fn acknowledgements_of_several_threads_never_go_back() {
    const THREADS: u64 = 6;
    let store = options().durability(Durability::Buffered);
    let store = store.open_backing(std::sync::Arc::new(tenure::backing::Memory::new())).unwrap();
    let set = store.record_set("a").unwrap();
    store.add_consumer("a", Seq::ZERO).unwrap();
    let rounds = 300;
    for _ in 0..rounds * THREADS {
        store.write(|tx| tx.insert(&set, "1")).unwrap();
    }
    store.sync().unwrap();
    let barrier = std::sync::Barrier::new(usize::try_from(THREADS).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (consumer, barrier) = (store.consumer("a").unwrap(), &barrier);
            scope.spawn(move || {
                for round in 0..rounds {
                    barrier.wait();
                    consumer.acknowledge(Seq(round * THREADS + thread + 1)).unwrap();
                    barrier.wait();
                    assert_eq!(consumer.position().unwrap(), Seq((round + 1) * THREADS), "thread {thread}");
                }
            });
        }
    });
}

#[test]
fn a_handle_that_only_reads_has_consumers_and_acknowledges_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = Store::open(&path).unwrap();
    let set = store.record_set("a").unwrap();
    let since = store.last_seq();
    let consumer = store.add_consumer("mirror", since).unwrap();
    let reader = Options::new().read_only(true).open(&path).unwrap();
    store.write(|tx| tx.insert(&set, "later than the reader")).unwrap();
    let there = reader.consumer("mirror").unwrap();
    assert_eq!(there.changes().unwrap().passed(), since);
    for seq in [since, store.last_seq()] {
        assert!(matches!(there.acknowledge(seq), Err(Error::ReadOnly)), "{seq}");
    }
    assert_eq!(consumer.position().unwrap(), since);
}
