//! Leaves whose changes lie beside their images: every reader, at every size of the lists, compared with a set.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use super::{Model, Numbers, Pages, check, entries, page_bytes, walk};
use crate::backing::Files;
use crate::error::Error;
use crate::format::descriptor::PageRef;
use crate::format::node::{KeyEntry, NodeView};
use crate::format::segment::FileKind;
use crate::key_index::cursor::Cursor;
use crate::key_index::node::{Child, Node, level};
use crate::key_index::{Change, KeyRoot, KeyTree, Passed, Position, Range};

/// Enough changed leaves that a tree keeps further changes beside images, whatever it does while few have changed.
const LEAVES_COPIED: u64 = 10;

fn key(numbers: &mut Numbers, len: usize) -> Vec<u8> {
    let mut key = numbers.key16().to_vec();
    key.resize(len, 7);
    // A long key differs from its neighbours at its end too.
    if len > 16 {
        key.extend(u8::try_from(numbers.below(4)));
        key.remove(len / 2);
    }
    key
}

fn lists(root: &KeyRoot) -> usize {
    let mut count = 0;
    walk(&root.root, root, &mut |child| count += usize::from(matches!(child.node, Node::Changed(_))));
    count
}

/// The leaf that an entry belongs to.
fn leaf_for<'r>(root: &'r KeyRoot, entry: &KeyEntry<'_>) -> &'r Child {
    let mut child = &root.root;
    while let Some(inner) = child.as_inner(&root.segments).unwrap() {
        child = &inner.children[inner.find(entry).unwrap()];
    }
    child
}

/// Whether the leaf with an entry has a list, and all its entries.
fn leaf_of(root: &KeyRoot, entry: &(Vec<u8>, u64)) -> (bool, Model) {
    let child = leaf_for(root, &KeyEntry { key: &entry.0, id: entry.1 });
    let all = |view: &NodeView<'_>| {
        let mut key = Vec::new();
        (0..view.count()).map(|at| view.read(at, &mut key).map(|id| (key.clone(), id))).collect()
    };
    (matches!(child.node, Node::Changed(_)), child.with_leaf(all).unwrap())
}

/// A tree in pages, with keys of these lengths, of which some leaves have been changed as a whole.
fn in_pages(seed: u64, count: usize, lens: &[usize]) -> (Pages, KeyTree, Model, Numbers) {
    let (mut pages, mut tree, mut model, mut numbers) =
        (Pages::in_directory(), KeyTree::new().unwrap(), Model::new(), Numbers(seed));
    while model.len() < count {
        let len = lens[numbers.below(lens.len())];
        let entry = (key(&mut numbers, len), to_id(numbers.below(3)));
        tree.insert(&entry.0, entry.1).unwrap();
        model.insert(entry);
    }
    let saved = pages.save(&mut tree, |_| ());
    let mut tree = pages.load(&saved);
    assert_eq!(tree.dirty(), 0);
    // Every other of the lowest entries goes, all at once, which changes their leaves as a whole.
    let gone: Vec<_> = model.iter().take(count / 4).step_by(2).cloned().collect();
    assert_eq!(apply(&mut tree, &mut model, &gone, false), to_id(gone.len()));
    assert!(tree.dirty() >= LEAVES_COPIED);
    check(&tree);
    (pages, tree, model, numbers)
}

fn to_id(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}

fn apply(tree: &mut KeyTree, model: &mut Model, some: &[(Vec<u8>, u64)], insert: bool) -> u64 {
    let changes: Vec<_> = some.iter().map(|(key, id)| Change { entry: KeyEntry { key, id: *id }, insert }).collect();
    for entry in some {
        if insert {
            model.insert(entry.clone())
        } else {
            model.remove(entry)
        };
    }
    tree.apply_sorted(&changes).unwrap()
}

/// An entry that the model has.
fn any(model: &Model, numbers: &mut Numbers, lens: &[usize]) -> Option<(Vec<u8>, u64)> {
    let near = key(numbers, lens[0]);
    model.range((near, 0)..).next().or_else(|| model.iter().next()).cloned()
}

