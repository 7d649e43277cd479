//! What befalls the store, but for commits of others, while a large commit is applied ahead of its turn or published.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{DELETES, INSERTS, Model, Numbers, Opened, UPDATES, open};
use crate::backing::{Backing, Memory};
use crate::engine::MEANWHILE;
use crate::error::{Contended, Corruption, Error, Result};
use crate::extract::Extractor;
use crate::format::entry::State as EntryState;
use crate::id::{RecordId, Seq};
use crate::store::Store;
use crate::txn::Transaction;

/// A store with records, and a large transaction that changes some of them.
struct Case {
    memory: Arc<dyn Backing>,
    opened: Opened,
    before: Model,
    /// With the changes of the transaction.
    after: Model,
    tx: Transaction,
}

fn fill(opened: &Opened, numbers: &mut Numbers, unique: &mut u64) -> Model {
    let records: Vec<Vec<u8>> = (0..INSERTS).map(|_| numbers.record(unique)).collect();
    let ids = opened.store.write(|tx| tx.insert_many(&opened.set, &records)).unwrap();
    ids.into_iter().zip(records).collect()
}

/// `prepare` changes the store and the records before the transaction begins.
fn case_of(inserts: usize, seed: u64, prepare: impl FnOnce(&Opened, &mut Model)) -> Case {
    let memory: Arc<dyn Backing> = Arc::new(Memory::new());
    let opened = open(&memory);
    let (mut numbers, mut unique) = (Numbers(seed), 0);
    let mut before = fill(&opened, &mut numbers, &mut unique);
    prepare(&opened, &mut before);
    let (mut tx, mut after) = (opened.store.begin().unwrap(), before.clone());
    let records: Vec<Vec<u8>> = (0..inserts).map(|_| numbers.record(&mut unique)).collect();
    after.extend(tx.insert_many(&opened.set, &records).unwrap().into_iter().zip(records));
    let old = numbers.some(&before, UPDATES + DELETES);
    let (updated, deleted) = old.split_at(old.len() - DELETES.min(old.len()));
    for id in updated {
        let record = numbers.record(&mut unique);
        tx.update(*id, &record).unwrap();
        after.insert(*id, record);
    }
    for id in deleted {
        tx.delete(*id).unwrap();
        after.remove(id);
    }
    Case { memory, opened, before, after, tx }
}

fn case_with(seed: u64, prepare: impl FnOnce(&Opened, &mut Model)) -> Case {
    case_of(INSERTS, seed, prepare)
}

fn case(seed: u64) -> Case {
    case_with(seed, |_, _| ())
}

/// Commits, and runs `work` once the commit was applied ahead. Returns whether it was.
fn commit(tx: Transaction, mut work: impl FnMut() + 'static) -> (Result<Seq>, bool) {
    let ran = Rc::new(Cell::new(false));
    let told = Rc::clone(&ran);
    MEANWHILE.set(Some(Box::new(move || {
        told.set(true);
        work();
    })));
    let result = tx.commit();
    MEANWHILE.set(None);
    (result, ran.get())
}

