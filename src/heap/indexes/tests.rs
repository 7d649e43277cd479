//! Emptying page segments of several trees, a part per call.

use std::collections::BTreeSet;

use super::{Indexes, Refreshed};
use crate::id::{IndexNumber, SegmentSeq};
use crate::key_index::KeyTree;
use crate::key_index::tests::{Pages, walk};

fn saved(pages: &mut Pages, begin: u64) -> (KeyTree, crate::key_index::Saved) {
    let mut tree = KeyTree::new().unwrap();
    for id in begin..begin + 10_000 {
        assert!(tree.insert(&id.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes(), id).unwrap());
    }
    let saved = pages.save(&mut tree, |_| ());
    (tree, saved)
}

fn nodes_in(tree: &KeyTree, from: &BTreeSet<SegmentSeq>) -> usize {
    let mut count = 0;
    walk(&tree.now().root, tree.now(), &mut |child| {
        count += usize::from(child.saved().is_some_and(|clean| from.contains(&clean.page().segment)));
    });
    count
}

#[test]
fn the_walk_goes_from_tree_to_tree_past_damage_and_trees_that_are_gone() {
    let mut pages = Pages::in_memory();
    let mut indexes = Indexes::default();
    let numbers = [1, 2, 3, 4].map(IndexNumber);
    for (number, begin) in numbers.into_iter().zip([1, 20_001, 40_001, 60_001]) {
        let (mut tree, saved) = saved(&mut pages, begin);
        if number == numbers[1] {
            tree = pages.with_wrong_count(&saved);
        }
        indexes.publish(number, tree).unwrap();
    }
    let from: BTreeSet<SegmentSeq> = pages.store.segments().keys().copied().collect();
    let left = |indexes: &Indexes, number: IndexNumber| nodes_in(&indexes.trees[&number], &from);
    let before = left(&indexes, numbers[0]);
    assert!(before > 40 && left(&indexes, numbers[3]) > 40);

    let (mut refreshed, mut calls) = (Refreshed::default(), 0);
    while !indexes.refresh(&from, &mut 4, &mut refreshed).unwrap() {
        calls += 1;
        assert!(calls < 1_000, "no end");
        if calls == 1 {
            assert!((1..before).contains(&left(&indexes, numbers[0])));
        }
        // In the middle of the third.
        if indexes.trees.get(&numbers[2]).is_some_and(|tree| tree.dirty() > 12) {
            indexes.drop_index(numbers[2]);
        }
        let sum: u64 = indexes.trees.values().map(KeyTree::heap_bytes).sum();
        assert_eq!(indexes.bytes, sum, "the bytes of nodes after {calls} calls");
    }
    assert!(!indexes.trees.contains_key(&numbers[2]), "it was not come to");
    assert_eq!((left(&indexes, numbers[0]), left(&indexes, numbers[3])), (0, 0));
    assert_eq!(indexes.trees[&numbers[1]].dirty(), 0);
}
