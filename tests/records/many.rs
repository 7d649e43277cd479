//! Batch writes are equivalent to single writes in order.

use proptest::collection::vec;
use proptest::prelude::*;
use tenure::extract::Extractor;
use tenure::{Error, Index, RecordId, RecordSet, Store, Transaction};

struct Things {
    store: Store,
    set: RecordSet,
    index: Index,
    ids: Vec<RecordId>,
}

/// A store with this many records; the first byte of each is its key.
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
                // A refused write does not end the transaction.
                results.push(steps.iter().map(|step| take(&mut tx, &things.ids, step, is_at_once)).collect::<Vec<_>>());
                tx.commit_with(tenure::Durability::Buffered).unwrap();
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
    tx.commit_with(tenure::Durability::Buffered).expect("commits");
    let (records, _) = content(&things);
    let written = records.iter().filter(|(_, bytes)| bytes == &[200; 2]).map(|(place, _)| *place);
    assert_eq!(written.collect::<Vec<_>>(), (0..35).collect::<Vec<_>>());
    // No record has ever had this one.
    let stranger = RecordId::from_u64(u64::MAX >> 1).expect("an ID");
    let error = things.store.write(|tx| tx.delete_many(&[things.ids[0], stranger])).expect_err("never there");
    assert!(matches!(error, Error::NeverAllocated { .. }), "{error}");
    assert_eq!(things.store.view().len(&things.set), 39, "a closure that fails leaves nothing");
}

#[test]
fn inserting_many_is_inserting_one_after_the_other() {
    let [at_once, one_by_one] = [things_of(0), things_of(0)];
    // Pages end within a call, and the last value is streamed.
    for count in [0, 1, 700, 1_300, 2] {
        let mut values: Vec<Vec<u8>> = (0..count).map(|number: u32| number.to_be_bytes().repeat(3)).collect();
        values.extend((count == 2).then(|| vec![9; 200_000]));
        let many = at_once.store.write(|tx| tx.insert_many(&at_once.set, &values)).expect("inserts");
        let set = &one_by_one.set;
        let single = one_by_one
            .store
            .write(|tx| values.iter().map(|value| tx.insert(set, value)).collect::<Result<Vec<_>, _>>());
        assert_eq!(many, single.expect("inserts"));
        for (id, value) in many.iter().zip(&values) {
            assert_eq!(&at_once.store.get(*id).expect("is there").to_vec().expect("reads"), value);
        }
    }
    let zero = |things: &Things| things.index.range(&things.store.view(), 0_u32..=0).expect("ranges").count();
    assert_eq!(zero(&at_once), zero(&one_by_one));
}

#[test]
fn what_cannot_be_inserted_leaves_nothing_and_no_id_is_given_twice() {
    let options = tenure::Options::new().transaction_bytes_max(8 << 10);
    let store = options.open_backing(std::sync::Arc::new(tenure::backing::Memory::new())).expect("opens");
    let set = store.record_set("things").expect("a set");
    let fails = Extractor::new("panics", 1, |record: &[u8], _| assert!(record[0] < 9, "as it should"));
    store.index(&set, "panics", fails).expect("an index");
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..20_u8 {
        let mut tx = store.begin().expect("begins");
        let error = tx.insert_many(&set, &vec![[1; 100]; 100]).expect_err("is too much");
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
        if round % 2 == 0 {
            tx.commit_with(tenure::Durability::Buffered).expect("commits");
        } else {
            drop(tx);
        }
        let panics = || drop(store.write(|tx| tx.insert_many(&set, &[[1; 4], [2; 4], [9; 4], [3; 4]])));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).expect_err("panics");
        let ids = store.write(|tx| tx.insert_many(&set, &[[round % 9; 3]; 40])).expect("inserts");
        assert!(ids.into_iter().all(|id| seen.insert(id)));
    }
    let found: Vec<RecordId> = store.view().scan(&set).map(|record| record.expect("reads").id()).collect();
    assert_eq!(found, seen.into_iter().collect::<Vec<_>>());
}

