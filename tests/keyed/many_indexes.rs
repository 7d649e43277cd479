//! More indexes on one set than a transaction looks through one by one.

use tenure::extract::{Extractor, Keys};
use tenure::{Index, RecordSet, Store};

const INDEXES: usize = 40;

fn made(store: &Store) -> (RecordSet, Vec<Index>) {
    let set = store.record_set("a").unwrap();
    let indexes = (0..INDEXES).map(|which| {
        // Some have keys of some records only.
        let part = move |record: &[u8], keys: &mut Keys| {
            if usize::from(record[0]) % (which + 1) < 3 {
                keys.push(&[record[0], u8::try_from(which).unwrap()][..]);
            }
        };
        store.index(&set, &which.to_string(), Extractor::new("part", 1, part)).unwrap()
    });
    let indexes = indexes.collect();
    (set, indexes)
}

#[test]
fn a_transaction_finds_its_changes_of_each_of_many_indexes() {
    let store = Store::in_memory().unwrap();
    let (set, indexes) = made(&store);
    let has = |byte: u8, which: usize| usize::from(byte) % (which + 1) < 3;
    let mut tx = store.begin().unwrap();
    // It has keys of a few indexes only; the others of all.
    let mut ids = vec![(39, tx.insert(&set, [39]).unwrap())];
    for round in 0..3_u8 {
        let savepoint = tx.savepoint();
        let undone: Vec<_> = [0, 1, 2].map(|byte| tx.insert(&set, [byte + 10 * round]).unwrap()).into();
        let key = |byte: u8, which: usize| [byte, u8::try_from(which).unwrap()];
        for (which, index) in indexes.iter().enumerate() {
            let found = tx.find(index, &key(10 * round, which)[..]).unwrap();
            assert_eq!(found.is_some(), has(10 * round, which), "{round} {which}");
        }
        tx.roll_back_to(savepoint).unwrap();
        assert!(undone.iter().all(|id| tx.get(*id).is_err()));
        ids.push((round, tx.insert(&set, [round]).unwrap()));
        for (which, index) in indexes.iter().enumerate() {
            for (byte, id) in &ids {
                let found = tx.find(index, &key(*byte, which)[..]).unwrap();
                assert_eq!(found, has(*byte, which).then_some(*id), "{round} {which} {byte}");
            }
        }
    }
    tx.commit().unwrap();
    let view = store.view();
    for (which, index) in indexes.iter().enumerate() {
        let expected = ids.iter().filter(|(byte, _)| has(*byte, which)).count();
        assert_eq!(index.all(&view).unwrap().count(), expected, "{which}");
        assert_eq!(store.verify_index(index).unwrap(), Vec::<String>::new());
    }
}
