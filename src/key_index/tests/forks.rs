//! Two trees of one index, each changed while there are both, of which one stays.

use super::{Model, Numbers, Pages, check, entries, page_bytes, walk};
use crate::format::node::KeyEntry;
use crate::key_index::node::Node;
use crate::key_index::{Change, KeyTree};

type Entry = (Vec<u8>, u64);

fn key(numbers: &mut Numbers, len: usize) -> Vec<u8> {
    let mut key = numbers.key16().to_vec();
    key.resize(len, 7);
    key
}

/// Inserts and removals, a few at a place, or of most of a stretch: so leaves split, merge and go.
fn changes(model: &Model, numbers: &mut Numbers, count: usize, len: usize) -> Vec<(Entry, bool)> {
    let mut changed = std::collections::BTreeMap::new();
    while changed.len() < count {
        let near = (key(numbers, len), 0);
        let stretch: Vec<Entry> =
            model.range(near.clone()..).take(1 + numbers.below(count.min(300))).cloned().collect();
        match numbers.below(3) {
            0 => changed.extend(stretch.into_iter().map(|entry| (entry, false))),
            1 => changed.extend(stretch.into_iter().map(|(key, id)| ((key, id + 1 + numbers.next() % 3), true))),
            _ => drop(changed.insert((near.0, 1), true)),
        }
    }
    changed.into_iter().collect()
}

fn apply(tree: &mut KeyTree, changes: &[(Entry, bool)]) {
    let changes =
        changes.iter().map(|((key, id), insert)| Change { entry: KeyEntry { key, id: *id }, insert: *insert });
    tree.apply_sorted(&changes.collect::<Vec<_>>()).unwrap();
}

fn note(model: &mut Model, changes: &[(Entry, bool)]) {
    for (entry, insert) in changes {
        if *insert {
            model.insert(entry.clone())
        } else {
            model.remove(entry)
        };
    }
}

fn save(pages: &mut Pages, tree: &mut KeyTree) {
    pages.save(tree, |_| ());
    tree.end_saving();
    assert_eq!(pages.live_bytes(), page_bytes(tree.now()), "bytes of pages that are in use");
}

#[test]
fn whichever_tree_stays_has_its_entries_its_accounts_and_its_pages() {
    for (len, count) in [(16, 6_000), (100, 2_500), (600, 500)] {
        let (mut pages, mut tree, mut model, mut numbers) =
            (Pages::in_directory(), KeyTree::new().unwrap(), Model::new(), Numbers(0xf0 + u64::try_from(len).unwrap()));
        let first = changes(&model, &mut numbers, count, len);
        apply(&mut tree, &first);
        note(&mut model, &first);
        let (mut joined, mut parted, mut patched) = (0, 0, 0);
        for round in 0..40 {
            if numbers.below(3) > 0 {
                save(&mut pages, &mut tree);
            }
            walk(&tree.now().root, tree.now(), &mut |child| {
                patched += u32::from(matches!(child.node, Node::Patched(_)));
            });
            // So that some states have leaves on the heap, and others lists beside their images.
            tree.copy_up_to(if numbers.below(2) == 0 { 0 } else { u64::MAX });
            let view = numbers.below(2) == 0;
            let held = view.then(|| (tree.root(), model.clone()));
            let mut second = tree.fork().unwrap();
            assert!(tree.fork().is_none(), "one at a time");
            let large = changes(&model, &mut numbers, count / 3, len);
            let before = model.clone();
            let mut behind = Vec::new();
            let parts = 1 + numbers.below(large.len());
            for part in large.chunks(parts) {
                apply(&mut second, part);
                let others = 1 + numbers.below(30);
                let small = changes(&model, &mut numbers, others, len);
                apply(&mut tree, &small);
                note(&mut model, &small);
                behind.push(small);
            }
            let mut both = before;
            note(&mut both, &large);
            for small in &behind {
                apply(&mut second, small);
                note(&mut both, small);
            }
            assert_eq!(entries(tree.now()), model, "round {round}: the first has nothing of the second");
            if numbers.below(3) > 0 {
                drop(tree.join(second));
                (model, joined) = (both, joined + 1);
            } else {
                drop(second);
                tree.part();
                parted += 1;
            }
            check(&tree);
            assert_eq!(entries(tree.now()), model, "round {round}");
            if let Some((root, then)) = held {
                assert_eq!(entries(&root), then, "what a view has stays");
            }
        }
        save(&mut pages, &mut tree);
        assert!(joined > 10 && parted > 5 && (patched > 0 || len == 600), "{joined}, {parted}, {patched}");
    }
}
