//! Operations beside something that they do not concern, which grows.
//!
//! Each case takes the size of that and a number of operations, and returns the time of one. Never: uses anything but the
//! public API.

use std::hint::black_box;
use std::ops::Bound;
use std::path::Path;

use tenure::extract::Extractor;
use tenure::{Durability, Index, Options, RecordId, RecordSet, Store};

/// What measures: it is given how many operations there are, and the operation, which is told its number.
pub(crate) type Measure<'m> = &'m mut dyn FnMut(usize, &mut dyn FnMut(usize));

/// One operation beside something that grows.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What grows.
    pub(crate) beside: &'static str,
    pub(crate) sizes: &'static [usize],
    /// Prepares a store in an empty directory with so much of that, and has the operation measured.
    pub(crate) run: fn(&Path, usize, Measure<'_>),
}

const SETS: &[usize] = &[10, 100, 1_000, 10_000];
const OWN: &[usize] = &[2_000, 4_000, 8_000, 16_000];
const MANY: &[usize] = &[1_000, 10_000, 100_000];

/// All cases.
pub(crate) const CASES: &[Case] = &[
    Case { name: "read and update in one transaction", beside: "sets", sizes: SETS, run: change_beside_sets },
    Case { name: "the same, a view alive", beside: "sets", sizes: SETS, run: change_beside_sets_and_view },
    Case { name: "the same, a view alive", beside: "marks", sizes: SETS, run: change_beside_marks },
    Case { name: "the same, a view alive", beside: "indexes", sizes: &[10, 100, 800], run: change_beside_indexes },
    Case { name: "set a mark, a view alive", beside: "marks", sizes: SETS, run: mark_beside_marks },
    Case { name: "open a set by name", beside: "sets", sizes: SETS, run: open_by_name },
    Case { name: "first insert into a set", beside: "sets", sizes: &[100, 1_000, 20_000], run: first_insert },
    Case { name: "insert into the next set", beside: "sets of one transaction", sizes: SETS, run: insert_into_next },
    Case { name: "insert and len in turn", beside: "own writes", sizes: OWN, run: len_and_insert },
    Case { name: "take the first of an index", beside: "own deletions", sizes: OWN, run: pop_first },
    Case { name: "take the last of an index", beside: "own deletions", sizes: OWN, run: pop_last },
    Case { name: "take the first of a scan", beside: "own deletions", sizes: OWN, run: pop_scan },
    Case { name: "scan of one record", beside: "own writes", sizes: OWN, run: small_scan },
    Case {
        name: "insert, and hold a range",
        beside: "ranges held",
        sizes: &[500, 1_000, 2_000, 4_000],
        run: ranges_held,
    },
    Case { name: "roll back to the last savepoint", beside: "savepoints", sizes: MANY, run: savepoints },
    Case { name: "first record of a scan", beside: "deleted records", sizes: MANY, run: scan_after_deletion },
];

/// Nothing works in the background.
fn open(dir: &Path) -> Store {
    let options = Options::new().durability(Durability::Buffered).background(false).collector(false);
    options.open(dir.join("store")).expect("opens")
}

fn sets(store: &Store, count: usize) -> (Vec<RecordSet>, RecordId) {
    let sets: Vec<_> = (0..count).map(|number| store.record_set(&format!("set {number:05}")).expect("a set")).collect();
    let id = store.write(|tx| tx.insert(&sets[0], [7; 200])).expect("inserts");
    (sets, id)
}

fn change(store: &Store, id: RecordId, number: usize) {
    let mut tx = store.begin().expect("begins");
    black_box(tx.get(id).expect("there").as_slice().expect("small").len());
    tx.update(id, [number.to_le_bytes()[0]; 200]).expect("updates");
    tx.commit().expect("commits");
}

/// Each commit finds the view of the commit before it alive.
fn change_behind_views(store: &Store, id: RecordId, measure: Measure<'_>) {
    let mut before = store.view();
    measure(2_000, &mut |number| {
        change(store, id, number);
        before = store.view();
    });
}

fn change_beside_sets(dir: &Path, size: usize, measure: Measure<'_>) {
    let store = open(dir);
    let (_, id) = sets(&store, size);
    measure(2_000, &mut |number| change(&store, id, number));
}

fn change_beside_sets_and_view(dir: &Path, size: usize, measure: Measure<'_>) {
    let store = open(dir);
    let (_, id) = sets(&store, size);
    change_behind_views(&store, id, measure);
}

fn marked(store: &Store, count: usize) -> RecordId {
    for number in 0..count {
        store.mark(&format!("mark {number:05}")).expect("a mark");
    }
    sets(store, 1).1
}

fn change_beside_marks(dir: &Path, size: usize, measure: Measure<'_>) {
    let store = open(dir);
    let id = marked(&store, size);
    change_behind_views(&store, id, measure);
}

fn mark_beside_marks(dir: &Path, size: usize, measure: Measure<'_>) {
    let store = open(dir);
    marked(&store, size);
    let mut before = store.view();
    measure(1_000, &mut |_| {
        store.mark("mark 00000").expect("a mark");
        before = store.view();
    });
}

fn whole() -> Extractor {
    Extractor::new("whole", 1, |record, keys| keys.push(record))
}

fn change_beside_indexes(dir: &Path, size: usize, measure: Measure<'_>) {
    let store = open(dir);
    let (sets, id) = sets(&store, 2);
    for number in 0..size {
        store.index(&sets[1], &format!("index {number}"), whole()).expect("an index");
    }
    change_behind_views(&store, id, measure);
}

