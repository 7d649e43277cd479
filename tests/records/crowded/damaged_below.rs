//! An image is damaged after changes were put beside it. The next snapshot must not give the bytes a new checksum, and must not
//! fail: it marks what cannot be read, and saves everything else.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tenure::extract::Extractor;
use tenure::{Durability, Error, Index, Options, RecordId, RecordSet, Store};

use crate::common::Rng;

const RECORDS: u64 = 20_000;
const HEADER_BYTES: usize = 128;

fn options() -> Options {
    let options = Options::new().dirty_bytes_max(1 << 20).snapshot_log_bytes(1 << 40);
    options.durability(Durability::Buffered).background(false)
}

fn page_files(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("pages-")).collect()
}

/// Changes a byte in place: maps of the file show it.
fn damage(path: &Path, at: usize) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at as u64).unwrap();
}

/// Damages every image that has these bytes, older ones too.
fn damage_where(dir: &Path, wanted: &[u8]) {
    let mut found = 0;
    for path in page_files(dir) {
        let bytes = std::fs::read(&path).unwrap();
        for (at, _) in bytes.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted) {
            damage(&path, at);
            found += 1;
        }
    }
    assert!(found > 0, "an image has the key");
}

fn indexes(store: &Store) -> (RecordSet, [Index; 2]) {
    let set = store.record_set("records").unwrap();
    let first = Extractor::new("first", 1, |record, keys| keys.push(&record[..16]));
    let second = Extractor::new("second", 1, |record, keys| keys.push(&record[16..32]));
    let indexes = [store.index(&set, "plain", first).unwrap(), store.unique_index(&set, "unique", second).unwrap()];
    (set, indexes)
}

fn check_index(store: &Store, index: &Index, records: &BTreeMap<RecordId, Vec<u8>>) {
    assert_eq!(store.verify_index(index).unwrap(), Vec::<String>::new());
    assert_eq!(index.all(&store.view()).unwrap().count(), records.len());
}

fn check_records(store: &Store, records: &BTreeMap<RecordId, Vec<u8>>) {
    for (id, value) in records {
        assert_eq!(store.get(*id).unwrap().to_vec().unwrap(), *value);
    }
}

/// Changes all over the keys, so many that leaves are no longer copied for them.
fn change(store: &Store, records: &mut BTreeMap<RecordId, Vec<u8>>, rng: &mut Rng) -> Vec<Vec<u8>> {
    let ids: Vec<RecordId> = records.keys().copied().step_by(90).collect();
    let mut replaced = Vec::new();
    for id in ids {
        let value = rng.bytes(32);
        store.write(|tx| tx.update(id, &value)).unwrap();
        replaced.push(records.insert(id, value).unwrap());
    }
    let stats = store.stats();
    assert!(stats.dirty_bytes < stats.dirty_nodes * 3_000, "changes lie beside images: {stats:?}");
    replaced
}

#[test]
fn a_snapshot_marks_an_index_that_was_damaged_below_changes_and_saves_the_rest() {
    for of_unique in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let store = options().open(&path).unwrap();
        let (set, [plain, unique]) = indexes(&store);
        let mut rng = Rng::new(7);
        let mut records = BTreeMap::new();
        for _ in 0..RECORDS / 1_000 {
            let values: Vec<Vec<u8>> = (0..1_000).map(|_| rng.bytes(32)).collect();
            let ids = store.write(|tx| tx.insert_many(&set, &values)).unwrap();
            records.extend(ids.into_iter().zip(values));
        }
        store.save_snapshot().unwrap();
        let replaced = change(&store, &mut records, &mut rng);
        // The end of a key that went: only the image has it.
        let key = &replaced[150][if of_unique { 16..32 } else { 0..16 }];
        damage_where(&path, &key[8..]);
        let (damaged, whole) = if of_unique { (&unique, &plain) } else { (&plain, &unique) };

        let saved = store.save_snapshot();
        assert!(saved.is_ok(), "{saved:?}");
        let read = damaged.all(&store.view()).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        assert!(matches!(read, Err(Error::DamagedIndex { .. })), "{:?}", read.map(|entries| entries.len()));
        check_index(&store, whole, &records);
        check_records(&store, &records);
        // As docs/decisions/0016 says of an index that replay had to change.
        let value = rng.bytes(32);
        let inserted = store.write(|tx| tx.insert(&set, &value));
        match inserted {
            Ok(id) if !of_unique => drop(records.insert(id, value)),
            Err(Error::DamagedIndex { .. }) if of_unique => {}
            other => panic!("{other:?}"),
        }
        store.save_snapshot().unwrap();
        assert_eq!(store.stats().stopped, None);
        drop(store);

        let store = options().open(&path).unwrap();
        let found = store.find_index(&store.find_set("records").unwrap(), damaged.name()).unwrap();
        let read = found.all(&store.view()).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        assert!(matches!(read, Err(Error::DamagedIndex { .. })), "{:?}", read.map(|entries| entries.len()));
        check_records(&store, &records);
        let (set, all) = indexes(&store);
        for index in &all {
            check_index(&store, index, &records);
        }
        let value = rng.bytes(32);
        records.insert(store.write(|tx| tx.insert(&set, &value)).unwrap(), value);
        store.close().unwrap();
        let store = options().open(&path).unwrap();
        assert_eq!(store.recovery_report().damaged, Vec::<String>::new());
        for index in &indexes(&store).1 {
            check_index(&store, index, &records);
        }
    }
}

