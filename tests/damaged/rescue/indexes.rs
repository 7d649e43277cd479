//! A damaged page of a key index never prevents a store from opening: reads of the index report it, everything else
//! works, and rebuilding fixes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::{Error, RecordId, Store};

use crate::common;
use crate::common::Rng;
use crate::rescue::model::{Files, by_length, by_value, options};

/// A closed store in whose page segments nearly everything is nodes of two indexes.
fn build() -> (Files, BTreeMap<RecordId, Vec<u8>>) {
    let mut rng = Rng::new(3);
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let mut records = BTreeMap::new();
    for round in 0..2 {
        let store = options().open_backing(Arc::clone(&backing)).expect("opens");
        let set = store.record_set("things").expect("a set");
        store.index(&set, "length", by_length()).expect("an index");
        store.unique_index(&set, "value", by_value()).expect("an index");
        store.record_set("others").expect("a set");
        let count = if round == 0 { 1500 } else { 3 };
        for number in 0..count {
            let len = rng.below(50);
            let bytes = [format!("{round} {number} ").into_bytes(), rng.bytes(len)].concat();
            let id = store.write(|tx| tx.insert(&set, &bytes)).expect("inserts");
            records.insert(id, bytes);
        }
        store.close().expect("closes");
    }
    let mut files = common::read_backing(&*backing);
    files.remove("lock");
    (files, records)
}

fn check_records(store: &Store, records: &BTreeMap<RecordId, Vec<u8>>, what: &str) -> usize {
    let mut unreadable = 0;
    for (id, bytes) in records {
        match store.get(*id).and_then(|record| record.to_vec()) {
            Ok(found) => assert!(found == *bytes, "{what}: {id}"),
            Err(error) => {
                assert!(error.is_corruption(), "{what}: {id}: {error}");
                unreadable += 1;
            }
        }
    }
    unreadable
}

/// Reads both indexes completely; returns the names of the damaged ones.
fn damaged_indexes(store: &Store, records: &BTreeMap<RecordId, Vec<u8>>, what: &str) -> Vec<String> {
    let (set, view) = (store.find_set("things").expect("a set"), store.view());
    let mut damaged = Vec::new();
    for name in ["length", "value"] {
        let index = store.find_index(&set, name).expect("an index");
        let entries = index.all(&view).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match entries {
            Ok(entries) => assert_eq!(entries.len(), records.len(), "{what}: {name}"),
            Err(error) => {
                let Error::DamagedIndex { set, index, damage } = &error else { panic!("{what}: {error}") };
                assert!(set == "things" && index == name && damage.file.starts_with("pages-"), "{what}: {error}");
                assert!(error.advice().contains("rebuild"), "{}", error.advice());
                damaged.push(name.to_owned());
            }
        }
        // A transaction meets the same, and ends its walk there.
        let mut tx = store.begin().expect("begins");
        let range = tx.range::<&[u8]>(&index, ..);
        let entries: Vec<_> = range.map_or_else(|error| vec![Err(error)], Iterator::collect);
        let failed = entries.iter().position(Result::is_err);
        assert_eq!(failed.is_some(), damaged.iter().any(|damaged| damaged == name), "{what}: {name}");
        if let Some(at) = failed {
            assert_eq!(at + 1, entries.len(), "{what}: it ends");
            let error = entries[at].as_ref().expect_err("it failed");
            let is_named = matches!(error, Error::DamagedIndex { set, index, .. } if set == "things" && index == name);
            assert!(is_named, "{what}: {error}");
        }
    }
    damaged
}

