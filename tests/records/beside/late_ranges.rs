//! A transaction that reads its first range, or its first record, long after it began.

use tenure::extract::Extractor;
use tenure::{Durability, Error, Index, RecordId, RecordSet, Store};

/// Far more commits than the history keeps unsorted, and than are searched under the lock.
const COMMITS: u32 = 3_000;

struct Numbered {
    store: Store,
    set: RecordSet,
    index: Index,
    ids: Vec<RecordId>,
}

/// Records with the keys 0, 10, 20 and so on.
fn numbered() -> Numbered {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("numbers").unwrap();
    let index = store.index(&set, "number", Extractor::new("number", 1, |record, keys| keys.push(record))).unwrap();
    let values: Vec<_> = (0..500_u32).map(|number| (number * 10).to_be_bytes()).collect();
    let ids = store.write(|tx| tx.insert_many(&set, &values)).unwrap();
    Numbered { store, set, index, ids }
}

/// Whether a transaction conflicts that has read a record, then lets others commit, then reads a range, then lets others
/// commit again.
fn conflicts(before: &[u32], between: &[u32], read: std::ops::Range<u32>) -> bool {
    let Numbered { store, set, index, ids } = numbered();
    let insert = |numbers: &[u32]| {
        for number in numbers {
            store.write(|tx| tx.insert(&set, number.to_be_bytes())).unwrap();
        }
    };
    let mut tx = store.begin().unwrap();
    tx.get(ids[0]).unwrap();
    insert(before);
    let seen: Vec<_> =
        tx.range(&index, read.start.to_be_bytes().as_slice()..read.end.to_be_bytes().as_slice()).unwrap().collect();
    assert_eq!(
        seen.len(),
        read.clone().filter(|number| number % 10 == 0 && *number < 5_000).count(),
        "the view's entries"
    );
    insert(between);
    tx.insert(&set, 1_000_000_u32.to_be_bytes()).unwrap();
    match tx.commit_with(Durability::Buffered) {
        Ok(_) => false,
        Err(Error::Conflict { .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_was_committed_before_the_first_range_counts_exactly_if_it_lies_within() {
    let outside: Vec<u32> = (10_000..10_000 + COMMITS).collect();
    for others in [&[][..], &outside[..5], &outside[..]] {
        let with =
            |number: u32| others.iter().copied().chain([number]).chain(others.iter().copied()).collect::<Vec<_>>();
        assert!(!conflicts(others, others, 100..200), "{} others", others.len());
        assert!(!conflicts(&with(99), others, 100..200), "below, {} others", others.len());
        assert!(!conflicts(others, &with(200), 100..200), "behind, {} others", others.len());
        assert!(conflicts(&with(100), others, 100..200), "in a view's past, {} others", others.len());
        assert!(conflicts(others, &with(199), 100..200), "later, {} others", others.len());
        assert!(conflicts(&with(2_345), others, 0..6_000), "a long range, {} others", others.len());
    }
}

#[test]
fn a_range_of_an_index_rebuilt_meanwhile_is_a_conflict() {
    let Numbered { store, set, index, ids } = numbered();
    let mut tx = store.begin().unwrap();
    tx.get(ids[0]).unwrap();
    store.rebuild_index(&index).unwrap();
    let from = 7_u32.to_be_bytes();
    tx.range(&index, from.as_slice()..).unwrap();
    tx.insert(&set, 1_000_000_u32.to_be_bytes()).unwrap();
    assert!(matches!(tx.commit_with(Durability::Buffered), Err(Error::Conflict { .. })));
}

#[test]
fn a_scan_beside_thousands_of_commits_conflicts_only_with_those_of_its_set_and_ids() {
    for within in [false, true] {
        let Numbered { store, set, ids, .. } = numbered();
        let other = store.record_set("others").unwrap();
        let mut tx = store.begin().unwrap();
        assert_eq!(tx.scan_range(&set, ids[10]..ids[20]).unwrap().iter().count(), 10);
        for number in 0..COMMITS {
            store.write(|tx| tx.insert(&other, number.to_be_bytes())).unwrap();
            store.write(|tx| tx.update(ids[30], number.to_be_bytes())).unwrap();
        }
        store.write(|tx| tx.update(ids[if within { 19 } else { 21 }], 3_u32.to_be_bytes())).unwrap();
        for number in 0..COMMITS {
            store.write(|tx| tx.insert(&other, number.to_be_bytes())).unwrap();
        }
        tx.insert(&other, "x").unwrap();
        let committed = tx.commit_with(Durability::Buffered);
        assert_eq!(matches!(committed, Err(Error::Conflict { .. })), within, "{committed:?}");
    }
}