/// A new entry, often between two neighbours or with the key of an old one, so that it goes into the list of a leaf.
fn new(model: &Model, numbers: &mut Numbers, lens: &[usize]) -> (Vec<u8>, u64) {
    let len = lens[numbers.below(lens.len())];
    match (numbers.below(3), any(model, numbers, lens)) {
        (0, Some((key, _))) => (key, numbers.next() % 64),
        (1, Some((mut key, _))) => {
            if key.len() < 1_024 {
                key.push(u8::try_from(numbers.below(256)).unwrap());
            }
            (key, 1)
        }
        _ => (key(numbers, len), 1),
    }
}

/// Compares every way to ask for one place.
fn compare_at(root: &KeyRoot, model: &Model, entry: &(Vec<u8>, u64)) {
    let (key, id) = (entry.0.as_slice(), entry.1);
    assert_eq!(root.contains(key, id).unwrap(), model.contains(entry));
    let first = model.range((key.to_vec(), 0)..).next().filter(|other| other.0 == key);
    assert_eq!(root.first(key).unwrap(), first.map(|other| other.1));
    let rank = |position: Position<'_>| usize::try_from(root.rank(&position).unwrap()).unwrap();
    let before = model.range(..(key.to_vec(), 0)).count();
    assert_eq!(rank(Position::before(key)), before, "entries before a key");
    let of_key = model.range((key.to_vec(), 0)..=(key.to_vec(), u64::MAX)).count();
    assert_eq!(rank(Position::behind(key)), before + of_key, "entries up to a key");
    let count = root.count(Some(&Position::before(key)), Some(&Position::behind(key))).unwrap();
    assert_eq!(count, to_id(of_key));
    // From here on in both directions, over several leaves.
    let mut cursor = Cursor::new(root.clone());
    let mut stands = cursor.seek(&Position::before(key)).unwrap();
    for (key, id) in model.range((key.to_vec(), 0)..).take(40) {
        assert!(stands && (cursor.key(), cursor.id()) == (key.as_slice(), *id), "a cursor forward");
        stands = cursor.next().unwrap();
    }
    let mut stands = cursor.seek_before(&Position::before(key)).unwrap();
    for (key, id) in model.range(..(key.to_vec(), 0)).rev().take(40) {
        assert!(stands && (cursor.key(), cursor.id()) == (key.as_slice(), *id), "a cursor backward");
        stands = cursor.prev().unwrap();
    }
}

/// Reads a whole range from both ends at once, in turns of random length.
fn compare_all(root: &KeyRoot, model: &Model, numbers: &mut Numbers) {
    let mut range = Range::new(root, Bound::Unbounded, Bound::Unbounded).unwrap();
    let mut expected = model.iter();
    assert_eq!(range.left(), to_id(model.len()));
    while expected.len() > 0 {
        for _ in 0..numbers.below(50) {
            let next = range.next().unwrap();
            assert_eq!(next, expected.next().map(|(key, id)| (key.as_slice(), *id)), "from the front");
        }
        for _ in 0..numbers.below(50) {
            let next = range.next_back().unwrap();
            assert_eq!(next, expected.next_back().map(|(key, id)| (key.as_slice(), *id)), "from the back");
        }
    }
    assert!(range.next().unwrap().is_none() && range.next_back().unwrap().is_none());
}

/// Entries per tree, and lengths of keys. Long keys fill a list, and soon a leaf; the longest fit into no list.
const SHAPES: [(usize, &[usize]); 5] =
    [(12_000, &[8]), (9_000, &[16, 3, 30]), (4_000, &[100]), (1_600, &[300, 20]), (700, &[1_024, 900, 16])];

#[test]
fn lists_of_every_size_read_as_a_set_does() {
    for (shape, (count, lens)) in SHAPES.into_iter().enumerate() {
        let (mut pages, mut tree, mut model, mut numbers) = in_pages(0xbe51 + to_id(shape), count, lens);
        let mut most = 0;
        for step in 0..1_500 {
            // Steps concentrate on a few places for a while, so that lists fill up and turn into leaves.
            let entry = if numbers.below(5) < 3 { Some(new(&model, &mut numbers, lens)) } else { None };
            let (entry, insert) = match entry {
                Some(entry) => (entry, true),
                None => (any(&model, &mut numbers, lens).unwrap(), false),
            };
            let differs = if insert { model.insert(entry.clone()) } else { model.remove(&entry) };
            let did = if insert { tree.insert(&entry.0, entry.1) } else { tree.remove(&entry.0, entry.1) };
            assert_eq!(did.unwrap(), differs, "shape {shape}, step {step}");
            if step % 8 == 0 {
                compare_at(tree.now(), &model, &entry);
            }
            if step % 250 == 249 {
                check(&tree);
                most = most.max(lists(tree.now()));
                compare_all(tree.now(), &model, &mut numbers);
            }
            if step % 600 == 599 {
                let saved = pages.save(&mut tree, |_| ());
                assert_eq!(entries(pages.load(&saved).now()), model, "lists are saved merged");
                assert_eq!(pages.live_bytes(), page_bytes(tree.now()), "bytes of pages that are in use");
            }
        }
        assert_eq!(entries(tree.now()), model);
        assert!(most > 5 || lens[0] == 1_024, "shape {shape}: {most} leaves with lists at a time");
    }
}

