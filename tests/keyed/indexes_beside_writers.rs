//! Transactions in progress when an index is created, or when another transaction replaces a large value that they
//! replace.

use std::ops::Bound;
use std::sync::{Arc, Mutex};

use tenure::extract::Extractor;
use tenure::{Contended, Durability, Error, RecordId, Store};

/// A function that the extractor runs once before it reads a record.
type Hook = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

fn first_byte(hook: &Hook) -> Extractor {
    let hook = Arc::clone(hook);
    Extractor::new("first", 1, move |record, keys| {
        let armed = hook.lock().unwrap().take();
        if let Some(armed) = armed {
            armed();
        }
        keys.push(&u64::from(record[0]));
    })
}

fn last_byte() -> Extractor {
    Extractor::new("last", 1, |record, keys| keys.push(&u64::from(record[record.len() - 1])))
}

#[test]
fn an_index_that_is_made_between_the_old_keys_and_the_new_ones_of_an_update_lacks_neither() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let hook = Hook::default();
    store.index(&set, "first", first_byte(&hook)).unwrap();
    let id = store.write(|tx| tx.insert(&set, "ab")).unwrap();
    let (maker, of) = (store.clone(), set.clone());
    *hook.lock().unwrap() = Some(Box::new(move || {
        let make = move || maker.index(&of, "late", last_byte()).map(drop);
        std::thread::spawn(make).join().unwrap().unwrap();
    }));
    let mut tx = store.begin().unwrap();
    tx.update(id, "cd").unwrap();
    let committed = tx.commit_with(Durability::Buffered);
    assert!(matches!(committed, Err(Error::Conflict { .. })), "{committed:?}");
    store.write(|tx| tx.update(id, "ef")).unwrap();
    let late = store.find_index(&set, "late").unwrap();
    assert_eq!(store.verify_index(&late).unwrap(), Vec::<String>::new());
    let view = store.view();
    let found: Vec<RecordId> = late.all(&view).unwrap().map(|entry| entry.unwrap().id).collect();
    assert_eq!((found, late.get(&view, &u64::from(b'f')).unwrap()), (vec![id], Some(id)));
}

#[test]
fn replacing_a_large_value_that_another_has_replaced_is_a_conflict_and_no_damage() {
    for reads_first in [false, true] {
        let store = Store::in_memory().unwrap();
        let set = store.record_set("a").unwrap();
        let index = store.index(&set, "first", first_byte(&Hook::default())).unwrap();
        let id = store.write(|tx| tx.insert(&set, vec![b'l'; 200_000])).unwrap();
        let other = store.write(|tx| tx.insert(&set, "other")).unwrap();
        let mut tx = store.begin().unwrap();
        if reads_first {
            // Now it reads from a state that has the large value.
            tx.get(other).unwrap();
        }
        store.write(|tx| tx.update(id, "s")).unwrap();
        tx.update(id, "t").unwrap();
        let committed = tx.commit_with(Durability::Buffered);
        assert_eq!(matches!(committed, Err(Error::Conflict { .. })), reads_first, "{committed:?}");
        assert_eq!(store.verify_index(&index).unwrap(), Vec::<String>::new());
    }
}

/// Commits a transaction that has read a record, then missed so many inserts with keys of 1,000 bytes, then read a range without any.
fn read_late(inserts: u32) -> tenure::Result<u64> {
    let store = Store::in_memory().unwrap();
    let (set, other) = (store.record_set("a").unwrap(), store.record_set("b").unwrap());
    let key = Extractor::new("key", 1, |record, keys| {
        let mut key = [7; 998];
        key[..4].copy_from_slice(&record[..4]);
        keys.push(&key[..]);
    });
    let index = store.index(&set, "key", key).unwrap();
    let ids = store.write(|tx| tx.insert_many(&other, &["one", "two"])).unwrap();
    let mut tx = store.begin().unwrap();
    tx.get(ids[0]).unwrap();
    for first in (0..inserts).step_by(1_000) {
        let records: Vec<_> = (first..inserts.min(first + 1_000)).map(u32::to_be_bytes).collect();
        store.write_with(Durability::Buffered, |tx| tx.insert_many(&set, &records)).unwrap();
    }
    let nothing = [0xff_u8; 4];
    assert_eq!(tx.range(&index, &nothing[..]..).unwrap().count(), 0);
    tx.update(ids[1], "three").unwrap();
    tx.commit_with(Durability::Buffered).map(|seq| seq.0)
}

#[test]
fn a_transaction_that_missed_too_many_keys_before_its_first_range_gets_a_conflict() {
    read_late(10_000).unwrap();
    let error = read_late(34_000).unwrap_err();
    let Error::Conflict(conflict) = &error else { panic!("{error:?}") };
    assert!(matches!(conflict.on, Contended::Range { from: Bound::Unbounded, to: Bound::Unbounded, .. }), "{error:?}");
}
