//! Closures that run again, and closures that return an error.

use std::cell::Cell;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tenure::extract::Extractor;
use tenure::{Contended, Durability, Error, Store};

/// A program's own error type.
#[derive(Debug)]
enum Refusal {
    NotEnough,
    Store(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

#[test]
fn a_streamed_value_is_whole_after_a_conflict() {
    const LEN: u64 = 3 << 20;
    let store = Store::in_memory().unwrap();
    let set = store.record_set("files").unwrap();
    let other = store.write(|tx| tx.insert(&set, "0")).unwrap();
    let value = store.stage(std::io::repeat(7).take(LEN)).unwrap();
    let runs = Cell::new(0);
    let id = store
        .write(|tx| -> Result<_, Error> {
            runs.set(runs.get() + 1);
            tx.get(other)?;
            if runs.get() == 1 {
                store.write(|tx| tx.update(other, "1"))?;
            }
            tx.insert_staged(&set, &value)
        })
        .unwrap();
    assert_eq!((runs.get(), store.get(id).unwrap().len()), (2, LEN));
    assert!(store.get(id).unwrap().to_vec().unwrap().iter().all(|byte| *byte == 7));
    let chunks = store.stats().chunks.records;

    let updated = store.write(|tx| tx.update_staged(other, &value));
    assert!(matches!(updated, Err(Error::StagedValue { .. })), "it is a record already: {updated:?}");
    drop(value);
    assert_eq!((store.stats().chunks.records, store.get(id).unwrap().len()), (chunks, LEN));
}

#[test]
fn a_staged_value_goes_from_one_transaction_to_the_next_and_leaves_nothing() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("files").unwrap();
    let small = store.write(|tx| tx.insert(&set, "old")).unwrap();
    let value = store.stage(&vec![3; 200_000][..]).unwrap();
    let mut aborted = store.begin().unwrap();
    aborted.insert_staged(&set, &value).unwrap();
    let mut beside = store.begin().unwrap();
    assert!(matches!(beside.update_staged(small, &value), Err(Error::StagedValue { .. })));
    drop(aborted);
    let savepoint = beside.savepoint();
    beside.update_staged(small, &value).unwrap();
    beside.roll_back_to(savepoint).unwrap();
    beside.update_staged(small, &value).unwrap();
    assert_eq!(beside.get(small).unwrap().len(), 200_000);
    drop(beside);
    assert_eq!(store.get(small).unwrap().as_slice(), Some(&b"old"[..]));

    let elsewhere = Store::in_memory().unwrap();
    let set = elsewhere.record_set("files").unwrap();
    assert!(matches!(elsewhere.write(|tx| tx.insert_staged(&set, &value)), Err(Error::StagedValue { .. })));
    assert!(store.stats().chunks.records > 0);
    drop(value);
    assert_eq!(store.stats().chunks.records, 0);
}

#[test]
fn a_refusal_of_the_programs_own_aborts() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("accounts").unwrap();
    let id = store.write(|tx| tx.insert(&set, [3])).unwrap();
    let refused = store.write(|tx| {
        tx.update(id, [0])?;
        tx.insert(&set, "trace")?;
        if tx.get(id)?.len() == 1 { Err(Refusal::NotEnough) } else { Ok(()) }
    });
    assert!(matches!(refused, Err(Refusal::NotEnough)), "{refused:?}");
    assert_eq!(store.get(id).unwrap().as_slice(), Some(&[3][..]));
    assert_eq!(store.view().len(&set), 1);

    let missing = "77.1".parse().unwrap();
    let failed = store.write(|tx| tx.update(missing, "x").map_err(Refusal::from));
    assert!(matches!(failed, Err(Refusal::Store(Error::NeverAllocated { .. }))), "{failed:?}");
}

#[test]
fn a_write_gives_its_commit_and_takes_a_durability() {
    let dir = tempfile::tempdir().unwrap();
    let store = tenure::Options::new().background(false).open(dir.path().join("s")).unwrap();
    let set = store.record_set("a").unwrap();
    let (id, buffered) = store.write_with(Durability::Buffered, |tx| tx.insert(&set, "1")).unwrap();
    assert_eq!(store.get(id).unwrap().seq(), buffered);
    assert!(store.durable_seq() < buffered);
    let ((), synced) = store.write_with(Durability::Sync, |tx| tx.update(id, "2")).unwrap();
    assert_eq!((store.get(id).unwrap().seq(), store.durable_seq()), (synced, synced));
}

#[test]
fn giving_up_names_the_record_and_both_commits_and_advises_something_else() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let id = store.write(|tx| tx.insert(&set, "0")).unwrap();
    let runs = Cell::new(0_u32);
    let gave_up = store.write(|tx| -> Result<(), Error> {
        runs.set(runs.get() + 1);
        tx.get(id)?;
        // A transaction of `begin` does not wait for the turn of others.
        let mut other = store.begin()?;
        other.update(id, "1")?;
        other.commit()?;
        tx.update(id, "2")
    });
    let error = gave_up.unwrap_err();
    let Error::TooManyConflicts { attempts, last } = &error else { panic!("{error}") };
    assert_eq!((*attempts, runs.get(), &last.on), (64, 64, &Contended::Record(id)));
    assert_eq!((last.read_at.next(), last.with), (last.with, store.last_seq()));
    assert!(!error.is_conflict() && !error.advice().contains("again"), "{}", error.advice());
    let told = error.to_string();
    assert!(told.contains(&id.to_string()) && told.contains(&last.with.to_string()), "{told}");
}

#[test]
fn a_panic_with_a_staged_value_leaves_the_value_to_the_next_statement() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("files").unwrap();
    let panics = Arc::new(AtomicBool::new(true));
    let will = Arc::clone(&panics);
    let extractor = Extractor::new("none", 1, move |_, _| assert!(!will.load(Ordering::Relaxed)));
    store.index(&set, "none", extractor).unwrap();
    for is_known in [false, true] {
        panics.store(true, Ordering::Relaxed);
        let value = store.stage(&vec![3; 200_000][..]).unwrap();
        let mut tx = store.begin().unwrap();
        let inserted = catch_unwind(AssertUnwindSafe(|| {
            if is_known { tx.insert(&set, vec![3; 200_000]) } else { tx.insert_staged(&set, &value) }
        }));
        assert!(inserted.is_err());
        panics.store(false, Ordering::Relaxed);
        let small = tx.insert(&set, "small").unwrap();
        tx.commit().unwrap();
        assert_eq!(store.get(small).unwrap().as_slice(), Some(&b"small"[..]));
        let id = store.write(|tx| tx.insert_staged(&set, &value)).unwrap();
        store.write(|tx| tx.delete(id)).unwrap();
        drop(value);
        assert_eq!(store.stats().chunks.records, 0, "{is_known}");
    }
}
