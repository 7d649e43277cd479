//! Dumps of states of the past.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::dump::LoadOptions;
use tenure::{Lookup, Point, RecordId, Store};

use crate::dump::full;

fn load(stream: &[u8]) -> Store {
    let (to, report) = full::load(stream, &LoadOptions::new());
    report.unwrap();
    full::assert_verified(&to);
    full::options().open_backing(to).unwrap()
}

/// Puts so many records into each set, and gives their IDs.
fn insert(store: &Store, set: &str, count: usize) -> Vec<RecordId> {
    let set = store.record_set(set).unwrap();
    store.write(|tx| (0..count).map(|_| tx.insert(&set, "x")).collect::<Result<Vec<_>, _>>()).unwrap()
}

#[test]
fn ids_that_were_given_behind_the_point_are_not_given_again() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = full::options().open_backing(Arc::clone(&backing)).unwrap();
    let first = insert(&store, "a", 700);
    let dropped = insert(&store, "dropped", 20);
    store.write(|tx| first.iter().take(100).try_for_each(|id| tx.delete(*id))).unwrap();
    store.save_named_snapshot("then").unwrap();
    store.close().unwrap();
    let store = full::options().open_backing(Arc::clone(&backing)).unwrap();
    // Slots are used again, records of then are deleted and their slots used again, pages and sets are new, and one set goes.
    store.write(|tx| first.iter().skip(100).take(300).try_for_each(|id| tx.delete(*id))).unwrap();
    // Slots are reused once it is durable that they are free.
    store.sync().unwrap();
    let mut later = insert(&store, "a", 2_000);
    store.write(|tx| later.iter().take(500).try_for_each(|id| tx.delete(*id))).unwrap();
    store.sync().unwrap();
    later.extend(insert(&store, "a", 800));
    later.extend(insert(&store, "b", 600));
    store.drop_set(&store.find_set("dropped").unwrap()).unwrap();
    later.extend(insert(&store, "c", 600));
    assert!(later.iter().any(|id| first.iter().any(|first| first.slot() == id.slot())), "no slot was used again");
    store.sync().unwrap();
    let then = full::options().open_backing_at(Arc::clone(&backing), &Point::Name("then".to_owned())).unwrap();
    let stream = full::dump(&then);
    let loaded = load(&stream);
    // What was there then is there.
    let answers = |store: &Store, ids: &[RecordId]| -> BTreeMap<RecordId, bool> {
        ids.iter().map(|id| (*id, matches!(store.lookup(*id).unwrap(), Lookup::Live(_)))).collect()
    };
    assert_eq!(answers(&loaded, &first), answers(&then, &first));
    assert_eq!(answers(&loaded, &dropped), answers(&then, &dropped));
    let names: Vec<String> = loaded.record_sets().iter().map(|set| set.name().to_owned()).collect();
    assert_eq!((names, loaded.last_seq()), (vec!["a".to_owned(), "dropped".to_owned()], then.last_seq()));
    // What came later is not, and does not come to mean anything else.
    let is_live = |store: &Store, id: RecordId| matches!(store.lookup(id).unwrap(), Lookup::Live(_));
    assert!(later.iter().all(|id| !is_live(&loaded, *id)));
    let numbers: Vec<_> = store.record_sets().iter().map(tenure::RecordSet::number).collect();
    loaded.write(|tx| first.iter().skip(100).try_for_each(|id| tx.delete(*id))).unwrap();
    loaded.write(|tx| dropped.iter().try_for_each(|id| tx.delete(*id))).unwrap();
    loaded.sync().unwrap();
    let new: Vec<RecordId> = ["a", "dropped", "new"].iter().flat_map(|set| insert(&loaded, set, 4_000)).collect();
    assert!(!numbers.contains(&loaded.find_set("new").unwrap().number()));
    for id in &new {
        assert!(!later.contains(id) && !first.contains(id) && !dropped.contains(id), "{id} was given before");
    }
    // The handle itself shows what was then, and no more.
    assert!(matches!(then.lookup(later[later.len() - 1]).unwrap(), Lookup::NeverAllocated));
    // The slots of then are used again.
    assert!(new.iter().any(|id| id.slot() < 700), "the slots of then are lost");
}

#[test]
fn the_dump_of_the_newest_state_as_a_point_is_that_of_the_store() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = full::full(&backing, 7);
    store.save_named_snapshot("now").unwrap();
    store.close().unwrap();
    let now = full::options().open_backing_at(Arc::clone(&backing), &Point::Name("now".to_owned())).unwrap();
    let loaded = load(&full::dump(&now));
    let store = full::options().open_backing(Arc::clone(&backing)).unwrap();
    full::assert_same(&store, &loaded);
    full::assert_new_ids_are_new(&store, &loaded);
}
