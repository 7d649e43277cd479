//! Repair: a damaged page of the record index stops only reads of its slots, and is rebuilt from the segments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure::backing::{Backing, Memory};
use tenure::repair::{RepairReport, repair_backing};
use tenure::{Error, RecordId, Store};

use crate::common;
use crate::common::Rng;
use crate::rescue::model::{Files, options};

struct Built {
    files: Files,
    live: BTreeMap<RecordId, Vec<u8>>,
    dead: BTreeSet<RecordId>,
}

/// A store of a few leaf pages that the last two snapshots share but for one, with replaced, deleted and moved records.
fn build(seed: u64, is_closed: bool) -> Built {
    let mut rng = Rng::new(seed);
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let (mut live, mut dead) = (BTreeMap::new(), BTreeSet::new());
    let store = options().open_backing(Arc::clone(&backing)).expect("opens");
    let set = store.record_set("things").expect("a set");
    for number in 0..2600 {
        let len = rng.below(60);
        let bytes = [format!("{number} ").into_bytes(), rng.bytes(len)].concat();
        live.insert(store.write(|tx| tx.insert(&set, &bytes)).expect("inserts"), bytes);
    }
    let change = |store: &Store,
                  rng: &mut Rng,
                  live: &mut BTreeMap<RecordId, Vec<u8>>,
                  dead: &mut BTreeSet<RecordId>,
                  slots: u64| {
        let ids: Vec<RecordId> = live.keys().copied().filter(|id| id.slot() < slots).collect();
        let id = ids[rng.below(ids.len())];
        if rng.one_in(2) {
            store.write(|tx| tx.delete(id)).expect("deletes");
            live.remove(&id);
            dead.insert(id);
        } else {
            let bytes = rng.bytes(40);
            store.write(|tx| tx.update(id, &bytes)).expect("updates");
            live.insert(id, bytes);
        }
    };
    for _ in 0..700 {
        change(&store, &mut rng, &mut live, &mut dead, u64::MAX);
    }
    let large = rng.bytes(150_000);
    live.insert(store.write(|tx| tx.insert(&set, &large)).expect("inserts"), large);
    store.collect(None).map(drop).expect("collects");
    for _ in 0..2 {
        store.save_snapshot().expect("saves");
        change(&store, &mut rng, &mut live, &mut dead, 512);
    }
    if !is_closed {
        for _ in 0..30 {
            change(&store, &mut rng, &mut live, &mut dead, 1024);
        }
        let files = common::read_backing(&*backing);
        drop(store);
        return Built { files: without_lock(files), live, dead };
    }
    // Both snapshots share all pages then.
    store.save_snapshot().expect("saves");
    store.close().expect("closes");
    Built { files: without_lock(common::read_backing(&*backing)), live, dead }
}

fn without_lock(mut files: Files) -> Files {
    files.remove("lock");
    files
}

/// Reads everything; returns the IDs that cannot be read.
fn read(store: &Store, built: &Built, what: &str) -> BTreeSet<RecordId> {
    let mut unreadable = BTreeSet::new();
    for (id, bytes) in &built.live {
        match store.get(*id).and_then(|record| record.to_vec()) {
            Ok(found) => assert!(found == *bytes, "{what}: {id} is another"),
            Err(error) => {
                assert!(error.is_corruption(), "{what}: {id}: {error}");
                unreadable.insert(*id);
            }
        }
    }
    for id in &built.dead {
        match store.get(*id) {
            Ok(_) => panic!("{what}: {id} is back"),
            Err(Error::Deleted { .. } | Error::NeverAllocated { .. }) => {}
            Err(error) => assert!(error.is_corruption(), "{what}: {id}: {error}"),
        }
    }
    unreadable
}

