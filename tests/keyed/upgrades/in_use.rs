//! An index is rebuilt, or another one is created, while in use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Weak};

use tenure::backing::FaultBacking;
use tenure::extract::Extractor;
use tenure::{Durability, Error, Options, Point, RecordId, RecordSet, Store};

/// The first letter, or a longer beginning in later versions.
fn beginning(version: u32) -> Extractor {
    Extractor::new("beginning", version, move |record, keys| {
        keys.push(&String::from_utf8_lossy(&record[..record.len().min(version as usize)]).as_ref());
    })
}

/// The same, but it stops before the first record after `gate` was armed, until two threads have met at the barrier
/// twice.
fn stopping(version: u32, gate: &Arc<(AtomicBool, Barrier)>) -> Extractor {
    let gate = Arc::clone(gate);
    let plain = beginning(version);
    Extractor::new("beginning", version, move |record, keys| {
        if gate.0.swap(false, Ordering::AcqRel) {
            gate.1.wait();
            gate.1.wait();
        }
        assert_eq!(plain.version(), version);
        keys.push(&String::from_utf8_lossy(&record[..record.len().min(version as usize)]).as_ref());
    })
}

fn gate() -> Arc<(AtomicBool, Barrier)> {
    Arc::new((AtomicBool::new(true), Barrier::new(2)))
}

fn is_violation<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::UniqueViolation { .. }))
}

struct World {
    store: Store,
    words: RecordSet,
    ant: RecordId,
}

fn world(options: &Options, backing: &Arc<FaultBacking>) -> World {
    let store = options.open_backing(backing.clone()).unwrap();
    let words = store.record_set("words").unwrap();
    store.unique_index(&words, "beginning", beginning(1)).unwrap();
    let ant = store.write(|tx| tx.insert(&words, "ant")).unwrap();
    store.write(|tx| tx.insert(&words, "bee")).unwrap();
    World { store, words, ant }
}

#[test]
fn the_old_index_answers_and_is_enforced_until_the_new_one_is_there_and_handles_go_on() {
    let backing = Arc::new(FaultBacking::new());
    let World { store, words, ant } = world(&Options::new(), &backing);
    let old = store.find_index(&words, "beginning").unwrap();
    let (gate, before) = (gate(), store.view());
    let new = std::thread::scope(|scope| {
        let upgrade = scope.spawn(|| store.unique_index(&words, "beginning", stopping(2, &gate)).unwrap());
        gate.1.wait();
        // In the middle of the build: the first letter counts.
        let view = store.view();
        assert_eq!(old.get(&view, "a").unwrap(), Some(ant));
        assert_eq!(store.find_index(&words, "beginning").unwrap().get(&view, "a").unwrap(), Some(ant));
        assert!(is_violation(&store.write(|tx| tx.insert(&words, "ape"))), "the old constraint holds");
        let cat = store.write(|tx| tx.insert(&words, "cat")).unwrap();
        assert_eq!(old.get(&store.view(), "c").unwrap(), Some(cat));
        let infos = store.indexes(&words);
        assert_eq!((infos.len(), infos[0].version, infos[0].ready), (1, 1, true));
        // A kill now leaves the old index, whole.
        let after = Options::new().open_backing(Arc::new(backing.kill_image())).unwrap();
        check_old(&after);
        gate.1.wait();
        upgrade.join().unwrap()
    });
    // Both handles find the new index, also in a transaction; an older view has what it had.
    for handle in [&old, &new] {
        assert_eq!(handle.get(&store.view(), "an").unwrap(), Some(ant));
        assert_eq!(handle.get(&store.view(), "a").unwrap(), None);
        assert_eq!(handle.get(&before, "a").unwrap(), Some(ant));
        assert_eq!(store.write(|tx| tx.find(handle, "an")).unwrap(), Some(ant));
        assert_eq!(store.verify_index(handle).unwrap(), Vec::<String>::new());
    }
    store.write(|tx| tx.insert(&words, "ape")).unwrap();
    assert!(is_violation(&store.write(|tx| tx.insert(&words, "aphid"))), "the new constraint holds");
    // A rebuild through the old handle, and dropping through it.
    store.rebuild_index(&old).unwrap();
    assert_eq!(old.len(&store.view()).unwrap(), 4);
    let image = Options::new().open_backing(Arc::new(backing.kill_image())).unwrap();
    let found = image.find_index(&image.find_set("words").unwrap(), "beginning").unwrap();
    assert_eq!(found.len(&image.view()).unwrap(), 4, "and it stands after a kill");
    store.drop_index(&old).unwrap();
    assert!(matches!(new.get(&store.view(), "an"), Err(Error::NoSuchIndex { .. })));
}

fn check_old(store: &Store) {
    let words = store.find_set("words").unwrap();
    let infos = store.indexes(&words);
    assert_eq!((infos.len(), infos[0].version, infos[0].ready), (1, 1, true));
    let index = store.unique_index(&words, "beginning", beginning(1)).unwrap();
    assert!(is_violation(&store.write(|tx| tx.insert(&words, "ape"))));
    assert_eq!(store.verify_index(&index).unwrap(), Vec::<String>::new());
}

