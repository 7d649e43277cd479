//! Salvage: every record whose bytes are intact is rescued, with its ID, set and version, whatever else is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::format::item::{Item, Kind};
use tenure::format::segment::SegmentHeader;
use tenure::format::value::HEAD_BYTES;
use tenure::format::{Seed, checksum};
use tenure::salvage::{IndexFate, SalvageReport, salvage_backing};
use tenure::{RecordId, Store};

use crate::common;
use crate::common::Rng;
use crate::rescue::model::{Expected, Files, Left, Model, build, by_length, by_value, options};

/// Salvages a damaged store, and checks that nothing of it was written.
fn rescue(files: &Files, what: &str) -> (Store, Arc<dyn Backing>, SalvageReport) {
    let (from, to) = (common::memory_of(files), Arc::new(Memory::new()) as Arc<dyn Backing>);
    let report = salvage_backing(&from, &to, &mut |_| {}).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(&common::read_backing(&*from), files, "{what}: the damaged store was written to");
    let verified = tenure::verify::verify_backing(&to, &mut |_| {}).expect("verifies");
    assert!(verified.is_ok(), "{what}: {:?}", verified.problems);
    let store = options().open_backing(Arc::clone(&to)).unwrap_or_else(|error| panic!("{what}: {error}"));
    (store, to, report)
}

/// All records of a store.
fn read(store: &Store) -> BTreeMap<RecordId, Expected> {
    let view = store.view();
    let mut all = BTreeMap::new();
    for set in store.record_sets() {
        for record in view.scan(&set) {
            let record = record.expect("readable");
            let (seq, bytes) = (record.seq().0, record.to_vec().expect("readable"));
            // The name stands in the manifest, and in a segment that may have been collected.
            let set = match set.name() {
                "salvaged set 16" => "a",
                "salvaged set 17" => "b",
                own => own,
            };
            all.insert(record.id(), Expected { set: set.to_owned(), seq, bytes });
        }
    }
    all
}

/// Compares the rescued records with the original ones: nothing is wrong, and every missing one is reported.
fn compare(
    model: &Model,
    found: &BTreeMap<RecordId, Expected>,
    report: &SalvageReport,
    what: &str,
) -> BTreeSet<RecordId> {
    let mut missing = BTreeSet::new();
    for (id, expected) in &model.live {
        match found.get(id) {
            Some(record) => {
                // Where even the ID is not whole, and no index tells of it, only the place can be named.
                let is_behind = report.indexed_to.is_none_or(|seq| seq.0 < expected.seq);
                let is_nameless = is_behind && !report.unreadable.is_empty();
                let is_told = is_nameless || report.lost.iter().any(|lost| lost.id == Some(*id));
                assert!(
                    record == expected || is_told,
                    "{what}: {id} of commit {} is that of {}",
                    expected.seq,
                    record.seq
                );
            }
            None => {
                missing.insert(*id);
            }
        }
    }
    for id in &missing {
        let is_told = report.lost.iter().any(|lost| lost.id == Some(*id) || lost.slot == id.slot());
        assert!(is_told || !report.unreadable.is_empty(), "{what}: {id} is gone, and nothing says so");
    }
    missing
}

#[test]
fn a_whole_store_comes_back_whole() {
    for left in [Left::Closed, Left::Killed] {
        let model = build(7, left);
        let (store, _, report) = rescue(&model.files, "whole");
        assert!(read(&store) == model.live);
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(report.records, u64::try_from(model.live.len()).expect("64 bits"));
        assert!(report.maybe_deleted == 0 && report.behind_the_end == 0 && report.of_broken_commits.is_empty());
        assert!(store.last_seq().0 >= model.last_seq);
        for id in &model.dead {
            assert!(common::is_dead(&store, *id), "{id}");
        }
        assert!(report.indexes.iter().all(|index| index.fate == IndexFate::WaitsForItsProgram), "{:?}", report.indexes);
        // The program that has the extractors opens them: they are built.
        let sets = ["a", "b"].map(|name| store.find_set(name).expect("a set"));
        let (length, value) = (
            store.index(&sets[0], "length", by_length()).expect("an index"),
            store.unique_index(&sets[1], "value", by_value()).expect("an index"),
        );
        assert_eq!(store.verify_index(&length).expect("verifies"), Vec::<String>::new());
        assert_eq!(store.verify_index(&value).expect("verifies"), Vec::<String>::new());
        // No ID that was given comes again.
        for _ in 0..600 {
            let id = store.write(|tx| tx.insert(&sets[0], "new")).expect("inserts");
            assert!(!model.live.contains_key(&id) && !model.dead.contains(&id), "{id} again");
        }
        store.close().expect("closes");
    }
}