#[test]
fn one_leaf_goes_from_no_change_to_a_split_and_back_to_nothing() {
    for (shape, (count, lens)) in SHAPES.into_iter().enumerate() {
        let (mut pages, mut tree, mut model, mut numbers) = in_pages(0x1eaf + to_id(shape), count, lens);
        // One place near the end, which nothing has changed: its leaf grows by single entries until it splits.
        let (base, _) = model.iter().nth(model.len() * 9 / 10).cloned().unwrap();
        for number in 0..600_u64 {
            let mut near = base.clone();
            near.truncate(1_000);
            near.extend_from_slice(&numbers.next().to_be_bytes()[..2]);
            let entry = (near, number);
            assert_eq!(tree.insert(&entry.0, entry.1).unwrap(), model.insert(entry.clone()));
            compare_at(tree.now(), &model, &entry);
        }
        check(&tree);
        pages.save(&mut tree, |_| ());
        // And everything behind that place goes, one by one, until leaves merge and vanish.
        let from = model.range((base, 0)..).take(500).cloned().collect::<Vec<_>>();
        for (step, entry) in from.iter().enumerate() {
            assert!(tree.remove(&entry.0, entry.1).unwrap() && model.remove(entry));
            if step % 5 == 0 {
                compare_at(tree.now(), &model, entry);
                check(&tree);
            }
        }
        assert_eq!(entries(tree.now()), model, "shape {shape}");
    }
}

#[test]
fn a_view_keeps_the_lists_that_it_saw() {
    let lens = &[16, 24][..];
    let (mut pages, mut tree, mut model, mut numbers) = in_pages(0x71e3, 6_000, lens);
    let mut views: Vec<(KeyRoot, Model)> = Vec::new();
    for round in 0..400 {
        let (entry, insert) = match numbers.below(2) {
            0 => (new(&model, &mut numbers, lens), true),
            _ => (any(&model, &mut numbers, lens).unwrap(), false),
        };
        apply(&mut tree, &mut model, &[entry], insert);
        if round % 25 == 0 {
            views.push((tree.root(), model.clone()));
        }
        if round % 90 == 89 {
            drop(views.remove(numbers.below(views.len())));
            // Changes between freeze and install concern lists that the save still reads.
            let frozen = model.clone();
            let saved = pages.save(&mut tree, |tree| {
                for _ in 0..40 {
                    let entry = new(&model, &mut numbers, lens);
                    apply(tree, &mut model, &[entry], true);
                }
            });
            let loaded = pages.load(&saved);
            assert_eq!(entries(loaded.now()), frozen, "what was saved is what was frozen");
            assert_eq!(pages.live_bytes(), page_bytes(loaded.now()), "bytes of pages that are in use");
        }
    }
    assert!(lists(tree.now()) > 5 && views.iter().any(|(root, _)| lists(root) > 5));
    for (root, then) in &views {
        compare_all(root, then, &mut numbers);
        let mut changed: Vec<_> = then.symmetric_difference(&model).map(|(key, _)| key.as_slice()).collect();
        changed.dedup();
        let told = root.changed_keys(tree.now(), usize::MAX).unwrap().unwrap();
        assert!(told.iter().eq(changed), "the keys that changed since");
    }
    check(&tree);
    // Anything left over would stay forever.
    pages.save(&mut tree, |_| ());
    assert_eq!(pages.live_bytes(), page_bytes(tree.now()), "bytes of pages that are in use at the end");
}

