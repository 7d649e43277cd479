//! Saving, loading, building, and what they cost in pages.

use std::sync::Arc;

use super::{Model, Numbers, Pages, check, entries, page_bytes, walk};
use crate::key_index::{Builder, KeyTree};

fn random(count: usize, seed: u64) -> (KeyTree, Model) {
    let (mut tree, mut model, mut numbers) = (KeyTree::new().unwrap(), Model::new(), Numbers(seed));
    for id in 1.. {
        if model.len() == count {
            break;
        }
        let key = numbers.key16();
        assert!(tree.insert(&key, id).unwrap());
        model.insert((key.to_vec(), id));
    }
    (tree, model)
}

/// Bytes of slots, key suffixes and IDs in all leaves.
fn encoded_bytes(tree: &KeyTree) -> u64 {
    let mut sum = 0;
    walk(&tree.now().root, tree.now(), &mut |child| {
        if child.as_inner(&tree.now().segments).unwrap().is_none() {
            let cells = |index, view: &crate::format::node::NodeView<'_>| view.slot(index).unwrap().cell_bytes() + 8;
            let bytes: usize =
                child.with_leaf(|view| Some((0..view.count()).map(|index| cells(index, view)).sum())).unwrap();
            sum += u64::try_from(bytes).unwrap();
        }
    });
    sum
}

#[test]
fn pages_are_hardly_larger_than_their_entries() {
    let mut pages = Pages::in_memory();
    let (mut tree, _) = random(50_000, 21);
    pages.save(&mut tree, |_| ());
    let ratio = |tree: &KeyTree| page_bytes(tree.now()) * 1000 / encoded_bytes(tree);
    assert!(ratio(&tree) <= 1100, "after a random load: {}", ratio(&tree));

    let mut builder = Builder::new(None);
    for (key, id) in entries(tree.now()) {
        builder.push(&key, id).unwrap();
    }
    let mut built = builder.finish(Arc::default()).unwrap();
    pages.save(&mut built, |_| ());
    assert!(ratio(&built) <= 1050, "after a bulk build: {}", ratio(&built));
}

#[test]
fn keys_in_order_fill_their_leaves() {
    let mut tree = KeyTree::new().unwrap();
    for number in 0..40_000_u64 {
        tree.insert(&number.to_be_bytes(), 1).unwrap();
    }
    check(&tree);
    let full = 4096 / (8 + 8);
    assert!(tree.dirty() < 40_000 / full * 12 / 10, "{} nodes", tree.dirty());
}

#[test]
fn only_what_changed_is_written() {
    let mut pages = Pages::in_memory();
    let (mut tree, mut model) = random(30_000, 22);
    let all = pages.save(&mut tree, |_| ()).nodes();
    assert!(all > 100);
    assert_eq!(pages.save(&mut tree, |_| ()).nodes(), 0);
    let (key, id) = model.pop_first().unwrap();
    assert!(tree.remove(&key, id).unwrap());
    let levels = 3;
    let path = pages.save(&mut tree, |_| ());
    assert!(path.nodes() <= levels, "{} nodes for one change", path.nodes());
    assert_eq!(entries(pages.load(&path).now()), model);
}

#[test]
fn views_read_their_nodes_after_the_pages_have_gone() {
    let mut pages = Pages::in_memory();
    let (mut tree, model) = random(20_000, 23);
    let saved = pages.save(&mut tree, |_| ());
    // Nothing below the root of this view is loaded yet.
    let mut tree = pages.load(&saved);
    let view = tree.root();
    for (key, id) in &model {
        assert!(tree.remove(key, *id).unwrap());
        assert!(tree.insert(key, id + 1).unwrap());
    }
    let rows = pages.store.all_rows().len();
    for _ in 0..3 {
        pages.save(&mut tree, |_| ());
    }
    assert!(rows > 0 && entries(&view) == model);
    let now = model.iter().map(|(key, id)| (key.clone(), id + 1)).collect::<Model>();
    assert_eq!(entries(tree.now()), now);
}

#[test]
fn a_tree_built_is_the_tree_inserted() {
    let (tree, model) = random(20_000, 24);
    for written in [false, true] {
        let mut pages = Pages::in_memory();
        let mut write = |image: &[u8]| pages.write(image);
        let mut builder = if written { Builder::new(Some(&mut write)) } else { Builder::new(None) };
        for (key, id) in &model {
            builder.push(key, *id).unwrap();
        }
        assert!(builder.push(&[0], 1).is_err(), "out of order");
        let mut built = builder.finish(Arc::default()).unwrap();
        pages.writer.sync().unwrap();
        built.now.segments = pages.store.segments();
        assert_eq!(entries(built.now()), entries(tree.now()));
        check(&built);
        assert_eq!(built.dirty() < 10, written, "leaves stay on the heap unless they are written");
        let saved = pages.save(&mut built, |_| ());
        assert_eq!(pages.live_bytes(), page_bytes(built.now()));
        let mut loaded = pages.load(&saved);
        let mut numbers = Numbers(5);
        for (key, id) in &model {
            if numbers.below(3) == 0 {
                assert!(loaded.remove(key, *id).unwrap());
            }
        }
        check(&loaded);
    }
}

#[test]
fn nothing_and_one_entry() {
    let mut pages = Pages::in_memory();
    let mut tree = Builder::new(None).finish(Arc::default()).unwrap();
    let saved = pages.save(&mut tree, |_| ());
    assert!(!saved.root.is_written());
    let mut tree = pages.load(&saved);
    assert_eq!((tree.len(), tree.now().first(b"a").unwrap()), (0, None));
    assert!(tree.insert(b"", 5).unwrap() && !tree.insert(b"", 5).unwrap());
    let saved = pages.save(&mut tree, |_| ());
    let mut tree = pages.load(&saved);
    assert_eq!(tree.now().first(b"").unwrap(), Some(5));
    assert!(tree.remove(b"", 5).unwrap());
    pages.save(&mut tree, |_| ());
    assert_eq!((tree.len(), pages.live_bytes()), (0, 0));
}
