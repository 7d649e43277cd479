//! Round trips: dump, load, compare.

use std::sync::Arc;

use tenure::backing::{Backing, FaultBacking, Memory};
use tenure::dump::LoadOptions;
use tenure::{Error, Lookup, Store};

use crate::dump::full;

#[test]
fn a_loaded_store_says_what_the_dumped_one_says() {
    for seed in 1..4 {
        let backing: Arc<dyn Backing> = Arc::new(Memory::new());
        let store = full::full(&backing, seed);
        let stream = full::dump(&store);
        let checked = tenure::dump::check(&mut &stream[..], "dump", &mut |_| {}).unwrap();
        let (to, report) = full::load(&stream, &LoadOptions::new());
        let report = report.unwrap();
        assert_eq!((&report.dump, report.resumed, report.damage.is_none()), (&checked, 0, true));
        assert_eq!(report.incomplete, []);
        full::assert_verified(&to);
        let loaded = full::options().open_backing(Arc::clone(&to)).unwrap();
        full::assert_same(&store, &loaded);
        // Once more, from the loaded store. Only the identity of the dump and the store, and the end of pages, are others.
        let (again, report) = full::load(&full::dump(&loaded), &LoadOptions::new());
        report.unwrap();
        full::assert_same(&store, &full::options().open_backing(again).unwrap());
        full::assert_new_ids_are_new(&store, &loaded);
        let things = loaded.record_set("things").unwrap();
        for (name, extractor) in [("by head", full::head()), ("by all", full::unique())] {
            let index = if name == "by all" {
                loaded.unique_index(&things, name, extractor)
            } else {
                loaded.index(&things, name, extractor)
            };
            assert_eq!(loaded.verify_index(&index.unwrap()).unwrap(), [""; 0]);
        }
        loaded.close().unwrap();
        full::assert_verified(&to);
    }
}

#[test]
fn a_reference_to_a_deleted_record_leads_nowhere_after_a_load() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let ids = store.write(|tx| (0..100).map(|_| tx.insert(&set, "a")).collect::<Result<Vec<_>, _>>()).unwrap();
    store.write(|tx| ids.iter().take(60).try_for_each(|id| tx.delete(*id))).unwrap();
    let (to, report) = full::load(&full::dump(&store), &LoadOptions::new());
    report.unwrap();
    let loaded = full::options().open_backing(to).unwrap();
    let set = loaded.record_set("a").unwrap();
    let new = loaded.write(|tx| (0..60).map(|_| tx.insert(&set, "b")).collect::<Result<Vec<_>, _>>()).unwrap();
    assert!(ids.iter().take(60).all(|id| matches!(loaded.lookup(*id).unwrap(), Lookup::Deleted)));
    // Their slots are used again, each with the next count.
    assert!(new.iter().any(|id| id.slot() < 60 && id.reuse_count() == 2), "{new:?}");
    assert!(new.iter().all(|id| !ids.contains(id)));
}

/// Stores as a kill leaves them between the drop of a set and the end of its emptying; a handle that only reads frees nothing.
#[test]
fn a_dropped_set_that_is_not_empty_yet_is_dumped_as_gone() {
    let backing = Arc::new(FaultBacking::new());
    let store = full::options().open_backing(backing.clone()).unwrap();
    let (kept, logs) = (store.record_set("kept").unwrap(), store.record_set("logs").unwrap());
    let here = store.write(|tx| tx.insert(&kept, "here")).unwrap();
    let insert = |count: usize| {
        store.write(|tx| (0..count).map(|_| tx.insert(&logs, "a")).collect::<Result<Vec<_>, _>>()).unwrap()
    };
    let old = insert(600);
    store.write(|tx| old.iter().try_for_each(|id| tx.delete(*id))).unwrap();
    let mut ids = insert(20_000);
    ids.push(store.write(|tx| tx.insert(&logs, vec![7; 200_000])).unwrap());
    ids.extend(old);
    store.sync().unwrap();
    backing.record();
    store.drop_set(&logs).unwrap();
    let mut dumped = 0;
    for image in backing.take_recorded() {
        let read = full::options().read_only(true).open_backing(Arc::new(image)).unwrap();
        if read.find_set("logs").is_some() {
            continue;
        }
        let (to, report) = full::load(&full::dump(&read), &LoadOptions::new());
        assert_eq!(report.unwrap().dump.records, 1);
        full::assert_verified(&to);
        let loaded = full::options().open_backing(to).unwrap();
        assert_eq!(loaded.get(here).unwrap().as_slice(), Some(&b"here"[..]));
        assert!(ids.iter().all(|id| matches!(loaded.lookup(*id).unwrap(), Lookup::Deleted)));
        let other = loaded.record_set("other").unwrap();
        let new = loaded.write(|tx| (0..600).map(|_| tx.insert(&other, "b")).collect::<Result<Vec<_>, _>>()).unwrap();
        assert!(new.iter().all(|id| !ids.contains(id)), "an ID was given again");
        dumped += 1;
    }
    assert!(dumped > 0, "no kill fell between the drop and the end of the emptying");
}

