//! Damaged key indexes, and indexes that differ from their records.

use std::sync::Arc;

use super::{VerifyReport, verify_backing};
use crate::backing::{Backing, Memory};
use crate::extract::Extractor;
use crate::format::descriptor::PageRef;
use crate::format::index::Change;
use crate::format::manifest::SnapshotKind;
use crate::format::segment::FileKind;
use crate::id::{IndexNumber, RecordId, to_u64, to_usize};
use crate::key::Key;
use crate::options::Options;
use crate::store::Store;
use crate::txn::Durability;
use crate::{recovery, snapshot};

const RECORDS: u64 = 400;

fn options() -> Options {
    Options::new().background(false).durability(Durability::Buffered)
}

/// Long names that differ early: few per node.
fn name_of(number: u64) -> String {
    let parts: Vec<String> =
        (3..43).map(|part| format!("{:010}", (number + 1) * 7919 * 104_729 * part % 9_999_999_967)).collect();
    parts.concat()
}

/// A closed store with a three-level index whose extractor is stored, and one whose extractor is code.
fn build() -> (Arc<dyn Backing>, Vec<RecordId>, IndexNumber) {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = options().open_backing(Arc::clone(&backing)).unwrap();
    let set = store.record_set("things").unwrap();
    let json = |line: &str| Extractor::json(line.parse().unwrap());
    let name = store.unique_index(&set, "name", json("json:/name:string")).unwrap();
    store.index(&set, "length", Extractor::new("length", 1, |record, keys| keys.push(&record.len()))).unwrap();
    let record = |number: u64| format!("{{\"name\":\"{}\"}}", name_of(number));
    let ids = store.write(|tx| (0..RECORDS).map(|number| tx.insert(&set, record(number))).collect()).unwrap();
    let number = name.number();
    store.close().unwrap();
    (backing, ids, number)
}

fn verified(backing: &Arc<dyn Backing>) -> VerifyReport {
    verify_backing(backing, &mut |_| {}).unwrap()
}

/// A copy with one changed byte in a file.
fn flipped(backing: &Arc<dyn Backing>, file: &str, offset: u64, by: u8) -> Arc<dyn Backing> {
    let copy = Memory::new();
    for name in backing.list().unwrap().iter().filter(|name| *name != "lock") {
        let from = backing.open(name).unwrap();
        let mut bytes = vec![0; to_usize(from.len().unwrap())];
        from.read_at(0, &mut bytes).unwrap();
        if name == file {
            bytes[to_usize(offset)] ^= by;
        }
        let to = copy.create(name).unwrap();
        to.append(&bytes).unwrap();
        to.sync().unwrap();
    }
    Arc::new(copy)
}

/// Where the nodes of an index are stored.
fn pages(backing: &Arc<dyn Backing>, number: IndexNumber) -> Vec<PageRef> {
    let settings = options().read_only(true).settings();
    let (engine, _) = recovery::open_beside_a_writer(backing, &settings).unwrap();
    engine.heap.pin().indexes[&number].pages().unwrap()
}

#[test]
fn a_changed_byte_in_any_node_is_found() {
    let (backing, _, number) = build();
    let report = verified(&backing);
    assert!(report.is_ok(), "{:?}", report.problems);
    assert_eq!((report.indexes, report.indexes_compared, report.entries), (2, 1, 2 * RECORDS));
    let pages = pages(&backing, number);
    assert!(pages.len() > 20 && report.nodes > 20, "{} nodes", pages.len());
    for (index, page) in pages.iter().enumerate() {
        let file = FileKind::Pages.file_name(page.segment);
        let last = u64::from(page.bytes) - 1;
        // The header's fields in turn, a slot, the middle, and the end.
        for at in [to_u64(index) % 16, 16 + to_u64(index) % 8, last / 2, last] {
            let damaged = flipped(&backing, &file, page.offset() + at, 1 << (index % 8));
            let report = verified(&damaged);
            // If it is the root, an older snapshot is used and reported.
            let text = format!("{file} at byte {}", page.offset());
            let here = report.problems.iter().any(|problem| {
                (problem.file == file && problem.offset == page.offset()) || problem.what.contains(&text)
            });
            assert!(here && !report.is_ok(), "byte {at} of node {index}: {:?}", report.problems);
        }
    }
}

/// Changes an index without its records, and saves that.
fn plant(backing: &Arc<dyn Backing>, index: IndexNumber, changes: &[(bool, &Key, RecordId)]) {
    let (engine, _) = recovery::open_beside_a_writer(backing, &options().settings()).unwrap();
    let mut payload = index.0.to_le_bytes().to_vec();
    for (put, key, id) in changes {
        Change { put: *put, key: key.as_bytes(), id: *id }.encode(&mut payload);
    }
    engine.heap.with_indexes(|indexes| indexes.apply(index, &payload, "a test")).unwrap();
    snapshot::save(&engine, SnapshotKind::Automatic, "").unwrap();
}

fn problems(backing: &Arc<dyn Backing>) -> Vec<String> {
    verified(backing).problems.into_iter().map(|problem| problem.what).collect()
}

#[test]
fn entries_that_no_record_gives_and_keys_without_an_entry_are_found() {
    let name = |number: u64| Key::new(&name_of(number)).unwrap();
    let wrong = Key::new("wrong").unwrap();
    let never = RecordId::from_parts(9_999, 1).unwrap();
    for what in ["more", "less", "other", "never", "twice"] {
        let (backing, ids, index) = build();
        let (put, take) = (|key, id| (true, key, id), |key, id| (false, key, id));
        let key = name(7);
        match what {
            "more" => plant(&backing, index, &[put(&wrong, ids[7])]),
            "less" => plant(&backing, index, &[take(&key, ids[7])]),
            "other" => plant(&backing, index, &[take(&key, ids[7]), put(&wrong, ids[7])]),
            "never" => plant(&backing, index, &[put(&wrong, never)]),
            _ => plant(&backing, index, &[put(&key, ids[8])]),
        }
        let found = problems(&backing);
        let holds =
            |part: &str| found.iter().any(|line| line.starts_with("index things.name: ") && line.contains(part));
        match what {
            "more" => assert!(found.len() == 1 && holds("has no such key"), "{found:?}"),
            "less" => assert!(found.len() == 1 && holds("and no entry"), "{found:?}"),
            "other" => assert!(found.len() == 2 && holds("has no such key") && holds("and no entry"), "{found:?}"),
            "never" => assert!(found.len() == 1 && holds("is no record"), "{found:?}"),
            _ => assert!(found.len() == 2 && holds("has no such key") && holds("several entries"), "{found:?}"),
        }
    }
}

#[test]
fn an_index_that_code_keeps_is_compared_with_what_records_there_are() {
    let (backing, ids, index) = build();
    let store: Store = options().open_backing(Arc::clone(&backing)).unwrap();
    let set = store.record_set("things").unwrap();
    let length = store.find_index(&set, "length").unwrap().number();
    store.close().unwrap();
    assert_ne!(length, index);
    // The keys of a record are unknown here, so a missing entry goes unnoticed.
    let key = Key::new(&1_u64).unwrap();
    plant(&backing, length, &[(true, &key, ids[3])]);
    assert_eq!(problems(&backing), Vec::<String>::new());
    plant(&backing, length, &[(true, &key, RecordId::from_parts(9_999, 1).unwrap())]);
    let found = problems(&backing);
    assert!(found.len() == 1 && found[0].starts_with("index things.length: "), "{found:?}");
}
