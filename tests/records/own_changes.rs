//! A transaction's own changes: reading them back is cheap, rollback to a savepoint restores the earlier state, and a
//! failed step leaves nothing behind.

mod model;

use std::time::{Duration, Instant};

use tenure::extract::Extractor;
use tenure::{Durability, Error, Options, Store};

fn whole() -> Extractor {
    Extractor::new("whole", 1, |record, keys| keys.push(record))
}

#[test]
fn looking_for_a_key_before_each_insert_stays_cheap() {
    const PAIRS: u32 = 40_000;
    let store = Options::new()
        .durability(Durability::Buffered)
        .open_backing(std::sync::Arc::new(tenure::backing::Memory::new()))
        .unwrap();
    let set = store.record_set("a").unwrap();
    let index = store.unique_index(&set, "whole", whole()).unwrap();
    // It takes a tenth of a second; looking at all own changes each time takes many seconds.
    let limit = Duration::from_secs(3);
    for by_range in [false, true] {
        let begin = Instant::now();
        let mut tx = store.begin().unwrap();
        for number in 0..PAIRS {
            let key = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
            let found = if by_range {
                let first = tx.range(&index, &key[..]..).unwrap().next().transpose().unwrap();
                first.filter(|entry| entry.key == tenure::key::Key::new(&key[..]).unwrap()).map(|entry| entry.id)
            } else {
                tx.find(&index, &key[..]).unwrap()
            };
            assert_eq!(found, None);
            let id = tx.insert(&set, key).unwrap();
            if number % 64 == 0 {
                assert_eq!(tx.find(&index, &key[..]).unwrap(), Some(id));
            }
        }
        assert_eq!(tx.range::<&[u8]>(&index, ..).unwrap().count(), PAIRS as usize);
        assert!(begin.elapsed() < limit, "{:?}", begin.elapsed());
        drop(tx);
    }
}

#[test]
fn a_range_that_is_walked_over_is_of_the_moment_in_which_it_was_taken() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let index = store.index(&set, "whole", whole()).unwrap();
    store.write(|tx| tx.insert(&set, "b")).unwrap();
    let mut tx = store.begin().unwrap();
    tx.insert(&set, "a").unwrap();
    let savepoint = tx.savepoint();
    tx.insert(&set, "c").unwrap();
    let mut range = tx.range::<&[u8]>(&index, ..).unwrap();
    assert!(range.next().is_some());
    tx.insert(&set, "d").unwrap();
    tx.roll_back_to(savepoint).unwrap();
    let shown = |range: tenure::TransactionRange| -> Vec<String> {
        range.map(|entry| entry.unwrap().key.to_string()).collect()
    };
    let all = tx.range::<&[u8]>(&index, ..).unwrap();
    assert_eq!((shown(range).len(), shown(all).len()), (2, 2), "b and c, and a and b");
    tx.insert(&set, "e").unwrap();
    assert_eq!(shown(tx.range::<&[u8]>(&index, ..).unwrap()).len(), 3);
    tx.commit_with(Durability::Buffered).unwrap();
    assert_eq!(index.len(&store.view()).unwrap(), 3);
}

#[test]
fn a_savepoint_of_another_transaction_is_refused() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let (mut one, mut other) = (store.begin().unwrap(), store.begin().unwrap());
    let foreign = other.savepoint();
    assert!(matches!(one.roll_back_to(foreign), Err(Error::NoSuchSavepoint)), "before it has one of its own");
    let own = one.savepoint();
    one.insert(&set, "kept").unwrap();
    assert!(matches!(one.roll_back_to(foreign), Err(Error::NoSuchSavepoint)), "both are the first of theirs");
    assert_ne!(own, foreign);
    one.commit_with(Durability::Buffered).unwrap();
    assert_eq!(store.view().len(&set), 1);
}

#[test]
fn records_of_a_range_come_from_its_own_commit() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let index = store.index(&set, "whole", whole()).unwrap();
    let id = store.write(|tx| tx.insert(&set, "x")).unwrap();
    let (view, same) = (store.view(), store.view());
    assert_eq!(index.all(&view).unwrap().records(&same).count(), 1, "two views of one commit");
    store.write(|tx| tx.delete(id)).unwrap();
    let later = store.view();
    for from_the_back in [false, true] {
        let mut records = index.all(&view).unwrap().records(&later);
        let first = if from_the_back { records.next_back() } else { records.next() };
        match first.expect("an error").map(|record| record.id()) {
            Err(error @ Error::OtherView { .. }) => assert!(!error.is_corruption(), "{error}"),
            other => panic!("{other:?}"),
        }
        assert!(records.next().is_none() && records.next_back().is_none(), "after an error it ends");
    }
    let elsewhere = Store::in_memory().unwrap().view();
    let first = index.all(&view).unwrap().records(&elsewhere).next().expect("an error");
    assert!(matches!(first.map(|record| record.id()), Err(Error::OtherStore { .. })));
}