#[test]
fn the_record_segments_alone_are_enough() {
    for left in [Left::Closed, Left::Killed] {
        let mut model = build(8, left);
        model.files.retain(|name, _| name.starts_with("log-"));
        let (store, _, report) = rescue(&model.files, "segments alone");
        let mut found = read(&store);
        assert!(report.indexed_to.is_none() && report.maybe_deleted > 0);
        assert!(report.lost.is_empty() && report.unreadable.is_empty(), "{report:?}");
        found.retain(|id, _| !model.dead.contains(id));
        assert!(found == model.live);
        for set in store.record_sets() {
            for _ in 0..600 {
                let id = store.write(|tx| tx.insert(&set, "new")).expect("inserts");
                assert!(!model.live.contains_key(&id) && !model.dead.contains(&id), "{id} again");
            }
        }
    }
}

/// Places of records: file, begin and end.
pub type Places = BTreeMap<RecordId, Vec<(String, usize, usize)>>;

/// The newest version of each record by where it lies, found without the library's help: by its value.
pub fn places(model: &Model) -> Places {
    let mut all = BTreeMap::new();
    for (id, expected) in model.live.iter().filter(|(_, expected)| expected.bytes.len() < 60_000) {
        let mut places = Vec::new();
        for (name, bytes) in model.files.iter().filter(|(name, _)| name.starts_with("log-")) {
            let len = expected.bytes.len();
            let found = bytes.windows(len).enumerate().filter(|(_, window)| *window == expected.bytes);
            // Keys of indexes have the same bytes.
            let is_record = |at: &usize| bytes.get(at - 16..at - 8) == Some(&id.as_u64().to_le_bytes());
            places.extend(found.map(|(at, _)| at).filter(is_record).map(|at| (name.clone(), at - 24, at + len)));
        }
        all.insert(*id, places);
    }
    all
}

