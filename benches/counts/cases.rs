//! The operations that are counted.
//!
//! Invariants: 1. One thread: nothing works in the background. 2. Everything comes from seeds. 3. Everything read was
//! read before, and is in pages that a snapshot has saved. 4. Each case has a multiple of twenty calls.

use std::hint::black_box;

use tempfile::TempDir;
use tenure::{Index, Options, Record, Result};

use crate::meter::Meter;
use crate::support::records::{
    BATCH, KEY_BYTES, Loaded, Numbers, RANGE, SECTIONS, VALUE_BYTES, commit, key_of, questions, value_of,
};

const RECORDS: usize = 20_000;
/// Gets, lookups, single commits.
const CALLS: usize = 5000;
/// Batches of a thousand, and ranges of a hundred.
const CALLS_OF_MANY: usize = 20;
/// Records per transaction of updates or deletes.
const UPDATES: usize = 100;

/// Looks at a record without reading its bytes: what the caller does with them does not count.
fn len(record: Result<Record<'_>>) -> usize {
    record.expect("there").as_slice().expect("small").len()
}

fn open() -> (TempDir, Loaded) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options::new().background(false).collector(false);
    let options = options.snapshot_log_bytes(u64::MAX).dirty_bytes_max(1 << 40);
    let loaded = Loaded::new(options, &dir.path().join("store"));
    (dir, loaded)
}

/// Values that have not been inserted yet, one after another.
struct Fresh(usize);

impl Fresh {
    fn batch(&mut self, count: usize) -> Vec<[u8; VALUE_BYTES]> {
        self.0 += count;
        (self.0 - count..self.0).map(value_of).collect()
    }
}

/// One item for each call, prepared beforehand. If planted, one call in twenty is made twice.
fn prepared<T>(calls: usize, make: impl FnMut(usize) -> T) -> Vec<T> {
    (0..calls + calls / 20).map(make).collect()
}

fn inserts(meter: &mut Meter, loaded: &mut Loaded, name: &str) {
    let mut fresh = Fresh(loaded.ids.len());
    let batches = prepared(CALLS_OF_MANY, |_| fresh.batch(BATCH));
    let mut batches = batches.iter();
    meter.count(&format!("insert, batch of 1,000, {name}"), BATCH, CALLS_OF_MANY, || {
        let mut tx = loaded.begin();
        for bytes in batches.next().expect("enough") {
            black_box(tx.insert(&loaded.set, bytes).expect("inserted"));
        }
        commit(tx);
    });
    let values = prepared(CALLS, |_| fresh.batch(1));
    let mut values = values.iter();
    meter.count(&format!("commit of one insert, {name}"), 1, CALLS, || {
        let bytes = &values.next().expect("enough")[0];
        let mut tx = loaded.begin();
        black_box(tx.insert(&loaded.set, bytes).expect("inserted"));
        commit(tx);
    });
}

/// Commits of one update, to records without an index.
fn updates(meter: &mut Meter, loaded: &Loaded) {
    let mut payload = payloads();
    let values = prepared(CALLS, |_| payload());
    let mut values = values.iter();
    meter.count("commit of one update, no index", 1, CALLS, || {
        update(loaded, std::slice::from_ref(values.next().expect("enough")));
    });
}

fn reads(meter: &mut Meter, loaded: &Loaded) {
    let Loaded { store, set, .. } = loaded;
    let view = store.view();
    // The first read of a record verifies its checksum.
    assert_eq!(view.scan(set).map(len).sum::<usize>(), usize::try_from(view.len(set)).expect("64 bits") * VALUE_BYTES);
    let asked = loaded.asked(CALLS);
    let mut ids = asked.iter().copied().cycle();
    let mut next = || ids.next().expect("without end");
    meter.count("get, one-shot", 1, CALLS, || {
        black_box(len(store.get(next())));
    });
    meter.count("get, in a view", 1, CALLS, || {
        black_box(len(view.get(next())));
    });
    let mut some = asked.chunks_exact(RANGE).cycle();
    meter.count("get_many of 100, each", RANGE, CALLS_OF_MANY, || {
        let found = view.get_many(some.next().expect("without end"));
        black_box(found.into_iter().map(len).sum::<usize>());
    });
    meter.count("view taken and dropped", 1, CALLS, || {
        black_box(store.view());
    });
    let records = usize::try_from(view.len(set)).expect("64 bits");
    meter.count("scan, each", records, 20, || {
        black_box(view.scan(set).map(len).sum::<usize>());
    });
}

