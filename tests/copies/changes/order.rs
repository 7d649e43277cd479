//! The order of commits, beside writers, large commits that are written ahead, and the collector.

use std::sync::atomic::{AtomicBool, Ordering};

use tenure::{Durability, Options, RecordId, Seq, Store};

use crate::changes::mirror::{Mirror, records_of};
use crate::common::{Ends, Rng};

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).snapshot_log_bytes(256 << 10).durability(Durability::Buffered)
}

/// A step of a random writer.
fn step(store: &Store, rng: &mut Rng, live: &mut Vec<RecordId>) {
    let sets = store.record_sets();
    let set = &sets[rng.below(sets.len())];
    let mut tx = store.begin().unwrap();
    for _ in 0..rng.below(8) {
        let len = if rng.one_in(40) { 70_000 } else { rng.below(900) };
        match rng.below(5) {
            0..=2 => live.push(tx.insert(set, rng.bytes(len)).unwrap()),
            3 if !live.is_empty() => drop(tx.update(live[rng.below(live.len())], rng.bytes(len))),
            _ if !live.is_empty() => {
                let id = live.swap_remove(rng.below(live.len()));
                drop(tx.delete(id));
            }
            _ => {}
        }
    }
    tx.commit().unwrap();
}

#[test]
fn a_copy_made_of_the_changes_is_the_store() {
    for seed in 0..2 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let mut store = options().open(&path).unwrap();
        let mut mirror = Mirror::default();
        store.add_consumer("mirror", Seq::ZERO).unwrap();
        let (mut rng, mut live) = (Rng::new(seed), Vec::new());
        for name in ["a", "b"] {
            store.record_set(name).unwrap();
        }
        let mut feed = store.changes(Seq::ZERO).unwrap();
        for number in 0..400 {
            step(&store, &mut rng, &mut live);
            match rng.below(60) {
                0 => drop(store.collect(None).unwrap()),
                1 => {
                    drop(feed);
                    store.close().unwrap();
                    store = options().open(&path).unwrap();
                    feed = store.changes(mirror.position).unwrap();
                }
                2 => {
                    store.clear_set(&store.find_set("b").unwrap()).unwrap();
                    live.retain(|id| store.get(*id).is_ok());
                }
                3 => {
                    // As large as several segments.
                    let set = store.find_set("a").unwrap();
                    let values: Vec<Vec<u8>> = (0..300).map(|_| rng.bytes(1_000)).collect();
                    live.extend(store.write(|tx| tx.insert_many(&set, &values)).unwrap());
                }
                4..=9 => {
                    store.sync().unwrap();
                    mirror.follow(&mut feed).unwrap();
                    assert_eq!(mirror.records, records_of(&store, &store.view()), "seed {seed}, step {number}");
                    store.consumer("mirror").unwrap().acknowledge(mirror.position).unwrap();
                }
                _ => {}
            }
        }
        store.sync().unwrap();
        mirror.follow(&mut feed).unwrap();
        assert_eq!(mirror.records, records_of(&store, &store.view()), "seed {seed}");
    }
}

#[test]
fn large_commits_beside_small_ones_come_in_the_order_in_which_they_count() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path().join("store")).unwrap();
    store.add_consumer("all", Seq::ZERO).unwrap();
    let set = store.record_set("a").unwrap();
    let is_over = AtomicBool::new(false);
    let mut mirror = Mirror::default();
    let mut seen = Vec::new();
    let committed = std::thread::scope(|scope| {
        let _ends = Ends(&is_over);
        let writers: Vec<_> = (0..4)
            .map(|thread| {
                let (store, set) = (&store, &set);
                scope.spawn(move || {
                    let mut seqs = Vec::new();
                    for number in 0..if thread == 0 { 12 } else { 300 } {
                        let values = if thread == 0 { vec![vec![7; 1_000]; 200] } else { vec![vec![8; number % 50]] };
                        let mut tx = store.begin().unwrap();
                        tx.insert_many(set, &values).unwrap();
                        seqs.push(tx.commit().unwrap());
                    }
                    seqs
                })
            })
            .collect();
        let (reader, over) = (store.clone(), &is_over);
        let feed = scope.spawn(move || {
            let mut feed = reader.changes(Seq::ZERO).unwrap();
            let (mut mirror, mut seen) = (Mirror::default(), Vec::new());
            loop {
                let was_over = over.load(Ordering::Acquire);
                reader.sync().unwrap();
                while let Some(commit) = feed.try_next().unwrap() {
                    seen.push(commit.seq());
                    mirror.apply(&commit);
                }
                if was_over {
                    return (mirror, seen);
                }
            }
        });
        let committed: Vec<Seq> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        is_over.store(true, Ordering::Release);
        (mirror, seen) = feed.join().unwrap();
        committed
    });
    assert!(seen.is_sorted());
    let mut committed = committed;
    committed.sort_unstable();
    committed.insert(0, seen[0]);
    assert_eq!(seen, committed, "each once, the creation of the set first");
    assert!(committed.last().unwrap().0 > 2 * committed.len() as u64, "none was written ahead");
    assert_eq!(mirror.records, records_of(&store, &store.view()));
    // From each commit on, the same ones follow.
    for index in (0..seen.len()).step_by(7) {
        let rest: Vec<Seq> = store.changes(seen[index]).unwrap().map(|commit| commit.unwrap().seq()).collect();
        assert_eq!(rest, seen[index + 1..], "after {}", seen[index]);
    }
    let after_gap = seen.windows(2).find(|pair| pair[1].0 > pair[0].0 + 10).unwrap();
    let between = Seq(after_gap[0].0 + 5);
    assert_eq!(store.changes(between).unwrap().next().unwrap().unwrap().seq(), after_gap[1]);
}

#[test]
fn moves_of_the_collector_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().background(false).open(dir.path().join("store")).unwrap();
    let set = store.record_set("a").unwrap();
    store.add_consumer("all", Seq::ZERO).unwrap();
    let ids = store.write(|tx| tx.insert_many(&set, &vec![vec![1; 500]; 1_000])).unwrap();
    for id in ids.iter().step_by(2) {
        store.write(|tx| tx.delete(*id)).unwrap();
    }
    store.sync().unwrap();
    let before = store.changes(Seq::ZERO).unwrap().count();
    assert!(store.collect(None).unwrap().records > 0);
    store.sync().unwrap();
    assert!(store.last_seq() > store.changes(Seq::ZERO).unwrap().last().unwrap().unwrap().seq(), "moves are commits");
    assert_eq!(store.changes(Seq::ZERO).unwrap().count(), before);
}
