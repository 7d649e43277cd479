//! Old values: each that is shown is the one that the record had, and a consumer that keeps up gets all of them.

use std::borrow::Cow;
use std::sync::Arc;

use tenure::backing::FaultBacking;
use tenure::{ChangeKind, ChangeValue, Changes, Commit, Durability, Options, RecordId, RecordSet, Seq, Store};

use crate::changes::mirror::{Mirror, records_of};
use crate::common::{Ends, Rng};

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).snapshot_log_bytes(128 << 10).background(false).old_values(true)
}

/// What was shown of old values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Shown {
    values: u64,
    gone: u64,
    unrecorded: u64,
}

/// Compares the old values of a commit with a copy of what was there before it, which then follows.
fn compare(mirror: &mut Mirror, commit: &Commit, shown: &mut Shown) {
    for change in commit.changes().map(Result::unwrap) {
        let before = change.id().and_then(|id| mirror.records.get(&change.set())?.get(&id));
        let is_replaced = matches!(change.kind(), ChangeKind::Update | ChangeKind::Delete);
        match change.old_value().unwrap() {
            ChangeValue::Bytes(old) => {
                assert!(is_replaced && Some(&*old) == before.map(Vec::as_slice), "{change:?} in {}", commit.seq());
                shown.values += 1;
            }
            ChangeValue::Gone => shown.gone += u64::from(is_replaced),
            ChangeValue::Unrecorded => shown.unrecorded += u64::from(is_replaced),
            other => assert!(other == ChangeValue::Nothing && !is_replaced, "{change:?} in {}", commit.seq()),
        }
    }
    mirror.apply(commit);
}

fn follow(mirror: &mut Mirror, feed: &mut Changes, shown: &mut Shown) {
    while let Some(commit) = feed.try_next().unwrap() {
        compare(mirror, &commit, shown);
    }
    mirror.position = feed.passed();
}

/// A transaction with changes of any kind, sometimes as large as several segments.
fn step(store: &Store, set: &RecordSet, rng: &mut Rng, live: &mut Vec<RecordId>) {
    let mut tx = store.begin().unwrap();
    for _ in 0..rng.below(6) {
        let len = if rng.one_in(30) { 70_000 + rng.below(200_000) } else { rng.below(900) };
        match rng.below(4) {
            0 => live.push(tx.insert(set, rng.bytes(len)).unwrap()),
            1 if live.len() > 50 => tx.delete(live.swap_remove(rng.below(live.len()))).unwrap(),
            _ if !live.is_empty() => tx.update(live[rng.below(live.len())], rng.bytes(len)).unwrap(),
            _ => {}
        }
    }
    if rng.one_in(20) {
        let values: Vec<Vec<u8>> = (0..100).map(|_| rng.bytes(1_000)).collect();
        live.extend(tx.insert_many(set, &values).unwrap());
    } else if rng.one_in(15) && live.len() > 100 {
        for id in live.iter().take(100) {
            tx.update(*id, rng.bytes(1_000)).unwrap();
        }
    } else if rng.one_in(10) && live.len() > 400 {
        for id in live.drain(..300) {
            tx.delete(id).unwrap();
        }
    }
    tx.commit_with(Durability::Buffered).unwrap();
}

fn live(store: &Store, set: &RecordSet) -> Vec<RecordId> {
    store.view().scan(set).map(|record| record.unwrap().id()).collect()
}

