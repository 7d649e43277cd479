//! A backup does not change, whatever happens to the store, and an interrupted one leaves nothing behind in the store.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tenure::{BackupOptions, Durability, Options, RecordSet, Store};

fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

fn options(is_alone: bool) -> Options {
    Options::new().segment_bytes(64 << 10).snapshot_log_bytes(64 << 10).space_ratio(1.2).background(!is_alone)
}

/// Commits, deletions, snapshots and collections.
fn churn(store: &Store, set: &RecordSet, rounds: usize) {
    for round in 0..rounds {
        let mut tx = store.begin().unwrap();
        let ids: Vec<_> = (0..20).map(|_| tx.insert(set, vec![7; 300]).unwrap()).collect();
        tx.commit_with(if round % 7 == 0 { Durability::Sync } else { Durability::Buffered }).unwrap();
        store.write(|tx| ids.iter().skip(1).try_for_each(|id| tx.delete(*id))).unwrap();
        if round % 5 == 0 {
            store.save_snapshot().unwrap();
        }
        if round % 25 == 24 {
            store.collect(None).unwrap();
        }
    }
}

#[test]
fn no_byte_of_a_backup_ever_changes() {
    for is_alone in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let mut store = options(is_alone).open(&path).unwrap();
        let mut backups = Vec::new();
        for number in 0..6 {
            let set = store.record_set("a").unwrap();
            churn(&store, &set, 20 + number);
            if number == 2 {
                // A snapshot that finds nothing new writes no pages of its own.
                store.save_snapshot().unwrap();
            }
            let to = dir.path().join(format!("backup {number}"));
            let report = store.backup_to(&to).unwrap();
            assert!(report.linked > 0, "nothing is linked: {report:?}");
            backups.push((contents(&to), to));
            if number == 3 {
                store.close().unwrap();
                store = options(is_alone).open(&path).unwrap();
            }
            for (before, to) in &backups {
                assert!(*before == contents(to), "{} has changed", to.display());
            }
        }
        let set = store.record_set("a").unwrap();
        churn(&store, &set, 60);
        store.close().unwrap();
        for (before, to) in &backups {
            assert!(*before == contents(to), "{} has changed", to.display());
            let report = tenure::verify::verify(to, &mut |_| {}).unwrap();
            assert!(report.problems.is_empty(), "{:?}", report.problems);
        }
    }
}

#[test]
fn a_copy_that_is_asked_for_shares_nothing() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let store = options(true).open(dir.path().join("store")).unwrap();
    let set = store.record_set("a").unwrap();
    churn(&store, &set, 20);
    let to = dir.path().join("copy");
    let report = store.backup_with_options(&to, &BackupOptions::new().link(false), &mut |_| {}).unwrap();
    assert_eq!(report.linked, 0);
    let links = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().metadata().unwrap().nlink();
    assert!(std::fs::read_dir(&to).unwrap().map(links).all(|links| links == 1));
    let report = tenure::verify::verify(&to, &mut |_| {}).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[test]
fn a_panic_in_what_is_told_of_a_backup_leaves_no_hidden_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options(true).open(&path).unwrap();
    let set = store.record_set("a").unwrap();
    churn(&store, &set, 20);
    let is_segment = |name: &std::ffi::OsStr| name.to_string_lossy().ends_with(".seg");
    let segments = || {
        let names = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| is_segment(name)).count()
    };
    let result = catch_unwind(AssertUnwindSafe(|| {
        store.backup_with(dir.path().join("backup"), &mut |_| panic!("a planned panic"))
    }));
    assert!(result.is_err());
    assert_eq!(store.stats().stopped, None, "a panic of the user's is no failure of the store");
    // Everything that the copy retained is deleted, as if the copy had never been made.
    let ids: Vec<_> = store.view().scan(&set).map(|record| record.unwrap().id()).collect();
    store.write(|tx| ids.iter().try_for_each(|id| tx.delete(*id))).unwrap();
    let before = segments();
    for _ in 0..2 {
        store.collect(None).unwrap();
    }
    assert!(segments() <= 4, "{} of {before} segments are kept", segments());
    store.close().unwrap();
    let unfinished = Store::open(dir.path().join("backup"));
    assert!(matches!(unfinished, Err(tenure::Error::NotAStore { .. })), "{unfinished:?}");
}