fn lookups(meter: &mut Meter, loaded: &Loaded, unique: &Index, by_section: &Index) {
    let view = loaded.store.view();
    let keys: Vec<[u8; KEY_BYTES]> = questions(CALLS, RECORDS).map(key_of).collect();
    let mut keys = keys.iter().cycle();
    let mut next = || &keys.next().expect("without end")[..];
    assert_eq!(view.scan(&loaded.set).map(len).min(), Some(VALUE_BYTES));
    meter.count("unique key to ID", 1, CALLS, || {
        black_box(unique.get(&view, next()).expect("read").expect("there"));
    });
    meter.count("unique key to record", 1, CALLS, || {
        black_box(len(unique.fetch(&view, next()).transpose().expect("there")));
    });
    let mut numbers = Numbers(11);
    let end = usize::try_from(SECTIONS / 2).expect("64 bits");
    let sections: Vec<u32> = (0..CALLS).map(|_| u32::try_from(numbers.below(end)).expect("small")).collect();
    let mut sections = sections.iter().cycle();
    let mut range = || by_section.range(&view, *sections.next().expect("without end")..).expect("a range");
    let calls = CALLS_OF_MANY * 5;
    meter.count("range of 100 entries, each", RANGE, calls, || {
        black_box(range().take(RANGE).map(|entry| entry.expect("read").id.slot()).sum::<u64>());
    });
    meter.count("range of 100 records, each", RANGE, calls, || {
        black_box(range().records(&view).take(RANGE).map(len).sum::<usize>());
    });
}

/// A record, by its position, and its new value.
type Change = (usize, [u8; VALUE_BYTES]);

fn update(loaded: &Loaded, changes: &[Change]) {
    let mut tx = loaded.begin();
    for (place, bytes) in changes {
        tx.update(loaded.ids[*place], bytes).expect("updated");
    }
    commit(tx);
}

/// New values of records at random, with the same keys.
fn payloads() -> impl FnMut() -> Change {
    let mut numbers = Numbers(13);
    move || {
        let place = numbers.below(RECORDS);
        let mut bytes = value_of(place);
        bytes[VALUE_BYTES - 8..].copy_from_slice(&numbers.next().to_le_bytes());
        (place, bytes)
    }
}

/// Updates and deletes of records with both indexes.
fn changes(meter: &mut Meter, loaded: &Loaded) {
    let mut payload = payloads();
    let batches = prepared(CALLS_OF_MANY * 5, |_| (0..UPDATES).map(|_| payload()).collect::<Vec<Change>>());
    let mut next = batches.iter();
    meter.count("update, batch of 100, keys stay", UPDATES, CALLS_OF_MANY * 5, || {
        update(loaded, next.next().expect("enough"));
    });
    let (mut fresh, mut numbers) = (Fresh(10 * RECORDS), Numbers(17));
    let batches = prepared(CALLS_OF_MANY * 5, |_| {
        let values = fresh.batch(UPDATES).into_iter();
        values.map(|bytes| (numbers.below(RECORDS), bytes)).collect::<Vec<Change>>()
    });
    let mut next = batches.iter();
    meter.count("update, batch of 100, both keys new", UPDATES, CALLS_OF_MANY * 5, || {
        update(loaded, next.next().expect("enough"));
    });
    let mut some = loaded.ids.chunks_exact(UPDATES);
    meter.count("delete, batch of 100, two indexes", UPDATES, CALLS_OF_MANY * 5, || {
        let mut tx = loaded.begin();
        for id in some.next().expect("enough") {
            tx.delete(*id).expect("deleted");
        }
        commit(tx);
    });
}

