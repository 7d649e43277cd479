//! Handles of sets that do not exist.

use tenure::{Error, Point, RecordSet, Store, backup};

fn check_refused(store: &Store, set: &RecordSet) {
    let before = store.stats().records;
    let no_such_set = |result: Result<(), Error>| match result {
        Err(Error::NoSuchSet { name }) => assert_eq!(name, set.name()),
        other => panic!("a write into no set: {other:?}"),
    };
    no_such_set(store.write(|tx| tx.insert(set, "lost").map(drop)));
    no_such_set(store.write(|tx| tx.insert(set, vec![1; 200_000]).map(drop)));
    no_such_set(store.write(|tx| tx.insert_many(set, &["lost", "too"]).map(drop)));
    let value = store.stage(&b"lost"[..]).unwrap();
    no_such_set(store.write(|tx| tx.insert_staged(set, &value).map(drop)));
    drop(value);
    assert_eq!((store.stats().records, store.stats().chunks.records), (before, 0));
}

#[test]
fn a_handle_of_a_set_that_going_back_took_away_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("s")).unwrap();
    store.record_set("first").unwrap();
    store.mark("before").unwrap();
    let gone = store.record_set("gone").unwrap();
    store.write(|tx| tx.insert(&gone, "1")).unwrap();
    let store = store.roll_back_to(&Point::Mark("before".to_owned())).unwrap();
    check_refused(&store, &gone);
    let again = store.record_set("gone").unwrap();
    store.write(|tx| tx.insert(&again, "2")).unwrap();
    assert_eq!(store.view().len(&again), 1);
}

#[test]
fn a_handle_of_another_copy_of_the_store_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("s")).unwrap();
    store.record_set("common").unwrap();
    store.backup_to(dir.path().join("backup")).unwrap();
    backup::restore(dir.path().join("backup"), dir.path().join("copy"), &mut |_| {}).unwrap();
    let copy = Store::open(dir.path().join("copy")).unwrap();
    let foreign = copy.record_set("of the copy").unwrap();
    check_refused(&store, &foreign);
    let common = copy.record_set("common").unwrap();
    store.write(|tx| tx.insert(&common, "the same set")).unwrap();
}