#[test]
fn every_old_value_is_shown_to_a_consumer_beside_the_collector() {
    let runs: u64 = std::env::var("TENURE_CHANGES_OLD").ok().and_then(|runs| runs.parse().ok()).unwrap_or(2);
    for seed in 0..runs {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let mut store = options().open(&path).unwrap();
        store.add_consumer("audit", Seq::ZERO).unwrap();
        let (mut mirror, mut shown, mut rng) = (Mirror::default(), Shown::default(), Rng::new(seed));
        for round in 0..25 {
            let set = store.record_set("a").unwrap();
            let mut live = live(&store, &set);
            for _ in 0..25 {
                step(&store, &set, &mut rng, &mut live);
                if rng.one_in(8) {
                    store.sync().unwrap();
                    store.save_snapshot().unwrap();
                    store.save_snapshot().unwrap();
                    store.collect(None).unwrap();
                }
            }
            store.sync().unwrap();
            if round % 5 == 4 {
                store.close().unwrap();
                store = options().open(&path).unwrap();
            }
            if rng.one_in(2) {
                follow(&mut mirror, &mut store.consumer("audit").unwrap().changes().unwrap(), &mut shown);
                assert_eq!(mirror.records, records_of(&store, &store.view()), "seed {seed}, round {round}");
                store.consumer("audit").unwrap().acknowledge(mirror.position).unwrap();
            }
        }
        follow(&mut mirror, &mut store.consumer("audit").unwrap().changes().unwrap(), &mut shown);
        assert_eq!(mirror.records, records_of(&store, &store.view()), "seed {seed}");
        assert!(shown.values > 1_000 && shown.gone + shown.unrecorded == 0, "seed {seed}: {shown:?}");
        // They were kept for the consumer alone.
        let consumer = store.consumer("audit").unwrap();
        consumer.acknowledge(mirror.position).unwrap();
        store.collect(None).unwrap();
        assert!(store.stats().consumers[0].kept_bytes < 1 << 20, "{:?}", store.stats().consumers);
    }
}

#[test]
fn old_values_beside_threads_that_write_ahead_and_a_collector_that_moves() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().background(true).space_ratio(1.1).open(dir.path().join("store")).unwrap();
    let set = store.record_set("a").unwrap();
    let ids = store.write(|tx| tx.insert_many(&set, &vec![vec![0; 700]; 600])).unwrap();
    let audit = store.add_consumer("audit", Seq::ZERO).unwrap();
    let (mut mirror, mut shown) = (Mirror::default(), Shown::default());
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&is_over);
        let (large, small) = ids.split_at(300);
        let writers = [
            // As large as several segments: written ahead, while the collector moves what they replace.
            scope.spawn(|| {
                for round in 0..60_u8 {
                    let changes: Vec<_> = large.iter().map(|id| (*id, vec![round; 700])).collect();
                    store.write_with(Durability::Buffered, |tx| tx.update_many(&changes)).unwrap();
                }
            }),
            scope.spawn(|| {
                let mut rng = Rng::new(3);
                for _ in 0..6_000 {
                    let (id, value) = (small[rng.below(small.len())], rng.bytes(700));
                    store.write_with(Durability::Buffered, |tx| tx.update(id, &value)).unwrap();
                }
            }),
        ];
        let mut feed = audit.changes().unwrap();
        while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            store.sync().unwrap();
            follow(&mut mirror, &mut feed, &mut shown);
            audit.acknowledge(mirror.position).unwrap();
        }
    });
    store.sync().unwrap();
    let mut feed = store.changes(mirror.position).unwrap();
    follow(&mut mirror, &mut feed, &mut shown);
    assert_eq!(mirror.records, records_of(&store, &store.view()));
    assert_eq!(shown, Shown { values: 60 * 300 + 6_000, gone: 0, unrecorded: 0 });
}

