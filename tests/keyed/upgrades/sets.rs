//! Sets that are dropped, cleared and renamed, with any content.

use std::sync::Arc;

use tenure::backing::FaultBacking;
use tenure::extract::Extractor;
use tenure::verify::verify_backing;
use tenure::{Durability, Error, Index, Lookup, Options, Point, RecordId, RecordSet, Store};

const RECORDS: usize = 300;

fn first_bytes() -> Extractor {
    Extractor::new("first", 1, |record, keys| keys.push(&record[..record.len().min(8)]))
}

fn options() -> Options {
    Options::new().background(false).durability(Durability::Buffered)
}

struct World {
    backing: Arc<FaultBacking>,
    store: Store,
    logs: RecordSet,
    other: RecordSet,
    index: Index,
    ids: Vec<RecordId>,
    kept: RecordId,
}

fn fill(options: &Options) -> World {
    let backing = Arc::new(FaultBacking::new());
    let store = options.open_backing(backing.clone()).unwrap();
    let (logs, other) = (store.record_set("logs").unwrap(), store.record_set("other").unwrap());
    let index = store.unique_index(&logs, "first", first_bytes()).unwrap();
    let mut ids = store
        .write(|tx| (0..RECORDS).map(|n| tx.insert(&logs, format!("{n:08}"))).collect::<tenure::Result<Vec<_>>>())
        .unwrap();
    // A large value has chunks of its own.
    ids.push(store.write(|tx| tx.insert(&logs, vec![b'x'; 300_000])).unwrap());
    let kept = store.write(|tx| tx.insert(&other, "kept")).unwrap();
    World { backing, store, logs, other, index, ids, kept }
}

fn check_gone(store: &Store, ids: &[RecordId]) {
    let view = store.view();
    for id in ids {
        assert!(matches!(store.get(*id), Err(Error::Deleted { .. })), "{id}");
        assert!(matches!(view.get(*id), Err(Error::Deleted { .. })), "{id}");
        let (delete, update) = (store.write(|tx| tx.delete(*id)), store.write(|tx| tx.update(*id, "again")));
        assert!(matches!((&delete, &update), (Err(Error::Deleted { .. }), Err(Error::Deleted { .. }))), "{delete:?}");
    }
}

#[test]
fn a_set_that_is_dropped_is_gone_at_once_and_for_ever() {
    let World { backing, store, logs, other, index, ids, kept } = fill(&options());
    let (view, mut late) = (store.view(), store.begin().unwrap());
    late.insert(&logs, "late").unwrap();
    store.save_named_snapshot("then").unwrap();
    store.drop_set(&logs).unwrap();
    check_gone(&store, &ids);
    assert!(store.find_set("logs").is_none() && store.record_sets() == [other.clone()]);
    assert!(matches!(late.commit_with(Durability::Buffered), Err(Error::Conflict { .. })));
    let is_missing =
        |error: Error| assert!(matches!(error, Error::NoSuchSet { .. } | Error::NoSuchIndex { .. }), "{error}");
    is_missing(store.write(|tx| tx.insert(&logs, "x")).unwrap_err());
    is_missing(store.write(|tx| tx.insert_many(&logs, &["x"])).unwrap_err());
    is_missing(store.view().scan(&logs).next().unwrap().unwrap_err());
    is_missing(index.len(&store.view()).unwrap_err());
    is_missing(store.index(&logs, "other", first_bytes()).unwrap_err());
    is_missing(store.drop_set(&logs).unwrap_err());
    assert_eq!(store.view().len(&logs), 0);
    assert_eq!(store.get(kept).unwrap().as_slice(), Some(&b"kept"[..]));
    // An older view stays usable, and so does the state of a named snapshot.
    assert_eq!((view.len(&logs), view.scan(&logs).count(), index.len(&view).unwrap()), (301, 301, 301));
    assert_eq!(view.get(ids[RECORDS]).unwrap().len(), 300_000);
    drop(view);
    store.collect(None).unwrap();
    let report = verify_backing(&(backing.clone() as _), &mut |_| {}).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
    let then = Options::new().open_backing_at(backing.clone(), &Point::Name("then".to_owned())).unwrap();
    let logs_then = then.find_set("logs").unwrap();
    assert_eq!(then.view().scan(&logs_then).flatten().count(), 301);
    // A set of the same name is another one; an old handle means it.
    let again = store.record_set("logs").unwrap();
    assert_ne!(again.number(), logs.number());
    let new = store.write(|tx| tx.insert(&logs, "new")).unwrap();
    assert!(store.view().get_in(&again, new).is_ok() && store.view().get_in(&logs, new).is_ok());
    store.close().unwrap();
    let store = options().open_backing(backing).unwrap();
    check_gone(&store, &ids);
    // Going back brings it back.
    let store = store.roll_back_to(&Point::Name("then".to_owned())).unwrap();
    assert_eq!((store.view().len(&logs), index.len(&store.view()).unwrap()), (301, 301));
    assert_eq!(store.get(ids[7]).unwrap().as_slice(), Some(&b"00000007"[..]));
}

