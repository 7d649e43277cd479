//! A store with every feature, and the comparison of two stores.

use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::dump::{LoadOptions, LoadReport};
use tenure::extract::Extractor;
use tenure::{Durability, Lookup, Options, Point, RecordId, Store};

use crate::common::Rng;

/// Slots of a page.
const PAGE: u64 = 512;

pub fn options() -> Options {
    Options::new().segment_bytes(256 << 10).durability(Durability::Buffered).background(false)
}

/// The first four bytes.
pub fn head() -> Extractor {
    Extractor::new("head", 3, |record, keys| keys.push(&record[..record.len().min(4)]))
}

/// All bytes of records that begin with `u`.
pub fn unique() -> Extractor {
    Extractor::new("unique", 1, |record, keys| {
        if record.first() == Some(&b'u') {
            keys.push(record);
        }
    })
}

/// Opens the indexes with their extractors.
pub fn with_extractors(store: &Store) {
    let set = store.record_set("things").unwrap();
    store.index(&set, "by head", head()).unwrap();
    store.unique_index(&set, "by all", unique()).unwrap();
}

fn value(rng: &mut Rng, round: usize) -> Vec<u8> {
    let len = rng.below(300);
    (0..len).map(|at| u8::try_from((at + round) % 251).unwrap()).collect()
}

/// A store in which everything was used: sets that are empty or gone from one state, records that were changed, deleted and given out
/// again, values in chunks, indexes with and without a line of text, marks, names, a way back, transactions that came to nothing.
pub fn full(backing: &Arc<dyn Backing>, seed: u64) -> Store {
    let mut rng = Rng::new(seed);
    let mut store = options().open_backing(Arc::clone(backing)).unwrap();
    let things = store.record_set("things").unwrap();
    store.record_set("empty").unwrap();
    with_extractors(&store);
    let files = store.record_set("files").unwrap();
    #[cfg(feature = "json")]
    json(&store);
    let mut live: Vec<RecordId> = Vec::new();
    for round in 0..6 {
        let new: Vec<RecordId> = store
            .write(|tx| (0..700).map(|_| tx.insert(&things, value(&mut rng, round))).collect::<Result<Vec<_>, _>>())
            .unwrap();
        live.extend(new);
        let (gone, rest): (Vec<_>, Vec<_>) = live.iter().copied().partition(|_| rng.below(5) < 2);
        store.write(|tx| gone.iter().try_for_each(|id| tx.delete(*id))).unwrap();
        let changed: Vec<RecordId> = rest.iter().copied().filter(|_| rng.one_in(4)).collect();
        store.write(|tx| changed.iter().try_for_each(|id| tx.update(*id, value(&mut rng, round + 10)))).unwrap();
        live = rest;
        let unique = format!("unique {round}");
        live.push(store.write(|tx| tx.insert(&things, &unique)).unwrap());
        for len in [65_472, 65_504, 65_505, 200_000] {
            let large = vec![u8::try_from(round).unwrap(); len];
            let id = store.write(|tx| tx.insert(&files, &large)).unwrap();
            if rng.one_in(3) {
                store.write(|tx| tx.delete(id)).unwrap();
            }
        }
        let value = store.stage(&vec![7; 65_480][..]).unwrap();
        let id = store.write(|tx| tx.insert_staged(&files, &value)).unwrap();
        store.write(|tx| tx.update(id, "short by now")).unwrap();
        // IDs that come to nothing.
        let mut tx = store.begin().unwrap();
        for _ in 0..40 {
            tx.insert(&things, "nothing").unwrap();
        }
        drop(tx);
        store.sync().unwrap();
        store.mark(&format!("mark {round}")).unwrap();
    }
    store.save_named_snapshot("name").unwrap();
    let after = store.record_set("gone again").unwrap();
    store.write(|tx| (0..900).try_for_each(|_| tx.insert(&after, "gone").map(drop))).unwrap();
    store.write(|tx| live.iter().take(200).try_for_each(|id| tx.delete(*id))).unwrap();
    store = store.roll_back_to(&Point::Name("name".to_owned())).unwrap();
    with_extractors(&store);
    let things = store.record_set("things").unwrap();
    let late = store.record_set("late").unwrap();
    store.write(|tx| (0..900).try_for_each(|_| tx.insert(&late, "late").map(drop))).unwrap();
    store.write(|tx| (0..300).try_for_each(|_| tx.insert(&things, "after going back").map(drop))).unwrap();
    store.sync().unwrap();
    store
}

