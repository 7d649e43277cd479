//! Several writers of one bucket: who takes over, and what an old one may still do.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tenure::backing::{Backing, Memory};
use tenure::remote::Bucket;
use tenure::{Durability, Error, RecordId, Store};

use crate::flaky::Flaky;
use crate::{bucket, contents, open, quick, rounds};

type Acknowledged = Mutex<BTreeMap<RecordId, Vec<u8>>>;

/// Commits until the writer is fenced. Only what was acknowledged counts. IDs of writers that did not see each other's commits may be
/// the same, if those commits were never acknowledged.
fn write_until_fenced(store: &Store, name: &str, acknowledged: &Acknowledged, stop: &AtomicBool) -> Option<Error> {
    let notes = match store.record_set("notes") {
        Ok(notes) => notes,
        Err(error) => return Some(error),
    };
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        let value = format!("{name} {number}").into_bytes();
        match store.write_with(Durability::Remote, |tx| tx.insert(&notes, &*value)) {
            Ok((id, _)) => {
                let before = acknowledged.lock().unwrap().insert(id, value);
                assert_eq!(before, None, "{name}: {id} was acknowledged to two writers");
            }
            Err(error) => return Some(error),
        }
    }
    None
}

/// What a writer says after another one took over, according to the step in which it finds out.
pub fn is_fenced(error: &Error) -> bool {
    matches!(error, Error::Fenced { .. })
        || matches!(error, Error::Poisoned { reason } | Error::Indeterminate { reason, .. } if reason.contains("taken over"))
        || matches!(error, Error::Io { source, .. } if source.to_string().contains("taken over"))
}

fn take_over(bucket: &Bucket) -> Result<Store, Error> {
    open(&Memory::new(), bucket, quick().take_over(true).close_wait(Duration::ZERO).base_every(7))
}

/// A writer, and two that take over from it and from each other, for a while.
pub fn compete(bucket: &Bucket, seed: u64, time: Duration, set_faulty: &dyn Fn(bool)) {
    set_faulty(true);
    let (acknowledged, stop) = (Acknowledged::default(), AtomicBool::new(false));
    let first = loop {
        if let Ok(store) = take_over(bucket) {
            break store;
        }
    };
    let refused = thread::scope(|scope| {
        let (acknowledged, stop, first) = (&acknowledged, &stop, &first);
        let old = scope.spawn(move || write_until_fenced(first, "first", acknowledged, stop));
        let takers: Vec<_> = ["second", "third"]
            .into_iter()
            .map(|name| {
                scope.spawn(move || match take_over(bucket) {
                    Ok(store) => write_until_fenced(&store, name, acknowledged, stop),
                    Err(error) => Some(error),
                })
            })
            .collect();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let old = old.join().unwrap();
        let takers = takers.into_iter().map(|taker| taker.join().unwrap());
        [vec![old], takers.collect()].concat_errors()
    });
    for error in &refused {
        let gave_up = matches!(error, Error::Locked { .. } | Error::Io { .. });
        assert!(is_fenced(error) || gave_up, "seed {seed}: {error}");
    }
    set_faulty(false);
    let last = take_over(bucket).expect("takes over");
    let found = contents(&last);
    for (id, value) in acknowledged.lock().unwrap().iter() {
        assert_eq!(found.get(id), Some(value), "seed {seed}: acknowledged as {id}");
    }
    let notes = first.record_set("notes");
    let late = notes.and_then(|notes| first.write_with(Durability::Remote, |tx| tx.insert(&notes, "late")));
    assert!(late.as_ref().is_err_and(is_fenced), "seed {seed}: {late:?}");
}

#[test]
fn of_several_writers_one_goes_on_and_no_acknowledged_commit_is_lost() {
    for seed in 1..=rounds("TENURE_REMOTE_ZOMBIES", 25) {
        let objects = Flaky::new(seed);
        let set_faulty = |faulty: bool| objects.fail_one_in(if faulty && seed.is_multiple_of(3) { 4 } else { 0 });
        compete(&bucket(&objects.store()), seed, Duration::from_millis(8), &set_faulty);
    }
}