#[test]
fn every_record_whose_bytes_are_whole_comes_back_from_a_flipped_byte() {
    let rounds = std::env::var("TENURE_RESCUE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(150);
    let mut rng = Rng::new(9);
    for left in [Left::Closed, Left::Killed] {
        let model = build(9, left);
        let places = places(&model);
        let names: Vec<&String> = model.files.keys().filter(|name| *name != "reserve").collect();
        let mut lost = 0;
        for round in 0..rounds {
            let name = names[rng.below(names.len())];
            let mut files = model.files.clone();
            // Not only the log: also its manifest is gone, one time in three.
            if round % 3 == 0 {
                files.retain(|name, _| name.starts_with("log-"));
            }
            let Some(bytes) = files.get_mut(name) else { continue };
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
            let at = rng.below(used);
            bytes[at] ^= 1 << rng.below(8);
            let what = format!("{left:?}, round {round}: {name} byte {at}");
            let (store, _, report) = rescue(&files, &what);
            let found = read(&store);
            let missing = compare(&model, &found, &report, &what);
            lost += missing.len();
            for id in missing
                .iter()
                .chain(found.iter().filter(|(id, found)| model.live.get(id) != Some(found)).map(|(id, _)| id))
            {
                let Some(places) = places.get(id) else { continue };
                let hit = places.iter().any(|(file, begin, end)| file == name && (*begin..*end).contains(&at));
                assert!(hit, "{what}: {id} is whole, and did not come back");
            }
        }
        assert!(lost > 0, "no damage has hit a record");
    }
}

#[test]
fn blocks_that_are_gone_take_nothing_else_with_them() {
    let mut rng = Rng::new(10);
    let model = build(10, Left::Closed);
    let places = places(&model);
    for round in 0..40 {
        let logs: Vec<&String> = model.files.keys().filter(|name| name.starts_with("log-")).collect();
        let name = logs[rng.below(logs.len())];
        let mut files = model.files.clone();
        let bytes = files.get_mut(name).expect("the file");
        let (begin, len) = (rng.below(bytes.len()) / 512 * 512, 512 * (1 + rng.below(8)));
        let end = (begin + len).min(bytes.len());
        bytes[begin..end].fill(if round % 2 == 0 { 0 } else { 0xa5 });
        let what = format!("round {round}: {name} bytes {begin} to {end}");
        let (store, _, report) = rescue(&files, &what);
        let found = read(&store);
        let missing = compare(&model, &found, &report, &what);
        for id in &missing {
            let Some(places) = places.get(id) else { continue };
            let hit = places.iter().any(|(file, from, to)| file == name && *from < end && *to > begin);
            assert!(hit, "{what}: {id} is whole, and did not come back");
        }
    }
}

#[test]
fn pages_behind_the_last_record_are_not_given_out_again() {
    let backing = Arc::new(Memory::new()) as Arc<dyn Backing>;
    let store = options().segment_bytes(1 << 20).open_backing(Arc::clone(&backing)).expect("opens");
    let set = store.record_set("things").expect("a set");
    let mut first = None;
    let mut last = None;
    for _ in 0..33 {
        let ids = store.write(|tx| tx.insert_many(&set, &vec!["x"; 10_000])).expect("inserts");
        first = first.or(ids.first().copied());
        last = ids.last().copied();
        store.write(|tx| ids.iter().skip(1).try_for_each(|id| tx.delete(*id))).expect("deletes");
    }
    store.close().expect("closes");
    let files = common::read_backing(&*backing).into_iter().filter(|(name, _)| name.starts_with("log-")).collect();
    let (store, to, _) = rescue(&files, "many pages");
    let set = store.find_set("salvaged set 16").or_else(|| store.find_set("things")).expect("a set");
    assert!(store.get(first.expect("an ID")).is_ok());
    let new = store.write(|tx| tx.insert(&set, "new")).expect("inserts");
    assert!(new.slot() / 512 > last.expect("an ID").slot() / 512, "{new} is not behind {last:?}");
    store.close().expect("closes");
    assert!(options().open_backing(to).expect("opens").get(new).is_ok());
}

/// The index that can be read is older than the last collection, because the log behind it is damaged.
#[test]
fn records_that_were_moved_since_the_index_was_saved_come_back() {
    let backing = Arc::new(Memory::new()) as Arc<dyn Backing>;
    let store = options().open_backing(Arc::clone(&backing)).expect("opens");
    let set = store.record_set("things").expect("a set");
    let mut rng = Rng::new(12);
    let mut live = BTreeMap::new();
    for _ in 0..800 {
        let bytes = rng.bytes(400);
        live.insert(store.write(|tx| tx.insert(&set, &bytes)).expect("inserts"), bytes);
    }
    for id in live.keys().copied().filter(|id| id.slot() % 3 != 0).collect::<Vec<_>>() {
        let bytes = rng.bytes(300);
        store.write(|tx| tx.update(id, &bytes)).expect("updates");
        live.insert(id, bytes);
    }
    store.save_snapshot().expect("saves");
    store.save_snapshot().expect("saves");
    let before = common::read_backing(&*backing);
    store.collect(None).map(drop).expect("collects");
    for id in live.keys().copied().take(40).collect::<Vec<_>>() {
        let bytes = rng.bytes(100);
        store.write(|tx| tx.update(id, &bytes)).expect("updates");
        live.insert(id, bytes);
    }
    let mut files = common::read_backing(&*backing);
    drop(store);
    files.retain(|name, _| name != "lock" && name != "reserve");
    // The manifest of before the collection, whose index leads into segments that are gone, and a log that is damaged behind it.
    assert!(before.keys().any(|name| name.starts_with("log-") && !files.contains_key(name)), "nothing was deleted");
    files.retain(|name, _| !name.starts_with("manifest-") && !name.starts_with("pages-"));
    files.extend(before.into_iter().filter(|(name, _)| name.starts_with("manifest-") || name.starts_with("pages-")));
    let (store, _, _) = rescue(&files, "moved");
    for (id, bytes) in &live {
        assert!(store.get(*id).and_then(|record| record.to_vec()).is_ok_and(|found| found == *bytes), "{id}");
    }
}

#[test]
fn a_mark_that_was_dropped_is_not_left_behind() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = options().open_backing(Arc::clone(&backing)).expect("opens");
    let set = store.record_set("a").expect("a set");
    store.write(|tx| tx.insert(&set, "kept")).expect("commits");
    for name in ["stays", "goes", "goes late", "comes again"] {
        store.mark(name).expect("marks");
    }
    store.drop_mark("goes").expect("drops");
    store.drop_mark("comes again").expect("drops");
    store.close().expect("closes");
    let store = options().open_backing(Arc::clone(&backing)).expect("opens");
    store.mark("comes again").expect("marks");
    store.drop_mark("goes late").expect("drops");
    let killed = common::read_backing(&*backing);
    drop(store);
    for is_without_a_manifest in [false, true] {
        let mut files = killed.clone();
        files.retain(|name, _| !is_without_a_manifest || !name.starts_with("manifest-"));
        let (_, _, report) = rescue(&files, "marks");
        assert_eq!(report.marks, ["comes again", "stays"], "without a manifest: {is_without_a_manifest}");
    }
}