#[test]
fn a_key_whose_first_entries_went_is_found_in_the_next_leaf() {
    let lens = &[16][..];
    let (mut pages, mut tree, mut model, mut numbers) = in_pages(0xbe41d, 6_000, lens);
    let keys: Vec<_> = (0..24).map(|_| key(&mut numbers, 16)).collect();
    for key in &keys {
        let ids = 200 + numbers.next() % 200;
        let many: Vec<_> = (0..ids).map(|id| (key.clone(), id)).collect();
        apply(&mut tree, &mut model, &many, true);
    }
    // The leaf that a key belongs to keeps a few of its entries, fewer than a list can hold.
    for key in &keys {
        let (_, all) = leaf_of(tree.now(), &(key.clone(), 0));
        let of_key: Vec<_> = all.into_iter().filter(|entry| entry.0 == *key).collect();
        apply(&mut tree, &mut model, &of_key[1..of_key.len().saturating_sub(12).max(1)], false);
    }
    let saved = pages.save(&mut tree, |_| ());
    tree = pages.load(&saved);
    // Leaves are copied while few have changed.
    let some: Vec<_> = model.iter().filter(|entry| !keys.contains(&entry.0)).step_by(2).cloned().collect();
    apply(&mut tree, &mut model, &some[..some.len() / 3], false);
    let (mut in_next, mut lists_met) = (0, 0);
    for key in &keys {
        while let Some(first) = model.range((key.clone(), 0)..=(key.clone(), u64::MAX)).next().cloned() {
            assert_eq!(tree.now().first(key).unwrap(), Some(first.1));
            assert!(tree.now().contains(key, first.1).unwrap());
            // The leaf that the key belongs to, and the leaf that its first entry is in.
            let belongs = leaf_for(tree.now(), &KeyEntry { key, id: 0 });
            let holds = leaf_for(tree.now(), &KeyEntry { key, id: first.1 });
            let is_list = matches!(belongs.node, Node::Changed(_));
            in_next += usize::from(is_list && !std::ptr::eq(belongs, holds));
            lists_met += usize::from(is_list);
            apply(&mut tree, &mut model, &[first], false);
        }
        assert_eq!(tree.now().first(key).unwrap(), None);
    }
    assert!(in_next > 20, "{in_next} of {lists_met} look-ups went on to the next leaf");
    check(&tree);
    assert_eq!(entries(tree.now()), model);
}

#[test]
fn changes_that_are_made_again_do_nothing() {
    let lens = &[16][..];
    let (_, mut tree, mut model, mut numbers) = in_pages(0x2e91, 6_000, lens);
    let mut batches = Vec::new();
    for round in 0..60 {
        let mut some: Vec<_> = (0..20)
            .map(|_| match round % 2 {
                0 => new(&model, &mut numbers, lens),
                _ => any(&model, &mut numbers, lens).unwrap(),
            })
            .collect();
        some.sort();
        some.dedup();
        let insert = round % 2 == 0;
        let before = model.clone();
        let applied = apply(&mut tree, &mut model, &some, insert);
        assert_eq!(applied, to_id(before.symmetric_difference(&model).count()));
        let (dirty, bytes) = (tree.dirty(), tree.heap_bytes());
        assert_eq!(apply(&mut tree, &mut model, &some, insert), 0, "made again");
        assert_eq!((tree.dirty(), tree.heap_bytes()), (dirty, bytes), "nothing more is on the heap");
        batches.push((some, insert));
    }
    // A log that is replayed once more from its beginning ends where it ended.
    for (some, insert) in &batches {
        apply(&mut tree, &mut model, some, *insert);
    }
    assert_eq!(entries(tree.now()), model);
    assert!(lists(tree.now()) > 5);
}