/// Inserts in one call.
fn inserts_at_once(meter: &mut Meter, loaded: &Loaded) {
    let mut fresh = Fresh(20 * RECORDS);
    let batches = prepared(CALLS_OF_MANY, |_| fresh.batch(BATCH));
    let mut batches = batches.iter();
    meter.count("insert_many of 1,000, no index", BATCH, CALLS_OF_MANY, || {
        let mut tx = loaded.begin();
        black_box(tx.insert_many(&loaded.set, batches.next().expect("enough")).expect("inserted"));
        commit(tx);
    });
}

/// Updates in one call, of remaining records with both indexes.
fn updates_at_once(meter: &mut Meter, loaded: &Loaded) {
    let view = loaded.store.view();
    let there: Vec<_> = loaded.ids.iter().filter(|id| view.get(**id).is_ok()).collect();
    let mut payload = payloads();
    let mut change = || {
        let (place, mut bytes) = payload();
        let id = *there[place % there.len()];
        let old = view.get(id).expect("there").to_vec().expect("read");
        bytes[..VALUE_BYTES - 8].copy_from_slice(&old[..VALUE_BYTES - 8]);
        (id, bytes)
    };
    let batches = prepared(CALLS_OF_MANY * 5, |_| (0..UPDATES).map(|_| change()).collect::<Vec<_>>());
    let mut next = batches.iter();
    meter.count("update_many of 100, keys stay", UPDATES, CALLS_OF_MANY * 5, || {
        let mut tx = loaded.begin();
        tx.update_many(next.next().expect("enough")).expect("updated");
        commit(tx);
    });
}

/// Records that are read and then changed, in one transaction and with a view that is gone when the change begins.
fn reads_and_writes(meter: &mut Meter, loaded: &Loaded) {
    let mut payload = payloads();
    let changes = prepared(4 * CALLS, |_| payload());
    let mut changes = changes.iter();
    let mut next = || changes.next().expect("enough");
    meter.count("read-modify-write, one transaction, no index", 1, CALLS, || {
        let (place, bytes) = next();
        let mut tx = loaded.begin();
        black_box(len(tx.get(loaded.ids[*place])));
        tx.update(loaded.ids[*place], bytes).expect("updated");
        commit(tx);
    });
    meter.count("read-modify-write, one closure, no index", 1, CALLS, || {
        let (place, bytes) = next();
        let id = loaded.ids[*place];
        let written = loaded.store.write(|tx| {
            black_box(len(tx.get(id)));
            tx.update(id, bytes)
        });
        written.expect("updated");
    });
    meter.count("view, get, drop, update, no index", 1, CALLS, || {
        let change = next();
        black_box(len(loaded.store.view().get(loaded.ids[change.0])));
        update(loaded, std::slice::from_ref(change));
    });
    meter.count("view, get, update beside it, drop, no index", 1, CALLS, || {
        let change = next();
        let view = loaded.store.view();
        black_box(len(view.get(loaded.ids[change.0])));
        update(loaded, std::slice::from_ref(change));
    });
}

/// Every case, in a fixed order.
pub(crate) fn run(meter: &mut Meter) {
    let (dir, mut loaded) = open();
    loaded.load(RECORDS);
    inserts(meter, &mut loaded, "no index");
    updates(meter, &loaded);
    loaded.store.save_snapshot().expect("saved");
    reads(meter, &loaded);
    reads_and_writes(meter, &loaded);
    inserts_at_once(meter, &loaded);
    drop((loaded, dir));

    let (dir, mut loaded) = open();
    let (unique, by_section) = loaded.indexes();
    loaded.load(RECORDS);
    inserts(meter, &mut loaded, "two indexes");
    loaded.store.save_snapshot().expect("saved");
    lookups(meter, &loaded, &unique, &by_section);
    changes(meter, &loaded);
    updates_at_once(meter, &loaded);
    drop((loaded, dir));
}
