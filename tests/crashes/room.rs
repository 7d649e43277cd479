//! Zeros after the last frame of the log: space preallocated to a file, which a killed writer leaves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure::backing::FaultBacking;
use tenure::{Durability, FileKind, Options, Store};

use crate::common;

fn options() -> Options {
    Options::new().durability(Durability::Sync)
}

fn insert(store: &Store, numbers: std::ops::Range<u32>) {
    let set = store.record_set("a").expect("a set");
    for number in numbers {
        store.write(|tx| tx.insert(&set, number.to_le_bytes())).expect("commits");
    }
}

/// Values in the order in which they were inserted.
fn numbers(store: &Store) -> Vec<u32> {
    let view = store.view();
    let set = store.record_set("a").expect("a set");
    let values =
        view.scan(&set).map(|record| record.expect("reads").to_vec().expect("bytes").try_into().expect("four bytes"));
    values.map(u32::from_le_bytes).collect()
}

/// The newest segment of the log, and its bytes on the disk.
fn newest(path: &Path) -> (PathBuf, u64) {
    let logs = common::read_dir(path).into_keys().filter(|name| name.starts_with("log-"));
    let file = path.join(logs.max().expect("a log"));
    let bytes = std::fs::metadata(&file).expect("its length").len();
    (file, bytes)
}

fn appended(store: &Store) -> u64 {
    let logs = store.stats().segments.into_iter().filter(|segment| segment.kind == FileKind::Records);
    logs.max_by(|a, b| a.file.cmp(&b.file)).expect("a log").bytes
}

fn is_verified(path: &Path) {
    let report = tenure::verify::verify(path, &mut |_| {}).expect("verifies");
    assert!(report.is_ok(), "{:?}", report.problems);
}

#[test]
fn a_killed_writer_leaves_room_that_is_no_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    let [path, left] = ["store", "left"].map(|name| dir.path().join(name));
    let store = options().open(&path).expect("opens");
    insert(&store, 0..50);
    let bytes = appended(&store);
    assert!(newest(&path).1 > bytes, "there is no room in this file system: the test shows nothing");
    let mut files = common::read_dir(&path);
    files.remove("lock");
    common::write_dir(&left, &files);
    insert(&store, 50..60);
    store.close().expect("closes");
    let (file, on_disk) = newest(&path);
    assert!(std::fs::read(file).expect("reads").iter().rev().take(64).any(|byte| *byte != 0), "{on_disk} bytes");
    is_verified(&path);

    let expected: Vec<u32> = (0..50).collect();
    is_verified(&left);
    let reader = options().read_only(true).open(&left).expect("opens for reading");
    assert_eq!(numbers(&reader), expected);
    assert_eq!(appended(&reader), bytes);
    drop(reader);
    for round in 0..3_u32 {
        let store = options().open(&left).expect("opens");
        assert!(store.recovery_report().cut.is_none(), "{:?}", store.recovery_report().cut);
        let expected: Vec<u32> = (0..50 + round).collect();
        assert_eq!(numbers(&store), expected);
        insert(&store, 50 + round..51 + round);
        drop(store);
        is_verified(&left);
    }
}

#[test]
fn bytes_behind_zeros_are_no_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = options().open(&path).expect("opens");
    insert(&store, 0..50);
    store.save_snapshot().expect("saves");
    insert(&store, 50..100);
    let mut files = common::read_dir(&path);
    drop(store);
    files.remove("lock");
    let (file, _) = newest(&path);
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    // From a durable commit on everything is zero, but for one byte at the end.
    let bytes = files.get_mut(&name).expect("is there");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("frames") + 1;
    bytes[end - 2_000..end - 200].fill(0);
    let damaged = dir.path().join("damaged");
    common::write_dir(&damaged, &files);
    let error = options().open(&damaged).expect_err("commits that were durable are missing");
    assert!(error.is_corruption(), "{error}");
}

#[test]
fn readers_beside_a_writer_see_a_prefix_while_room_comes_and_goes() {
    const COMMITS: u32 = 400;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    insert(&options().open(&path).expect("opens"), 0..1);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for begin in (1..COMMITS).step_by(50) {
                // Closing takes the room back.
                let store = options().open(&path).expect("opens");
                insert(&store, begin..(begin + 50).min(COMMITS));
                store.close().expect("closes");
            }
        });
        let mut most = 0;
        while !writer.is_finished() {
            let reader = options().read_only(true).open(&path).expect("opens for reading");
            let seen = numbers(&reader);
            let expected: Vec<u32> = (0..u32::try_from(seen.len()).expect("few")).collect();
            assert_eq!(seen, expected);
            assert!(seen.len() >= most, "{} after {most}", seen.len());
            most = seen.len();
        }
        writer.join().expect("writes");
    });
    assert_eq!(numbers(&options().open(&path).expect("opens")).len(), 400);
}

#[test]
fn zeros_below_what_a_snapshot_proves_are_damage_of_records_and_not_of_the_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = options().background(false).open(&path).expect("opens");
    insert(&store, 0..50);
    let set = store.record_set("a").expect("a set");
    let ids: Vec<_> = store.view().scan(&set).map(|record| record.expect("reads").id()).collect();
    store.close().expect("closes");
    let (file, _) = newest(&path);
    let mut bytes = std::fs::read(&file).expect("reads");
    let end = bytes.len();
    bytes[end - 300..].fill(0);
    std::fs::write(&file, &bytes).expect("writes");
    for read_only in [true, false] {
        let store = options().read_only(read_only).open(&path).expect("opens");
        assert!(store.recovery_report().fell_back.is_empty(), "{:?}", store.recovery_report().fell_back);
        assert_eq!(store.get(ids[0]).expect("is whole").to_vec().expect("bytes"), 0_u32.to_le_bytes());
        assert!(store.get(ids[49]).expect_err("is gone").is_corruption());
    }
    assert!(!tenure::verify::verify(&path, &mut |_| {}).expect("verifies").is_ok());
}

#[test]
fn a_backup_has_no_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let [path, backup] = ["store", "backup"].map(|name| dir.path().join(name));
    let store = options().open(&path).expect("opens");
    insert(&store, 0..50);
    store.backup_to(&backup).expect("backs up");
    let before = newest(&backup).1;
    insert(&store, 50..60);
    store.close().expect("closes");
    assert_eq!(newest(&backup).1, before, "a file of a backup became shorter");
    is_verified(&backup);
}

#[test]
fn a_watermark_that_was_never_synced_is_not_missed() {
    let backing = FaultBacking::new();
    let store = options().open_backing(Arc::new(backing.clone())).expect("opens");
    insert(&store, 0..5);
    let end = Instant::now() + Duration::from_secs(30);
    let written = |backing: &FaultBacking| {
        let log = backing.names().into_iter().filter(|name| name.starts_with("log-")).max().expect("a log");
        backing.unsynced_bytes(&log)
    };
    while written(&backing) == 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(written(&backing), 64, "an idle store writes a watermark");
    store.close().expect("closes");
    let image = backing.crash_image_lose_all();
    let store = options().open_backing(Arc::new(image)).expect("opens");
    assert!(store.recovery_report().fell_back.is_empty(), "{:?}", store.recovery_report().fell_back);
    assert_eq!(numbers(&store).len(), 5);
}
