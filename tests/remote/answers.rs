//! Puts whose answers are lost, wrong or late, and machines that are lost between them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tenure::backing::Memory;
use tenure::remote::Bucket;
use tenure::{Durability, Error, RecordId, Store};

use crate::common::Rng;
use crate::flaky::Flaky;
use crate::{bucket, contents, open, quick, rounds};

/// Opens with an empty directory, however often the server fails.
fn take_over(bucket: &Bucket) -> Store {
    let how = || quick().take_over(true).close_wait(Duration::ZERO).base_every(5);
    for _ in 0..100 {
        match open(&Memory::new(), bucket, how()) {
            Ok(store) => return store,
            Err(Error::Io { .. } | Error::Locked { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it does not open");
}

#[test]
fn no_acknowledged_commit_is_lost_whatever_becomes_of_the_answers() {
    let wanted = rounds("TENURE_REMOTE_ANSWERS", 400);
    let (mut faults, mut commits, mut seed) = (0, 0, 0);
    while faults < wanted {
        seed += 1;
        let objects = Flaky::new(seed);
        let mut rng = Rng::new(seed);
        objects.fail_one_in(2 + seed % 4);
        let bucket = bucket(&objects.store());
        let mut acknowledged: BTreeMap<RecordId, Vec<u8>> = BTreeMap::new();
        let mut tried: BTreeMap<RecordId, Vec<u8>> = BTreeMap::new();
        for _ in 0..4 {
            let store = take_over(&bucket);
            let found = contents(&store);
            for (id, value) in &acknowledged {
                assert_eq!(found.get(id), Some(value), "seed {seed}: acknowledged as {id}");
            }
            let foreign = found.iter().find(|(id, value)| tried.get(id) != Some(value));
            assert_eq!(foreign, None, "seed {seed}: nobody wrote it");
            acknowledged.clone_from(&found);
            let notes = store.record_set("notes").unwrap();
            let mut now: BTreeMap<RecordId, Vec<u8>> = BTreeMap::new();
            for _ in 0..rng.below(12) {
                let len = rng.below(200);
                let value = rng.bytes(len);
                let remote = rng.one_in(2);
                let durability = if remote { Durability::Remote } else { Durability::Sync };
                let (id, _) = store.write_with(durability, |tx| tx.insert(&notes, &*value)).unwrap();
                tried.insert(id, value.clone());
                now.insert(id, value);
                if remote {
                    // All commits before it are there too.
                    acknowledged.extend(now.iter().map(|(id, value)| (*id, value.clone())));
                    commits += 1;
                }
            }
            // The machine is lost, with what it has not uploaded.
            objects.set_down(true);
            drop(store);
            objects.set_down(false);
        }
        faults += objects.faults.load(Ordering::Relaxed);
    }
    println!("{faults} faults in {seed} runs, {commits} commits acknowledged");
}

#[test]
fn a_bucket_that_is_away_holds_up_only_those_who_wait_for_it() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let wait = Some(Duration::from_millis(20));
    let store = open(&Memory::new(), &bucket, quick().commit_wait(wait)).unwrap();
    let notes = store.record_set("notes").unwrap();
    objects.set_down(true);
    store.write(|tx| tx.insert(&notes, "local")).unwrap();
    let waits = store.write_with(Durability::Remote, |tx| tx.insert(&notes, "remote")).unwrap_err();
    assert!(matches!(&waits, Error::Indeterminate { reason, .. } if reason.contains("503")), "{waits}");
    let remote = store.stats().remote.unwrap();
    assert!(remote.seq < store.last_seq() && remote.lag >= Duration::from_millis(20), "{remote:?}");
    objects.set_down(false);
    store.wait_remote(store.last_seq()).unwrap();
    let remote = store.stats().remote.unwrap();
    assert_eq!((remote.seq, remote.backlog_bytes, remote.error), (store.last_seq(), 0, None));
}