#[test]
fn the_image_beneath_a_list_stays_in_use_through_every_save() {
    let lens = &[16][..];
    let (mut pages, mut tree, mut model, mut numbers) = in_pages(0xf11e, 12_000, lens);
    let files = |pages: &Pages| pages.store.all_rows().into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
    // One leaf changes before each save and during it, so that no save ever makes it clean. All others are rewritten.
    let quiet = model.iter().nth(model.len() * 3 / 5).cloned().unwrap();
    let lone = |id: u64| (quiet.0.clone(), 1_000 + id);
    let (_, neighbours) = leaf_of(tree.now(), &quiet);
    let image = leaf_for(tree.now(), &KeyEntry { key: &quiet.0, id: quiet.1 }).saved().unwrap().page();
    let others: Vec<_> = model.difference(&neighbours).step_by(10).cloned().collect();
    for round in 0..16 {
        apply(&mut tree, &mut model, &others, round % 2 == 1);
        apply(&mut tree, &mut model, &[lone(round)], true);
        pages.save(&mut tree, |tree| {
            apply(tree, &mut model, &[lone(round)], false);
        });
        check(&tree);
    }
    let file = FileKind::Pages.file_name(image.segment);
    assert!(files(&pages).contains(&file), "{file} is no longer among {:?}", files(&pages));
    assert_eq!(leaf_of(tree.now(), &quiet), (true, neighbours), "the leaf still is its image with a list");
    compare_at(tree.now(), &model, &quiet);
    compare_all(tree.now(), &model, &mut numbers);
    let saved = pages.save(&mut tree, |_| ());
    assert_eq!(entries(pages.load(&saved).now()), model);
    assert_eq!(pages.live_bytes(), page_bytes(tree.now()), "nothing but the tree's own pages is in use");
}

#[test]
fn scattered_changes_take_bytes_and_not_leaves() {
    let lens = &[16][..];
    let (_, mut tree, mut model, mut numbers) = in_pages(0xb17e5, 60_000, lens);
    let before = (tree.heap_bytes(), lists(tree.now()));
    for _ in 0..250 {
        let entry = (key(&mut numbers, 16), 1);
        apply(&mut tree, &mut model, &[entry], true);
    }
    let (lists, bytes) = (lists(tree.now()) - before.1, tree.heap_bytes() - before.0);
    assert!(lists > 100, "{lists} leaves with lists");
    // Inner nodes are brought to the heap as before; each leaf that is not copied spares 4 KiB less its list and what it shares about
    // the image below.
    let each = bytes / to_id(lists);
    assert!(each < 650, "{each} bytes of heap for each leaf changed a little, {bytes} in all");
}

#[test]
fn a_leaf_without_a_map_is_copied_because_another_read_of_its_file_could_fail() {
    for is_mapped in [true, false] {
        let mut pages = if is_mapped { Pages::in_directory() } else { Pages::in_memory() };
        let (mut tree, mut model, mut numbers) = (KeyTree::new().unwrap(), Model::new(), Numbers(0x3a9));
        for id in 0..6_000 {
            let entry = (key(&mut numbers, 16), id);
            tree.insert(&entry.0, entry.1).unwrap();
            model.insert(entry);
        }
        let saved = pages.save(&mut tree, |_| ());
        let mut tree = pages.load(&saved);
        tree.copy_up_to(0);
        let change = [(key(&mut numbers, 16), 1)];
        let entry = KeyEntry { key: &change[0].0, id: change[0].1 };
        let probed = tree.now().probe(&[Change { entry, insert: true }], false, true).unwrap();
        assert_eq!(probed.leaves[0].1.is_some(), !is_mapped, "copied ahead of the change");
        assert_eq!(apply(&mut tree, &mut model, &change, true), 1);
        assert_eq!(lists(tree.now()), usize::from(is_mapped));
        assert_eq!(entries(tree.now()), model);
    }
}

/// Turns a bit of a key over, so that the image still looks like a node. Returns the name of the file.
fn turn_a_bit(path: &Path, page: &PageRef) -> String {
    let file = FileKind::Pages.file_name(page.segment);
    let mut bytes = std::fs::OpenOptions::new().read(true).write(true).open(path.join(&file)).unwrap();
    let mut byte = [0];
    let at = SeekFrom::Start(page.offset() + u64::from(page.bytes) - 12);
    bytes.seek(at).unwrap();
    bytes.read_exact(&mut byte).unwrap();
    bytes.seek(at).unwrap();
    bytes.write_all(&[byte[0] ^ 1]).unwrap();
    file
}

