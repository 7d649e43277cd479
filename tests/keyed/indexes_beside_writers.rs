//! Transactions in progress when an index is created, or when another transaction replaces a large value that they
//! replace.

use std::sync::{Arc, Mutex};

use tenure::extract::Extractor;
use tenure::{Durability, Error, RecordId, Store};

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