#[test]
fn a_write_that_fails_leaves_nothing_in_the_transaction() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    // Its key is too long for records that begin with it.
    let index = store.index(
        &set,
        "picky",
        Extractor::new("picky", 1, |record, keys| {
            keys.push(if record.starts_with(b"!") { record } else { &record[..1] });
        }),
    );
    let index = index.unwrap();
    let large = vec![b'l'; 300_000];
    let id = store.write(|tx| tx.insert(&set, &large)).unwrap();
    let refused = [vec![b'!'; 5_000], vec![b'!'; 300_000]];
    let mut tx = store.begin().unwrap();
    for bytes in &refused {
        assert!(matches!(tx.update(id, bytes), Err(Error::KeyTooLong { .. })));
        assert!(tx.insert(&set, bytes).is_err());
    }
    // Of its own large value too.
    let own = tx.insert(&set, &large).unwrap();
    assert!(tx.update(own, &refused[0]).is_err());
    tx.commit_with(Durability::Buffered).unwrap();
    for id in [id, own] {
        assert_eq!(store.get(id).unwrap().to_vec().unwrap(), large, "its chunks are there");
    }
    assert_eq!(index.len(&store.view()).unwrap(), 2);
    assert_eq!(store.verify_index(&index).unwrap(), Vec::<String>::new());
}

#[test]
fn a_delete_whose_old_keys_cannot_be_told_leaves_nothing_in_the_transaction() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let fails = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let when = std::sync::Arc::clone(&fails);
    let index = store.index(
        &set,
        "moody",
        Extractor::new("moody", 1, move |record, keys| {
            let end = if when.load(std::sync::atomic::Ordering::Relaxed) { 5_000 } else { 5 };
            keys.push(&record[..end]);
        }),
    );
    let index = index.unwrap();
    let large = vec![b'l'; 300_000];
    let id = store.write(|tx| tx.insert(&set, &large)).unwrap();
    let mut tx = store.begin().unwrap();
    fails.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(matches!(tx.delete(id), Err(Error::KeyTooLong { .. })));
    assert!(matches!(tx.update(id, vec![b'm'; 10_000]), Err(Error::KeyTooLong { .. })));
    fails.store(false, std::sync::atomic::Ordering::Relaxed);
    tx.insert(&set, "other").unwrap();
    tx.commit_with(Durability::Buffered).unwrap();
    assert_eq!(store.get(id).unwrap().to_vec().unwrap(), large);
    assert_eq!((index.len(&store.view()).unwrap(), store.view().len(&set)), (2, 2));
}

#[test]
fn what_earlier_own_changes_leave_behind_costs_the_next_operation_nothing() {
    const ENTRIES: u32 = 20_000;
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let index = store.index(&set, "whole", whole()).unwrap();
    let keys: Vec<_> = (0..ENTRIES).map(u32::to_be_bytes).collect();
    store.write(|tx| tx.insert_many(&set, &keys)).unwrap();
    // Each takes a part of a second; passing all earlier changes each time takes a minute.
    let limit = Duration::from_secs(8);
    for is_back in [false, true] {
        let begin = Instant::now();
        let mut tx = store.begin().unwrap();
        for left in (0..ENTRIES).rev() {
            let mut range = tx.range::<&[u8]>(&index, ..).unwrap();
            let entry = if is_back { range.next_back() } else { range.next() };
            tx.delete(entry.unwrap().unwrap().id).unwrap();
            assert_eq!(tx.len(&set).unwrap(), u64::from(left));
        }
        assert!(tx.range::<&[u8]>(&index, ..).unwrap().next().is_none());
        assert!(begin.elapsed() < limit, "{:?}", begin.elapsed());
    }
}

#[test]
fn a_record_that_the_transaction_has_changed_has_the_version_that_it_replaced() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let (small, large) = (b"second".to_vec(), vec![7; 100_000]);
    for second in [small, large] {
        let id = store.write(|tx| tx.insert(&set, "first")).unwrap();
        let other = store.write(|tx| tx.insert(&set, "other")).unwrap();
        let (seen, wrong) = (store.get(id).unwrap().seq(), store.get(other).unwrap().seq());
        for is_blind in [true, false] {
            let mut tx = store.begin().unwrap();
            if !is_blind {
                tx.get(id).unwrap();
            }
            tx.update(id, &second).unwrap();
            let refused = tx.update_if(id, wrong, &second).unwrap_err();
            assert!(matches!(refused, Error::VersionMismatch { got, .. } if got == seen), "{refused}");
            tx.update_if(id, seen, &second).unwrap();
            // What reading it shows goes as well.
            let own = tx.get(id).unwrap().seq();
            tx.update_if(id, own, "third").unwrap();
            tx.update_if(id, seen, "fourth").unwrap();
            // Nobody has another version of what the transaction has inserted.
            let new = tx.insert(&set, "new").unwrap();
            assert!(matches!(tx.update_if(new, seen, "newer"), Err(Error::VersionMismatch { .. })));
            drop(tx);
        }
        let mut tx = store.begin().unwrap();
        tx.update(id, "mine").unwrap();
        store.write(|tx| tx.update(id, "theirs")).unwrap();
        tx.update_if(id, seen, "mine again").unwrap();
        let committed = tx.commit();
        assert!(matches!(committed, Err(Error::Conflict { .. })), "{committed:?}");
    }
}