#[test]
fn ids_of_open_transactions_are_used_up() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    store.write(|tx| tx.insert(&set, "a")).unwrap();
    let mut open = store.begin().unwrap();
    let ids: Vec<_> = (0..700).map(|_| open.insert(&set, "open").unwrap()).collect();
    let mut given_up = store.begin().unwrap();
    let nothing: Vec<_> = (0..20).map(|_| given_up.insert(&set, "nothing").unwrap()).collect();
    drop(given_up);
    let stream = full::dump(&store);
    // The ID means something in this store by now, and must not mean anything else in the other.
    open.commit_with(tenure::Durability::Buffered).unwrap();
    let (to, report) = full::load(&stream, &LoadOptions::new());
    report.unwrap();
    let loaded = full::options().open_backing(to).unwrap();
    let set = loaded.record_set("a").unwrap();
    for _ in 0..2000 {
        let id = loaded.write(|tx| tx.insert(&set, "new")).unwrap();
        assert!(!ids.contains(&id) && !nothing.contains(&id), "{id} was given before");
    }
}

#[test]
fn a_dump_of_an_empty_store_loads() {
    let store = Store::in_memory().unwrap();
    let (to, report) = full::load(&full::dump(&store), &LoadOptions::new());
    assert_eq!(report.unwrap().dump.records, 0);
    let loaded = full::options().open_backing(to).unwrap();
    full::assert_same(&store, &loaded);
    let set = loaded.record_set("first").unwrap();
    loaded.write(|tx| tx.insert(&set, "a")).unwrap();
}

#[test]
fn a_dump_is_one_state_beside_writers() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let ids = store
        .write(|tx| (0..2000).map(|_| tx.insert(&set, 0_u64.to_le_bytes())).collect::<Result<Vec<_>, _>>())
        .unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let streams = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 1_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                store.write(|tx| ids.iter().try_for_each(|id| tx.update(*id, number.to_le_bytes()))).unwrap();
                number += 1;
            }
        });
        let streams: Vec<Vec<u8>> = (0..5).map(|_| full::dump(&store)).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        streams
    });
    for stream in streams {
        let (to, report) = full::load(&stream, &LoadOptions::new());
        report.unwrap();
        let loaded = full::options().open_backing(to).unwrap();
        let view = loaded.view();
        let set = loaded.record_set("a").unwrap();
        let mut values: Vec<Vec<u8>> = view.scan(&set).map(|record| record.unwrap().to_vec().unwrap()).collect();
        values.dedup();
        assert_eq!(values.len(), 1, "a dump has parts of several commits");
    }
}

#[test]
fn stores_and_other_files_are_not_loaded_into() {
    let dir = tempfile::tempdir().unwrap();
    let stream = full::dump(&Store::in_memory().unwrap());
    let load =
        |name: &str| tenure::dump::load(&mut &stream[..], dir.path().join(name), &LoadOptions::new(), &mut |_| {});
    load("new").unwrap();
    for _ in 0..2 {
        let error = load("new").unwrap_err();
        assert!(matches!(error, Error::Exists { .. }), "{error}");
    }
    Store::open(dir.path().join("new")).unwrap().close().unwrap();
    std::fs::create_dir(dir.path().join("other")).unwrap();
    std::fs::write(dir.path().join("other/file"), "mine").unwrap();
    assert!(matches!(load("other").unwrap_err(), Error::Exists { .. }));
    assert_eq!(std::fs::read_dir(dir.path().join("other")).unwrap().count(), 1, "nothing is left behind");
    // Input that is not a dump creates nothing.
    let bad = tenure::dump::load(&mut &b"no dump"[..], dir.path().join("bad"), &LoadOptions::new(), &mut |_| {});
    assert!(bad.unwrap_err().is_corruption());
    assert!(!dir.path().join("bad").exists());
}