#[test]
fn an_upgrade_that_fails_leaves_the_old_index() {
    let backing = Arc::new(FaultBacking::new());
    let World { store, words, ant } = world(&Options::new(), &backing);
    let old = store.find_index(&words, "beginning").unwrap();
    let same = Extractor::new("beginning", 2, |_, keys| keys.push("same"));
    assert!(is_violation(&store.unique_index(&words, "beginning", same)));
    let failing = Extractor::new("beginning", 3, |_, keys| keys.fail("no"));
    assert!(matches!(store.unique_index(&words, "beginning", failing), Err(Error::KeysUnknown { .. })));
    let panics = Extractor::new("beginning", 4, |_, _| panic!("as an extractor may"));
    let panicked =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.unique_index(&words, "beginning", panics)));
    panicked.unwrap_err();
    assert_eq!(old.get(&store.view(), "a").unwrap(), Some(ant));
    assert!(is_violation(&store.write(|tx| tx.insert(&words, "ape"))));
    assert_eq!(store.verify_index(&old).unwrap(), Vec::<String>::new());
    check_old(&Options::new().open_backing(Arc::new(backing.kill_image())).unwrap());
    store.close().unwrap();
    check_old(&Options::new().open_backing(backing).unwrap());
}

/// A rebuild is killed at every write: the constraint holds, with the old index or with the new one.
#[test]
fn a_rebuild_that_is_killed_at_any_step_keeps_the_constraint() {
    let options = Options::new().background(false);
    let backing = Arc::new(FaultBacking::new());
    let World { store, words, .. } = world(&options, &backing);
    let old = store.find_index(&words, "beginning").unwrap();
    backing.record();
    store.rebuild_index(&old).unwrap();
    let images = backing.take_recorded();
    assert!(images.len() > 3, "{} steps", images.len());
    for image in images {
        check_old(&options.open_backing(Arc::new(image)).unwrap());
    }
}

#[test]
fn making_an_index_leaves_writers_of_other_sets_alone() {
    let store = Store::in_memory().unwrap();
    let (words, others) = (store.record_set("words").unwrap(), store.record_set("others").unwrap());
    store.index(&others, "beginning", beginning(1)).unwrap();
    store.write(|tx| tx.insert(&words, "ant")).unwrap();
    let mut tx = store.begin().unwrap();
    tx.insert(&others, "bee").unwrap();
    store.index(&words, "beginning", beginning(1)).unwrap();
    tx.commit_with(Durability::Buffered).unwrap();
    // A writer of the set itself has to run again.
    let mut tx = store.begin().unwrap();
    tx.insert(&words, "bee").unwrap();
    store.index(&words, "other", beginning(2)).unwrap();
    assert!(
        matches!(tx.commit_with(Durability::Buffered), Err(Error::Conflict(conflict)) if conflict.to_string().contains("\"words\""))
    );
}

#[test]
fn the_handle_of_an_index_that_is_there_waits_for_no_build() {
    let store = Store::in_memory().unwrap();
    let (words, others) = (store.record_set("words").unwrap(), store.record_set("others").unwrap());
    store.index(&others, "beginning", beginning(1)).unwrap();
    store.write(|tx| tx.insert(&words, "ant")).unwrap();
    let gate = gate();
    std::thread::scope(|scope| {
        let build = scope.spawn(|| store.index(&words, "beginning", stopping(1, &gate)).unwrap());
        gate.1.wait();
        let handle = store.index(&others, "beginning", beginning(1)).unwrap();
        assert_eq!(handle.len(&store.view()).unwrap(), 0);
        gate.1.wait();
        build.join().unwrap();
    });
}

#[test]
fn going_back_keeps_the_extractors_that_were_given() {
    let backing = Arc::new(FaultBacking::new());
    let World { store, words, .. } = world(&Options::new(), &backing);
    store.save_named_snapshot("then").unwrap();
    store.write(|tx| tx.insert(&words, "cat")).unwrap();
    let index = store.find_index(&words, "beginning").unwrap();
    // Its number is another one when the store has gone back.
    store.rebuild_index(&index).unwrap();
    let store = store.roll_back_to(&Point::Name("then".to_owned())).unwrap();
    store.write(|tx| tx.insert(&words, "dog")).unwrap();
    assert!(is_violation(&store.write(|tx| tx.insert(&words, "dodo"))));
    assert_eq!(store.verify_index(&index).unwrap(), Vec::<String>::new());
}

#[test]
fn verifying_an_index_needs_its_own_extractor_only() {
    let backing = Arc::new(FaultBacking::new());
    let World { store, words, .. } = world(&Options::new(), &backing);
    store.index(&words, "other", beginning(2)).unwrap();
    store.close().unwrap();
    let store = Options::new().open_backing(backing).unwrap();
    let words = store.find_set("words").unwrap();
    let index = store.unique_index(&words, "beginning", beginning(1)).unwrap();
    assert_eq!(store.verify_index(&index).unwrap(), Vec::<String>::new());
    let other = store.find_index(&words, "other").unwrap();
    assert!(matches!(store.verify_index(&other), Err(Error::NoExtractor { .. })));
}

#[test]
fn closing_lets_go_of_an_extractor_that_holds_the_store() {
    let store = Store::in_memory().unwrap();
    let words = store.record_set("words").unwrap();
    let held = Arc::new(());
    let (of_extractor, within) = (Arc::downgrade(&held), (store.clone(), held));
    let extractor = Extractor::new("holding", 1, move |record, keys| {
        let _ = &within;
        keys.push(record);
    });
    store.index(&words, "all", extractor).unwrap();
    assert_eq!(Weak::strong_count(&of_extractor), 1);
    store.close().unwrap();
    assert_eq!(Weak::strong_count(&of_extractor), 0);
}