fn repair(backing: &Arc<dyn Backing>, what: &str) -> RepairReport {
    repair_backing(Arc::clone(backing), &mut |_| {}).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Asserts that after a repair everything is there, counted and verified, and the store continues to work.
fn check_repaired(backing: &Arc<dyn Backing>, built: &Built, what: &str) {
    let verified = tenure::verify::verify_backing(backing, &mut |_| {}).expect("verifies");
    assert!(verified.is_ok(), "{what}: {:?}", verified.problems.first());
    let store = options().check_pages(true).open_backing(Arc::clone(backing)).expect("opens");
    let recovered = store.recovery_report();
    assert!(recovered.damaged.is_empty() && recovered.fell_back.is_empty(), "{what}: {recovered}");
    assert!(read(&store, built, what).is_empty(), "{what}: not all came back");
    let set = store.find_set("things").expect("a set");
    assert_eq!(store.view().len(&set), u64::try_from(built.live.len()).expect("64 bits"), "{what}");
    for _ in 0..700 {
        let id = store.write(|tx| tx.insert(&set, "new")).expect("inserts");
        assert!(!built.live.contains_key(&id) && !built.dead.contains(&id), "{what}: {id} again");
    }
    store.close().expect("closes");
    repair(backing, what);
}

#[test]
fn a_byte_of_every_page_is_flipped_in_turn_and_the_repaired_store_is_the_same() {
    for (seed, is_closed) in [(1, true), (2, false)] {
        let built = build(seed, is_closed);
        let (mut opened, mut refused, mut rebuilt, mut unread) = (0, 0, 0, 0);
        for name in built.files.keys().filter(|name| name.starts_with("pages-")) {
            for at in (128..built.files[name].len()).step_by(101).chain([5, 60]) {
                let mut files = built.files.clone();
                files.get_mut(name).expect("the file")[at] ^= 0x40;
                let what = format!("{seed}: {name} byte {at}");
                let backing = common::memory_of(&files);
                match options().open_backing(Arc::clone(&backing)) {
                    Ok(store) => {
                        opened += 1;
                        let unreadable = read(&store, &built, &what);
                        let pages: BTreeSet<u64> = unreadable.iter().map(|id| id.slot() / 512).collect();
                        // Of a large value the chunks may be in the page.
                        assert!(pages.len() <= 2, "{what}: {pages:?}");
                        unread += pages.len();
                        let set = store.find_set("things").expect("a set");
                        store.write(|tx| tx.insert(&set, "one more").and_then(|id| tx.delete(id))).expect("writes");
                        let slot = unreadable.iter().next().map(|id| id.slot());
                        drop(store);
                        assert!(slot.is_none() || !verify(&backing), "{what}: verification says nothing");
                    }
                    Err(error) => {
                        assert!(error.is_corruption() && error.advice().contains("tenure repair"), "{what}: {error}");
                        refused += 1;
                    }
                }
                let report = repair(&backing, &what);
                assert!(report.is_certain(), "{what}: {report:?}");
                rebuilt += report.pages.len();
                check_repaired(&backing, &built, &what);
            }
        }
        assert!(
            opened > 10 && (refused > 0 || !is_closed) && rebuilt > 3 && unread > 2,
            "{opened} {refused} {rebuilt} {unread}"
        );
    }
}

fn verify(backing: &Arc<dyn Backing>) -> bool {
    tenure::verify::verify_backing(backing, &mut |_| {}).expect("verifies").is_ok()
}

#[test]
fn page_segments_that_are_gone_are_rebuilt() {
    let built = build(4, true);
    let names: Vec<&String> = built.files.keys().filter(|name| name.starts_with("pages-")).collect();
    for without in names.iter().map(|name| vec![*name]).chain([names.clone()]) {
        let mut files = built.files.clone();
        files.retain(|name, _| !without.contains(&name));
        let what = format!("without {without:?}");
        let backing = common::memory_of(&files);
        let report = repair(&backing, &what);
        let back: Vec<RecordId> =
            report.doubts.iter().map(|doubt| doubt.id).filter(|id| built.dead.contains(id)).collect();
        if back.is_empty() {
            check_repaired(&backing, &built, &what);
        }
        let store = options().open_backing(Arc::clone(&backing)).expect("opens");
        for (id, bytes) in &built.live {
            assert!(
                store.get(*id).and_then(|record| record.to_vec()).is_ok_and(|found| found == *bytes),
                "{what}: {id}"
            );
        }
        for id in built.dead.iter().filter(|id| !back.contains(id)) {
            assert!(common::is_dead(&store, *id), "{what}: {id} is back, and nothing says so");
        }
    }
}

#[test]
fn what_commits_have_changed_of_a_damaged_page_outlives_snapshots() {
    let built = build(5, true);
    let store_of = |backing: &Arc<dyn Backing>| options().open_backing(Arc::clone(backing)).expect("opens");
    let mut seen = 0;
    for name in built.files.keys().filter(|name| name.starts_with("pages-")) {
        for at in (128..built.files[name].len()).step_by(2053) {
            let what = format!("{name} byte {at}");
            // A tail of commits whose pages are damaged when the store is opened.
            let backing = common::memory_of(&built.files);
            let store = store_of(&backing);
            let mut expected = Built { files: Files::new(), live: built.live.clone(), dead: built.dead.clone() };
            for (id, page) in
                (0..5).filter_map(|page| Some((*built.live.keys().find(|id| id.slot() / 512 == page)?, page)))
            {
                let bytes = format!("changed in page {page}").into_bytes();
                store.write(|tx| tx.update(id, &bytes)).expect("updates");
                expected.live.insert(id, bytes);
            }
            store.sync().expect("syncs");
            let mut files = without_lock(common::read_backing(&*backing));
            files.get_mut(name).expect("the file")[at] ^= 2;
            let backing = common::memory_of(&files);
            let Ok(store) = options().open_backing(Arc::clone(&backing)) else { continue };
            if store.recovery_report().damaged.is_empty() {
                continue;
            }
            seen += 1;
            let before = read(&store, &expected, &what);
            for _ in 0..3 {
                store.save_snapshot().expect("saves");
            }
            store.close().expect("closes");
            let store = store_of(&backing);
            assert_eq!(read(&store, &expected, &what), before, "{what}");
            drop(store);
            assert!(repair(&backing, &what).is_certain(), "{what}");
            check_repaired(&backing, &expected, &what);
        }
    }
    assert!(seen > 2, "only {seen} damaged pages were met by replay");
}

/// A store whose records are moved behind both automatic snapshots, which share the pages; and killed, with a change behind that or
/// without.
fn build_moved(is_changed: bool) -> Built {
    let mut rng = Rng::new(6);
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let (mut live, mut dead) = (BTreeMap::new(), BTreeSet::new());
    let with_threads = options().background(true).snapshot_log_bytes(1 << 30).space_ratio(1.2);
    let store = with_threads.open_backing(Arc::clone(&backing)).expect("opens");
    let set = store.record_set("things").expect("a set");
    for number in 0..5200 {
        let len = rng.below(90);
        let bytes = [format!("{number} ").into_bytes(), rng.bytes(len)].concat();
        live.insert(store.write(|tx| tx.insert(&set, &bytes)).expect("inserts"), bytes);
    }
    let going: Vec<RecordId> = live.keys().copied().filter(|id| id.slot() % 3 > 0).collect();
    for id in going {
        store.write(|tx| tx.delete(id)).expect("deletes");
        live.remove(&id);
        dead.insert(id);
    }
    let mut change = |live: &mut BTreeMap<RecordId, Vec<u8>>, page: u64| {
        let id = *live.keys().find(|id| id.slot() / 512 == page).expect("a record");
        let bytes = rng.bytes(30);
        store.write(|tx| tx.update(id, &bytes)).expect("updates");
        live.insert(id, bytes);
    };
    for _ in 0..2 {
        change(&mut live, 4);
        store.save_snapshot().expect("saves");
    }
    let before = common::read_backing(&*backing);
    let begun = Instant::now();
    store.set_collecting(true);
    let gone = |backing: &Arc<dyn Backing>| {
        let names = backing.list().expect("lists");
        before.keys().filter(|name| name.starts_with("log-") && !names.contains(name)).count()
    };
    while gone(&backing) < 3 {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing is emptied");
        std::thread::sleep(Duration::from_millis(5));
    }
    store.set_collecting(false);
    for page in (0..3).filter(|_| is_changed) {
        change(&mut live, page);
    }
    store.sync().expect("syncs");
    // No other file is deleted while the files are read.
    std::thread::sleep(Duration::from_millis(50));
    let files = common::read_backing(&*backing);
    let is_page = |(name, _): &(&String, &Vec<u8>)| name.starts_with("pages-");
    assert!(before.iter().filter(is_page).eq(files.iter().filter(is_page)), "a snapshot behind the moves");
    drop(store);
    Built { files: without_lock(files), live, dead }
}

#[test]
fn what_was_moved_behind_the_snapshots_outlives_a_damaged_page() {
    for is_changed in [true, false] {
        let built = build_moved(is_changed);
        let (mut opened, mut rebuilt, mut certain) = (0, 0, 0);
        for name in built.files.keys().filter(|name| name.starts_with("pages-")) {
            for at in (128..built.files[name].len()).step_by(1021) {
                let mut files = built.files.clone();
                files.get_mut(name).expect("the file")[at] ^= 0x10;
                let what = format!("changed {is_changed}: {name} byte {at}");
                let backing = common::memory_of(&files);
                for _ in 0..3 {
                    let Ok(store) = options().open_backing(Arc::clone(&backing)) else { continue };
                    opened += 1;
                    read(&store, &built, &what);
                    store.collect(None).map(drop).expect("collects");
                    store.save_snapshot().expect("saves");
                    store.close().unwrap_or_else(|error| panic!("{what}: {error}"));
                }
                let report = repair(&backing, &what);
                rebuilt += report.pages.len();
                if report.is_certain() {
                    certain += 1;
                    check_repaired(&backing, &built, &what);
                    continue;
                }
                // The segments that recorded the deletions are lost: records that may be resurrected are listed.
                let store = options().open_backing(Arc::clone(&backing)).expect("opens");
                for (id, bytes) in &built.live {
                    let found = store.get(*id).and_then(|record| record.to_vec());
                    assert!(found.is_ok_and(|found| found == *bytes), "{what}: {id} is lost");
                }
                let is_told = |id: &RecordId| report.doubts.iter().any(|doubt| doubt.id == *id);
                for id in built.dead.iter().filter(|id| !is_told(id)) {
                    assert!(common::is_dead(&store, *id), "{what}: {id} is back, and nothing says so");
                }
            }
        }
        assert!(opened > 10 && rebuilt > 3 && certain > 0, "{is_changed}: {opened} {rebuilt} {certain}");
    }
}
