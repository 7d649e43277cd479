//! Key indexes compared with ordered maps: random transactions, savepoints, views, power cuts, indexes created and
//! dropped.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tenure::backing::{FaultBacking, Memory};
use tenure::extract::Extractor;
use tenure::key::Key;
use tenure::{
    Durability, Error, Index, Isolation, Options, RecordId, RecordSet, Store, Transaction, TransactionOptions, View,
};

use crate::common::Rng;

/// A record is `name;tag,tag,tag;rest`.
fn record(name: u64, tags: &[u64], rest: usize) -> Vec<u8> {
    let tags: Vec<String> = tags.iter().map(u64::to_string).collect();
    format!("{name};{};{}", tags.join(","), "x".repeat(rest)).into_bytes()
}

fn name_of(record: &[u8]) -> Option<u64> {
    std::str::from_utf8(record).ok()?.split(';').next()?.parse().ok()
}

fn tags_of(record: &[u8]) -> Vec<u64> {
    let text = std::str::from_utf8(record).unwrap_or_default();
    let tags = text.split(';').nth(1).unwrap_or_default();
    tags.split(',').filter_map(|tag| tag.parse().ok()).collect()
}

fn by_name() -> Extractor {
    Extractor::new("name", 1, |record, keys| {
        if let Some(name) = name_of(record).filter(|name| *name != 0) {
            keys.push(&name);
        }
    })
}

fn by_tag() -> Extractor {
    Extractor::new("tag", 1, |record, keys| tags_of(record).iter().for_each(|tag| keys.push(tag)))
}

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).background(false).durability(Durability::Buffered)
}

struct Indexed {
    set: RecordSet,
    name: Index,
    tag: Index,
}

fn open(store: &Store) -> Indexed {
    let set = store.record_set("a").unwrap();
    let name = store.unique_index(&set, "name", by_name()).unwrap();
    let tag = store.index(&set, "tag", by_tag()).unwrap();
    Indexed { set, name, tag }
}

type Model = BTreeMap<RecordId, Vec<u8>>;

fn names(model: &Model) -> BTreeMap<u64, RecordId> {
    model.iter().filter_map(|(id, bytes)| Some((name_of(bytes).filter(|name| *name != 0)?, *id))).collect()
}

fn tags(model: &Model) -> BTreeSet<(u64, RecordId)> {
    model.iter().flat_map(|(id, bytes)| tags_of(bytes).into_iter().map(|tag| (tag, *id))).collect()
}

fn check(view: &View, indexed: &Indexed, model: &Model, why: &str) {
    let found: Model = view
        .scan(&indexed.set)
        .map(|record| record.map(|record| (record.id(), record.to_vec().unwrap())).unwrap())
        .collect();
    assert!(found == *model, "{why}: records");
    let entries = |index: &Index| -> Vec<(Key, RecordId)> {
        index.all(view).unwrap().map(|entry| entry.map(|entry| (entry.key, entry.id)).unwrap()).collect()
    };
    let expected: Vec<_> = names(model).into_iter().map(|(name, id)| (Key::new(&name).unwrap(), id)).collect();
    assert_eq!(entries(&indexed.name), expected, "{why}: unique index");
    let expected: Vec<_> = tags(model).into_iter().map(|(tag, id)| (Key::new(&tag).unwrap(), id)).collect();
    assert_eq!(entries(&indexed.tag), expected, "{why}: multi index");
    let mut back = entries(&indexed.tag);
    back.reverse();
    let reversed: Vec<_> =
        indexed.tag.all(view).unwrap().rev().map(|entry| entry.map(|entry| (entry.key, entry.id)).unwrap()).collect();
    assert_eq!(reversed, back, "{why}: from the back");
    for low in [0_u64, 3, 9] {
        let range = indexed.tag.range(view, low..low + 4).unwrap();
        let expected = tags(model).into_iter().filter(|(tag, _)| (low..low + 4).contains(tag)).count();
        assert_eq!((range.left(), range.flatten().count()), (expected as u64, expected), "{why}: range");
    }
}

