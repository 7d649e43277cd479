//! Checking valid trees, and trees with a single fault. Also the difference between two states.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::{Numbers, Pages, walk};
use crate::key_index::difference::Kept;
use crate::key_index::node::{Child, Inner, Node};
use crate::key_index::{KeyRoot, KeyTree};

fn grown(numbers: &mut Numbers, entries: u64) -> KeyTree {
    let mut tree = KeyTree::new().unwrap();
    for id in 0..entries {
        let mut key = numbers.key16().to_vec();
        key.resize(100, b'k');
        tree.insert(&key, id).unwrap();
    }
    tree
}

fn problems(tree: &KeyTree) -> Vec<String> {
    let mut found = Vec::new();
    tree.now().check(&mut |error| found.push(error.to_string()), &mut |_bytes| {});
    found
}

#[test]
fn sound_trees_have_no_problems_and_all_their_nodes_are_counted() {
    let mut numbers = Numbers(41);
    for entries in [0, 1, 30, 3_000] {
        let mut tree = grown(&mut numbers, entries);
        let mut pages = Pages::in_memory();
        for _ in 0..2 {
            let mut nodes = 0;
            walk(&tree.now().root, tree.now(), &mut |_| nodes += 1);
            let checked = tree.now().check(&mut |error| panic!("{error}"), &mut |_bytes| {});
            assert_eq!((checked.nodes, checked.entries), (nodes, entries));
            // Again, in pages.
            let saved = pages.save(&mut tree, |_| ());
            tree = pages.load(&saved);
        }
    }
}

fn inner_mut(child: &mut Child) -> &mut Inner {
    match &mut child.node {
        Node::Inner(inner) => Arc::get_mut(inner).unwrap(),
        _ => panic!("a leaf, or a node that is not on the heap"),
    }
}