#[test]
fn a_snapshot_marks_a_leaf_page_that_was_damaged_below_changes_and_keeps_what_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().open(&path).unwrap();
    let set = store.record_set("records").unwrap();
    let mut rng = Rng::new(8);
    let values: Vec<Vec<u8>> = (0..5_000).map(|_| rng.bytes(20)).collect();
    let ids = store.write(|tx| tx.insert_many(&set, &values)).unwrap();
    let mut records: BTreeMap<RecordId, Vec<u8>> = ids.iter().copied().zip(values).collect();
    store.save_snapshot().unwrap();
    check_records(&store, &records);
    // One block of each page, or a few.
    let known: Vec<RecordId> = ids.iter().copied().step_by(211).collect();
    for id in &known {
        let value = rng.bytes(20);
        store.write(|tx| tx.update(*id, &value)).unwrap();
        records.insert(*id, value);
    }
    // The third and the fourth leaf page: each has 4 KiB, and they come first. The place of a record in one that was changed, and
    // in one that was not.
    let files = page_files(&path);
    assert_eq!(files.len(), 1);
    damage(&files[0], HEADER_BYTES + 2 * 4_096 + 2_000);
    damage(&files[0], HEADER_BYTES + 3 * 4_096 + 8 * 300 + 1);

    for round in 0..2 {
        let saved = store.save_snapshot();
        assert!(saved.is_ok(), "{saved:?}");
        let (mut unreadable, mut readable) = (0, 0);
        for (id, value) in &records {
            match store.get(*id).and_then(|record| record.to_vec()) {
                Ok(found) => {
                    assert_eq!(found, *value, "{id}");
                    readable += 1;
                }
                Err(error) => {
                    assert!(error.is_corruption(), "{id}: {error}");
                    assert!(!known.contains(id), "{id} was changed after the image was written: {error}");
                    unreadable += 1;
                }
            }
        }
        assert!(unreadable > 900 && unreadable <= 1_024, "round {round}: {unreadable} of two pages of 512");
        assert!(readable >= records.len() - 1_024);
        let value = rng.bytes(20);
        records.insert(store.write(|tx| tx.insert(&set, &value)).unwrap(), value);
    }
    drop(store);
    let store = options().open(&path).unwrap();
    let mut unreadable = 0;
    for (id, value) in &records {
        match store.get(*id).and_then(|record| record.to_vec()) {
            Ok(found) => assert_eq!(found, *value, "{id}"),
            Err(error) => {
                assert!(error.is_corruption() && !known.contains(id), "{id}: {error}");
                unreadable += 1;
            }
        }
    }
    assert!(unreadable > 900 && unreadable <= 1_024, "{unreadable}");
}

