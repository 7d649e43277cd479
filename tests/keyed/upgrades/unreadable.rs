//! A record whose keys cannot be determined causes an error that names it.

use std::sync::Arc;

use tenure::backing::Memory;
use tenure::extract::Extractor;
use tenure::typed::Id;
use tenure::{Error, Options, RecordId, Store};

use crate::upgrades::people::{NAME, NEXT_NAME, OLD_NAME, PEOPLE, RESIDENTS, person, resident};

fn names(error: &Error, id: Option<RecordId>) -> bool {
    let Error::KeysUnknown { set, index, record, why } = error else { return false };
    (set.as_str(), index.as_str(), *record) == ("people", "name", id) && why.contains("missing field `city`")
}

/// A store of the first version with one person, opened by the second.
fn second_version() -> (Arc<Memory>, Store, RecordId) {
    let backing = Arc::new(Memory::new());
    let store = Options::new().open_backing(backing.clone()).unwrap();
    let people = store.typed_set(PEOPLE).unwrap();
    store.typed_index(&people, OLD_NAME).unwrap();
    let ada = store.write(|tx| people.insert(tx, &person("Ada"))).unwrap();
    store.close().unwrap();
    let store = Options::new().open_backing(backing.clone()).unwrap();
    (backing, store, ada.record_id())
}

#[test]
fn updates_and_deletes_do_not_leave_the_keys_of_a_value_that_no_longer_decodes() {
    let (_, store, ada) = second_version();
    let people = store.typed_set(RESIDENTS).unwrap();
    let by_name = store.typed_index(&people, NAME).unwrap();
    let id: Id<_> = ada.into();
    let deleted = store.write(|tx| people.delete(tx, id)).unwrap_err();
    assert!(names(&deleted, Some(ada)), "{deleted}");
    assert!(deleted.to_string().contains(&format!("the keys of record {ada} cannot be determined")), "{deleted}");
    let updated = store.write(|tx| people.update(tx, id, &resident("Eve", "York"))).unwrap_err();
    assert!(names(&updated, Some(ada)), "{updated}");
    // Nothing was written: the key still leads to the record that has it.
    assert_eq!(by_name.get(&store.view(), "Ada").unwrap(), Some(id));
    assert_eq!(store.get(ada).unwrap().as_slice(), Some(&b"Ada"[..]));
    let taken = store.write(|tx| people.insert(tx, &resident("Ada", "York"))).unwrap_err();
    assert!(matches!(taken, Error::UniqueViolation { .. }), "{taken}");
}

#[test]
fn what_no_index_can_read_is_not_written() {
    let store = Store::in_memory().unwrap();
    let people = store.typed_set(RESIDENTS).unwrap();
    store.typed_index(&people, NAME).unwrap();
    let refused = store.write(|tx| tx.insert(people.record_set(), "Ada")).unwrap_err();
    assert!(names(&refused, None), "{refused}");
    let eve = store.write(|tx| people.insert(tx, &resident("Eve", "York"))).unwrap().record_id();
    let refused = store.write(|tx| tx.update(eve, "Eve")).unwrap_err();
    assert!(names(&refused, Some(eve)), "{refused}");
    assert_eq!(store.view().len(people.record_set()), 1);
}

#[test]
fn an_index_over_a_record_that_it_cannot_read_is_not_made() {
    let (_, store, ada) = second_version();
    let people = store.typed_set(RESIDENTS).unwrap();
    let refused = store.typed_index(&people, NEXT_NAME).unwrap_err();
    assert!(names(&refused, Some(ada)), "{refused}");
}

#[test]
fn who_wants_it_says_so() {
    let (_, store, ada) = second_version();
    let people = store.typed_set(RESIDENTS).unwrap();
    let by_name = store.typed_index(&people, NEXT_NAME.skip_unreadable()).unwrap();
    assert_eq!(by_name.get(&store.view(), "Ada").unwrap(), None);
    store.write(|tx| people.insert(tx, &resident("Ada", "York"))).unwrap();
    store.write(|tx| people.delete(tx, ada.into())).unwrap();
    assert_eq!(store.verify_index(by_name.index()).unwrap(), Vec::<String>::new());
}

#[test]
fn verifying_an_index_names_the_record() {
    let (_, store, ada) = second_version();
    let people = store.typed_set(RESIDENTS).unwrap();
    let by_name = store.typed_index(&people, NAME).unwrap();
    let lines = store.verify_index(by_name.index()).unwrap();
    assert!(lines[0].starts_with(&format!("record {ada} has keys that cannot be determined")), "{lines:?}");
}

#[test]
fn an_extractor_of_code_may_fail_too() {
    let store = Store::in_memory().unwrap();
    let words = store.record_set("words").unwrap();
    let short = Extractor::new("short", 1, |record, keys| match record.len() {
        0..4 => keys.push(record),
        len => keys.fail(format!("{len} bytes")),
    });
    let id = store.write(|tx| tx.insert(&words, "once")).unwrap();
    let refused = store.index(&words, "short", short.clone()).unwrap_err();
    assert!(matches!(&refused, Error::KeysUnknown { record: Some(of), why, .. } if *of == id && why == "4 bytes"));
    assert!(store.find_index(&words, "short").is_none());
    store.write(|tx| tx.update(id, "one")).unwrap();
    let index = store.index(&words, "short", short).unwrap();
    assert_eq!(index.get(&store.view(), &b"one"[..]).unwrap(), Some(id));
    // A large value goes the same way.
    let large = store.write(|tx| tx.update(id, vec![7; 100_000])).unwrap_err();
    assert!(matches!(&large, Error::KeysUnknown { record: Some(of), .. } if *of == id), "{large}");
}
