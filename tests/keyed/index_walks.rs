//! Walks over key indexes compared with a sorted list: both ends, distinct keys, continuing at another key, counts.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tenure::backing::Memory;
use tenure::extract::Extractor;
use tenure::key::Key;
use tenure::{Durability, Error, Index, IndexEntry, Options, RecordId, Store};

use crate::common::Rng;

type Entries = Vec<(u32, RecordId)>;

/// An index with few and with many records a key, half in pages, half on the heap.
fn build(seed: u64) -> (Store, Index, Entries) {
    let options = Options::new().background(false).durability(Durability::Buffered);
    let store = options.open_backing(Arc::new(Memory::new())).unwrap();
    let set = store.record_set("a").unwrap();
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
    let index = store.index(&set, "n", Extractor::new("n", 1, move |bytes, keys| keys.push(&number(bytes)))).unwrap();
    let mut rng = Rng::new(seed);
    let mut entries = Entries::new();
    for round in 0..2 {
        store
            .write(|tx| -> tenure::Result<_> {
                for _ in 0..4_000 {
                    let spread = [40, 900, 100_000][rng.below(3)];
                    let number = u32::try_from(rng.below(spread)).unwrap();
                    entries.push((number, tx.insert(&set, number.to_be_bytes())?));
                }
                Ok(())
            })
            .unwrap();
        if round == 0 {
            store.save_snapshot().unwrap();
        }
    }
    entries.sort_unstable();
    (store, index, entries)
}

fn said((number, id): (u32, RecordId)) -> IndexEntry {
    IndexEntry { key: Key::new(&number).unwrap(), id }
}

#[test]
fn ends_and_counts_are_those_of_a_sorted_list() {
    let (store, index, entries) = build(1);
    let view = store.view();
    assert_eq!(index.first(&view).unwrap(), entries.first().copied().map(said));
    assert_eq!(index.last(&view).unwrap(), entries.last().copied().map(said));
    assert_eq!(index.all(&view).unwrap().last().unwrap().unwrap(), said(*entries.last().unwrap()));
    let mut rng = Rng::new(2);
    for _ in 0..300 {
        let (from, to) = (rng.below(1_200), rng.below(1_200));
        let (from, to) = (u32::try_from(from.min(to)).unwrap(), u32::try_from(from.max(to)).unwrap());
        let expected = entries.iter().filter(|(number, _)| (from..to).contains(number)).count();
        assert_eq!(index.count(&view, from..to).unwrap(), expected as u64);
        let range = index.range(&view, from..to).unwrap();
        assert_eq!(range.size_hint().1, Some(expected));
        assert_eq!(range.count(), expected);
        let walked = index.range(&view, from..to).unwrap().map(Result::unwrap).filter(|_| true).count();
        assert_eq!(walked, expected);
    }
    let empty = store.index(&store.record_set("b").unwrap(), "n", Extractor::new("n", 1, |_, _| ())).unwrap();
    let view = store.view();
    assert_eq!((empty.first(&view).unwrap(), empty.last(&view).unwrap()), (None, None));
    assert!(empty.all(&view).unwrap().distinct_keys().next().is_none());
}

#[test]
fn each_key_comes_once_from_either_end() {
    let (store, index, entries) = build(3);
    let view = store.view();
    let keys: BTreeSet<u32> = entries.iter().map(|(number, _)| *number).collect();
    let lowest = |number: &u32| *entries.iter().find(|entry| entry.0 == *number).unwrap();
    let forward: Vec<IndexEntry> = index.all(&view).unwrap().distinct_keys().map(Result::unwrap).collect();
    assert_eq!(forward, keys.iter().map(lowest).map(said).collect::<Vec<_>>());
    let highest = |number: &u32| *entries.iter().rfind(|entry| entry.0 == *number).unwrap();
    let backward: Vec<IndexEntry> = index.all(&view).unwrap().distinct_keys().rev().map(Result::unwrap).collect();
    assert_eq!(backward, keys.iter().rev().map(highest).map(said).collect::<Vec<_>>());
    // From both ends in turn, no key comes twice.
    let mut rng = Rng::new(4);
    let mut both = index.range(&view, 5_u32..400).unwrap().distinct_keys();
    let mut expected: VecDeque<u32> = keys.into_iter().filter(|number| (5..400).contains(number)).collect();
    while !expected.is_empty() {
        let (found, wanted) =
            if rng.one_in(2) { (both.next(), expected.pop_front()) } else { (both.next_back(), expected.pop_back()) };
        assert_eq!(found.unwrap().unwrap().key, Key::new(&wanted.unwrap()).unwrap());
    }
    assert!(both.next().is_none() && both.next_back().is_none());
}

#[test]
fn a_walk_goes_on_at_another_key() {
    let (store, index, entries) = build(5);
    let view = store.view();
    let mut rng = Rng::new(6);
    for _ in 0..60 {
        let mut expected: VecDeque<(u32, RecordId)> = entries.iter().copied().collect();
        let mut range = index.all(&view).unwrap();
        while !expected.is_empty() {
            let near = expected.front().unwrap().0 + u32::try_from(rng.below(8)).unwrap();
            let far = u32::try_from(rng.below(100_000)).unwrap();
            match rng.below(8) {
                0 | 1 => {
                    range.seek(&near).unwrap();
                    expected.retain(|entry| entry.0 >= near);
                }
                2 if rng.one_in(8) => {
                    range.seek(&far).unwrap();
                    expected.retain(|entry| entry.0 >= far);
                }
                3 => {
                    let back = expected.back().unwrap().0.saturating_sub(u32::try_from(rng.below(900)).unwrap());
                    range.seek_back(&back).unwrap();
                    expected.retain(|entry| entry.0 <= back);
                }
                4 => assert_eq!(range.next_back().transpose().unwrap(), expected.pop_back().map(said)),
                _ => {
                    for _ in 0..rng.below(40) {
                        assert_eq!(range.next().transpose().unwrap(), expected.pop_front().map(said));
                    }
                }
            }
            assert_eq!(range.left(), expected.len() as u64);
        }
        assert!(range.next().is_none() && range.next_back().is_none());
        range.seek(&0_u32).unwrap();
        assert_eq!(range.left(), 0, "nothing comes back");
    }
    let mut range = index.all(&view).unwrap();
    let too_long = "x".repeat(2_000);
    assert!(matches!(range.seek(too_long.as_str()), Err(Error::TooLarge { .. } | Error::KeyTooLong { .. })));
    assert_eq!(range.left(), entries.len() as u64, "a key that is none changes nothing");
}
