//! Opening a store: one writer, concurrent readers, paths without a store, invalid options.

use std::path::Path;
use std::time::SystemTime;

use tenure::{Durability, Error, Options, RecordId, Store};

use crate::common;

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).background(false)
}

fn filled(path: &Path) -> (Store, RecordId) {
    let store = options().open(path).expect("a new store");
    let set = store.record_set("a").expect("a set");
    let id = store.write(|tx| tx.insert(&set, "first")).expect("inserts");
    (store, id)
}

/// Everything that would reveal a write.
fn traces(path: &Path) -> Vec<(String, Vec<u8>, SystemTime)> {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|found| found.modified()).expect("a time");
    let files = common::read_dir(path).into_iter();
    let mut traces: Vec<_> = files.map(|(name, bytes)| (name.clone(), bytes, modified(&path.join(name)))).collect();
    traces.push((".".to_owned(), Vec::new(), modified(path)));
    traces
}

#[test]
fn a_second_writer_is_refused_until_the_first_has_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let (store, id) = filled(&path);
    for _ in 0..2 {
        let error = options().open(&path).expect_err("a second writer");
        assert!(matches!(error, Error::Locked { .. }), "{error}");
    }
    let clone = store.clone();
    drop(store);
    assert!(matches!(options().open(&path), Err(Error::Locked { .. })), "a clone still holds it");
    drop(clone);
    let store = options().open(&path).expect("opens");
    assert!(store.recovery_report().clean);
    assert_eq!(store.get(id).expect("live").as_slice(), Some(&b"first"[..]));
}

#[test]
fn a_closed_handle_writes_no_more_even_through_a_clone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let (store, id) = filled(&path);
    let clone = store.clone();
    let mut tx = store.begin().expect("begins");
    tx.update(id, "late").expect("updates");
    store.close().expect("closes");
    let other = options().open(&path).expect("the lock is free");
    tx.commit_with(Durability::Sync).expect_err("the store is closed");
    clone.write(|tx| tx.delete(id)).expect_err("the store is closed");
    clone.mark("late").expect_err("the store is closed");
    assert_eq!(other.get(id).expect("live").as_slice(), Some(&b"first"[..]));
    drop(clone);
    assert_eq!(other.get(id).expect("live").as_slice(), Some(&b"first"[..]));
}

#[test]
fn an_id_held_by_a_transaction_that_outlived_its_store_is_not_handed_out_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let (store, _) = filled(&path);
    let set = store.record_set("a").expect("a set");
    let mut tx = store.begin().expect("begins");
    let seen: Vec<RecordId> = (0..10).map(|_| tx.insert(&set, "in vain").expect("inserts")).collect();
    store.close().expect("closes");
    drop(tx);
    for _ in 0..2 {
        let store = options().open(&path).expect("opens");
        for _ in 0..600 {
            let id = store
                .write(|tx| -> tenure::Result<_> {
                    let id = tx.insert(&set, "new")?;
                    tx.delete(id)?;
                    Ok(id)
                })
                .expect("inserts");
            assert!(!seen.contains(&id), "{id} was handed out twice");
        }
        assert!(seen.iter().all(|id| common::is_dead(&store, *id)));
        store.close().expect("closes");
    }
}

#[test]
fn a_reader_beside_a_writer_sees_what_was_there_and_writes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let (writer, id) = filled(&path);
    let before = traces(&path);
    let reader = options().read_only(true).open(&path).expect("opens for reading");
    let second = options().read_only(true).open(&path).expect("another reader");
    let set = reader.find_set("a").expect("the set");
    assert_eq!(traces(&path), before, "opening wrote");

    writer.write(|tx| tx.update(id, "second")).expect("updates");
    writer.write(|tx| tx.insert(&set, "more")).expect("inserts");
    writer.save_snapshot().expect("saves");
    let before = traces(&path);
    for store in [&reader, &second] {
        assert_eq!(store.get(id).expect("live").as_slice(), Some(&b"first"[..]));
        assert_eq!(store.view().len(&set), 1);
        assert!(matches!(store.begin(), Err(Error::ReadOnly)));
        assert!(matches!(store.write(|tx| tx.delete(id)), Err(Error::ReadOnly)));
        assert!(matches!(store.record_set("b"), Err(Error::NoSuchSet { .. })));
        assert!(matches!(store.mark("m"), Err(Error::ReadOnly)));
        assert!(matches!(store.save_snapshot(), Err(Error::ReadOnly)));
        assert!(matches!(store.sync(), Err(Error::ReadOnly)));
        assert_eq!(store.record_set("a").expect("it exists").name(), "a");
    }
    reader.close().expect("closes");
    drop(second);
    assert_eq!(traces(&path), before, "a reader wrote");
    let late = options().read_only(true).open(&path).expect("opens for reading");
    assert_eq!(late.get(id).expect("live").as_slice(), Some(&b"second"[..]));
    writer.close().expect("a reader is in nobody's way");
}