/// A store with so many records that the keys of a batch are looked up together; the first four bytes of a record are
/// its key, and so are the next four if it has as many.
fn large() -> (Store, RecordSet, Index, Vec<RecordId>) {
    let store = Store::in_memory().expect("opens");
    let set = store.record_set("things").expect("a set");
    let keys = Extractor::new("keys", 1, |record: &[u8], keys| {
        if record[0] == 255 {
            return keys.fail("it begins with 255");
        }
        record.chunks_exact(4).for_each(|key| keys.push(key));
    });
    let index = store.unique_index(&set, "keys", keys).expect("an index");
    let values: Vec<_> = (0..20_000_u32).map(u32::to_be_bytes).collect();
    let ids = store.write(|tx| tx.insert_many(&set, &values)).expect("inserts");
    (store, set, index, ids)
}

#[test]
fn a_large_unique_index_takes_a_batch_like_one_record_after_the_other() {
    let (store, set, index, ids) = large();
    let key = |number: u32| number.to_be_bytes();
    let fresh: Vec<_> = (30_000..30_100).map(key).collect();
    let mut count = 20_000;
    // Whatever is wrong with one of them, those before it are inserted.
    for (place, wrong) in [(0, key(7)), (31, key(19_999)), (32, key(12_345)), (99, key(30_050)), (40, [255; 4])] {
        let mut values = fresh.clone();
        values[place] = wrong;
        let mut tx = store.begin().expect("begins");
        let error = tx.insert_many(&set, &values).expect_err("is refused");
        assert_eq!(matches!(error, Error::KeysUnknown { .. }), wrong == [255; 4], "{error}");
        assert_eq!(matches!(error, Error::UniqueViolation { .. }), wrong != [255; 4], "{error}");
        assert_eq!(tx.len(&set).expect("counts"), count + place as u64);
    }
    // Keys that the transaction itself has given up are free, and those that it has taken are not.
    let mut tx = store.begin().expect("begins");
    tx.delete(ids[7]).expect("deletes");
    let mut values = fresh.clone();
    values[50] = key(7);
    let inserted = tx.insert_many(&set, &values).expect("inserts");
    tx.insert_many(&set, &[key(40_000), key(7)]).expect_err("has come back");
    let savepoint = tx.savepoint();
    tx.insert_many(&set, &[key(41_000), key(30_001)]).expect_err("is its own");
    tx.roll_back_to(savepoint).expect("rolls back");
    tx.delete_many(&inserted[..2]).expect("deletes");
    tx.insert_many(&set, &[key(42_000), key(30_001)]).expect("is free again");
    tx.commit_with(tenure::Durability::Buffered).expect("commits");
    count = store.view().len(&set);
    assert_eq!(index.len(&store.view()).expect("counts"), count);
    assert_eq!(index.get(&store.view(), &key(7)).expect("reads"), Some(inserted[50]));
    // Several keys of one record.
    let pairs: Vec<Vec<u8>> = (50_000..50_040_u32).map(|number| [key(number), key(number + 10_000)].concat()).collect();
    let mut wrong = pairs.clone();
    wrong[20] = [key(60_500), key(19)].concat();
    store.write(|tx| tx.insert_many(&set, &wrong)).expect_err("the second key is taken");
    store.write(|tx| tx.insert_many(&set, &pairs)).expect("inserts");
    assert_eq!(index.len(&store.view()).expect("counts"), count + 80);
}

#[test]
fn a_key_that_was_free_when_it_was_looked_up_may_be_taken_at_the_commit() {
    let (store, set, index, _) = large();
    let values: Vec<_> = (30_000..30_040_u32).map(u32::to_be_bytes).collect();
    let mut tx = store.begin().expect("begins");
    tx.insert_many(&set, &values).expect("inserts");
    let other = store.write(|tx| tx.insert(&set, values[33])).expect("inserts");
    tx.commit_with(tenure::Durability::Buffered).expect_err("one key is taken");
    let view = store.view();
    assert_eq!(index.get(&view, &values[33]).expect("reads"), Some(other));
    assert_eq!(index.get(&view, &values[32]).expect("reads"), None);
    assert_eq!(view.len(&set), 20_001);
}