#[test]
fn what_a_block_has_from_an_image_that_was_damaged_before_is_not_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().open(&path).unwrap();
    let set = store.record_set("records").unwrap();
    let values: Vec<Vec<u8>> = (0..2_000_u32).map(|number| number.to_be_bytes().to_vec()).collect();
    let ids = store.write(|tx| tx.insert_many(&set, &values)).unwrap();
    store.save_snapshot().unwrap();
    // The image is checked when it is first read, and damaged after that: the place of a record is gone.
    assert!(ids.iter().all(|id| store.get(*id).is_ok()));
    let (lost, changed) = (&ids[1_000], &ids[1_001]);
    let page = usize::try_from(lost.slot() / 512 - ids[0].slot() / 512).unwrap();
    let at = HEADER_BYTES + page * 4_096 + 8 * usize::try_from(lost.slot() % 512).unwrap();
    let files = page_files(&path);
    let file = std::fs::OpenOptions::new().write(true).open(&files[0]).unwrap();
    file.write_all_at(&[0; 8], at as u64).unwrap();
    assert!(matches!(store.get(*lost), Err(Error::NeverAllocated { .. })), "the image says so");
    assert_eq!((files.len(), lost.slot() % 16 < 15), (1, true), "both are in one block");
    store.write(|tx| tx.update(*changed, "new")).unwrap();
    store.save_snapshot().unwrap();
    for reopens in [false, true] {
        let again = reopens.then(|| options().read_only(true).open(&path).unwrap());
        let store = again.as_ref().unwrap_or(&store);
        let told = store.get(*lost).map(|record| record.len());
        assert!(matches!(&told, Err(error) if error.is_corruption()), "{told:?}");
        assert_eq!(store.get(*changed).unwrap().as_slice(), Some(&b"new"[..]));
    }
}
#[test]
fn a_leaf_that_was_damaged_after_it_was_read_gets_no_new_checksum_when_it_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().open(&path).unwrap();
    let (set, [plain, unique]) = indexes(&store);
    let mut rng = Rng::new(9);
    let values: Vec<Vec<u8>> = (0..RECORDS).map(|_| rng.bytes(32)).collect();
    let ids = store.write(|tx| tx.insert_many(&set, &values)).unwrap();
    store.save_snapshot().unwrap();
    check_index(&store, &plain, &ids.iter().copied().zip(values.iter().cloned()).collect());
    // The first leaves of the plain index: one key is damaged, and so many others come that they are copied for it.
    let mut sorted: Vec<&Vec<u8>> = values.iter().collect();
    sorted.sort();
    damage_where(&path, &sorted[20][10..16]);
    let more: Vec<Vec<u8>> =
        sorted[..60].iter().map(|key| [&key[..15], &[key[15] ^ 1], &rng.bytes(16)].concat()).collect();
    let inserted = store.write(|tx| tx.insert_many(&set, &more));
    assert!(inserted.as_ref().is_ok() || inserted.as_ref().is_err_and(Error::is_corruption), "{inserted:?}");
    let saved = store.save_snapshot();
    assert!(saved.is_ok(), "{saved:?}");
    let told = |index: &Index| index.all(&store.view()).and_then(Iterator::collect::<Result<Vec<_>, _>>).is_err();
    assert!(told(&plain) && !told(&unique), "{:?}", store.verify_index(&plain));
    assert_eq!(store.stats().stopped, None);
}

#[test]
fn what_is_on_the_heap_as_a_whole_is_not_lost_with_the_leaf_that_it_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().open(&path).unwrap();
    let (set, all) = indexes(&store);
    let mut rng = Rng::new(10);
    let values: Vec<Vec<u8>> = (0..5_000).map(|_| rng.bytes(32)).collect();
    let ids = store.write(|tx| tx.insert_many(&set, &values)).unwrap();
    let mut records: BTreeMap<RecordId, Vec<u8>> = ids.iter().copied().zip(values).collect();
    // Leaves that were split have room for patches.
    for id in ids.iter().step_by(17) {
        let value = rng.bytes(32);
        store.write(|tx| tx.update(*id, &value)).unwrap();
        records.insert(*id, value);
    }
    store.save_snapshot().unwrap();
    for index in &all {
        check_index(&store, index, &records);
    }
    let saved: Vec<Vec<u8>> = records.values().cloned().collect();
    // There is room for copies of the leaves.
    for number in (100..4_000).step_by(500) {
        let value = rng.bytes(32);
        store.write(|tx| tx.update(ids[number], &value)).unwrap();
        let old = records.insert(ids[number], value).unwrap();
        let next = saved.iter().filter(|other| **other > old).min().unwrap();
        // The order of the keys stays.
        damage_where(&path, &next[10..16]);
    }
    store.save_snapshot().unwrap();
    drop(store);
    let store = options().open(&path).unwrap();
    assert_eq!(store.recovery_report().damaged, Vec::<String>::new());
    for index in &indexes(&store).1 {
        check_index(&store, index, &records);
    }
}

#[test]
fn what_is_on_the_heap_as_a_whole_is_not_lost_with_the_directory_page_that_it_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().open(&path).unwrap();
    let set = store.record_set("records").unwrap();
    let mut rng = Rng::new(12);
    let values: Vec<Vec<u8>> = (0..5_000).map(|_| rng.bytes(20)).collect();
    let ids = store.write(|tx| tx.insert_many(&set, &values)).unwrap();
    let mut records: BTreeMap<RecordId, Vec<u8>> = ids.iter().copied().zip(values).collect();
    let mut change = |id: RecordId| {
        let value = rng.bytes(20);
        store.write(|tx| tx.update(id, &value)).unwrap();
        records.insert(id, value);
        store.save_snapshot().unwrap();
    };
    // The second save compares the directory page with its checksum, which is remembered.
    change(ids[0]);
    change(ids[1]);
    let files = page_files(&path);
    // The directory page comes behind ten leaf pages.
    damage(files.iter().min().unwrap(), HEADER_BYTES + 10 * 4_096 + 9);
    change(ids[4_000]);
    drop(store);
    let store = options().open(&path).unwrap();
    assert_eq!(store.recovery_report().damaged, Vec::<String>::new());
    check_records(&store, &records);
}
