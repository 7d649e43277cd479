//! The loss of a whole log segment that a later session started is reported, also after a clean close; and a damaged
//! part of a store is never copied or counted as if it were whole.

use std::sync::Arc;

use tenure::backing::{Backing, FaultBacking, Memory};
use tenure::verify::verify_backing;
use tenure::{RecordId, RecordSet, Store};

use crate::common;
use crate::told_from_a_tear::craft::{Files, options};

fn open(backing: &Arc<dyn Backing>) -> (Store, RecordSet) {
    let store = options().open_backing(Arc::clone(backing)).unwrap();
    let set = store.record_set("a").unwrap();
    (store, set)
}

fn files_of(backing: &Arc<dyn Backing>) -> Files {
    let mut files = common::read_backing(&**backing);
    files.remove("lock");
    files
}

fn closed() -> (Arc<dyn Backing>, Vec<RecordId>) {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let (store, set) = open(&backing);
    let ids = (0..5).map(|n| store.write(|tx| tx.insert(&set, format!("{n}"))).unwrap()).collect();
    store.close().unwrap();
    (backing, ids)
}

/// The segments that a session has begun.
fn begun(before: &Files, after: &Files) -> Vec<String> {
    after.keys().filter(|name| name.starts_with("log-") && !before.contains_key(*name)).cloned().collect()
}

type Session = fn(&Store, &RecordSet, &[RecordId]);

#[test]
fn the_only_segment_of_a_later_session_is_gone_and_that_is_told() {
    let sessions: [(&str, Session); 8] = [
        ("updates", |store, _, ids| ids.iter().for_each(|id| store.write(|tx| tx.update(*id, "new")).unwrap())),
        ("deletes", |store, _, ids| store.write(|tx| tx.delete(ids[2])).unwrap()),
        ("marks", |store, _, _| store.mark("here").map(drop).unwrap()),
        ("makes a set", |store, _, _| store.record_set("another").map(drop).unwrap()),
        ("renames a set", |store, set, _| store.rename_set(set, "other").map(drop).unwrap()),
        ("clears a set", |store, set, _| store.clear_set(set).map(drop).unwrap()),
        ("drops a set", |store, set, _| store.drop_set(set).unwrap()),
        ("saves and drops a name first", |store, _, ids| {
            store.save_named_snapshot("name").map(drop).unwrap();
            store.drop_snapshot("name").unwrap();
            store.write(|tx| tx.update(ids[0], "new")).unwrap();
        }),
    ];
    for (what, session) in sessions {
        let (backing, ids) = closed();
        let before = files_of(&backing);
        let (store, set) = open(&backing);
        let last = store.last_seq();
        session(&store, &set, &ids);
        assert!(store.last_seq() > last, "{what}");
        let after = files_of(&backing);
        let names = begun(&before, &after);
        assert_eq!(names.len(), 1, "{what}: {names:?}");
        // As if it were killed: everything is there.
        let whole = common::memory_of(&after);
        let read = options().read_only(true).open_backing(Arc::clone(&whole)).unwrap();
        assert_eq!(read.last_seq(), store.last_seq(), "{what}");
        assert!(read.recovery_report().end.as_ref().is_some_and(|end| end.gone_from.is_none()), "{what}");
        assert!(verify_backing(&whole, &mut |_| {}).unwrap().is_ok(), "{what}");
        let mut gone = after.clone();
        gone.remove(&names[0]);
        let gone = common::memory_of(&gone);
        let read = options().read_only(true).open_backing(Arc::clone(&gone)).unwrap();
        let report = read.recovery_report();
        let end = report.end.clone().unwrap_or_else(|| panic!("{what}: nothing is told: {report}"));
        assert!(end.gone_from.is_some() && end.last == last, "{what}: {end:?}");
        assert!(report.to_string().contains("every commit after it is gone"), "{what}: {report}");
        assert!(!verify_backing(&gone, &mut |_| {}).unwrap().is_ok(), "{what}");
        // Once the store was opened for writing, it continues from there.
        let (store, set) = open(&gone);
        assert!(store.recovery_report().end.as_ref().is_some_and(|end| end.gone_from.is_some()), "{what}");
        store.write(|tx| tx.insert(&set, "later")).unwrap();
        store.close().unwrap();
        let verified = verify_backing(&gone, &mut |_| {}).unwrap();
        assert!(verified.is_ok(), "{what}: {:?}", verified.problems);
        let (store, _) = open(&gone);
        assert!(store.recovery_report().clean, "{what}");
    }
}

#[test]
fn a_session_that_commits_nothing_says_nothing_of_a_log_that_goes_on() {
    let (backing, ids) = closed();
    let before = files_of(&backing);
    let (store, _) = open(&backing);
    assert!(store.get(ids[0]).is_ok());
    let _kept = store.view();
    let after = files_of(&backing);
    let of_log = |files: &Files| files.keys().filter(|name| !name.starts_with("reserve")).cloned().collect::<Vec<_>>();
    assert_eq!(of_log(&before), of_log(&after));
    assert!(options().read_only(true).open_backing(common::memory_of(&after)).unwrap().recovery_report().clean);
}

