//! Named snapshots, opening a past state, rolling back to it, and copies of a running store.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tenure::backing::{Backing, FaultBacking, Memory};
use tenure::{Durability, Error, Lookup, Options, Point, RecordId, Store};

use crate::common;
use crate::common::Rng;

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).durability(Durability::Buffered).background(false)
}

fn open(backing: &Arc<dyn Backing>) -> Store {
    options().open_backing(Arc::clone(backing)).expect("opens")
}

fn insert(store: &Store, count: usize, value: &[u8]) -> Vec<RecordId> {
    let set = store.record_set("a").expect("a set");
    store.write(|tx| (0..count).map(|_| tx.insert(&set, value)).collect()).expect("inserts")
}

fn is_verified(backing: &Arc<dyn Backing>) {
    let report = tenure::verify::verify_backing(backing, &mut |_| {}).expect("verifies");
    assert!(report.is_ok(), "{:?}", report.problems);
}

#[test]
fn no_id_and_no_commit_number_comes_back_with_another_meaning() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let mut store = open(&backing);
    let mut rng = Rng::new(5);
    let mut ever: BTreeSet<RecordId> = BTreeSet::new();
    let mut last = store.last_seq();
    for round in 0..12 {
        let before = insert(&store, 300, b"before");
        ever.extend(&before);
        let half: Vec<RecordId> = before.iter().copied().filter(|_| rng.one_in(2)).collect();
        store.write(|tx| half.iter().try_for_each(|id| tx.delete(*id))).expect("deletes");
        store.sync().expect("syncs");
        let name = format!("round {round}");
        store.save_named_snapshot(&name).expect("saves");
        let at_the_snapshot = common::contents(&store).expect("reads");

        // Changes that will be undone: new records, deletions, deletions with their slots reused, new sets.
        let kept: Vec<RecordId> = before.iter().copied().filter(|id| !half.contains(id)).collect();
        let (deleted, updated) = kept.split_at(kept.len() / 2);
        store.write(|tx| deleted.iter().try_for_each(|id| tx.delete(*id))).expect("deletes");
        store.write(|tx| updated.iter().try_for_each(|id| tx.update(*id, "after"))).expect("updates");
        store.sync().expect("syncs");
        let after = insert(&store, 700, b"after");
        assert!(after.iter().all(|id| ever.insert(*id)), "an ID was given twice");
        let gone_set = store.record_set(&format!("gone {round}")).expect("a set");
        if rng.one_in(2) {
            store.collect(None).expect("collects");
        }
        last = last.max(store.last_seq());

        store = store.roll_back_to(&Point::Name(name.clone())).expect("goes back");
        assert_eq!(common::contents(&store).expect("reads"), at_the_snapshot);
        assert!(store.last_seq() > last, "{} after {last}", store.last_seq());
        for id in &after {
            assert!(common::is_dead(&store, *id), "{id} came back");
        }
        let other = store.record_set("another").expect("a set");
        assert!(other.number() != gone_set.number());

        // Records that live again are deleted again: their slots go on behind all that was given.
        store.write(|tx| deleted.iter().try_for_each(|id| tx.delete(*id))).expect("deletes");
        store.sync().expect("syncs");
        let again = insert(&store, 700, b"again");
        assert!(again.iter().all(|id| ever.insert(*id)), "an ID was given twice");
        assert!(deleted.iter().all(|id| matches!(store.lookup(*id), Ok(Lookup::Deleted))));
        if rng.one_in(2) {
            store.close().expect("closes");
            store = open(&backing);
        }
        if rng.one_in(2) {
            store.drop_snapshot(&name).expect("drops");
        }
    }
    store.collect(None).expect("collects");
    store.close().expect("closes");
    is_verified(&backing);
}

