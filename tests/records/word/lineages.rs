//! Handles whose number another set has by now: of a copy of the store that went on apart, of an earlier opening, of a past that was left.

use std::path::Path;

use tenure::extract::Extractor;
use tenure::{Error, Index, Options, Point, RecordSet, Store, backup};

fn whole() -> Extractor {
    Extractor::new("whole", 1, |record, keys| keys.push(record))
}

fn no_such_set<T>(result: Result<T, Error>) {
    match result.map(drop) {
        Err(Error::NoSuchSet { .. }) => {}
        other => panic!("a handle of another set was taken: {other:?}"),
    }
}

fn no_such_index<T>(result: Result<T, Error>) {
    match result.map(drop) {
        Err(Error::NoSuchIndex { .. }) => {}
        other => panic!("a handle of another index was taken: {other:?}"),
    }
}

/// Nothing that takes a handle of a set takes this one.
fn check_refused(store: &Store, set: &RecordSet) {
    let (before, sets) = (store.stats().records, store.record_sets());
    let some = sets.iter().find_map(|set| store.view().scan(set).next().map(|record| record.unwrap().id()));
    no_such_set(store.write(|tx| tx.insert(set, "lost")));
    no_such_set(store.write(|tx| tx.insert(set, vec![1; 200_000])));
    no_such_set(store.write(|tx| tx.insert_many(set, &["lost", "too"])));
    let value = store.stage(&b"lost"[..]).unwrap();
    no_such_set(store.write(|tx| tx.insert_staged(set, &value)));
    drop(value);
    // Also where the transaction has just written to the set of that number.
    for own in &sets {
        no_such_set(store.write(|tx| {
            tx.insert(own, "kept back")?;
            tx.insert(set, "lost")
        }));
    }
    if let Some(id) = some {
        no_such_set(store.write(|tx| tx.get_in(set, id).map(drop)));
        no_such_set(store.write(|tx| tx.update_in(set, id, "lost")));
        no_such_set(store.write(|tx| tx.delete_in(set, id)));
        no_such_set(store.view().get_in(set, id));
    }
    no_such_set(store.write(|tx| tx.scan(set).map(drop)));
    no_such_set(store.write(|tx| tx.len(set)));
    no_such_set(store.view().scan(set).next().unwrap());
    no_such_set(store.index(set, "of another set", whole()));
    assert!(store.find_index(set, "whole").is_none() && store.indexes(set).is_empty());
    no_such_set(store.rename_set(set, "taken"));
    no_such_set(store.clear_set(set));
    no_such_set(store.drop_set(set));
    assert_eq!((store.stats().records, store.stats().chunks.records), (before, 0));
    assert_eq!(store.record_sets(), sets);
}

fn check_index_refused(store: &Store, index: &Index) {
    no_such_index(index.get(&store.view(), &b"1"[..]));
    no_such_index(index.all(&store.view()));
    no_such_set(store.write(|tx| tx.insert_or_get(index, "1")));
    no_such_set(store.write(|tx| tx.upsert(index, "1")));
    no_such_index(store.write(|tx| tx.delete_range::<&[u8]>(index, ..)));
    no_such_index(store.verify_index(index));
    no_such_index(store.rebuild_index(index));
    no_such_index(store.drop_index(index));
}

fn copy_of(store: &Store, dir: &Path) -> Store {
    store.backup_to(dir.join("backup")).unwrap();
    backup::restore(dir.join("backup"), dir.join("copy"), &mut |_| {}).unwrap();
    Store::open(dir.join("copy")).unwrap()
}

#[test]
fn a_set_of_a_copy_is_not_the_set_that_got_its_number_here() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("s")).unwrap();
    let common = store.record_set("common").unwrap();
    let copy = copy_of(&store, dir.path());
    let (here, there) = (store.record_set("here").unwrap(), copy.record_set("there").unwrap());
    assert_eq!(here.number(), there.number());
    let theirs = copy.unique_index(&there, "whole", whole()).unwrap();
    let ours = store.unique_index(&here, "whole", whole()).unwrap();
    assert_eq!(ours.number(), theirs.number());
    store.write(|tx| tx.insert(&here, "1")).unwrap();
    check_refused(&store, &there);
    check_index_refused(&store, &theirs);
    check_refused(&copy, &here);
    check_index_refused(&copy, &ours);
    assert_eq!(ours.len(&store.view()).unwrap(), 1);
    // The sets that both have by the same name are the same, whichever copy the handle is of.
    copy.write(|tx| tx.insert(&common, "in the copy")).unwrap();
    assert_eq!((copy.view().len(&common), store.view().len(&common)), (1, 0));
    // A name that one of them has changed is not known to the other, and the number alone does not do.
    let renamed = copy.rename_set(&common, "renamed").unwrap();
    check_refused(&store, &renamed);
    store.write(|tx| tx.insert(&copy.find_set("there").unwrap(), "x")).unwrap_err();
}