#[test]
fn a_store_with_a_damaged_header_of_a_log_segment_is_not_backed_up() {
    let (backing, ids) = closed();
    let files = files_of(&backing);
    for name in files.keys().filter(|name| name.starts_with("log-")) {
        for at in [0, 20, 44, 100, 127] {
            let mut damaged = files.clone();
            damaged.get_mut(name).unwrap()[at] ^= 1;
            let damaged = common::memory_of(&damaged);
            let (store, _) = open(&damaged);
            assert!(store.get(ids[0]).is_ok());
            let to: Arc<dyn Backing> = Arc::new(Memory::new());
            let refused = store.backup_to_backing(Arc::clone(&to)).unwrap_err();
            assert!(refused.is_corruption() && refused.to_string().contains(name), "{name} byte {at}: {refused}");
            // The partial copy is not a store.
            let unfinished = options().create(false).open_backing(to).unwrap_err();
            assert!(matches!(unfinished, tenure::Error::NotAStore { .. }), "{unfinished}");
        }
    }
}

/// The leaf page is full, so each of its slots that a commit behind the snapshot has changed held a record.
#[test]
fn records_of_a_damaged_full_page_are_counted_once() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let (store, set) = open(&backing);
    let ids = store.write(|tx| tx.insert_many(&set, &vec!["x"; 512])).unwrap();
    store.save_snapshot().unwrap();
    store.save_snapshot().unwrap();
    for id in ids.iter().take(40) {
        store.write(|tx| tx.update(*id, "another")).unwrap();
    }
    for id in ids.iter().skip(100).take(30) {
        store.write(|tx| tx.delete(*id)).unwrap();
    }
    let files = files_of(&backing);
    let mut seen = 0;
    for name in files.keys().filter(|name| name.starts_with("pages-")) {
        for at in (128..files[name].len()).step_by(97) {
            let mut damaged = files.clone();
            damaged.get_mut(name).unwrap()[at] ^= 1;
            let Ok(store) = options().read_only(true).open_backing(common::memory_of(&damaged)) else { continue };
            if store.get(ids[50]).is_ok() {
                continue;
            }
            seen += 1;
            let set = store.find_set("a").unwrap();
            assert_eq!(store.view().len(&set), 512 - 30, "{name} byte {at}");
        }
    }
    assert!(seen > 0, "no damage has hit the page");
}

#[test]
fn a_first_commit_that_finds_no_room_is_not_told_as_a_segment_that_is_gone() {
    let (memory, ids) = closed();
    let files = files_of(&memory);
    let mut refused = 0;
    for room in (0..12_000).step_by(250) {
        let disk = FaultBacking::new();
        for (name, bytes) in &files {
            let file = disk.create(name).unwrap();
            file.append(bytes).unwrap();
            file.sync().unwrap();
        }
        let backing: Arc<dyn Backing> = Arc::new(disk.clone());
        let (store, set) = open(&backing);
        disk.disk_bytes_max(Some(disk.disk_bytes() + room));
        if store.write(|tx| tx.insert(&set, vec![7; 8_000])).is_ok() {
            continue;
        }
        refused += 1;
        // Again and again: no file more.
        for _ in 0..3 {
            store.write(|tx| tx.insert(&set, vec![7; 8_000])).unwrap_err();
        }
        let names = disk.list().unwrap();
        let logs = |names: &mut dyn Iterator<Item = &String>| names.filter(|name| name.starts_with("log-")).count();
        assert!(logs(&mut names.iter()) <= logs(&mut files.keys()) + 2, "{room} bytes: {names:?}");
        let killed: Arc<dyn Backing> = Arc::new(disk.crash_image_keep_all());
        let read = options().read_only(true).open_backing(Arc::clone(&killed)).unwrap();
        let end = read.recovery_report().end.clone();
        assert!(end.as_ref().is_none_or(|end| end.gone_from.is_none()), "{room} bytes: {end:?}");
        assert!(verify_backing(&killed, &mut |_| {}).unwrap().is_ok(), "{room} bytes");
        assert_eq!(read.get(ids[0]).unwrap().as_slice(), Some(&b"0"[..]));
    }
    assert!(refused > 10, "{refused}");
}

/// The power goes out in the first commit behind a close, and what opens the store after that ends before it has written anything.
#[test]
fn a_torn_header_of_the_first_segment_behind_a_close_is_never_told_as_a_segment_that_is_gone() {
    let disk = FaultBacking::new();
    let backing: Arc<dyn Backing> = Arc::new(disk.clone());
    let (store, set) = open(&backing);
    let id = store.write(|tx| tx.insert(&set, "kept")).unwrap();
    store.close().unwrap();
    let (store, _) = open(&backing);
    disk.record();
    // It needs no reservation, which would say that the log goes on by itself.
    store.write(|tx| tx.update(id, "changed")).unwrap();
    let mut torn = 0;
    for (step, state) in disk.take_recorded().into_iter().enumerate() {
        for image in (0..8).map(|seed| state.crash_image(seed)).chain([state.crash_image_lose_all()]) {
            let is_empty = |name: &String| name.starts_with("log-") && image.contents(name).unwrap().len() < 128;
            torn += usize::from(image.names().iter().any(is_empty));
            let shared: Arc<dyn Backing> = Arc::new(image.clone());
            // Held while it is killed: it saves nothing.
            let opened = options().open_backing(shared).unwrap();
            let killed: Arc<dyn Backing> = Arc::new(image.kill_image());
            let verified = verify_backing(&killed, &mut |_| {}).unwrap();
            assert!(verified.is_ok(), "step {step}: {:?}", verified.problems);
            let again = options().open_backing(Arc::clone(&killed)).unwrap();
            let end = again.recovery_report().end.clone();
            assert!(end.as_ref().is_none_or(|end| end.gone_from.is_none()), "step {step}: {end:?}");
            drop(opened);
        }
    }
    assert!(torn > 0, "no power cut has torn the header");
}
