//! Writes to many records at once are writes to one after the other.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

use proptest::collection::vec;
use proptest::prelude::*;
use tenure::Error;
use tenure::Index;
use tenure::RecordId;
use tenure::RecordSet;
use tenure::Store;
use tenure::Transaction;
use tenure::extract::Extractor;

struct Things {
    store: Store,
    set: RecordSet,
    index: Index,
    ids: Vec<RecordId>,
}

/// A store with so many records; the first byte of each is its key.
fn things_of(count: u8) -> Things {
    let store = Store::in_memory().expect("opens");
    let set = store.record_set("things").expect("a set");
    let first = Extractor::new("first", 1, |record: &[u8], keys| keys.push(&u32::from(record[0])));
    let index = store.index(&set, "first", first).expect("an index");
    let ids = store.write(|tx| (0..count).map(|number| tx.insert(&set, [number; 3])).collect()).expect("inserts");
    Things { store, set, index, ids }
}

/// Records and keys, each with the place of its ID.
type Content = (Vec<(usize, Vec<u8>)>, Vec<(u32, usize)>);

/// All records in the order of their IDs, and all keys.
fn content(things: &Things) -> Content {
    let view = things.store.view();
    let place = |id| things.ids.iter().position(|known| *known == id).expect("is known");
    let records = view.scan(&things.set).map(|record| record.expect("reads"));
    let records = records.map(|record| (place(record.id()), record.to_vec().expect("reads"))).collect();
    let keys = (0..=u32::from(u8::MAX)).flat_map(|key| {
        let found = things.index.range(&view, key..=key).expect("ranges");
        found.map(|entry| (key, place(entry.expect("reads").id))).collect::<Vec<_>>()
    });
    (records, keys.collect())
}

#[derive(Debug, Clone)]
enum Step {
    Update(Vec<(usize, Vec<u8>)>),
    Delete(Vec<usize>),
    Read(usize),
}

fn step(records: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => vec((0..records, vec(any::<u8>(), 1..40)), 0..90).prop_map(Step::Update),
        1 => vec(0..records, 0..40).prop_map(Step::Delete),
        1 => (0..records).prop_map(Step::Read),
    ]
}

fn take(tx: &mut Transaction, ids: &[RecordId], step: &Step, at_once: bool) -> Result<(), String> {
    let result = match step {
        Step::Update(changes) => {
            let changes: Vec<_> = changes.iter().map(|(place, bytes)| (ids[*place], bytes)).collect();
            if at_once {
                tx.update_many(&changes)
            } else {
                changes.iter().try_for_each(|(id, bytes)| tx.update(*id, bytes))
            }
        }
        Step::Delete(places) => {
            let ids: Vec<_> = places.iter().map(|place| ids[*place]).collect();
            if at_once { tx.delete_many(&ids) } else { ids.iter().try_for_each(|id| tx.delete(*id)) }
        }
        // From then on the transaction reads from a state of its own.
        Step::Read(place) => tx.get(ids[*place]).map(drop),
    };
    result.map_err(|error| error.to_string())
}

proptest! {
    #[test]
    fn writing_to_many_is_writing_to_one_after_the_other(transactions in vec(vec(step(100), 1..5), 1..4)) {
        let [at_once, one_by_one] = [things_of(100), things_of(100)];
        for steps in transactions {
            let mut results = Vec::new();
            for things in [&at_once, &one_by_one] {
                let mut tx = things.store.begin().unwrap();
                let is_at_once = std::ptr::eq(things, &raw const at_once);
                // What stands in the way of one write does not end the transaction.
                results.push(steps.iter().map(|step| take(&mut tx, &things.ids, step, is_at_once)).collect::<Vec<_>>());
                tx.commit(tenure::Durability::Buffered).unwrap();
            }
            prop_assert_eq!(&results[0], &results[1]);
            prop_assert_eq!(content(&at_once), content(&one_by_one));
        }
    }
}

#[test]
fn what_stands_before_the_first_that_fails_is_written() {
    let things = things_of(40);
    things.store.write(|tx| tx.delete(things.ids[35])).expect("deletes");
    let mut tx = things.store.begin().expect("begins");
    let changes: Vec<_> = things.ids.iter().map(|id| (*id, [200; 2])).collect();
    let error = tx.update_many(&changes).expect_err("one is gone");
    assert!(matches!(error, Error::Deleted { id } if id == things.ids[35]), "{error}");
    tx.commit(tenure::Durability::Buffered).expect("commits");
    let (records, _) = content(&things);
    let written = records.iter().filter(|(_, bytes)| bytes == &[200; 2]).map(|(place, _)| *place);
    assert_eq!(written.collect::<Vec<_>>(), (0..35).collect::<Vec<_>>());
    // No record has ever had this one.
    let stranger = RecordId::from_u64(u64::MAX >> 1).expect("an ID");
    let error = things.store.write(|tx| tx.delete_many(&[things.ids[0], stranger])).expect_err("never there");
    assert!(matches!(error, Error::NeverAllocated { .. }), "{error}");
    assert_eq!(things.store.view().len(&things.set), 39, "a closure that fails leaves nothing");
}