#[test]
fn names_that_are_exchanged_lead_no_handle_to_the_other_set() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = Store::open(&path).unwrap();
    let [left, right] = ["left", "right"].map(|name| store.record_set(name).unwrap());
    let index = store.index(&left, "whole", whole()).unwrap();
    store.rename_set(&left, "between").unwrap();
    store.rename_set(&right, "left").unwrap();
    let now_right = store.rename_set(&left, "right").unwrap();
    // Within one opening a handle goes on, whatever its set is called.
    store.write(|tx| tx.insert(&left, "l")).unwrap();
    store.write(|tx| tx.insert_many(&right, &["r", "r"]).map(drop)).unwrap();
    assert_eq!((store.view().len(&now_right), index.len(&store.view()).unwrap()), (1, 1));
    store.close().unwrap();
    // In the next one the names decide, and where name and number are of two sets, neither is taken.
    let store = Store::open(&path).unwrap();
    store.index(&now_right, "whole", whole()).unwrap();
    check_refused(&store, &left);
    check_refused(&store, &right);
    no_such_index(index.get(&store.view(), &b"l"[..]));
    store.write(|tx| tx.insert(&now_right, "l")).unwrap();
    assert_eq!(store.view().len(&store.find_set("right").unwrap()), 2);
}

#[test]
fn going_back_gives_no_number_again_and_keeps_handles() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("s")).unwrap();
    let first = store.record_set("first").unwrap();
    store.write(|tx| tx.insert(&first, "1")).unwrap();
    store.mark("before").unwrap();
    let gone = store.record_set("gone").unwrap();
    let index = store.unique_index(&gone, "whole", whole()).unwrap();
    let renamed = store.rename_set(&first, "renamed").unwrap();
    let store = store.roll_back_to(&Point::Mark("before".to_owned())).unwrap();
    let other = store.record_set("other").unwrap();
    store.unique_index(&other, "whole", whole()).unwrap();
    assert_ne!(other.number(), gone.number());
    check_refused(&store, &gone);
    check_index_refused(&store, &index);
    for handle in [&first, &renamed] {
        store.write(|tx| tx.insert(handle, "2")).unwrap();
    }
    assert_eq!((store.view().len(&first), first.name(), store.find_set("renamed")), (3, "first", None));
}

#[test]
fn a_reader_that_looks_again_keeps_its_handles_when_sets_are_renamed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let writer = Store::open(&path).unwrap();
    let notes = writer.record_set("notes").unwrap();
    let index = writer.index(&notes, "whole", whole()).unwrap();
    let mut reader = Options::new().read_only(true).open(&path).unwrap();
    let (of_reader, index_of_reader) = (reader.find_set("notes").unwrap(), reader.find_index(&notes, "whole").unwrap());
    writer.rename_set(&notes, "letters").unwrap();
    writer.write(|tx| tx.insert(&notes, "1")).unwrap();
    reader.refresh().unwrap();
    assert_eq!((reader.view().len(&of_reader), index_of_reader.len(&reader.view()).unwrap()), (1, 1));
    // The writer's own old handle is of another opening: here the set of its number has another name.
    no_such_set(reader.view().scan(&notes).next().unwrap());
    no_such_index(index.len(&reader.view()));
    assert_eq!(reader.view().len(&writer.find_set("letters").unwrap()), 1);
}

#[test]
fn an_index_whose_set_was_cleared_still_inserts_or_gets() {
    let store = Store::in_memory().unwrap();
    let notes = store.record_set("notes").unwrap();
    let index = store.unique_index(&notes, "whole", whole()).unwrap();
    let old = store.write(|tx| tx.insert(&notes, "1")).unwrap();
    store.clear_set(&notes).unwrap();
    let new = store.write(|tx| tx.insert_or_get(&index, "1")).unwrap().id();
    let again = store.write(|tx| tx.insert_or_get(&index, "1")).unwrap().id();
    assert!(new == again && new != old && store.view().get_in(&notes, new).is_ok());
}