/// As a killed process leaves it.
fn reopened(memory: &Arc<dyn Backing>, opened: Opened) -> Opened {
    drop(opened);
    open(memory)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn places(store: &Store, ids: impl Iterator<Item = RecordId>) -> Vec<u32> {
    let state = store.engine().heap.pin();
    let place = |id: RecordId| match state.root.entry(id.slot()).unwrap().state() {
        EntryState::Live(location) => location.place,
        _ => u32::MAX,
    };
    ids.map(place).collect()
}

#[test]
fn records_that_the_collector_moves_meanwhile_are_where_it_put_them_or_where_the_commit_did() {
    let Case { memory, opened, before, after, tx } = case_with(3, |opened, model| {
        // Three quarters of each segment are dead.
        for (_, (id, value)) in model.iter_mut().enumerate().filter(|(number, _)| number % 4 > 0) {
            value.extend_from_slice(&[9; 60]);
            opened.store.write(|tx| tx.update(*id, &*value)).unwrap();
        }
        opened.store.save_snapshot().unwrap();
        opened.store.save_snapshot().unwrap();
    });
    let (store, ids) = (opened.store.clone(), before.keys().copied().collect::<Vec<_>>());
    let moved = Rc::new(Cell::new(0));
    let told = Rc::clone(&moved);
    let (result, is_ahead) = commit(tx, move || {
        let was = places(&store, ids.iter().copied());
        store.collector().move_all(store.engine()).unwrap();
        let now = places(&store, ids.iter().copied());
        told.set(now.iter().zip(&was).filter(|(now, was)| now != was).count());
    });
    result.unwrap();
    assert!(is_ahead && moved.get() > 500, "{} were moved", moved.get());
    opened.compare(&after);
    opened.store.collect(None).unwrap();
    opened.compare(&after);
    let opened = reopened(&memory, opened);
    opened.compare(&after);
    opened.store.close().unwrap();
}

#[test]
fn views_and_ranges_of_others_that_begin_meanwhile_see_nothing_of_it_and_conflict_with_it() {
    let Case { opened, before, after, tx, .. } = case(4);
    let taken = Rc::new(Cell::new(None));
    let (others, give) = (opened.clone(), Rc::clone(&taken));
    let (result, is_ahead) = commit(tx, move || {
        let mut other = others.store.begin().unwrap();
        assert!(other.range(&others.by_key, &[0; 8][..]..&[0xff; 8][..]).unwrap().count() > 0);
        let mut scanning = others.store.begin().unwrap();
        let len = scanning.len(&others.set).unwrap();
        give.set(Some((others.store.view(), other, scanning, len)));
    });
    result.unwrap();
    let (view, mut other, mut scanning, len) = taken.take().unwrap();
    assert!(is_ahead);
    opened.compare(&after);
    assert_eq!((view.len(&opened.set), len), (before.len() as u64, before.len() as u64));
    for (id, value) in &before {
        assert_eq!(&*view.get(*id).unwrap().bytes().unwrap(), value.as_slice(), "{id} in a view from before");
    }
    assert_eq!(opened.by_number.range::<&[u8]>(&view, ..).unwrap().count(), before.len());
    other.insert(&opened.set, [1; 16]).unwrap();
    assert!(matches!(other.commit(), Err(Error::Conflict(_))), "a range that the commit has changed");
    scanning.insert(&opened.set, [2; 16]).unwrap();
    assert!(matches!(scanning.commit(), Err(Error::Conflict(_))), "a length that the commit has changed");
    opened.compare(&after);
}

#[test]
fn an_index_that_is_found_damaged_meanwhile_is_rebuilt_from_what_the_log_has() {
    let Case { memory, opened, after, tx, .. } = case(5);
    let others = opened.clone();
    let (result, is_ahead) = commit(tx, move || {
        let heap = &others.store.engine().heap;
        let number = heap.catalogue().index_named(others.set.number(), "key").unwrap().definition.number;
        let text = |text: &str| text.to_owned();
        let damage =
            Corruption { file: text("file"), offset: 0, what: text("node"), expected: text("a"), got: text("b") };
        heap.with_indexes(|indexes| indexes.damage(number, damage));
    });
    result.unwrap();
    assert!(is_ahead && opened.by_key.len(&opened.store.view()).is_err());
    assert_eq!(opened.by_number.len(&opened.store.view()).unwrap(), after.len() as u64);
    let by_key = opened.store.rebuild_index(&opened.by_key).unwrap();
    let opened = Opened { by_key, ..opened };
    opened.compare(&after);
    let opened = reopened(&memory, opened);
    opened.compare(&after);
}

fn conflicts_with(seed: u64, change: impl Fn(&Opened) -> std::thread::JoinHandle<Result<()>> + 'static) {
    let Case { memory, opened, before, tx, .. } = case(seed);
    let (others, thread) = (opened.clone(), Rc::new(Cell::new(None)));
    let give = Rc::clone(&thread);
    let (result, is_ahead) = commit(tx, move || give.set(Some(change(&others))));
    assert!(is_ahead);
    match result {
        Err(Error::Conflict(conflict)) => assert!(matches!(conflict.on, Contended::Indexes { .. }), "{conflict:?}"),
        other => panic!("{other:?}"),
    }
    thread.take().unwrap().join().unwrap().unwrap();
    let by_key = opened.store.find_index(&opened.set, "key").unwrap_or_else(|| {
        let key = Extractor::new("key", 1, |record: &[u8], keys| keys.push(&record[..8]));
        opened.store.index(&opened.set, "key", key).unwrap()
    });
    let opened = Opened { by_key, ..opened };
    opened.compare(&before);
    reopened(&memory, opened).compare(&before);
}

#[test]
fn an_index_that_is_dropped_meanwhile_is_a_conflict() {
    conflicts_with(6, |opened| {
        let dropped = opened.store.drop_index(&opened.by_key);
        std::thread::spawn(|| dropped)
    });
}

#[test]
fn an_index_that_is_rebuilt_meanwhile_is_a_conflict() {
    conflicts_with(7, |opened| {
        let rebuilt = opened.clone();
        // In a thread of its own: before the new index replaces the old one it saves a snapshot, which waits for the commit.
        let thread = std::thread::spawn(move || rebuilt.store.rebuild_index(&rebuilt.by_key).map(drop));
        wait_until("no index is built", || opened.store.engine().heap.catalogue().successors().next().is_some());
        thread
    });
}

#[test]
fn a_save_that_takes_long_leaves_the_commit_to_its_turn_and_a_short_one_does_not() {
    for (seed, is_short) in [(8, false), (9, true)] {
        // Views would wait for so many.
        let Case { memory, opened, after, tx, .. } = case_of(1 << 15, seed, |_, _| ());
        let store = opened.store.clone();
        let (locked, is_locked) = std::sync::mpsc::channel();
        let (committed, is_committed) = std::sync::mpsc::channel::<()>();
        let save = std::thread::spawn(move || {
            let save = store.engine().page_writer.lock();
            locked.send(()).unwrap();
            if is_short {
                std::thread::sleep(Duration::from_millis(5));
            } else {
                // Until the commit has been made.
                is_committed.recv().unwrap();
            }
            drop(save);
        });
        is_locked.recv().unwrap();
        let store = opened.store.clone();
        let (result, is_ahead) =
            commit(tx, move || assert!(store.engine().page_writer.try_lock().is_none(), "a save could begin"));
        result.unwrap();
        assert_eq!(is_ahead, is_short);
        if !is_short {
            committed.send(()).unwrap();
        }
        save.join().unwrap();
        opened.compare(&after);
        reopened(&memory, opened).compare(&after);
    }
}

#[test]
fn a_store_that_is_closed_meanwhile_has_the_commit_durable() {
    let Case { memory, opened, before, .. } = case(10);
    opened.store.close().unwrap();
    let opened = open(&memory);
    let mut tx = opened.store.begin().unwrap();
    let changed: Model = before.keys().take(2_500).map(|id| (*id, vec![7; 60])).collect();
    for (number, (id, record)) in changed.iter().enumerate() {
        let mut record = record.clone();
        record[8..16].copy_from_slice(&(number as u64).to_be_bytes());
        tx.update(*id, record).unwrap();
    }
    let closing = Rc::new(Cell::new(None));
    let (give, store) = (Rc::clone(&closing), opened.store.clone());
    let (result, is_ahead) = commit(tx, move || {
        let closed = store.clone();
        give.set(Some(std::thread::spawn(move || closed.close())));
        wait_until("it is not being closed", || store.inner.closed.load(std::sync::atomic::Ordering::Acquire));
        // Until it waits for the commit.
        std::thread::sleep(Duration::from_millis(50));
    });
    let seq = result.unwrap();
    closing.take().unwrap().join().unwrap().unwrap();
    assert!(is_ahead);
    assert!(opened.store.engine().log.durable_seq() >= seq, "closing leaves nothing that is not durable");
}

#[cfg(feature = "planted")]
#[test]
fn a_publication_that_fails_half_way_shows_nothing_and_the_next_opening_has_all() {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use crate::planted::{Fault, plant};

    for (seed, fault) in [(11, Fault::PublicationFails), (12, Fault::PublicationPanics)] {
        let Case { memory, opened, before, after, tx } = case(seed);
        plant(Some(fault));
        let result = catch_unwind(AssertUnwindSafe(|| commit(tx, || ())));
        plant(None);
        MEANWHILE.set(None);
        match (fault, result) {
            (Fault::PublicationFails, Ok((Err(Error::Indeterminate { .. }), true))) | (_, Err(_)) => {}
            (fault, other) => panic!("{fault:?}: {other:?}"),
        }
        let view = opened.store.view();
        assert_eq!(view.len(&opened.set), before.len() as u64);
        for (id, value) in &before {
            assert_eq!(&*view.get(*id).unwrap().bytes().unwrap(), value.as_slice(), "{id} in a view");
            assert_eq!(&*opened.store.get(*id).unwrap().bytes().unwrap(), value.as_slice(), "{id}");
        }
        for id in after.keys().filter(|id| !before.contains_key(id)) {
            assert!(view.get(*id).is_err() && opened.store.get(*id).is_err(), "{id} was not committed");
        }
        assert!(opened.by_key.len(&view).is_err(), "an index that is known in part");
        let refused = opened.store.write(|tx| tx.insert(&opened.set, [0; 16]));
        assert!(matches!(refused, Err(Error::Poisoned { .. })), "{refused:?}");
        drop(view);
        let opened = reopened(&memory, opened);
        opened.compare(&after);
        opened.store.close().unwrap();
    }
}