#[test]
fn damage_to_an_image_beneath_a_list_gets_no_new_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pages");
    let mut pages = Pages::over(Arc::new(Files::create(&path).unwrap()));
    let (mut tree, mut model, mut numbers) = (KeyTree::new().unwrap(), Model::new(), Numbers(0xda3a));
    for id in 0..12_000 {
        let entry = (key(&mut numbers, 16), id);
        tree.insert(&entry.0, entry.1).unwrap();
        model.insert(entry);
    }
    let saved = pages.save(&mut tree, |_| ());
    let mut tree = pages.load(&saved);
    let some: Vec<_> = model.iter().take(3_000).step_by(2).cloned().collect();
    apply(&mut tree, &mut model, &some, false);
    let lone = model.iter().nth(7_000).map(|(key, _)| (key.clone(), 20_000)).unwrap();
    let page = leaf_for(tree.now(), &KeyEntry { key: &lone.0, id: lone.1 }).saved().unwrap().page();
    apply(&mut tree, &mut model, std::slice::from_ref(&lone), true);
    assert!(leaf_of(tree.now(), &lone).0, "it has a list");
    let file = turn_a_bit(&path, &page);

    let mut frozen = tree.freeze();
    let told = frozen.save(&mut |image| pages.write(image)).map(drop);
    assert!(matches!(&told, Err(Error::Corrupt(damage)) if damage.file == file), "{told:?}");
    pages.writer.abandon();
    tree.abandon(frozen);
    // The same if the leaf has to be copied because more changes.
    let many: Vec<_> = (0..40).map(|id| (lone.0.clone(), 30_000 + id)).collect();
    let changes: Vec<_> =
        many.iter().map(|(key, id)| Change { entry: KeyEntry { key, id: *id }, insert: true }).collect();
    assert!(matches!(tree.apply_sorted(&changes), Err(Error::Corrupt(_))));
}

#[test]
fn damage_beneath_a_list_gets_no_new_checksum_in_a_neighbour() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pages");
    let mut pages = Pages::over(Arc::new(Files::create(&path).unwrap()));
    let (mut tree, mut model) = (KeyTree::new().unwrap(), Model::new());
    let all: Vec<_> = (0..6_000_u64).map(|id| (id.to_be_bytes().repeat(2), id)).collect();
    apply(&mut tree, &mut model, &all, true);
    // A leaf with few entries, whose image is damaged beneath a change, and the leaf before it.
    let (_, right) = leaf_of(tree.now(), &all[3_000]);
    let kept: Vec<_> = right.iter().step_by(8).cloned().collect();
    let gone: Vec<_> = right.iter().filter(|entry| !kept.contains(entry)).cloned().collect();
    apply(&mut tree, &mut model, &gone, false);
    let before = &all[usize::try_from(kept[0].1).unwrap() - 1];
    let saved = pages.save(&mut tree, |_| ());
    let mut tree = pages.load(&saved);
    tree.copy_up_to(0);
    apply(&mut tree, &mut model, &kept[1..2], false);
    let (is_list, left) = (leaf_of(tree.now(), &kept[0]).0, leaf_of(tree.now(), before).1);
    assert!(is_list && !left.contains(&kept[0]));
    let page = pages.load(&saved);
    let page = leaf_for(page.now(), &KeyEntry { key: &kept[0].0, id: kept[0].1 }).saved().unwrap().page();
    turn_a_bit(&path, &page);
    // The leaf before gets so small that both together would be one.
    let most: Vec<_> = left.iter().skip(4).cloned().collect();
    assert!(most.len() > 16 && apply(&mut tree, &mut model, &most, false) == to_id(most.len()));
    assert!(leaf_of(tree.now(), &kept[0]).0, "it keeps its list");
    let told = tree.freeze().save(&mut |image| pages.write(image)).map(drop);
    assert!(matches!(&told, Err(Error::Corrupt(_))), "{told:?}");
}

/// A tree in which the leaf for an entry is a patch that was read, and in which a bit has turned over since. Also returns the patch, and the
/// name of its file.
fn with_a_damaged_patch(path: &Path) -> (Pages, KeyTree, (Vec<u8>, u64), PageRef, String) {
    let mut pages = Pages::over(Arc::new(Files::create(path).unwrap()));
    let (mut tree, mut model, mut numbers) = (KeyTree::new().unwrap(), Model::new(), Numbers(0xda4a));
    for id in 0..12_000 {
        let entry = (key(&mut numbers, 16), id);
        tree.insert(&entry.0, entry.1).unwrap();
        model.insert(entry);
    }
    let saved = pages.save(&mut tree, |_| ());
    // The patch goes to another segment than its base.
    pages.writer.end_segment();
    let mut tree = pages.load(&saved);
    tree.copy_up_to(0);
    let lone = model.iter().nth(7_000).map(|(key, _)| (key.clone(), 20_000)).unwrap();
    apply(&mut tree, &mut model, std::slice::from_ref(&lone), true);
    pages.save(&mut tree, |_| ());
    assert_eq!(entries(tree.now()), model, "everything is read");
    let leaf = leaf_for(tree.now(), &KeyEntry { key: &lone.0, id: lone.1 });
    assert!(matches!(leaf.node, Node::Patched(_)));
    let page = leaf.saved().unwrap().page();
    let file = turn_a_bit(path, &page);
    assert!(!leaf_of(tree.now(), &lone).1.contains(&lone), "reads do not compare it again");
    (pages, tree, lone, page, file)
}