/// A range in a transaction, taken from both ends and sometimes sought in.
fn check_both_ends(tx: &mut Transaction, indexed: &Indexed, model: &Model, rng: &mut Rng) {
    let mut expected: VecDeque<(Key, RecordId)> = tags(model)
        .into_iter()
        .filter(|(tag, _)| (2..9).contains(tag))
        .map(|(tag, id)| (Key::new(&tag).unwrap(), id))
        .collect();
    let mut range = tx.range(&indexed.tag, 2_u64..9).unwrap();
    loop {
        if rng.one_in(9) {
            let tag = rng.below(10) as u64;
            range.seek(&tag).unwrap();
            expected.retain(|(key, _)| *key >= Key::new(&tag).unwrap());
        }
        let back = rng.one_in(2);
        let found = if back { range.next_back() } else { range.next() };
        let wanted = if back { expected.pop_back() } else { expected.pop_front() };
        let found = found.map(|entry| entry.map(|entry| (entry.key, entry.id)).unwrap());
        assert_eq!(found, wanted, "own writes, both ends");
        if found.is_none() {
            break;
        }
    }
}

/// Operations of the transactions of this process.
static OPERATIONS: AtomicU64 = AtomicU64::new(0);

/// One transaction of random writes; the model as it is after it.
fn transaction(store: &Store, indexed: &Indexed, model: &Model, rng: &mut Rng) -> Option<Model> {
    let mut after = model.clone();
    // Names pass from record to record in any order.
    let mut tx = store.begin_with(TransactionOptions::new().defer_unique(true)).unwrap();
    let mut points = Vec::new();
    for _ in 0..=rng.below(12) {
        OPERATIONS.fetch_add(1, Ordering::Relaxed);
        let known: Vec<RecordId> = after.keys().copied().collect();
        let some = (!known.is_empty()).then(|| known[rng.below(known.len())]);
        let tags: Vec<u64> = (0..rng.below(5)).map(|_| rng.below(14) as u64).collect();
        let large = if rng.one_in(40) { 150_000 } else { rng.below(60) };
        let value = record(rng.below(120) as u64, &tags, large);
        match (rng.below(10), some) {
            (0..=3, _) | (_, None) => {
                let id = tx.insert(&indexed.set, &value).unwrap();
                after.insert(id, value);
            }
            (4..=5, Some(id)) => {
                tx.update(id, &value).unwrap();
                after.insert(id, value);
            }
            (6, Some(id)) => {
                // The payload alone.
                let before = after[&id].clone();
                let value = record(name_of(&before).unwrap_or_default(), &tags_of(&before), rng.below(80));
                tx.update(id, &value).unwrap();
                after.insert(id, value);
            }
            (7, Some(id)) => {
                tx.delete(id).unwrap();
                after.remove(&id);
            }
            (8, _) => points.push((tx.savepoint(), after.clone())),
            _ => {
                if !points.is_empty() {
                    let place = rng.below(points.len());
                    points.truncate(place + 1);
                    let (point, before) = points[place].clone();
                    tx.roll_back_to(point).unwrap();
                    after = before;
                }
            }
        }
        if rng.one_in(3) {
            let found: BTreeSet<(u64, RecordId)> = tx
                .range(&indexed.tag, 2_u64..9)
                .unwrap()
                .map(|entry| entry.map(|entry| (entry.key, entry.id)).unwrap())
                .map(|(key, id)| ((2..9).find(|tag| Key::new(tag).unwrap() == key).unwrap(), id))
                .collect();
            let expected: BTreeSet<_> =
                self::tags(&after).into_iter().filter(|(tag, _)| (2..9).contains(tag)).collect();
            assert_eq!(found, expected, "own writes");
            check_both_ends(&mut tx, indexed, &after, rng);
        }
    }
    if rng.one_in(10) {
        return None;
    }
    let all_names: Vec<u64> = after.values().filter_map(|bytes| name_of(bytes)).filter(|name| *name != 0).collect();
    let is_unique = all_names.iter().collect::<BTreeSet<_>>().len() == all_names.len();
    match tx.commit_with(Durability::Buffered) {
        Ok(_) => {
            assert!(is_unique, "a key twice in a unique index");
            Some(after)
        }
        Err(Error::UniqueViolation { .. }) => {
            assert!(!is_unique, "a violation where there is none");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn indexes_do_what_ordered_maps_do() {
    let rounds = std::env::var("TENURE_INDEX_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4_500);
    let before = OPERATIONS.load(Ordering::Relaxed);
    for seed in 0..4 {
        let backing = Memory::new();
        let open_store = || options().open_backing(Arc::new(backing.clone())).unwrap();
        let mut store = open_store();
        let mut indexed = open(&store);
        let mut model = Model::new();
        let mut views: Vec<(View, Model)> = Vec::new();
        let mut rng = Rng::new(900 + seed);
        for round in 0..rounds {
            if let Some(after) = transaction(&store, &indexed, &model, &mut rng) {
                model = after;
            }
            match rng.below(60) {
                0 => views.push((store.view(), model.clone())),
                1 => views.truncate(1),
                2 => drop(store.save_snapshot().unwrap()),
                3 => {
                    views.clear();
                    store.close().unwrap();
                    store = open_store();
                    indexed = open(&store);
                }
                4 => check(&store.view(), &indexed, &model, &format!("seed {seed} round {round}")),
                5 => {
                    for (view, before) in &views {
                        check(view, &indexed, before, &format!("seed {seed} round {round}, a view"));
                    }
                }
                6 if rng.one_in(4) => {
                    store.drop_index(&indexed.tag).unwrap();
                    views.clear();
                    indexed.tag = store.index(&indexed.set, "tag", by_tag()).unwrap();
                }
                _ => {}
            }
        }
        check(&store.view(), &indexed, &model, &format!("seed {seed}"));
        assert!(store.verify_index(&indexed.name).unwrap().is_empty());
        assert!(store.verify_index(&indexed.tag).unwrap().is_empty());
    }
    let operations = OPERATIONS.load(Ordering::Relaxed) - before;
    assert!(rounds < 4_500 || operations >= 100_000, "{operations} operations");
}

#[test]
fn power_cuts_leave_indexes_that_agree_with_their_records() {
    for seed in 0..60 {
        let mut rng = Rng::new(7_000 + seed);
        let mut backing = FaultBacking::new();
        for _ in 0..4 {
            let store = options().open_backing(Arc::new(backing.clone())).unwrap();
            let indexed = open(&store);
            let scanned = |store: &Store| -> Model {
                let view = store.view();
                let records = view.scan(&indexed.set).map(Result::unwrap);
                records.map(|record| (record.id(), record.to_vec().unwrap())).collect()
            };
            let mut model = scanned(&store);
            check(&store.view(), &indexed, &model, &format!("seed {seed}"));
            let stop = backing.steps() + 4 + rng.below(60) as u64;
            while backing.steps() < stop {
                if let Some(after) = transaction(&store, &indexed, &model, &mut rng) {
                    model = after;
                }
                if rng.one_in(9) {
                    store.save_snapshot().unwrap();
                }
                if rng.one_in(9) {
                    store.sync().unwrap();
                }
            }
            backing = if rng.one_in(3) { backing.kill_image() } else { backing.crash_image(seed * 31 + stop) };
        }
    }
}

#[test]
fn an_update_of_the_payload_touches_no_index() {
    let store = options().open_backing(Arc::new(Memory::new())).unwrap();
    let indexed = open(&store);
    let value = |rest| record(5, &[1, 2, 3], rest);
    let id = store.write(|tx| tx.insert(&indexed.set, value(10))).unwrap();
    store.save_snapshot().unwrap();
    let before = store.stats();
    assert_eq!((before.dirty_bytes, before.dirty_nodes), (0, 0));
    assert!(before.index_log_bytes_appended > 0, "the insert has changed indexes");
    store.write(|tx| tx.update(id, value(11))).unwrap();
    let after = store.stats();
    assert_eq!(after.index_log_bytes_appended, before.index_log_bytes_appended, "no byte of the log for the indexes");
    assert_eq!((after.dirty_nodes, after.dirty_pages), (0, 1), "the page of the record, and no node");
    let plain = after.log_bytes_appended - before.log_bytes_appended;
    // A set without indexes takes exactly as much.
    let other = store.record_set("b").unwrap();
    let twin = store.write(|tx| tx.insert(&other, value(10))).unwrap();
    let before = store.stats().log_bytes_appended;
    store.write(|tx| tx.update(twin, value(11))).unwrap();
    assert_eq!(store.stats().log_bytes_appended - before, plain, "no byte for the indexes");
    let view = store.view();
    assert_eq!(indexed.name.get(&view, &5_u64).unwrap(), Some(id));
    // One that changes a key of one index touches that one.
    let before = store.stats();
    store.write(|tx| tx.update(id, record(6, &[1, 2, 3], 11))).unwrap();
    let after = store.stats();
    assert_eq!(after.dirty_nodes, 1, "the leaf of the names");
    assert!(after.index_log_bytes_appended > before.index_log_bytes_appended);
}

#[test]
fn the_log_of_a_batch_has_at_most_sixteen_bytes_beside_each_key() {
    let store = options().open_backing(Arc::new(Memory::new())).unwrap();
    let set = store.record_set("a").unwrap();
    let whole = Extractor::new("first 16 bytes", 1, |record, keys| keys.push(&record[..16]));
    let half = Extractor::new("next 2 bytes", 1, |record, keys| keys.push(&record[16..18]));
    store.unique_index(&set, "unique", whole).unwrap();
    store.index(&set, "multi", half).unwrap();
    let mut rng = Rng::new(77);
    let key_bytes = |bytes: &[u8]| Key::new(bytes).unwrap().as_bytes().len() as u64;
    let mut ids = Vec::new();
    let mut allowed = 0;
    for _ in 0..5 {
        let records: Vec<Vec<u8>> = (0..1_000).map(|_| rng.bytes(40)).collect();
        allowed += records.iter().map(|bytes| key_bytes(&bytes[..16]) + key_bytes(&bytes[16..18]) + 32).sum::<u64>();
        let new: Vec<RecordId> =
            store.write(|tx| records.iter().map(|record| tx.insert(&set, record)).collect()).unwrap();
        ids.extend(new.into_iter().zip(records));
    }
    let inserted = store.stats().index_log_bytes_appended;
    assert!(inserted > 0 && inserted <= allowed, "{inserted} bytes, {allowed} allowed");
    // Deletes name the same keys again.
    store.write(|tx| ids.iter().try_for_each(|(id, _)| tx.delete(*id))).unwrap();
    let deleted = store.stats().index_log_bytes_appended - inserted;
    assert!(deleted > 0 && deleted <= allowed, "{deleted} bytes, {allowed} allowed");
}

#[test]
fn an_index_over_records_that_are_there_is_built_beside_writers() {
    let store = options().open_backing(Arc::new(Memory::new())).unwrap();
    let set = store.record_set("a").unwrap();
    let ids: Vec<RecordId> =
        store.write(|tx| (1..3000_u64).map(|name| tx.insert(&set, record(name, &[name % 7], 5))).collect()).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (store, set, stop, ids) = (&store, &set, &stop, &ids);
        scope.spawn(move || {
            let mut rng = Rng::new(5);
            while !stop.load(Ordering::Relaxed) {
                let place = rng.below(ids.len());
                let tags = [rng.below(7) as u64, 100];
                store.write(|tx| tx.update(ids[place], record(place as u64 + 1, &tags, 3))).unwrap();
            }
        });
        for _ in 0..10 {
            let tag = store.index(set, "tag", by_tag()).unwrap();
            let name = store.unique_index(set, "name", by_name()).unwrap();
            assert_eq!(name.len(&store.view()).unwrap(), 2999);
            assert!(store.verify_index(&tag).unwrap().is_empty());
            store.drop_index(&tag).unwrap();
            store.drop_index(&name).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_unique_index_over_a_key_that_is_there_twice_is_refused_and_not_made() {
    let store = options().open_backing(Arc::new(Memory::new())).unwrap();
    let set = store.record_set("a").unwrap();
    store.write(|tx| tx.insert(&set, record(1, &[], 0)).and(tx.insert(&set, record(1, &[], 0)))).unwrap();
    assert!(matches!(store.unique_index(&set, "name", by_name()), Err(Error::UniqueViolation { .. })));
    assert!(store.find_index(&set, "name").is_none());
    store.write(|tx| tx.insert(&set, record(1, &[], 0))).unwrap();
}

#[test]
fn a_set_is_not_written_without_the_extractor_of_its_index() {
    let memory = Memory::new();
    let store = options().open_backing(Arc::new(memory.clone())).unwrap();
    let indexed = open(&store);
    let id = store.write(|tx| tx.insert(&indexed.set, record(1, &[2], 0))).unwrap();
    store.close().unwrap();
    let store = options().open_backing(Arc::new(memory)).unwrap();
    let set = store.record_set("a").unwrap();
    let refused = store.write(|tx| tx.insert(&set, "x"));
    assert!(matches!(refused, Err(Error::NoExtractor { .. })), "{refused:?}");
    let tag = store.find_index(&set, "tag").unwrap();
    assert_eq!(tag.get(&store.view(), &2_u64).unwrap(), Some(id), "reading goes on");
    let newer = Extractor::new("tag", 2, |_, keys| keys.push("all"));
    let tag = store.index(&set, "tag", newer).unwrap();
    assert_eq!(tag.get(&store.view(), "all").unwrap(), Some(id), "made anew");
    store.unique_index(&set, "name", by_name()).unwrap();
    store.write(|tx| tx.insert(&set, record(9, &[], 0))).unwrap();
}

#[test]
fn ranges_that_were_read_are_validated() {
    let store = options().open_backing(Arc::new(Memory::new())).unwrap();
    let indexed = open(&store);
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let mut tx = store.begin_with(isolation).unwrap();
        assert_eq!(tx.range(&indexed.tag, 3_u64..6).unwrap().count(), 0);
        tx.insert(&indexed.set, record(0, &[50], 0)).unwrap();
        let outside = store.write(|tx| tx.insert(&indexed.set, record(0, &[6, 2], 0))).unwrap();
        let inside = store.write(|tx| tx.insert(&indexed.set, record(0, &[4], 0))).unwrap();
        let result = tx.commit_with(Durability::Buffered);
        match isolation {
            Isolation::Serializable => assert!(matches!(result, Err(Error::Conflict { .. })), "a phantom: {result:?}"),
            Isolation::Snapshot => assert!(result.is_ok()),
        }
        store.write(|tx| tx.delete(outside).and(tx.delete(inside))).unwrap();
    }
    let mut tx = store.begin().unwrap();
    assert_eq!(tx.range(&indexed.tag, 3_u64..6).unwrap().count(), 0);
    tx.insert(&indexed.set, record(0, &[60], 0)).unwrap();
    store.write(|tx| tx.insert(&indexed.set, record(0, &[6, 2], 0))).unwrap();
    assert!(tx.commit_with(Durability::Buffered).is_ok(), "what lies beside the range is no conflict");
}
