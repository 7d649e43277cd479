//! The files on disk are those that the store refers to: a file is deleted as soon as nothing needs it, and needed
//! files are verified.

mod random;
#[cfg(feature = "json")]
mod verified;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tenure::verify::{Scope, verify, verify_with};
use tenure::{FileNeed, FileRole, Options, RecordId, Store};

use crate::common;

fn open(path: &Path) -> Store {
    Options::new().segment_bytes(64 << 10).background(false).open(path).expect("it opens")
}

fn files(path: &Path, begin: &str) -> BTreeSet<String> {
    let names = fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    names.map(|name| name.into_string().expect("text")).filter(|name| name.starts_with(begin)).collect()
}

/// An opening deletes page segments that nothing refers to. After a clean close it finds none. (Segments of records that died
/// wait for the collector, or for an opening.)
fn assert_nothing_is_left(path: &Path, when: &str) {
    let before = files(path, "pages-");
    assert!(!before.is_empty(), "no file was found");
    open(path).close().expect("closed");
    let after = files(path, "pages-");
    let left: Vec<&String> = before.difference(&after).collect();
    assert!(left.is_empty(), "{when}: an opening deleted {left:?}");
}

/// A store with records, of which most have changed since the snapshot `then` was saved.
fn changed(path: &Path) -> Vec<RecordId> {
    let store = open(path);
    let set = store.record_set("a").unwrap();
    let insert =
        |transaction: &mut tenure::Transaction| (0..20_000).map(|_| transaction.insert(&set, [1; 30])).collect();
    let ids: Vec<RecordId> = store.write(insert).unwrap();
    store.save_named_snapshot("then").unwrap();
    change(&store, &ids, 2);
    store.close().unwrap();
    ids
}

fn change(store: &Store, ids: &[RecordId], value: u8) {
    store.write(|transaction| ids.iter().try_for_each(|id| transaction.update(*id, [value; 30]))).unwrap();
    store.save_snapshot().unwrap();
}

#[test]
fn pages_of_a_snapshot_that_is_dropped_after_a_reopening_go_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let ids = changed(&path);
    let store = open(&path);
    // The previous automatic snapshot is deleted, too.
    change(&store, &ids, 3);
    change(&store, &ids, 4);
    let with_it = files(&path, "pages-");
    store.drop_snapshot("then").unwrap();
    let without = files(&path, "pages-");
    assert!(without.len() < with_it.len(), "{without:?}");
    store.close().unwrap();
    assert_nothing_is_left(&path, "dropped");
    assert!(verify(&path, &mut |_| {}).unwrap().is_ok());
}

#[test]
fn pages_of_the_automatic_snapshot_before_an_opening_go_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let ids = changed(&path);
    for round in 0..4 {
        let store = open(&path);
        change(&store, &ids, 10 + round);
        change(&store, &ids, 20 + round);
        change(&store, &ids, 30 + round);
        store.close().unwrap();
        assert_nothing_is_left(&path, &format!("round {round}"));
    }
}

#[test]
fn a_segment_that_was_made_ready_goes_when_the_store_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Options::new().segment_bytes(64 << 10).open(&path).unwrap();
    let set = store.record_set("a").unwrap();
    // The background thread makes one ready when the last is half full.
    let begun = std::time::Instant::now();
    while files(&path, "log-").len() < 2 {
        assert!(begun.elapsed() < std::time::Duration::from_mins(1), "none was made ready");
        if store.stats().segments.iter().map(|segment| segment.bytes).sum::<u64>() < 48 << 10 {
            store.write(|transaction| transaction.insert(&set, [1; 1_000])).unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    store.close().unwrap();
    assert_eq!(files(&path, "log-").len(), 1);
    assert_nothing_is_left(&path, "closed");
}

#[test]
fn what_only_a_named_snapshot_needs_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    changed(&path);
    let needed_now = |path: &Path| verify_with(path, Scope::Newest, &mut |_| {}).unwrap();
    let report = verify(&path, &mut |_| {}).unwrap();
    assert!(report.is_ok() && report.snapshots >= 1, "{report:?}");
    let mut only_then = 0;
    for file in files(&path, "log-").into_iter().chain(files(&path, "pages-")) {
        let file = path.join(file);
        let whole = fs::read(&file).unwrap();
        for is_gone in [false, true] {
            if is_gone {
                fs::remove_file(&file).unwrap();
            } else {
                let mut bytes = whole.clone();
                bytes.iter_mut().skip(200).step_by(16).for_each(|byte| *byte ^= 0x40);
                fs::write(&file, bytes).unwrap();
            }
            let (all, newest) = (verify(&path, &mut |_| {}).unwrap(), needed_now(&path));
            assert!(newest.is_ok() || !all.is_ok(), "all is less than a part");
            if newest.is_ok() && !all.is_ok() {
                only_then += 1;
                let what = &all.problems[0].what;
                assert!(what.starts_with("snapshot "), "{what}");
            }
            fs::write(&file, &whole).unwrap();
        }
    }
    assert!(only_then >= 4, "only {only_then} damages concern the named snapshot alone");
    assert!(verify(&path, &mut |_| {}).unwrap().is_ok());
}

#[test]
fn what_only_a_mark_keeps_after_a_reopening_goes_when_no_snapshot_leads_to_the_mark() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = open(&path);
    let set = store.record_set("a").unwrap();
    let insert = |tx: &mut tenure::Transaction| (0..900).map(|_| tx.insert(&set, [1; 700])).collect();
    let ids: Vec<RecordId> = store.write(insert).unwrap();
    store.save_snapshot().unwrap();
    store.mark("then").unwrap();
    store.write(|tx| ids.iter().try_for_each(|id| tx.delete(*id))).unwrap();
    store.close().unwrap();
    let bytes = |store: &Store, need| {
        let files = store.files().unwrap().into_iter();
        files.filter(|file| file.need == need && file.role == FileRole::Records).map(|file| file.bytes).sum::<u64>()
    };
    let store = open(&path);
    assert!(bytes(&store, FileNeed::Mark) > 600_000, "{:#?}", store.files());
    for _ in 0..3 {
        store.write(|tx| tx.insert(&set, [2; 10])).unwrap();
        store.save_snapshot().unwrap();
    }
    store.collect(None).unwrap();
    common::assert_no_strays_in(&store, &path, "the mark is out of reach");
    let left: u64 = store.files().unwrap().iter().filter(|f| f.role == FileRole::Records).map(|f| f.bytes).sum();
    assert!(left < 100_000, "{left} bytes of records: {:#?}", store.files());
    store.close().unwrap();
    common::assert_no_strays_closed(&path, "closed");
}

#[test]
fn a_file_that_is_none_of_the_store_is_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    changed(&path);
    for name in ["notes.txt", "log-999999999999.seg", "unfinished.old"] {
        fs::write(path.join(name), "somebody else's").unwrap();
    }
    let store = Options::new().segment_bytes(64 << 10).background(false).open(&path).unwrap();
    let mut strays = common::strays(&store, &|| common::names_in(&path));
    strays.sort_unstable();
    assert_eq!(strays, ["log-999999999999.seg", "notes.txt", "unfinished.old"]);
    let sum: u64 = store.files().unwrap().iter().map(|file| file.bytes).sum();
    let on_disk: u64 = store.files().unwrap().iter().map(|f| fs::metadata(path.join(&f.name)).unwrap().len()).sum();
    assert_eq!(sum, on_disk);
}