#[test]
fn a_reader_recovers_an_unclean_store_without_writing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, id) = filled(&dir.path().join("store"));
    store.write(|tx| tx.update(id, vec![7; 70_000])).expect("updates");
    let mut unfinished = store.begin().expect("begins");
    let set = store.record_set("a").expect("a set");
    unfinished.insert(&set, vec![8; 70_000]).expect("inserts");
    let path = dir.path().join("crashed");
    common::write_dir(&path, &common::read_dir(&dir.path().join("store")));
    let before = traces(&path);
    for _ in 0..2 {
        let reader = options().read_only(true).open(&path).expect("opens for reading");
        assert!(!reader.recovery_report().clean);
        assert_eq!(reader.get(id).expect("live").to_vec().expect("readable"), vec![7; 70_000]);
        assert_eq!(reader.view().len(&set), 1);
        reader.close().expect("closes");
        assert!(tenure::verify::verify(&path, &mut |_| {}).expect("verifies").is_ok());
        assert_eq!(traces(&path), before, "a reader wrote");
    }
}

#[test]
fn a_place_without_a_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let absent = dir.path().join("absent");
    let empty = dir.path().join("empty");
    let foreign = dir.path().join("foreign");
    let file = dir.path().join("file");
    std::fs::create_dir(&empty).expect("a directory");
    std::fs::create_dir(&foreign).expect("a directory");
    std::fs::write(foreign.join("notes.txt"), "notes").expect("a file");
    std::fs::write(&file, "notes").expect("a file");
    let refused = |options: Options, path: &Path| {
        let error = options.open(path).expect_err("no store");
        assert!(matches!(error, Error::NotAStore { .. }), "{}: {error}", path.display());
    };
    for path in [&absent, &empty, &foreign, &file] {
        refused(options().create(false), path);
        refused(options().read_only(true), path);
        refused(options().read_only(true).create(false), path);
        assert!(tenure::verify::verify(path, &mut |_| {}).is_err());
    }
    refused(options(), &foreign);
    refused(options(), &file);
    assert!(!absent.exists());
    assert_eq!(std::fs::read_dir(&empty).expect("a directory").count(), 0);
    assert_eq!(std::fs::read_dir(&foreign).expect("a directory").count(), 1);
    assert_eq!(std::fs::read(&file).expect("a file"), b"notes");

    options().open(&empty).expect("an empty directory will do").close().expect("closes");
    options().open(&absent).expect("so will none").close().expect("closes");
    options().create(false).open(&absent).expect("now there is one").close().expect("closes");
    let deep = dir.path().join("no").join("parent");
    assert!(matches!(options().open(&deep), Err(Error::Io { .. })));
}

#[test]
fn options_that_cannot_work_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    for (options, name) in [
        (options().segment_bytes(0), "segment_bytes"),
        (options().segment_bytes(32 << 10), "segment_bytes"),
        (options().segment_bytes((64 << 10) + 1), "segment_bytes"),
        (options().segment_bytes(512 << 20), "segment_bytes"),
        (options().transaction_bytes_max(1023), "transaction_bytes_max"),
        (options().transaction_bytes_max(256 << 20), "transaction_bytes_max"),
        (options().transaction_bytes_max(u64::MAX), "transaction_bytes_max"),
    ] {
        match options.open(&path).expect_err("refused") {
            Error::BadOption { option, .. } => assert_eq!(option, name),
            other => panic!("{other}"),
        }
        assert!(!path.exists());
    }
}

#[test]
fn a_store_keeps_the_segment_size_that_it_was_made_with() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let (store, id) = filled(&path);
    store.close().expect("closes");
    let store = options().segment_bytes(1 << 20).open(&path).expect("opens");
    let set = store.record_set("a").expect("a set");
    for _ in 0..30 {
        store.write(|tx| tx.insert(&set, [1; 9_000])).expect("inserts");
    }
    let largest = store.stats().segments.iter().map(|segment| segment.bytes).max();
    assert!(largest <= Some(64 << 10), "{largest:?}");
    assert_eq!(store.get(id).expect("live").as_slice(), Some(&b"first"[..]));
}

#[test]
fn a_transaction_over_its_limit_is_refused_and_leaves_nothing() {
    let store =
        options().transaction_bytes_max(4 << 10).open_backing(std::sync::Arc::new(tenure::backing::Memory::new()));
    let store = store.expect("a store");
    let set = store.record_set("a").expect("a set");
    let mut tx = store.begin().expect("begins");
    tx.insert(&set, [1; 2_000]).expect("fits");
    let error = tx.insert(&set, [2; 2_500]).expect_err("does not fit");
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    tx.insert(&set, [3; 1_000]).expect("fits");
    tx.commit_with(Durability::Sync).expect("commits");
    assert_eq!(store.view().len(&set), 2);
    let large = store.write(|tx| tx.insert(&set, vec![4; 200_000])).expect("streamed values do not count");
    assert_eq!(store.get(large).expect("live").len(), 200_000);
}