#[cfg(feature = "json")]
fn json(store: &Store) {
    use tenure::extract::JsonExtractor;
    use tenure::key::KeyKind;
    let people = store.record_set("people").unwrap();
    let extractor = Extractor::json(JsonExtractor::new("/name", KeyKind::String).unwrap());
    store.unique_index(&people, "name", extractor).unwrap();
    let row = |number: u64| format!("{{\"name\":\"person {number}\"}}");
    // More than are built on the heap.
    store.write(|tx| (0..5_000).try_for_each(|number| tx.insert(&people, row(number)).map(drop))).unwrap();
}

fn answer(store: &Store, id: RecordId) -> String {
    match store.lookup(id).unwrap() {
        Lookup::Live(record) => format!("live, version {}, {:?}", record.seq(), record.to_vec().unwrap()),
        Lookup::Deleted => "deleted".to_owned(),
        Lookup::NeverAllocated => "never given".to_owned(),
    }
}

/// Asserts that two stores have the same content.
pub fn assert_same(a: &Store, b: &Store) {
    let (va, vb) = (a.view(), b.view());
    assert_eq!(a.last_seq(), b.last_seq());
    let described = |store: &Store| {
        let view = store.view();
        let sets = store.record_sets().into_iter();
        sets.map(|set| (set.name().to_owned(), set.number(), view.len(&set))).collect::<Vec<_>>()
    };
    assert_eq!(described(a), described(b));
    let mut slot_end = 0;
    for (sa, sb) in a.record_sets().iter().zip(&b.record_sets()) {
        let (mut ra, mut rb) = (va.scan(sa), vb.scan(sb));
        loop {
            let (Some(x), Some(y)) = (ra.next().transpose().unwrap(), rb.next().transpose().unwrap()) else { break };
            assert_eq!((x.id(), x.seq(), x.to_vec().unwrap()), (y.id(), y.seq(), y.to_vec().unwrap()));
            slot_end = slot_end.max(x.id().slot() + 1);
        }
        assert!(ra.next().is_none() && rb.next().is_none(), "set {sa} has another number of records");
        let (ia, ib) = (a.indexes(sa), b.indexes(sb));
        assert_eq!(format!("{ia:?}"), format!("{ib:?}"), "the indexes of set {sa}");
        for info in ia {
            let entries = |store: &Store, set, view| {
                let index = store.find_index(set, &info.name).unwrap();
                let all = index.all(view).unwrap();
                all.map(|entry| entry.map(|entry| (entry.key.to_string(), entry.id)).unwrap()).collect::<Vec<_>>()
            };
            assert_eq!(entries(a, sa, &va), entries(b, sb, &vb), "the entries of index {}", info.name);
        }
    }
    // The answer to every ID that a program may have.
    for slot in 0..slot_end.next_multiple_of(PAGE) + 4 * PAGE {
        let id = |count| RecordId::from_parts(slot, count).unwrap();
        if va.set_of(id(1)).is_none() {
            let is_given = matches!(b.lookup(id(1)).unwrap(), Lookup::Live(_));
            assert!(!is_given, "slot {slot} has a record in one of them only");
            continue;
        }
        assert_eq!(va.set_of(id(1)).map(|set| set.number()), vb.set_of(id(1)).map(|set| set.number()), "slot {slot}");
        for count in 1..9 {
            assert_eq!(answer(a, id(count)), answer(b, id(count)), "ID {}", id(count));
        }
    }
}

/// Allocates this many IDs in each set of a loaded store. None of them was ever used.
pub fn assert_new_ids_are_new(before: &Store, loaded: &Store) {
    with_extractors(loaded);
    for set in loaded.record_sets() {
        for number in 0..1500 {
            let value = format!("{{\"name\":\"new {number}\"}}");
            let id = loaded.write(|tx| tx.insert(&set, &value)).unwrap();
            assert!(matches!(before.lookup(id).unwrap(), Lookup::NeverAllocated), "{id} was given before");
        }
    }
}

/// Asserts that a store verifies.
pub fn assert_verified(backing: &Arc<dyn Backing>) {
    let report = tenure::verify::verify_backing(backing, &mut |_| {}).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
}

pub fn dump(store: &Store) -> Vec<u8> {
    let mut stream = Vec::new();
    let report = store.dump(&mut stream).unwrap();
    assert_eq!(report.bytes, u64::try_from(stream.len()).unwrap());
    stream
}

/// Loads a stream into memory.
pub fn load(stream: &[u8], options: &LoadOptions) -> (Arc<dyn Backing>, tenure::Result<LoadReport>) {
    let to: Arc<dyn Backing> = Arc::new(Memory::new());
    let report = tenure::dump::load_backing(&mut &stream[..], &to, options, &mut |_| {});
    (to, report)
}
