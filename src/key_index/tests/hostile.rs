//! Pages with arbitrary contents and a valid checksum: an error or wrong entries, in bounded time, never a panic.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;

use super::{Numbers, Pages};
use crate::error::Result;
use crate::format::PAGE_BYTES;
use crate::format::node::{ChildRef, KeyEntry, NodeView};
use crate::key_index::cursor::Cursor;
use crate::key_index::slotted::{Slotted, image};
use crate::key_index::{KeyTree, Position, Range};

fn config() -> ProptestConfig {
    let kept = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(kept)), ..ProptestConfig::default() }
}

/// A small tree of three levels: long keys leave few entries per node.
fn small_tree() -> KeyTree {
    let mut tree = KeyTree::new().unwrap();
    let mut numbers = Numbers(31);
    for id in 0..120 {
        let mut key = vec![b'k'; 200];
        key.extend((0..300).map(|_| u8::try_from(numbers.below(2)).unwrap()));
        tree.insert(&key, id).unwrap();
    }
    tree
}

fn look_at(view: &NodeView<'_>) {
    let sound = view.check().is_ok();
    let mut key = Vec::new();
    for index in 0..=view.count() {
        let read = view.read(index, &mut key);
        assert_eq!(read.is_some(), view.id(index).is_some());
        if let Some(id) = read {
            let at = view.search(&KeyEntry { key: &key, id }, false);
            assert!(!sound || at == Some(index), "an entry of a sound node is found");
            assert!(at.is_none_or(|at| at <= view.count()));
        }
    }
    assert!(view.children().is_none_or(|children| children.count() == view.count()));
}

/// Uses a tree in every way that reads its pages. Errors are fine.
fn use_it(tree: &mut KeyTree) -> Result<()> {
    let mut key = vec![b'k'; 200];
    key.extend([1; 300]);
    tree.now().first(&key)?;
    tree.now().rank(&Position::behind(&key))?;
    let mut cursor = Cursor::new(tree.root());
    let (mut steps, mut more) = (0, cursor.first()?);
    while more {
        steps += 1;
        assert!(steps <= tree.len(), "more entries than the tree has");
        more = cursor.next()?;
    }
    let mut range = Range::new(tree.now(), std::ops::Bound::Unbounded, std::ops::Bound::Unbounded)?;
    while range.next_back()?.is_some() {}
    Ok(())
}

fn change_it(tree: &mut KeyTree) {
    let mut numbers = Numbers(32);
    for id in 0..60 {
        let mut key = vec![b'k'; 200];
        key.extend((0..300).map(|_| u8::try_from(numbers.below(2)).unwrap()));
        let _: Option<bool> = tree.insert(&key, id + 1).ok();
        let _: Option<bool> = tree.remove(&key, id).ok();
        let _: Option<bool> = tree.insert(b"a", id).ok();
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes_are_looked_at(mut bytes in vec(any::<u8>(), 0..4200), count in 0_u8..40) {
        if let Some(header) = bytes.get_mut(..6) {
            header.copy_from_slice(&[0x4b, 1, count % 3, 0, count, 0]);
        }
        if let Ok(view) = NodeView::parse(&bytes) {
            look_at(&view);
        }
    }

    #[test]
    fn damaged_pages_are_errors(
        page in any::<Index>(),
        damage in vec((any::<Index>(), any::<u8>()), 1..6),
        front in any::<bool>(),
        cut in prop::option::weighted(0.1, any::<Index>()),
    ) {
        let mut tree = small_tree();
        let mut pages = Pages::in_memory();
        let nodes = usize::try_from(tree.dirty()).unwrap();
        let (mut number, target) = (0, page.index(nodes));
        let mut frozen = tree.freeze();
        let saved = frozen.save(&mut |image| {
            let mut image = image.to_vec();
            if number == target {
                for (place, value) in &damage {
                    // The structure of a node is at its front.
                    let end = if front { image.len().min(120) } else { image.len() };
                    image[place.index(end)] = *value;
                }
                if let Some(cut) = &cut {
                    image.truncate(cut.index(image.len()));
                }
            }
            number += 1;
            NodeView::parse(&image).iter().for_each(look_at);
            pages.write(&image)
        }).unwrap();
        pages.settle(&[]);
        let load = || KeyTree::load(&saved.root, saved.entries, pages.store.segments());
        if let Ok(mut tree) = load() {
            let _: Option<()> = use_it(&mut tree).ok();
            change_it(&mut tree);
            let _: Option<()> = use_it(&mut tree).ok();
        }
        if let Ok(mut tree) = load() {
            change_it(&mut tree);
            let mut frozen = tree.freeze();
            let _: Option<_> = frozen.save(&mut |image| pages.write(image)).ok();
        }
    }
}

#[test]
fn a_child_of_another_level_is_an_error() {
    let mut pages = Pages::in_memory();
    let saved = pages.save(&mut small_tree(), |_| ());
    let mut load_below = |level| {
        let mut bytes = [0; PAGE_BYTES];
        assert!(Slotted::begin(&mut bytes, level, &[]).push(level, &[], 0));
        let mut packed = Vec::new();
        let child = ChildRef { page: saved.root, entries: saved.entries, is_patch: false };
        image(&bytes, &[child], &[], &mut packed).unwrap();
        let (root, _) = pages.write(&packed).unwrap();
        pages.settle(&[]);
        KeyTree::load(&root, saved.entries, pages.store.segments())
    };
    let root_level = (1..9).filter(|level| load_below(*level).is_ok()).collect::<Vec<_>>();
    assert_eq!(root_level.len(), 1, "one level is right: {root_level:?}");
}