/// The save is told of damage in this file.
#[track_caller]
fn must_be_told(changed: crate::error::Result<()>, tree: &mut KeyTree, pages: &mut Pages, file: &str) {
    let told = changed.and_then(|()| tree.freeze().save(&mut |image| pages.write(image)).map(drop));
    assert!(matches!(&told, Err(Error::Corrupt(damage)) if damage.file == file), "{told:?}");
}

#[test]
fn damage_to_a_patch_gets_no_new_checksum_with_a_change_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut pages, mut tree, lone, _, file) = with_a_damaged_patch(&dir.path().join("pages"));
    let change = Change { entry: KeyEntry { key: &lone.0, id: 20_001 }, insert: true };
    let changed = tree.apply_sorted(&[change]).map(drop);
    must_be_told(changed, &mut tree, &mut pages, &file);
}

#[test]
fn damage_to_a_patch_gets_no_new_checksum_when_its_segment_is_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let (mut pages, mut tree, _, page, file) = with_a_damaged_patch(&dir.path().join("pages"));
    let moved = tree.refresh(&BTreeSet::from([page.segment]), &mut 1_000, &mut Passed::default()).map(drop);
    must_be_told(moved, &mut tree, &mut pages, &file);
}

#[test]
fn damage_to_an_inner_node_that_is_read_again_gets_no_new_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pages");
    let mut pages = Pages::over(Arc::new(Files::create(&path).unwrap()));
    let (mut tree, mut model) = (KeyTree::new().unwrap(), Model::new());
    // Separators are longer than what is in their slots, and stay in order if a bit of their ends turns over.
    let key = |id: u64| [&[u8::try_from(id / 100).unwrap(), 0, 0, 0][..], &id.to_be_bytes(), &[7; 200]].concat();
    let all: Vec<_> = (0..8_000).map(|id| (key(id), id)).collect();
    apply(&mut tree, &mut model, &all, true);
    pages.save(&mut tree, |_| ());
    assert_eq!(level(&tree.now().root).unwrap(), 2);
    assert_eq!(entries(tree.now()), model, "everything is read");

    let root = Arc::clone(tree.now().root.as_inner(&tree.now().segments).unwrap().unwrap());
    let damaged = &root.children[1];
    let page = damaged.saved().unwrap().page();
    let inner = damaged.as_inner(&tree.now().segments).unwrap().unwrap();
    let prefix = inner.view().unwrap().prefix().len();
    let separators = (1..inner.children.len()).map(|at| inner.separator(at).unwrap().key);
    let separator = separators.into_iter().find(|key| key.len() == 12 && prefix < 7).unwrap();
    let file = FileKind::Pages.file_name(page.segment);
    let bytes = std::fs::read(path.join(&file)).unwrap();
    let begin = usize::try_from(page.offset()).unwrap();
    let image = &bytes[begin..begin + page.bytes as usize];
    // Four bytes of it are in its slot.
    let rest = &separator[prefix + 4..];
    let at = image.windows(rest.len()).rposition(|part| part == rest).unwrap() + rest.len() - 1;
    let flipped = image[at] ^ 1;
    let mut written = std::fs::OpenOptions::new().write(true).open(path.join(&file)).unwrap();
    written.seek(SeekFrom::Start(to_id(begin + at))).unwrap();
    written.write_all(&[flipped]).unwrap();
    drop(root);

    // A save drops the root, and all nodes below it that were read.
    apply(&mut tree, &mut model, &[(key(0), 9_000)], true);
    pages.save(&mut tree, |_| ());
    let change = Change { entry: KeyEntry { key: &separator, id: 9_000 }, insert: true };
    let changed = tree.apply_sorted(&[change]).map(drop);
    must_be_told(changed, &mut tree, &mut pages, &file);
}