trait ConcatErrors {
    fn concat_errors(self) -> Vec<Error>;
}

impl ConcatErrors for [Vec<Option<Error>>; 2] {
    fn concat_errors(self) -> Vec<Error> {
        self.into_iter().flatten().flatten().collect()
    }
}

#[test]
fn a_writer_that_was_taken_over_says_so_and_stops() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let old = open(&Memory::new(), &bucket, quick()).unwrap();
    let notes = old.record_set("notes").unwrap();
    let (kept, _) = old.write_with(Durability::Remote, |tx| tx.insert(&notes, "kept")).unwrap();
    let new = take_over(&bucket).unwrap();
    assert_eq!(new.get(kept).unwrap().as_slice(), Some(&b"kept"[..]));
    let fenced = old.write_with(Durability::Remote, |tx| tx.insert(&notes, "lost")).unwrap_err();
    assert!(matches!(fenced, Error::Fenced { .. }) && fenced.advice().contains("local directory"), "{fenced}");
    let stopped = old.write(|tx| tx.insert(&notes, "no more")).unwrap_err();
    assert!(is_fenced(&stopped), "{stopped}");
    assert_eq!(old.get(kept).unwrap().as_slice(), Some(&b"kept"[..]), "reads go on");
    drop(old);
    new.write_with(Durability::Remote, |tx| tx.update(kept, "changed")).unwrap();
    assert_eq!(bucket.status().unwrap().unwrap().newest.epoch, 2);
}

#[test]
fn a_taker_that_dies_between_seal_and_epoch_leaves_the_bucket_usable() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let local = Memory::new();
    let old = open(&local, &bucket, quick()).unwrap();
    let notes = old.record_set("notes").unwrap();
    let (kept, _) = old.write_with(Durability::Remote, |tx| tx.insert(&notes, "kept")).unwrap();
    // The taker's seal comes, its epoch does not.
    objects.lose_epochs(true);
    assert!(take_over(&bucket).is_err());
    objects.lose_epochs(false);
    let fenced = old.write_with(Durability::Remote, |tx| tx.insert(&notes, "lost")).unwrap_err();
    assert!(matches!(fenced, Error::Fenced { .. }), "{fenced}");
    drop(old);
    let store = open(&local, &bucket, quick()).unwrap();
    assert_eq!(store.get(kept).unwrap().as_slice(), Some(&b"kept"[..]));
    drop(store);
    assert_eq!(bucket.status().unwrap().unwrap().newest.epoch, 2);
}

#[test]
fn an_epoch_that_was_begun_too_late_by_a_process_that_died_is_the_directorys() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let local = Memory::new();
    let store = open(&local, &bucket, quick()).unwrap();
    let notes = store.record_set("notes").unwrap();
    let (kept, _) = store.write_with(Durability::Remote, |tx| tx.insert(&notes, "kept")).unwrap();
    drop(store);
    objects.lose_epochs(true);
    // The second one dies as well.
    for _ in 0..2 {
        assert!(open(&local, &bucket, quick()).is_err());
    }
    objects.lose_epochs(false);
    objects.deliver_lost_epochs_late();
    let other = open(&local, &bucket, quick()).unwrap_err();
    assert!(matches!(other, Error::Locked { .. }), "{other}");
    let store = open(&local, &bucket, quick()).expect("it is its own");
    assert_eq!(store.get(kept).unwrap().as_slice(), Some(&b"kept"[..]));
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "more")).unwrap();
    drop(store);
    let marks = local.list().unwrap().into_iter().filter(|name| name.starts_with("remote-")).count();
    assert_eq!(marks, 1, "the others are of no use any more");
    // One that belongs to another directory stays fenced.
    let elsewhere = Memory::new();
    drop(open(&elsewhere, &bucket, quick()).unwrap());
    assert!(matches!(open(&local, &bucket, quick()), Err(Error::Fenced { .. })));
}
