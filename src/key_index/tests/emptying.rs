//! Moving nodes out of page segments, a part per call.

use std::collections::BTreeSet;

use super::{Model, Numbers, Pages, check, entries, walk};
use crate::id::SegmentSeq;
use crate::key_index::node::level;
use crate::key_index::{KeyTree, Passed};

/// A key of which few fit into a leaf.
fn long_key(numbers: &mut Numbers) -> Vec<u8> {
    [numbers.key16().as_slice(), &[b'k'; 200]].concat()
}

/// A tree of this many entries with all nodes in pages, and every second full page segment.
fn saved(pages: &mut Pages, numbers: &mut Numbers, end: u64) -> (KeyTree, Model, BTreeSet<SegmentSeq>) {
    let (mut tree, mut model) = (KeyTree::new().unwrap(), Model::new());
    for id in 1..=end {
        let key = long_key(numbers);
        assert!(tree.insert(&key, id).unwrap());
        model.insert((key, id));
    }
    pages.save(&mut tree, |_| ());
    assert_eq!(tree.dirty(), 0);
    let full = |number: &SegmentSeq| Some(*number) != pages.writer.writing();
    let from: BTreeSet<SegmentSeq> = pages.store.segments().keys().copied().filter(full).step_by(2).collect();
    assert!(!from.is_empty());
    (tree, model, from)
}

/// Nodes in the segments, and those with any of them below.
fn nodes_in(tree: &KeyTree, from: &BTreeSet<SegmentSeq>) -> (u64, u64) {
    let (mut inside, mut above) = (0, 0);
    let is_in = |child: &super::Child| child.saved().is_some_and(|clean| from.contains(&clean.page().segment));
    walk(&tree.now().root, tree.now(), &mut |child| {
        inside += u64::from(is_in(child));
        let mut is_below = false;
        walk(child, tree.now(), &mut |below| is_below |= is_in(below));
        above += u64::from(is_below);
    });
    (inside, above)
}

#[test]
fn nodes_leave_their_segments_one_by_one_and_no_others_do() {
    let mut pages = Pages::in_memory();
    let (mut tree, model, from) = saved(&mut pages, &mut Numbers(51), 8_000);
    let (inside, above) = nodes_in(&tree, &from);
    assert!(inside > 200 && above < 800, "{inside} nodes, {above} with those above");
    let (mut passed, mut calls) = (Passed::default(), 0);
    while !tree.refresh(&from, &mut 1, &mut passed).unwrap() {
        calls += 1;
        assert!(calls <= inside, "no end after {calls} calls for {inside} nodes");
    }
    assert_eq!(nodes_in(&tree, &from), (0, 0));
    assert_eq!(tree.dirty(), above);
    check(&tree);
    assert!(entries(tree.now()) == model);
    pages.save(&mut tree, |_| ());
    let left = pages.store.segments().keys().filter(|number| from.contains(number)).count();
    assert_eq!(left, 0, "segments are still there");
}

#[test]
fn what_was_passed_is_not_looked_at_again() {
    let mut pages = Pages::in_memory();
    let (mut tree, _, from) = saved(&mut pages, &mut Numbers(54), 8_000);
    let (inside, _) = nodes_in(&tree, &from);
    let half = usize::try_from(inside / 2).unwrap();
    let mut passed = Passed::default();
    assert!(!tree.refresh(&from, &mut half.clone(), &mut passed).unwrap());
    let all = pages.store.segments().keys().copied().collect();
    let (before, _) = nodes_in(&tree, &all);
    while !tree.refresh(&all, &mut half.clone(), &mut passed).unwrap() {}
    let (left, _) = nodes_in(&tree, &all);
    assert!((before / 4..before * 3 / 4).contains(&left), "{left} of {before} nodes are left");
}

/// Changes the tree between calls, and counts the nodes left in the segments.
fn left_beside_changes(seed: u64, count: u64, change: &mut dyn FnMut(&mut KeyTree, &mut Model, &mut Numbers)) -> u64 {
    let (mut pages, mut numbers) = (Pages::in_memory(), Numbers(seed));
    let (mut tree, mut model, from) = saved(&mut pages, &mut numbers, count);
    let (inside, _) = nodes_in(&tree, &from);
    let (mut passed, mut calls) = (Passed::default(), 0);
    while !tree.refresh(&from, &mut 4, &mut passed).unwrap() {
        calls += 1;
        assert!(calls <= inside, "no end after {calls} calls for {inside} nodes");
        change(&mut tree, &mut model, &mut numbers);
    }
    assert!(calls > 4, "{calls} calls");
    let (left, _) = nodes_in(&tree, &from);
    check(&tree);
    assert!(entries(tree.now()) == model);
    pages.save(&mut tree, |_| ());
    check(&tree);
    left
}

fn insert(tree: &mut KeyTree, model: &mut Model, count: u64, key: &mut dyn FnMut() -> Vec<u8>) {
    for _ in 0..count {
        let (key, id) = (key(), u64::MAX);
        assert!(tree.insert(&key, id).unwrap());
        model.insert((key, id));
    }
}

#[test]
fn splits_beside_the_walk_hide_nothing_from_it() {
    let left = left_beside_changes(52, 8_000, &mut |tree, model, numbers| {
        insert(tree, model, 60, &mut || long_key(numbers));
    });
    assert_eq!(left, 0);
}

#[test]
fn the_walk_begins_anew_when_the_tree_becomes_higher() {
    let mut levels = BTreeSet::new();
    let left = left_beside_changes(53, 1_300, &mut |tree, model, numbers| {
        levels.insert(level(&tree.now().root).unwrap());
        // After all others, so that no leaf changes that the walk has not reached.
        insert(tree, model, 300, &mut || [&[0xFF; 8], long_key(numbers).as_slice()].concat());
    });
    assert_eq!((left, levels), (0, BTreeSet::from([1, 2])));
}

#[test]
fn the_walk_ends_while_nodes_are_merged_beside_it() {
    let left = left_beside_changes(55, 8_000, &mut |tree, model, _| {
        for _ in 0..12 {
            let Some((key, id)) = model.pop_first() else { break };
            assert!(tree.remove(&key, id).unwrap());
        }
    });
    assert!(left < 130, "{left} of some 260 nodes are left");
}