#[test]
fn what_does_not_fit_together_is_found() {
    type Plant = (&'static str, fn(&mut Inner));
    let plants: [Plant; 5] = [
        ("children that changed places", |inner| {
            let last = inner.children.len() - 1;
            inner.children.swap(0, last);
        }),
        ("a wrong count in two places", |inner| {
            inner.children[0].entries += 1;
            inner.children[1].entries -= 1;
        }),
        ("a child that is missing", |inner| drop(inner.children.pop())),
        ("a child twice", |inner| {
            let first = inner.children[0].clone();
            inner.children[1] = first;
        }),
        ("a child of the wrong level", |inner| {
            let Some(Node::Inner(below)) = inner.children.first().map(|child| child.node.clone()) else { return };
            inner.children[0] = below.children[0].clone();
        }),
    ];
    for (what, plant) in plants {
        let mut numbers = Numbers(43);
        let mut tree = grown(&mut numbers, 6_000);
        assert!(problems(&tree).is_empty());
        plant(inner_mut(&mut tree.now.root));
        assert!(!problems(&tree).is_empty(), "{what}");
    }
}

#[test]
fn entries_out_of_order_are_found() {
    let mut numbers = Numbers(44);
    let mut tree = grown(&mut numbers, 300);
    let Node::Leaf(leaf) = &mut inner_mut(&mut tree.now.root).children[2].node else { panic!("a leaf") };
    let leaf = Arc::get_mut(leaf).unwrap();
    // Swaps two slots.
    let (one, other) = (16 + 8, 16 + 16);
    for at in 0..8 {
        leaf.bytes.swap(one + at, other + at);
    }
    let found = problems(&tree);
    assert!(found.len() == 1 && found[0].contains("ascend"), "{found:?}");
}

/// The difference, node by node.
fn kept(old: &KeyRoot, new: &KeyRoot) -> Kept {
    let all = |root: &KeyRoot, is_new: bool| {
        let (mut nodes, mut images) = (HashSet::new(), HashSet::new());
        walk(&root.root, root, &mut |child| {
            let node = match &child.node {
                Node::Leaf(leaf) => Some(Arc::as_ptr(leaf).cast::<()>()),
                Node::Inner(inner) => Some(Arc::as_ptr(inner).cast::<()>()),
                Node::Changed(changed) => Some(Arc::as_ptr(changed).cast::<()>()),
                Node::CleanLeaf(_) | Node::Patched(_) | Node::CleanInner(_) => None,
            };
            nodes.extend(node.map(|node| (node, child.own().unwrap().1)));
            // The newer state may still write a patch of an image; the older one keeps only what it reads.
            let reads = child.has_layers() || matches!(child.node, Node::CleanInner(_));
            let base = child.base().filter(|base| if is_new { !base.is_let_go() } else { reads });
            let both = child.saved().into_iter().chain(base.map(|base| &base.clean));
            images.extend(both.map(|clean| (clean.page().segment, clean.page().offset(), clean.page().bytes)));
        });
        (nodes, images)
    };
    let ((old_nodes, old_images), (new_nodes, new_images)) = (all(old, false), all(new, true));
    let heap_bytes = old_nodes.difference(&new_nodes).map(|(_, bytes)| bytes).sum();
    Kept { heap_bytes, page_bytes: old_images.difference(&new_images).map(|image| u64::from(image.2)).sum() }
}

#[test]
fn what_an_older_state_keeps_is_what_no_node_of_the_newer_one_is() {
    let mut numbers = Numbers(45);
    let mut pages = Pages::in_memory();
    let mut tree = grown(&mut numbers, 2_000);
    let mut states: Vec<KeyRoot> = Vec::new();
    let mut seen = Kept::default();
    for round in 0..60 {
        states.push(tree.root());
        match numbers.below(6) {
            0 | 1 => drop(pages.save(&mut tree, |_| ())),
            2 => {
                // Removes most of it, so that the tree becomes lower.
                let all: Vec<_> = super::entries(tree.now()).into_iter().collect();
                for (key, id) in all.iter().skip(numbers.below(20)) {
                    tree.remove(key, *id).unwrap();
                }
            }
            _ => {
                for id in 0..numbers.below(400) {
                    let mut key = numbers.key16().to_vec();
                    key.resize(100, b'k');
                    tree.insert(&key, u64::try_from(id).unwrap()).unwrap();
                }
            }
        }
        if states.len() > 8 {
            states.remove(numbers.below(8));
        }
        for (index, state) in states.iter().enumerate() {
            let found = state.kept_from(Some(tree.now())).unwrap();
            assert_eq!(found, kept(state, tree.now()), "round {round}, state {index}");
            let (then, now) = (super::entries(state), super::entries(tree.now()));
            let changed: BTreeSet<_> = then.symmetric_difference(&now).map(|(key, _)| key.as_slice()).collect();
            let told = state.changed_keys(tree.now(), usize::MAX).unwrap().unwrap();
            assert!(told.iter().eq(changed.iter().copied()), "round {round}, state {index}");
            let bytes = changed.iter().map(|key| key.len() + size_of::<u32>()).sum::<usize>();
            assert_eq!((told.len(), told.heap_bytes()), (changed.len(), bytes), "nothing is kept of other keys");
            assert!(state.changed_keys(tree.now(), bytes).unwrap().is_some(), "they have room in as many bytes");
            let in_less = bytes.checked_sub(1).map(|less| state.changed_keys(tree.now(), less).unwrap());
            assert!(in_less.flatten().is_none(), "and in no fewer");
            seen.heap_bytes += found.heap_bytes;
            seen.page_bytes += found.page_bytes;
        }
    }
    assert!(seen.heap_bytes > 0 && seen.page_bytes > 0);
    let now = tree.root();
    assert_eq!(now.kept_from(Some(tree.now())).unwrap(), Kept::default(), "the same state");
    let alone = now.kept_from(None).unwrap();
    assert_eq!(alone, kept(&now, KeyTree::new().unwrap().now()), "the index was dropped");
}