#[test]
fn an_old_value_after_power_cuts_is_the_right_one_or_gone() {
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let mut backing = FaultBacking::with_seed(seed);
        let (mut mirror, mut shown) = (Mirror::default(), Shown::default());
        let mut has_consumer = false;
        for _ in 0..5 {
            let store = options().open_backing(Arc::new(backing.clone())).unwrap();
            if !has_consumer {
                store.add_consumer("audit", Seq::ZERO).unwrap();
                has_consumer = true;
            }
            let set = store.record_set("a").unwrap();
            let mut live = live(&store, &set);
            for number in 0..rng.below(40) {
                step(&store, &set, &mut rng, &mut live);
                match rng.below(12) {
                    0 => drop(store.collect(None).unwrap()),
                    1 => drop(store.save_snapshot().unwrap()),
                    2 => store.sync().unwrap(),
                    _ => {}
                }
                if number % 10 == 9 {
                    let mut feed = store.changes(mirror.position).unwrap();
                    follow(&mut mirror, &mut feed, &mut shown);
                }
            }
            backing = if rng.one_in(3) { backing.kill_image() } else { backing.crash_image(rng.number()) };
        }
        let store = options().open_backing(Arc::new(backing.clone())).unwrap();
        store.sync().unwrap();
        let mut feed = store.changes(mirror.position).unwrap();
        follow(&mut mirror, &mut feed, &mut shown);
        assert_eq!(mirror.records, records_of(&store, &store.view()), "seed {seed}");
        assert_eq!((shown.gone, shown.unrecorded), (0, 0), "seed {seed}");
    }
}

#[test]
fn without_the_option_commits_are_the_same_and_say_nothing_of_old_values() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut bytes = Vec::new();
    for old_values in [false, true, false] {
        let store = options().old_values(old_values).open(&path).unwrap();
        let set = store.record_set("a").unwrap();
        let id = store.write(|tx| tx.insert(&set, [1; 200])).unwrap();
        let since = store.last_seq();
        store.write(|tx| tx.update(id, [2; 200])).unwrap();
        store.write(|tx| tx.delete(id)).unwrap();
        let commits: Vec<Commit> = store.changes(since).unwrap().map(Result::unwrap).collect();
        let expected = if old_values { [Some(1), Some(2)] } else { [None, None] };
        for (commit, expected) in commits.iter().zip(expected) {
            let old = commit.changes().next().unwrap().unwrap().old_value().unwrap();
            let value = |byte| ChangeValue::Bytes(Cow::Owned(vec![byte; 200]));
            assert_eq!(old, expected.map_or(ChangeValue::Unrecorded, value));
        }
        bytes.push(commits.iter().map(Commit::bytes).collect::<Vec<_>>());
        store.close().unwrap();
    }
    // A header of eight bytes, and sixteen for the version.
    assert_eq!(bytes[0], bytes[2]);
    assert!(bytes[1].iter().zip(&bytes[0]).all(|(with, without)| *with == without + 32), "{bytes:?}");
    // What a consumer has acknowledged is reclaimed, and then gone.
    let store = options().open(&path).unwrap();
    let set = store.record_set("a").unwrap();
    let ids = store.write(|tx| tx.insert_many(&set, &vec![vec![1; 600]; 200])).unwrap();
    store.sync().unwrap();
    let since = store.last_seq();
    store.add_consumer("audit", since).unwrap();
    for round in 0..5_u8 {
        let changes: Vec<_> = ids.iter().map(|id| (*id, vec![round; 600])).collect();
        store.write(|tx| tx.update_many(&changes)).unwrap();
    }
    let feed = store.changes(since).unwrap();
    let kept: Vec<Commit> = feed.map(Result::unwrap).collect();
    store.consumer("audit").unwrap().acknowledge(kept[0].seq()).unwrap();
    store.save_snapshot().unwrap();
    store.save_snapshot().unwrap();
    store.collect(None).unwrap();
    let olds =
        |commit: &Commit| -> Vec<_> { commit.changes().map(|each| each.unwrap().old_value().unwrap()).collect() };
    assert!(olds(&kept[0]).contains(&ChangeValue::Gone), "what was acknowledged may be reclaimed");
    let is_right =
        |round: u8| olds(&kept[usize::from(round) + 1]) == vec![ChangeValue::Bytes(vec![round; 600].into()); 200];
    assert!((0..4).all(is_right), "what was not acknowledged is there");
}
