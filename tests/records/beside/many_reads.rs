//! A transaction that has read many records: most are compared before the commit lock is taken, and what others commit
//! meanwhile under it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tenure::{Durability, Error, Options, RecordId, Seq, Store};

const RECORDS: usize = 600;

/// Each commit of a writer replaces one of the records that the reader reads. If the reader's commit was validated against all of
/// them, none is between the newest version that it read and its commit.
#[test]
fn no_commit_of_another_is_missed_between_the_reads_and_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::Buffered).open(dir.path().join("store")).unwrap();
    let set = store.record_set("a").unwrap();
    let ids = store.write(|tx| tx.insert_many(&set, &vec![[1; 8]; RECORDS])).unwrap();
    let own = store.write(|tx| tx.insert(&set, "own")).unwrap();
    let is_done = AtomicBool::new(false);
    let (mut committed, mut conflicts) = (Vec::new(), 0);
    let others = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut seqs = Vec::new();
            for at in (0..).step_by(7) {
                if is_done.load(Ordering::Relaxed) {
                    break;
                }
                seqs.push(replace(&store, ids[at % RECORDS]));
                // About as long as the reader takes.
                std::thread::sleep(Duration::from_micros(at as u64 % 300));
            }
            seqs
        });
        let begin = Instant::now();
        while (committed.len() < 200 || conflicts < 20) && begin.elapsed() < Duration::from_mins(1) {
            let mut tx = store.begin().unwrap();
            let newest = ids.iter().map(|id| tx.get(*id).unwrap().seq()).max().unwrap();
            tx.update(own, "sum").unwrap();
            match tx.commit() {
                Ok(seq) => committed.push((newest, seq)),
                Err(Error::Conflict { .. }) => conflicts += 1,
                Err(error) => panic!("{error}"),
            }
        }
        is_done.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    assert!(committed.len() >= 200 && conflicts >= 20, "{} commits, {conflicts} conflicts", committed.len());
    for (newest, seq) in committed {
        let missed = others.iter().find(|other| **other > newest && **other < seq);
        assert_eq!(missed, None, "a commit at {seq} that has read up to {newest}");
    }
}

/// Replaces a record and returns the commit.
fn replace(store: &Store, id: RecordId) -> Seq {
    let mut tx = store.begin().unwrap();
    tx.update(id, [2; 8]).unwrap();
    tx.commit().unwrap()
}

/// Without any timing: the conflict is with a change before the commit, however many were read.
#[test]
fn a_change_of_one_of_many_is_found_and_one_of_another_is_none() {
    for changed in [None, Some(0), Some(RECORDS / 2), Some(RECORDS - 1)] {
        let store = Store::in_memory().unwrap();
        let set = store.record_set("a").unwrap();
        let ids = store.write(|tx| tx.insert_many(&set, &vec![[1; 8]; RECORDS + 1])).unwrap();
        let mut tx = store.begin().unwrap();
        for id in &ids[..RECORDS] {
            tx.get(*id).unwrap();
        }
        store.write(|tx| tx.update(ids[changed.unwrap_or(RECORDS)], [2; 8])).unwrap();
        tx.insert(&set, "x").unwrap();
        let committed = tx.commit_with(Durability::Buffered);
        assert_eq!(matches!(committed, Err(Error::Conflict { .. })), changed.is_some(), "{changed:?}: {committed:?}");
    }
}

#[test]
fn dropping_a_set_conflicts_with_those_who_read_many_of_its_records() {
    let store = Store::in_memory().unwrap();
    let (set, other) = (store.record_set("a").unwrap(), store.record_set("b").unwrap());
    let ids = store.write(|tx| tx.insert_many(&set, &vec![[1; 8]; RECORDS])).unwrap();
    let mut tx = store.begin().unwrap();
    for id in &ids {
        tx.get(*id).unwrap();
    }
    store.drop_set(&set).unwrap();
    tx.insert(&other, "x").unwrap();
    assert!(matches!(tx.commit_with(Durability::Buffered), Err(Error::Conflict { .. })));
}