fn open_by_name(dir: &Path, size: usize, measure: Measure<'_>) {
    let store = open(dir);
    let (sets, _) = sets(&store, size);
    measure(2_000, &mut |number| drop(black_box(store.record_set(sets[number * 7 % size].name()).expect("there"))));
}

fn first_insert(dir: &Path, size: usize, measure: Measure<'_>) {
    let store = open(dir);
    let (sets, _) = sets(&store, size);
    measure(size, &mut |number| {
        store.write(|tx| tx.insert(&sets[number], [7; 100])).expect("inserts");
    });
}

fn insert_into_next(dir: &Path, size: usize, measure: Measure<'_>) {
    let store = open(dir);
    let (sets, _) = sets(&store, size);
    store.write(|tx| sets.iter().try_for_each(|set| tx.insert(set, [7; 20]).map(drop))).expect("inserts");
    let mut tx = store.begin().expect("begins");
    measure(3 * size, &mut |number| {
        black_box(tx.insert(&sets[number % size], [7; 20]).expect("inserts"));
    });
}

fn len_and_insert(dir: &Path, size: usize, measure: Measure<'_>) {
    let store = open(dir);
    let set = store.record_set("records").expect("a set");
    let mut tx = store.begin().expect("begins");
    measure(size, &mut |number| {
        assert_eq!(tx.len(&set).expect("counts"), number as u64);
        tx.insert(&set, [7; 20]).expect("inserts");
    });
}

fn indexed(store: &Store, size: usize) -> (RecordSet, Index, Vec<RecordId>) {
    let set = store.record_set("records").expect("a set");
    let index = store.index(&set, "whole", whole()).expect("an index");
    let keys = (0..size as u64).map(u64::to_be_bytes);
    let ids =
        store.write(|tx| keys.clone().map(|key| tx.insert(&set, key)).collect::<Result<Vec<_>, _>>()).expect("inserts");
    (set, index, ids)
}

const ALL: (Bound<Vec<u8>>, Bound<Vec<u8>>) = (Bound::Unbounded, Bound::Unbounded);

fn pop_first(dir: &Path, size: usize, measure: Measure<'_>) {
    let store = open(dir);
    let (_, index, _) = indexed(&store, size);
    let mut tx = store.begin().expect("begins");
    measure(size, &mut |_| {
        let entry = tx.range(&index, ALL).expect("a range").next().expect("one is left").expect("read");
        tx.delete(entry.id).expect("deletes");
    });
}

fn pop_last(dir: &Path, size: usize, measure: Measure<'_>) {
    let store = open(dir);
    let (_, index, _) = indexed(&store, size);
    let mut tx = store.begin().expect("begins");
    measure(size, &mut |_| {
        let entry = tx.range(&index, ALL).expect("a range").next_back().expect("one is left").expect("read");
        tx.delete(entry.id).expect("deletes");
    });
}

fn pop_scan(dir: &Path, size: usize, measure: Measure<'_>) {
    let store = open(dir);
    let set = store.record_set("records").expect("a set");
    store.write(|tx| tx.insert_many(&set, &vec![[7; 20]; size])).expect("inserts");
    let mut tx = store.begin().expect("begins");
    measure(size, &mut |_| {
        let id = tx.scan(&set).expect("a scan").iter().next().expect("one is left").expect("read").id();
        tx.delete(id).expect("deletes");
    });
}

fn small_scan(dir: &Path, size: usize, measure: Measure<'_>) {
    let store = open(dir);
    let set = store.record_set("records").expect("a set");
    let mut tx = store.begin().expect("begins");
    let ids: Vec<_> = (0..size).map(|_| tx.insert(&set, [7; 20]).expect("inserts")).collect();
    let mut scan = |number| {
        let id: RecordId = ids[number * 7 % size];
        assert_eq!(tx.scan_range(&set, id..=id).expect("scans").iter().count(), 1);
    };
    // The first one gathers all own writes.
    scan(0);
    measure(2_000, &mut scan);
}

fn ranges_held(dir: &Path, size: usize, measure: Measure<'_>) {
    let store = open(dir);
    let (set, index, _) = indexed(&store, 1);
    let mut tx = store.begin().expect("begins");
    let mut held = Vec::with_capacity(size);
    measure(size, &mut |number| {
        tx.insert(&set, (number as u64 + 1).to_be_bytes()).expect("inserts");
        held.push(tx.range(&index, ALL).expect("a range"));
    });
}

fn savepoints(dir: &Path, size: usize, measure: Measure<'_>) {
    let store = open(dir);
    let mut tx = store.begin().expect("begins");
    let made: Vec<_> = (0..size).map(|_| tx.savepoint()).collect();
    let last = *made.last().expect("one");
    measure(2_000, &mut |_| tx.roll_back_to(last).expect("rolls back"));
}

fn scan_after_deletion(dir: &Path, size: usize, measure: Measure<'_>) {
    let store = open(dir);
    let set = store.record_set("records").expect("a set");
    let values = vec![[7; 20]; size + 1];
    let ids = store.write(|tx| tx.insert_many(&set, &values)).expect("inserts");
    let (last, others) = ids.split_last().expect("some");
    store.write(|tx| others.iter().try_for_each(|id| tx.delete(*id))).expect("deletes");
    store.save_snapshot().expect("a snapshot");
    let view = store.view();
    measure(200, &mut |_| {
        let first = view.scan(&set).next().expect("one is left").expect("read");
        assert_eq!(first.id(), *last);
    });
}
