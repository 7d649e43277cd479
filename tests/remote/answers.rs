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
pub fn take_over(bucket: &Bucket) -> Result<Store, String> {
    let how = || quick().take_over(true).close_wait(Duration::ZERO).base_every(5);
    let mut last = String::new();
    for _ in 0..100 {
        match open(&Memory::new(), bucket, how()) {
            Ok(store) => return Ok(store),
            Err(error @ (Error::Io { .. } | Error::Locked { .. })) => last = error.to_string(),
            Err(error) => return Err(format!("it does not open: {error}")),
        }
    }
    Err(format!("it does not open, however often one tries: {last}"))
}

/// What writers of a bucket have seen and done.
#[derive(Default)]
pub struct Known {
    /// What the bucket must have.
    pub acknowledged: BTreeMap<RecordId, Vec<u8>>,
    /// What it may have.
    tried: BTreeMap<RecordId, Vec<u8>>,
    /// Commits that the bucket acknowledged.
    pub commits: u64,
}

impl Known {
    /// Compares with what a store has, which from now on must stay.
    pub fn check(&mut self, store: &Store) -> Result<(), String> {
        let found = contents(store);
        let lost = self.acknowledged.iter().find(|(id, value)| found.get(id) != Some(value));
        let foreign = found.iter().find(|(id, value)| self.tried.get(id) != Some(value));
        match (lost, foreign) {
            (Some((id, _)), _) => Err(format!("{id} was acknowledged, and is lost")),
            (_, Some((id, _))) => Err(format!("{id} is what nobody wrote")),
            _ => {
                self.acknowledged = found;
                Ok(())
            }
        }
    }

    /// Lets a store live, with some commits, on a machine that is lost with what it has not uploaded.
    pub fn live(&mut self, bucket: &Bucket, rng: &mut Rng, set_down: &dyn Fn(bool)) -> Result<(), String> {
        let store = take_over(bucket)?;
        self.check(&store)?;
        let notes = store.record_set("notes").map_err(|error| error.to_string())?;
        let mut now: BTreeMap<RecordId, Vec<u8>> = BTreeMap::new();
        for _ in 0..rng.below(12) {
            let len = rng.below(200);
            let value = rng.bytes(len);
            let remote = rng.one_in(2);
            let durability = if remote { Durability::Remote } else { Durability::Sync };
            let written = store.write_with(durability, |tx| tx.insert(&notes, &*value));
            let (id, _) = written.map_err(|error| error.to_string())?;
            self.tried.insert(id, value.clone());
            now.insert(id, value);
            if remote {
                // All commits before it are there too.
                self.acknowledged.extend(now.iter().map(|(id, value)| (*id, value.clone())));
                self.commits += 1;
            }
        }
        set_down(true);
        drop(store);
        set_down(false);
        Ok(())
    }
}

/// Lives of a store over a flaky one, until so many requests have failed.
fn live_until(wanted: u64) -> Result<(), String> {
    let (mut faults, mut commits, mut seed) = (0, 0, 0);
    while faults < wanted {
        seed += 1;
        let objects = Flaky::new(seed);
        objects.fail_one_in(2 + seed % 4);
        let bucket = bucket(&objects.store());
        let (mut known, mut rng) = (Known::default(), Rng::new(seed));
        for _ in 0..4 {
            let lived = known.live(&bucket, &mut rng, &|is_down| objects.set_down(is_down));
            lived.map_err(|why| format!("seed {seed}: {why}"))?;
        }
        faults += objects.faults.load(Ordering::Relaxed);
        commits += known.commits;
    }
    println!("{faults} faults in {seed} runs, {commits} commits acknowledged");
    Ok(())
}

#[test]
fn no_acknowledged_commit_is_lost_whatever_becomes_of_the_answers() {
    live_until(rounds("TENURE_REMOTE_ANSWERS", 400)).unwrap();
}

#[cfg(feature = "planted")]
#[test]
fn a_log_object_that_exists_and_is_taken_for_ones_own_is_found() {
    tenure::planted::plant(Some(tenure::planted::Fault::ExistsIsStored));
    let found = live_until(400);
    tenure::planted::plant(None);
    println!("found: {}", found.unwrap_err());
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
    assert!(store.remote_seq().unwrap() < store.durable_seq());
    assert_eq!(Store::in_memory().unwrap().remote_seq(), None);
    objects.set_down(false);
    store.wait_remote(store.last_seq()).unwrap();
    assert_eq!(store.remote_seq(), Some(store.last_seq()));
    let remote = store.stats().remote.unwrap();
    assert_eq!((remote.seq, remote.backlog_bytes, remote.error), (store.last_seq(), 0, None));
}