/// A head that is whole and names one chunk twice, as nothing but malice writes it: followed through lists such IDs would have no end.
#[test]
fn a_large_value_that_names_a_chunk_twice_does_not_come_back() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = options().open_backing(Arc::clone(&backing)).expect("opens");
    let set = store.record_set("things").expect("a set");
    let (wrong, whole) = store
        .write(|tx| -> tenure::Result<_> {
            Ok((tx.insert(&set, vec![1; 100_000])?, tx.insert(&set, vec![2; 100_000])?))
        })
        .expect("inserts");
    store.close().expect("closes");
    let mut files = common::read_backing(&*backing);
    files.remove("lock");
    let mut crafted = 0;
    for (name, bytes) in files.iter_mut().filter(|(name, _)| name.starts_with("log-")) {
        let header = SegmentHeader::decode(bytes, name).expect("a header");
        let seed = Seed::new(header.uuid, header.segment);
        for at in (0..bytes.len()).step_by(16) {
            let Ok(item) = Item::parse(&bytes[at..]) else { continue };
            let seed = seed.at(u64::try_from(at).expect("64 bits"));
            if item.kind != Kind::Head as u8 || item.raw_id != wrong.as_u64() || item.verify(seed).is_err() {
                continue;
            }
            let (from, len) = (at + item.header.len(), item.payload.len());
            bytes.copy_within(from + HEAD_BYTES..from + HEAD_BYTES + 8, from + HEAD_BYTES + 8);
            let check = checksum(checksum(0, &bytes[from..from + len]) ^ seed, &bytes[at + 4..from]);
            bytes[at..at + 4].copy_from_slice(&check.to_le_bytes());
            crafted += 1;
        }
    }
    assert_eq!(crafted, 1);
    let (damaged, new) = (common::memory_of(&files), Arc::new(Memory::new()) as Arc<dyn Backing>);
    let report = salvage_backing(&damaged, &new, &mut |_| {}).expect("salvages");
    assert!(report.lost.iter().any(|lost| lost.id == Some(wrong) && lost.why.contains("another place")), "{report:?}");
    assert!(tenure::verify::verify_backing(&new, &mut |_| {}).expect("verifies").is_ok());
    let store = options().open_backing(new).expect("opens");
    assert!(common::is_dead(&store, wrong));
    assert_eq!(store.get(whole).and_then(|record| record.to_vec()).expect("is there"), vec![2; 100_000]);
}

#[test]
fn the_text_of_a_report_names_what_is_there_and_what_is_lost() {
    let backing = Arc::new(Memory::new()) as Arc<dyn Backing>;
    let store = options().open_backing(Arc::clone(&backing)).expect("opens");
    let set = store.record_set("things").expect("a set");
    store.index(&set, "length", by_length()).expect("an index");
    let ids = ["kept", "precious"].map(|text| store.write(|tx| tx.insert(&set, text)).expect("inserts"));
    store.save_named_snapshot("before").expect("saves");
    store.mark("then").expect("marks");
    store.close().expect("closes");
    let mut files = common::read_backing(&*backing);
    files.remove("lock");
    let (_, _, report) = rescue(&files, "intact");
    let text = report.to_string();
    assert!(text.ends_with("every record was recovered"), "{text}");
    assert!(text.starts_with("recovered: 2 records, ") && text.contains("\nset \"things\": 2 records\n"), "{text}");
    assert!(!text.contains("lost") && !text.contains("unreadable"), "{text}");

    for bytes in files.values_mut() {
        if let Some(at) = bytes.windows(8).position(|window| window == b"precious") {
            bytes[at] ^= 1;
        }
    }
    let (_, _, report) = rescue(&files, "damaged");
    let text = report.to_string();
    assert!(text.contains(&format!("\nlost: record {} in log-", ids[1])), "{text}");
    let lines = ["index \"length\" of set \"things\": ", "snapshot \"before\"\n", "mark \"then\"\n", ": 1 records"];
    assert!(lines.iter().all(|line| text.contains(line)), "{text}");
    assert!(text.ends_with("not every record was recovered"), "{text}");
}
