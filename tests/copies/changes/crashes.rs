//! Power cuts and kills: what a feed has shown stays, and it goes on after it.
//!
//! `TENURE_CHANGES_CRASHES` is the number of runs.

use std::sync::Arc;

use tenure::backing::FaultBacking;
use tenure::{Durability, Options, RecordId, Seq};

use crate::changes::mirror::{Mirror, records_of};
use crate::common::Rng;

fn rounds() -> u64 {
    std::env::var("TENURE_CHANGES_CRASHES").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(25)
}

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).snapshot_log_bytes(128 << 10).background(false)
}

#[test]
fn a_copy_goes_on_after_power_cuts_as_if_there_had_been_none() {
    for seed in 0..rounds() {
        let mut rng = Rng::new(seed);
        let mut backing = FaultBacking::with_seed(seed);
        let mut mirror = Mirror::default();
        let mut has_consumer = false;
        for life in 0..5 {
            let store = options().open_backing(Arc::new(backing.clone())).expect("opens");
            let sees = format!("seed {seed}, life {life}");
            if !has_consumer {
                store.add_consumer("mirror", Seq::ZERO).unwrap();
                has_consumer = true;
            }
            let set = store.record_set("a").unwrap();
            let mut live: Vec<RecordId> = store.view().scan(&set).map(|record| record.unwrap().id()).collect();
            let mut feed = store.changes(mirror.position).unwrap();
            mirror.follow(&mut feed).unwrap();
            if mirror.position == store.last_seq() {
                assert_eq!(mirror.records, records_of(&store, &store.view()), "{sees}");
            }
            for _ in 0..rng.below(60) {
                let durability = if rng.one_in(6) { Durability::Sync } else { Durability::Buffered };
                let mut tx = store.begin().unwrap();
                for _ in 0..rng.below(5) {
                    match rng.below(3) {
                        0 if !live.is_empty() => tx.delete(live.swap_remove(rng.below(live.len()))).unwrap(),
                        1 if !live.is_empty() => tx.update(live[rng.below(live.len())], rng.bytes(200)).unwrap(),
                        _ => live.push(tx.insert(&set, rng.bytes(800)).unwrap()),
                    }
                }
                if rng.one_in(25) {
                    live.extend(tx.insert_many(&set, &vec![vec![3; 900]; 120]).unwrap());
                }
                tx.commit_with(durability).unwrap();
                match rng.below(20) {
                    0 => drop(store.collect(None).unwrap()),
                    1 => store.consumer("mirror").unwrap().acknowledge(mirror.position).unwrap(),
                    2..=4 => mirror.follow(&mut feed).unwrap(),
                    5 => drop(store.save_snapshot().unwrap()),
                    _ => {}
                }
            }
            backing = match rng.below(4) {
                0 => backing.kill_image(),
                1 => backing.crash_image_lose_all(),
                _ => backing.crash_image(rng.number()),
            };
        }
        let store = options().open_backing(Arc::new(backing.clone())).expect("opens");
        store.sync().unwrap();
        mirror.follow(&mut store.changes(mirror.position).unwrap()).unwrap();
        assert_eq!(mirror.records, records_of(&store, &store.view()), "seed {seed}");
        assert_eq!(mirror.position, store.last_seq());
    }
}