#[test]
fn marks_and_commits_can_be_gone_back_to_while_the_log_to_them_is_kept() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = open(&backing);
    insert(&store, 10, b"1");
    let first = store.mark("first").expect("marks");
    let ids = insert(&store, 10, b"2");
    let second = store.last_seq();
    store.write(|tx| ids.iter().try_for_each(|id| tx.delete(*id))).expect("deletes");
    store.mark("last").expect("marks");
    store.close().expect("closes");

    let len = |store: &Store| store.view().len(&store.find_set("a").expect("the set"));
    let at = |point: &Point| options().open_backing_at(Arc::clone(&backing), point);
    assert_eq!(len(&at(&Point::Mark("first".to_owned())).expect("opens")), 10);
    assert_eq!(len(&at(&Point::Seq(first)).expect("opens")), 10);
    assert_eq!(len(&at(&Point::Seq(second)).expect("opens")), 20);
    assert_eq!(len(&at(&Point::Mark("last".to_owned())).expect("opens")), 10);
    let missing = at(&Point::Mark("none".to_owned()));
    assert!(matches!(missing, Err(Error::PointGone { .. })), "{missing:?}");
    let missing = at(&Point::Seq(tenure::Seq(1_000)));
    assert!(matches!(missing, Err(Error::PointGone { .. })), "{missing:?}");

    let store = open(&backing).roll_back_to(&Point::Mark("first".to_owned())).expect("goes back");
    assert_eq!(len(&store), 10);
    assert_eq!(common::marks(&store).keys().collect::<Vec<_>>(), ["first"]);
    // Once both automatic snapshots are younger, there is no way back.
    for _ in 0..3 {
        insert(&store, 1, b"3");
        store.save_snapshot().expect("saves");
    }
    let gone = store.roll_back_to(&Point::Mark("first".to_owned()));
    assert!(matches!(gone, Err(Error::PointGone { .. })), "{gone:?}");
    let store = open(&backing);
    assert_eq!(len(&store), 13);
}

#[test]
fn a_named_snapshot_keeps_its_bytes_until_it_is_dropped() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = open(&backing);
    let ids = insert(&store, 2_000, &[1; 200]);
    store.save_named_snapshot("kept").expect("saves");
    let again = store.save_named_snapshot("kept");
    assert!(matches!(again, Err(Error::BadName { .. })), "{again:?}");
    for _ in 0..3 {
        store.write(|tx| ids.iter().try_for_each(|id| tx.update(*id, [2; 200]))).expect("updates");
        store.collect(None).expect("collects");
    }
    let at = |point: &Point| options().open_backing_at(Arc::clone(&backing), point);
    let kept = at(&Point::Name("kept".to_owned())).expect("opens");
    assert!(ids.iter().all(|id| kept.get(*id).expect("there").as_slice() == Some(&[1; 200][..])));
    drop(kept);
    let bytes = || {
        let names = backing.list().expect("lists");
        let logs = names.iter().filter(|name| name.starts_with("log"));
        logs.map(|name| backing.open(name).and_then(|file| file.len()).expect("a length")).sum::<u64>()
    };
    let before = bytes();
    // Also across an opening, which finds files that only the snapshot lists.
    store.close().expect("closes");
    let store = open(&backing);
    store.drop_snapshot("kept").expect("drops");
    assert!(bytes() + 400_000 < before, "{before} bytes before, {} now", bytes());
    assert!(matches!(store.drop_snapshot("kept"), Err(Error::PointGone { .. })));
    assert!(ids.iter().all(|id| store.get(*id).expect("there").as_slice() == Some(&[2; 200][..])));
}

fn transfer(store: &Store, ids: &[RecordId], rng: &mut Rng) {
    let (from, to) = (ids[rng.below(ids.len())], ids[rng.below(ids.len())]);
    let number = |tx: &mut tenure::Transaction, id| -> tenure::Result<i64> {
        Ok(i64::from_le_bytes(tx.get(id)?.to_vec()?[..8].try_into().expect("eight bytes")))
    };
    let moved = store.write(|tx| {
        if from == to {
            return Ok(());
        }
        let (a, b) = (number(tx, from)? - 1, number(tx, to)? + 1);
        tx.update(from, [a.to_le_bytes(); 60].concat())?;
        tx.update(to, [b.to_le_bytes(); 60].concat())
    });
    moved.expect("moves");
}

