//! Cursors, ranges and counts against an ordered set, over heap and pages.

use std::ops::Bound;

use super::{Model, Numbers, Pages};
use crate::format::node::KeyEntry;
use crate::key_index::cursor::Cursor;
use crate::key_index::{KeyRoot, KeyTree, Position, Range};

/// A tree with short and long keys and several records per key: on the heap, in pages, and half and half.
fn trees() -> (Vec<(&'static str, KeyTree)>, Model) {
    let mut numbers = Numbers(0x5eed);
    let mut model = Model::new();
    let mut pages = Pages::in_memory();
    let (mut heap, mut mixed) = (KeyTree::new().unwrap(), KeyTree::new().unwrap());
    for round in 0..6_000 {
        let len = [1, 2, 3, 8, 40, 300][numbers.below(6)];
        let spread = [2, 5, 256][numbers.below(3)];
        let key: Vec<u8> = (0..len).map(|_| u8::try_from(numbers.below(spread)).unwrap()).collect();
        let id = u64::try_from(numbers.below(4)).unwrap();
        heap.insert(&key, id).unwrap();
        mixed.insert(&key, id).unwrap();
        model.insert((key, id));
        if round == 3_000 {
            pages.save(&mut mixed, |_| ());
        }
    }
    let mut clean = KeyTree::new().unwrap();
    for (key, id) in &model {
        clean.insert(key, *id).unwrap();
    }
    let saved = pages.save(&mut clean, |_| ());
    (vec![("heap", heap), ("mixed", mixed), ("clean", pages.load(&saved))], model)
}

fn stand(cursor: &Cursor) -> Option<(Vec<u8>, u64)> {
    cursor.stands().then(|| (cursor.key().to_vec(), cursor.id()))
}

#[test]
fn cursors_go_through_all_entries_both_ways() {
    let (trees, model) = trees();
    for (name, tree) in trees {
        let mut cursor = Cursor::new(tree.root());
        assert!(!cursor.next().unwrap() && !cursor.prev().unwrap(), "{name}: it stands nowhere yet");
        let (mut found, mut more) = (Vec::new(), cursor.first().unwrap());
        while more {
            found.extend(stand(&cursor));
            more = cursor.next().unwrap();
        }
        assert!(found.iter().eq(model.iter()), "{name}");
        let (mut found, mut more) = (Vec::new(), cursor.last().unwrap());
        while more {
            found.extend(stand(&cursor));
            more = cursor.prev().unwrap();
        }
        assert!(found.iter().eq(model.iter().rev()), "{name}, backwards");
    }
}

#[test]
fn ids_alone_are_those_of_the_entries_also_between_steps_and_seeks() {
    let (trees, model) = trees();
    let mut numbers = Numbers(0x1d5);
    for (name, tree) in trees {
        let mut range = Range::new(&tree.root(), Bound::Unbounded, Bound::Unbounded).unwrap();
        let (mut left, mut steps) = (model.iter().peekable(), 0);
        while left.peek().is_some() {
            let max = numbers.below(70);
            let mut ids = vec![77];
            range.next_ids(max, &mut ids).unwrap();
            let expected: Vec<u64> = std::iter::once(77).chain(left.by_ref().take(max).map(|(_, id)| *id)).collect();
            assert_eq!(ids, expected, "{name}, {max} at a time");
            match numbers.below(3) {
                0 => assert_eq!(range.next().unwrap(), left.next().map(|(key, id)| (key.as_slice(), *id)), "{name}"),
                1 => {
                    if let Some((key, _)) = left.peek() {
                        range.seek(key, true).unwrap();
                        while left.next_if(|(other, _)| other == key).is_some() {}
                    }
                }
                _ => {}
            }
            assert_eq!(range.left(), u64::try_from(left.clone().count()).unwrap(), "{name}");
            steps += 1;
        }
        assert!(steps > 50, "{name}");
    }
}

/// Existing keys, and keys near them.
fn probes(model: &Model, numbers: &mut Numbers) -> Vec<Vec<u8>> {
    let all: Vec<_> = model.iter().collect();
    let mut probes = vec![Vec::new(), vec![255; 40]];
    for _ in 0..150 {
        let mut key = all[numbers.below(all.len())].0.clone();
        match numbers.below(4) {
            0 => key.push(0),
            1 => drop(key.pop()),
            2 => *key.last_mut().unwrap() ^= 1,
            _ => {}
        }
        probes.push(key);
    }
    probes
}

#[test]
fn seeks_from_both_sides_find_their_neighbours() {
    let (trees, model) = trees();
    let mut numbers = Numbers(11);
    for (name, tree) in trees {
        let mut cursor = Cursor::new(tree.root());
        for key in probes(&model, &mut numbers) {
            for behind in [false, true] {
                let id = u64::try_from(numbers.below(5)).unwrap();
                let position = Position { entry: KeyEntry { key: &key, id }, behind };
                let edge = (key.clone(), id);
                let is_before = |entry: &&(Vec<u8>, u64)| if behind { **entry <= edge } else { **entry < edge };
                let before = model.iter().take_while(is_before).last();
                let after = model.iter().find(|entry| !is_before(entry));
                cursor.seek(&position).unwrap();
                assert_eq!(stand(&cursor).as_ref(), after, "{name}");
                if cursor.stands() {
                    cursor.prev().unwrap();
                    assert_eq!(stand(&cursor).as_ref(), before, "{name}: back from there");
                }
                cursor.seek_before(&position).unwrap();
                assert_eq!(stand(&cursor).as_ref(), before, "{name}");
                let rank = model.iter().take_while(is_before).count();
                assert_eq!(tree.now().rank(&position).unwrap(), u64::try_from(rank).unwrap(), "{name}");
            }
        }
    }
}

fn check_range(root: &KeyRoot, model: &Model, lower: Bound<&[u8]>, upper: Bound<&[u8]>, numbers: &mut Numbers) {
    let above = |key: &[u8]| match lower {
        Bound::Included(edge) => key >= edge,
        Bound::Excluded(edge) => key > edge,
        Bound::Unbounded => true,
    };
    let below = |key: &[u8]| match upper {
        Bound::Included(edge) => key <= edge,
        Bound::Excluded(edge) => key < edge,
        Bound::Unbounded => true,
    };
    let mut expected: std::collections::VecDeque<_> =
        model.iter().filter(|(key, _)| above(key) && below(key)).collect();
    let mut range = Range::new(root, lower, upper).unwrap();
    assert_eq!(range.left(), u64::try_from(expected.len()).unwrap());
    for taken in 0..300 {
        let back = numbers.below(3) == 0;
        if numbers.below(8) == 0 && !expected.is_empty() {
            // Now and then to a remaining key, past one, or to any.
            let near = expected[numbers.below(expected.len().min(60))].0.clone();
            let far = expected[expected.len() - 1 - numbers.below(expected.len().min(60))].0.clone();
            let mut key = if back { far } else { near };
            if numbers.below(4) == 0 {
                key.pop();
            }
            let past = numbers.below(2) == 0;
            if back {
                expected.retain(|(other, _)| *other < key || (!past && *other == key));
                range.seek_back(&key, past).unwrap();
            } else {
                expected.retain(|(other, _)| *other > key || (!past && *other == key));
                range.seek(&key, past).unwrap();
            }
            assert_eq!(range.left(), u64::try_from(expected.len()).unwrap(), "after a seek");
        }
        let wanted = if back { expected.pop_back() } else { expected.pop_front() };
        let got = if back { range.next_back() } else { range.next() }.unwrap();
        assert_eq!(got, wanted.map(|(key, id)| (key.as_slice(), *id)), "entry {taken}");
    }
}

#[test]
fn ranges_from_both_ends() {
    let (trees, model) = trees();
    let mut numbers = Numbers(12);
    for (_, tree) in trees {
        let probes = probes(&model, &mut numbers);
        for pair in probes.chunks_exact(2) {
            let bound = |numbers: &mut Numbers, key| match numbers.below(5) {
                0 => Bound::Unbounded,
                1 | 2 => Bound::Included(key),
                _ => Bound::Excluded(key),
            };
            let (lower, upper) = (bound(&mut numbers, pair[0].as_slice()), bound(&mut numbers, pair[1].as_slice()));
            check_range(tree.now(), &model, lower, upper, &mut numbers);
        }
    }
}
