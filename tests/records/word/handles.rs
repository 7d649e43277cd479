//! Handles of sets that do not exist, or that were cleared.

use tenure::backing::Memory;
use tenure::extract::Extractor;
use tenure::{Error, Options, Point, RecordSet, Store, Upserted, backup};

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

/// Everything that a transaction takes a set or an index for.
#[test]
fn handles_of_a_cleared_set_and_of_its_index_do_all_that_they_did() {
    for background in [false, true] {
        let store = Options::new().background(background).open_backing(std::sync::Arc::new(Memory::new())).unwrap();
        let set = store.record_set("stock").unwrap();
        let article = Extractor::new("article", 1, |record, keys| keys.push(&record[..1]));
        let index = store.unique_index(&set, "article", article).unwrap();
        store.write(|tx| tx.upsert(&index, "a1")).unwrap();
        store.clear_set(&set).unwrap();
        for round in ["once", "twice"] {
            let put = store.write(|tx| tx.upsert(&index, "a2")).unwrap();
            assert!(put.is_inserted(), "cleared {round}");
            let id = put.id();
            assert_eq!(store.write(|tx| tx.upsert(&index, "a3")).unwrap(), Upserted::Existing(id));
            assert_eq!(store.write(|tx| tx.insert_or_get(&index, "a4")).unwrap(), Upserted::Existing(id));
            let got = store.write(|tx| tx.insert_or_get(&index, "b1")).unwrap();
            store
                .write(|tx| -> tenure::Result<()> {
                    assert_eq!(tx.get_in(&set, id)?.to_vec()?, b"a3");
                    tx.update_in(&set, id, "a5")?;
                    tx.delete_in(&set, got.id())?;
                    tx.insert_many(&set, &["c1", "d1"])?;
                    assert_eq!((tx.len(&set)?, tx.scan(&set)?.iter().count()), (3, 3));
                    assert_eq!(tx.find(&index, &b"a"[..])?, Some(id));
                    assert_eq!(tx.delete_range(&index, &b"c"[..]..)?, 2);
                    Ok(())
                })
                .unwrap();
            let view = store.view();
            assert_eq!((view.len(&set), view.get_in(&set, id).unwrap().to_vec().unwrap()), (1, b"a5".to_vec()));
            assert_eq!(index.get(&view, &b"a"[..]).unwrap(), Some(id));
            store.clear_set(&set).unwrap();
        }
        store.drop_set(&set).unwrap();
        let gone = store.write(|tx| tx.upsert(&index, "a6")).unwrap_err();
        assert!(matches!(&gone, Error::NoSuchSet { name } if name == "stock"), "{gone}");
    }
}