#[test]
fn every_page_of_a_store_is_damaged_in_turn_and_the_store_opens_and_is_mended_by_a_rebuild() {
    let (files, records) = build();
    let (mut of_indexes, mut of_records) = (0, 0);
    let pages: Vec<&String> = files.keys().filter(|name| name.starts_with("pages-")).collect();
    for name in pages {
        let len = files[name].len();
        for at in (128..len).step_by(1031) {
            let mut files = files.clone();
            files.get_mut(name).expect("the file")[at] ^= 0x10;
            let what = format!("{name} byte {at}");
            let backing = common::memory_of(&files);
            let Ok(store) = options().open_backing(Arc::clone(&backing)) else {
                // A directory page: that is for `repair`.
                continue;
            };
            let unreadable = check_records(&store, &records, &what);
            let damaged = damaged_indexes(&store, &records, &what);
            of_records += usize::from(unreadable > 0);
            if damaged.is_empty() || unreadable > 0 {
                continue;
            }
            of_indexes += 1;
            let set = store.find_set("things").expect("a set");
            // The programs' own way of opening an index, and then a rebuild.
            let length = store.index(&set, "length", by_length()).expect("an index");
            let value = store.unique_index(&set, "value", by_value()).expect("an index");
            let others = store.find_set("others").expect("a set");
            store.write(|tx| tx.insert(&others, "elsewhere")).expect("the rest works");
            let mut records = records.clone();
            for number in 0..20 {
                let bytes = format!("{number} new").into_bytes();
                match store.write(|tx| tx.insert(&set, &bytes)) {
                    Ok(id) => drop(records.insert(id, bytes)),
                    Err(error) => assert!(matches!(error, Error::DamagedIndex { .. }), "{what}: {error}"),
                }
            }
            let length =
                if damaged.iter().any(|name| name == "length") { store.rebuild_index(&length) } else { Ok(length) };
            let value =
                if damaged.iter().any(|name| name == "value") { store.rebuild_index(&value) } else { Ok(value) };
            for index in [length.expect("rebuilt"), value.expect("rebuilt")] {
                assert_eq!(store.verify_index(&index).expect("verifies"), Vec::<String>::new(), "{what}");
            }
            assert!(damaged_indexes(&store, &records, &what).is_empty(), "{what}");
            store.close().expect("closes");
            let store = options().open_backing(backing).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(store.recovery_report().damaged.is_empty(), "{what}");
            assert!(damaged_indexes(&store, &records, &what).is_empty(), "{what}");
        }
    }
    assert!(of_indexes > 10 && of_records > 0, "{of_indexes} of indexes, {of_records} of records");
}

/// The root page of each index, found by damaging pages and reading.
#[test]
fn an_index_that_was_found_damaged_stays_so_until_it_is_rebuilt() {
    let (files, records) = build();
    let mut seen = 0;
    for name in files.keys().filter(|name| name.starts_with("pages-")) {
        for at in (128..files[name].len()).step_by(517) {
            let mut files = files.clone();
            files.get_mut(name).expect("the file")[at] ^= 1;
            let backing = common::memory_of(&files);
            let Ok(store) = options().open_backing(Arc::clone(&backing)) else { continue };
            let what = format!("{name} byte {at}");
            if store.recovery_report().damaged.is_empty() {
                continue;
            }
            // Its root could not be read: all of it is lost.
            let damaged = damaged_indexes(&store, &records, &what);
            if damaged != ["value"] {
                continue;
            }
            seen += 1;
            let set = store.find_set("things").expect("a set");
            let others = store.find_set("others").expect("a set");
            store.write(|tx| tx.insert(&others, "elsewhere")).expect("the rest works");
            store.close().expect("closes");
            let store = options().open_backing(Arc::clone(&backing)).expect("opens");
            assert_eq!(damaged_indexes(&store, &records, &what), ["value"], "{what}: after a snapshot");
            assert!(!tenure::verify::verify_backing(&backing, &mut |_| {}).expect("verifies").is_ok(), "{what}");
            // Without the extractor nothing is written, and with it the index is built again.
            let value = store.unique_index(&set, "value", by_value()).expect("an index");
            store.index(&set, "length", by_length()).expect("an index");
            assert_eq!(store.verify_index(&value).expect("verifies"), Vec::<String>::new(), "{what}");
            let bytes = &records.values().next().expect("a record");
            let twice = store.write(|tx| tx.insert(&set, bytes)).expect_err("is there already");
            assert!(matches!(twice, Error::UniqueViolation { .. }), "{what}: {twice}");
        }
    }
    assert!(seen > 0, "no root of the unique index was hit");
}