#[test]
fn a_set_that_is_cleared_goes_on_with_its_name_and_indexes() {
    let World { backing, store, logs, index, ids, kept, .. } = fill(&options());
    let view = store.view();
    let cleared = store.clear_set(&logs).unwrap();
    check_gone(&store, &ids);
    assert_eq!((store.view().len(&cleared), store.view().scan(&logs).count()), (0, 0));
    for handle in [&logs, &cleared] {
        store.write(|tx| tx.insert(handle, format!("{}", store.view().len(handle)))).unwrap();
    }
    assert_eq!(index.len(&store.view()).unwrap(), 2);
    let taken = store.write(|tx| tx.insert(&logs, "1")).unwrap_err();
    assert!(matches!(taken, Error::UniqueViolation { .. }), "{taken}");
    assert_eq!(store.verify_index(&index).unwrap(), Vec::<String>::new());
    assert_eq!((view.len(&logs), index.len(&view).unwrap()), (301, 301));
    store.close().unwrap();
    let store = options().open_backing(backing).unwrap();
    check_gone(&store, &ids);
    assert_eq!(store.view().len(&store.find_set("logs").unwrap()), 2);
    assert_eq!(store.get(kept).unwrap().as_slice(), Some(&b"kept"[..]));
}

#[test]
fn a_set_has_another_name_and_everything_else_stays() {
    let World { backing, store, logs, index, ids, .. } = fill(&options());
    let taken = store.rename_set(&logs, "other").unwrap_err();
    assert!(matches!(taken, Error::BadName { .. }), "{taken}");
    let renamed = store.rename_set(&logs, "events").unwrap();
    assert_eq!((renamed.name(), renamed.number()), ("events", logs.number()));
    assert!(store.find_set("logs").is_none());
    store.write(|tx| tx.insert(&logs, "through the old handle")).unwrap();
    assert_eq!((store.view().len(&renamed), index.len(&store.view()).unwrap()), (302, 302));
    store.close().unwrap();
    let store = options().open_backing(backing).unwrap();
    let events = store.find_set("events").unwrap();
    assert_eq!(store.view().len(&events), 302);
    assert!(store.view().get_in(&events, ids[0]).is_ok());
}

/// Killed after every step of dropping or clearing: the set is whole or gone, and the next openings free the rest.
#[test]
fn no_crash_leaves_half_a_set() {
    for clears in [false, true] {
        let World { backing, store, logs, ids, .. } = fill(&options());
        store.sync().unwrap();
        backing.record();
        if clears {
            store.clear_set(&logs).map(drop).unwrap();
        } else {
            store.drop_set(&logs).unwrap();
        }
        let images = backing.take_recorded();
        let (mut whole, mut gone) = (0, 0);
        for image in images.into_iter().chain([backing.kill_image()]) {
            let image = Arc::new(image);
            let store = options().open_backing(image.clone()).unwrap();
            let found = store.find_set("logs");
            if matches!(store.lookup(ids[0]).unwrap(), Lookup::Live(_)) {
                whole += 1;
                assert_eq!(store.view().scan(&found.unwrap()).flatten().count(), 301);
            } else {
                gone += 1;
                check_gone(&store, &ids);
                assert_eq!(found.map(|set| store.view().len(&set)), clears.then_some(0));
                store.collect(None).unwrap();
                assert_eq!(store.stats().chunks.records, 0, "chunks are freed");
            }
            store.close().unwrap();
            let report = verify_backing(&(image as _), &mut |_| {}).unwrap();
            assert!(report.is_ok(), "{:?}", report.problems);
        }
        assert!(gone > 0, "{whole} whole, {gone} gone");
    }
}

#[test]
fn the_space_of_a_dropped_set_comes_back() {
    let backing = Arc::new(FaultBacking::new());
    let store = options().segment_bytes(1 << 20).open_backing(backing.clone()).unwrap();
    let logs = store.record_set("logs").unwrap();
    for _ in 0..8 {
        store.write(|tx| (0..2_000).try_for_each(|_| tx.insert(&logs, [7; 1_000]).map(drop))).unwrap();
    }
    let before = backing.disk_bytes();
    let commits = store.last_seq();
    store.drop_set(&logs).unwrap();
    assert!(store.last_seq().0 - commits.0 < 8, "as many commits as it takes, and no more");
    store.collect(None).unwrap();
    // What is left is the reserve, and leaf pages that say which IDs are deleted.
    assert!(backing.disk_bytes() < before / 3, "{} of {before}", backing.disk_bytes());
    // The thread in the background does the same.
    let store = Options::new().open_backing(Arc::new(FaultBacking::new())).unwrap();
    let logs = store.record_set("logs").unwrap();
    let id = store.write(|tx| tx.insert(&logs, vec![1; 200_000])).unwrap();
    store.drop_set(&logs).unwrap();
    assert!(matches!(store.get(id), Err(Error::Deleted { .. })));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while store.stats().chunks.records > 0 {
        assert!(std::time::Instant::now() < until, "nobody frees it");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