#[test]
fn a_backup_beside_writers_and_the_collector_is_one_state_of_the_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let path: &Path = dir.path();
    let store = options().background(true).open(path.join("store")).expect("opens");
    let ids = insert(&store, 500, &[0; 480]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (store, ids, done) = (store.clone(), &ids, &done);
            scope.spawn(move || {
                let mut rng = Rng::new(seed);
                while !done.load(Ordering::Acquire) {
                    transfer(&store, ids, &mut rng);
                }
            });
        }
        let _ends = common::Ends(&done);
        for number in 0..6 {
            let to = path.join(format!("backup {number}"));
            let report = store.backup_to(&to).expect("backs up");
            assert!(report.verified.is_ok() && report.files > 0);
            let copy = options().open(&to).expect("opens");
            let values = common::contents(&copy).expect("reads");
            let sum: i64 = values["a"].values().map(|value| i64::from_le_bytes(value[..8].try_into().unwrap())).sum();
            assert_eq!((values["a"].len(), sum), (500, 0));
            // A copy is an independent store.
            insert(&copy, 10, b"more");
            copy.close().expect("closes");
            if number % 3 == 2 {
                store.collect(None).expect("collects");
            }
        }
    });
    let again = store.backup_to(path.join("backup 1"));
    assert!(matches!(again, Err(Error::Exists { .. })), "{again:?}");
    assert!(store.snapshots().expect("lists").iter().all(|snapshot| snapshot.name.is_none()));
    store.close().expect("closes");
    for name in ["store", "backup 0", "backup 5"] {
        assert!(tenure::verify::verify(path.join(name), &mut |_| {}).expect("verifies").is_ok());
    }
    tenure::backup::restore(path.join("backup 5"), path.join("restored"), &mut |_| {}).expect("restores");
    assert_eq!(options().open(path.join("restored")).expect("opens").view().len(&store_set(path)), 510);
}

fn store_set(path: &Path) -> tenure::RecordSet {
    options().read_only(true).open(path.join("restored")).expect("opens").find_set("a").expect("the set")
}

#[test]
fn a_backup_that_is_interrupted_at_any_step_says_so_or_is_complete() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = open(&backing);
    let ids = insert(&store, 900, &[3; 200]);
    let mut complete = 0;
    for step in 0.. {
        let to = FaultBacking::new();
        to.crash_at(step);
        let result = store.backup_to_backing(Arc::new(to.clone()));
        let is_over = to.steps() <= step;
        assert_eq!(result.is_ok(), is_over, "{result:?}");
        for image in [to.crash_image_keep_all(), to.crash_image_lose_all(), to.crash_image(step)] {
            match options().create(false).open_backing(Arc::new(image)) {
                Ok(copy) => {
                    assert!(ids.iter().all(|id| copy.get(*id).expect("there").len() == 200));
                    complete += 1;
                }
                Err(Error::NotAStore { .. }) => {}
                Err(error) => panic!("step {step}: {error}"),
            }
        }
        // The source continues, and retains nothing for a failed copy.
        store.write(|tx| tx.update(ids[0], vec![4; 200])).expect("updates");
        assert!(store.snapshots().expect("lists").iter().all(|snapshot| snapshot.name.is_none()));
        if is_over {
            break;
        }
    }
    assert!(complete >= 3, "{complete}");
}

/// Killed at each step: nothing leads any more from the states that were left into what was given up, and what only they needed is
/// missed by nobody.
#[test]
fn a_going_back_that_was_interrupted_is_ended_by_the_next_opening() {
    let backing = FaultBacking::new();
    let store = open(&(Arc::new(backing.clone()) as _));
    insert(&store, 5, b"early");
    store.save_named_snapshot("then").unwrap();
    for _ in 0..2 {
        insert(&store, 4, &vec![7; 40_000]);
        store.save_snapshot().unwrap();
    }
    backing.record();
    drop(store.roll_back_to(&Point::Name("then".to_owned())).unwrap());
    let mut back = 0;
    for image in backing.take_recorded() {
        let killed = image.kill_image();
        let store = open(&(Arc::new(killed.clone()) as _));
        is_verified(&(Arc::new(killed.kill_image()) as _));
        if store.view().len(&store.find_set("a").unwrap()) == 5 {
            back += 1;
            let snapshots = store.snapshots().unwrap();
            let older = snapshots.iter().find(|snapshot| snapshot.name.is_none() && snapshot.seq < store.last_seq());
            assert!(older.is_none(), "{older:?}");
        }
    }
    assert!(back > 0, "it was never interrupted behind its snapshot");
}
