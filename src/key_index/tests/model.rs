//! Random changes compared with an ordered set, with views and saves at any moment.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::{Model, Numbers, Pages, check, entries, page_bytes};
use crate::format::node::KeyEntry;
use crate::key::KEY_BYTES_MAX;
use crate::key_index::{Change, KeyRoot, KeyTree};

#[derive(Debug, Clone)]
enum Step {
    One(Vec<u8>, u64, bool),
    Batch(Vec<(Vec<u8>, u64, bool)>),
    /// Many consecutive keys from a number on.
    Run(u16, u8, bool),
    Clear(u8),
    View,
    DropView,
    /// Saves, with the changes between freeze and install. With the flag, the save fails.
    Save(Vec<(Vec<u8>, u64, bool)>, bool),
    Reload,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(prop_oneof![Just(0), Just(1), Just(255)], 0..4),
        vec(any::<u8>(), 0..20),
        (0_u16..400).prop_map(|number| number.to_be_bytes().to_vec()),
        // Long keys that differ at the end, at the beginning, or in length only.
        (0_u8..60, 200..KEY_BYTES_MAX).prop_map(|(end, len)| [vec![7; len], vec![end]].concat()),
        (any::<u8>(), 900..KEY_BYTES_MAX).prop_map(|(begin, len)| [vec![begin], vec![9; len]].concat()),
        (any::<u8>(), any::<u8>())
            .prop_map(|(middle, end)| [vec![8; 500], vec![middle; 2], vec![8; 500], vec![end]].concat()),
    ]
}

fn change() -> impl Strategy<Value = (Vec<u8>, u64, bool)> {
    (key(), prop_oneof![Just(1), 0_u64..6, any::<u64>()], prop::bool::weighted(0.7))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => change().prop_map(|(key, id, insert)| Step::One(key, id, insert)),
        6 => vec(change(), 1..120).prop_map(Step::Batch),
        4 => (any::<u16>(), any::<u8>(), any::<bool>()).prop_map(|(from, len, insert)| Step::Run(from, len, insert)),
        1 => any::<u8>().prop_map(Step::Clear),
        1 => Just(Step::View),
        1 => Just(Step::DropView),
        2 => (vec(change(), 0..40), prop::bool::weighted(0.2)).prop_map(|(changes, fails)| Step::Save(changes, fails)),
        1 => Just(Step::Reload),
    ]
}

fn apply(tree: &mut KeyTree, model: &mut Model, mut changes: Vec<(Vec<u8>, u64, bool)>) {
    changes.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    let holder =
        |key: &[u8]| model.range((key.to_vec(), 0)..).next().filter(|(other, _)| other == key).map(|(_, id)| *id);
    let is_free = |key: &[u8], id: u64| holder(key).is_none_or(|holder| holder == id);
    let is_clear = changes.windows(2).all(|pair| pair[0].0 != pair[1].0)
        && changes.iter().all(|(key, id, insert)| !insert || is_free(key, *id));
    let mut expected = 0;
    for (key, id, insert) in &changes {
        let differs = if *insert { model.insert((key.clone(), *id)) } else { model.remove(&(key.clone(), *id)) };
        expected += u64::from(differs);
    }
    let as_change = |(key, id, insert): &(Vec<u8>, u64, bool)| (key.clone(), *id, *insert);
    let owned: Vec<_> = changes.iter().map(as_change).collect();
    let changes: Vec<_> =
        owned.iter().map(|(key, id, insert)| Change { entry: KeyEntry { key, id: *id }, insert: *insert }).collect();
    let probed = tree.now().probe(&changes, true, tree.keeps_beside()).unwrap();
    assert_eq!(probed.is_clear, is_clear);
    let (prepared, version) = (probed.leaves, tree.version());
    let numbers: Vec<u64> = prepared.iter().map(|(number, _)| *number).collect();
    tree.offer(prepared);
    assert_eq!(tree.apply_sorted(&changes).unwrap(), expected);
    assert!(
        tree.version() != version || changes.is_empty(),
        "who has looked before learns that entries may have changed"
    );
    assert!(tree.withdraw(&numbers).iter().all(|(_, leaf)| leaf.is_none()), "what was copied ahead was used");
}

fn run(steps: Vec<Step>) {
    let mut pages = Pages::in_memory();
    let mut tree = KeyTree::new().unwrap();
    let mut model = Model::new();
    let mut views: Vec<(KeyRoot, Model)> = Vec::new();
    for step in steps {
        match step {
            Step::One(key, id, true) => {
                assert_eq!(tree.insert(&key, id).unwrap(), model.insert((key.clone(), id)));
                assert!(tree.now().contains(&key, id).unwrap());
            }
            Step::One(key, id, false) => {
                assert_eq!(tree.remove(&key, id).unwrap(), model.remove(&(key.clone(), id)));
                assert!(!tree.now().contains(&key, id).unwrap());
                let lowest = model.range((key.clone(), 0)..).next().filter(|entry| entry.0 == key);
                assert_eq!(tree.now().first(&key).unwrap(), lowest.map(|entry| entry.1));
            }
            Step::Batch(changes) => apply(&mut tree, &mut model, changes),
            Step::Run(from, len, insert) => {
                let pad = usize::from(len % 4) * 30;
                let key = |offset: u8| {
                    let number = from.wrapping_add(offset.into()).to_be_bytes();
                    [&number[..], &vec![3; pad]].concat()
                };
                apply(&mut tree, &mut model, (0..len).map(|offset| (key(offset), 1, insert)).collect());
            }
            Step::Clear(keep) => {
                let mut numbers = Numbers(u64::from(keep) + 1);
                let gone = model.iter().filter(|_| numbers.below(256) >= usize::from(keep) / 8);
                let gone = gone.map(|(key, id)| (key.clone(), *id, false)).collect();
                apply(&mut tree, &mut model, gone);
            }
            Step::View => views.push((tree.root(), model.clone())),
            Step::DropView => drop(views.pop()),
            Step::Save(changes, true) => {
                let mut frozen = tree.freeze();
                drop(frozen.save(&mut |image| pages.write(image)).unwrap());
                apply(&mut tree, &mut model, changes);
                pages.writer.abandon();
                tree.abandon(frozen);
            }
            Step::Save(changes, false) => {
                let before = model.clone();
                let saved = pages.save(&mut tree, |tree| apply(tree, &mut model, changes));
                let loaded = pages.load(&saved);
                check(&loaded);
                assert_eq!(entries(loaded.now()), before, "what was saved is what was frozen");
                assert_eq!(pages.live_bytes(), page_bytes(loaded.now()), "bytes of pages that are in use");
            }
            Step::Reload => {
                let saved = pages.save(&mut tree, |_| ());
                assert_eq!(tree.dirty(), u64::from(model.is_empty()), "everything was saved");
                tree = pages.load(&saved);
            }
        }
        check(&tree);
        assert_eq!(tree.len(), u64::try_from(model.len()).unwrap());
    }
    assert_eq!(entries(tree.now()), model);
    for (root, model) in &views {
        assert_eq!(&entries(root), model, "a view has changed");
    }
    // Anything left over would stay forever.
    pages.save(&mut tree, |_| ());
    assert_eq!(pages.live_bytes(), page_bytes(tree.now()), "bytes of pages that are in use at the end");
}

fn config() -> ProptestConfig {
    let kept = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(kept)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_changes_agree_with_a_set(steps in vec(step(), 1..60)) {
        run(steps);
    }
}

#[test]
fn many_keys_come_and_go() {
    let mut numbers = Numbers(0x9e37);
    let (mut tree, mut model) = (KeyTree::new().unwrap(), Model::new());
    let mut pages = Pages::in_memory();
    for round in 0..12 {
        for _ in 0..4_000 {
            let key = numbers.key16();
            assert!(tree.insert(&key, 1).unwrap());
            model.insert((key.to_vec(), 1));
        }
        if round % 3 == 1 {
            pages.save(&mut tree, |_| ());
        }
        let gone: Vec<_> = model.iter().filter(|_| numbers.below(10) < 7).cloned().collect();
        for (key, id) in gone {
            assert!(tree.remove(&key, id).unwrap());
            model.remove(&(key, id));
        }
        check(&tree);
    }
    assert_eq!(entries(tree.now()), model);
    for (key, id) in model {
        assert!(tree.remove(&key, id).unwrap());
    }
    check(&tree);
    assert_eq!((tree.len(), tree.dirty()), (0, 1), "one empty leaf is left");
}

#[test]
fn one_key_of_many_records() {
    let mut tree = KeyTree::new().unwrap();
    let mut numbers = Numbers(3);
    let mut model = Model::new();
    for _ in 0..30_000 {
        let (key, id) = (vec![b'x'; numbers.below(3) * 40], numbers.next());
        assert_eq!(tree.insert(&key, id).unwrap(), model.insert((key, id)));
    }
    check(&tree);
    assert_eq!(entries(tree.now()), model);
    for len in [0, 40, 80] {
        let key = vec![b'x'; len];
        let lowest = model.range((key.clone(), 0)..).next().map(|entry| entry.1);
        assert_eq!(tree.now().first(&key).unwrap(), lowest);
    }
}

#[test]
fn several_keys_are_looked_up_like_each_of_them() {
    let mut pages = Pages::in_directory();
    let mut tree = KeyTree::new().unwrap();
    let mut numbers = Numbers(5);
    for round in 0..8 {
        // Leaves on the heap, then images, then images with lists, then patches.
        for _ in 0..if round == 0 { 20_000 } else { 300 } {
            let key = (numbers.next() % 60_000).to_be_bytes();
            let id = numbers.next() % 3;
            if round % 3 == 2 {
                tree.remove(&key, id).unwrap()
            } else {
                tree.insert(&key, id).unwrap()
            };
        }
        let keys: Vec<[u8; 8]> = (0..3_000).map(|_| (numbers.next() % 61_000).to_be_bytes()).collect();
        for count in [0, 1, 5, 3_000] {
            let wanted: Vec<&[u8]> = keys.iter().take(count).map(|key| &key[..]).collect();
            let mut found = Vec::new();
            tree.now().first_of_each(&wanted, |id| found.push(id)).unwrap();
            let each: Vec<_> = wanted.iter().map(|key| tree.now().first(key).unwrap()).collect();
            assert_eq!(found, each);
            assert!(count < 3_000 || (found.contains(&None) && found.iter().any(Option::is_some)));
        }
        if round % 2 == 1 {
            pages.save(&mut tree, |_| ());
        }
    }
}

#[test]
fn both_halves_of_a_split_have_room_for_the_longest_key() {
    // Many small entries, three large ones, and one more that belongs between these.
    let mut tree = KeyTree::new().unwrap();
    let large = |first: u8, len: usize| [vec![first], vec![first; len - 1]].concat();
    for (first, len) in [(64, 1000), (32, 1000), (16, KEY_BYTES_MAX)] {
        assert!(tree.insert(&large(first, len), 1).unwrap());
    }
    for number in 0..62 {
        assert!(tree.insert(&[0, number], 1).unwrap());
    }
    assert_eq!(tree.dirty(), 1, "all of it fills one leaf");
    assert!(tree.insert(&large(48, KEY_BYTES_MAX), 1).unwrap());
    check(&tree);
}

#[test]
fn one_batch_splits_a_leaf_and_empties_what_it_split_off() {
    for below in [0, 40] {
        let (mut tree, mut model) = (KeyTree::new().unwrap(), Model::new());
        let key = |first: u8, number: u8| vec![first, number, first, number, 0, 0, 0, 0];
        for number in 0..below * 5 {
            apply(&mut tree, &mut model, vec![(key(1, number), 1, true), (key(1, number), 2, true)]);
        }
        apply(&mut tree, &mut model, (100..250).map(|number| (key(9, number), 1, true)).collect());
        let mut changes: Vec<_> = (0..250).map(|number| (vec![9, number % 100, number], 1, true)).collect();
        changes.extend((100..250).map(|number| (key(9, number), 1, false)));
        apply(&mut tree, &mut model, changes);
        check(&tree);
        let all = model.iter().map(|(key, id)| (key.clone(), *id, false)).collect();
        apply(&mut tree, &mut model, all);
        check(&tree);
        assert_eq!(tree.len(), 0);
    }
}

#[test]
fn no_changes_need_no_leaf() {
    run(vec![Step::Run(0, 1, true), Step::Reload, Step::Save(Vec::new(), false)]);
}

#[test]
fn a_key_over_the_limit_is_refused() {
    let mut tree = KeyTree::new().unwrap();
    assert!(tree.insert(&[1; KEY_BYTES_MAX], 1).unwrap());
    assert!(tree.insert(&[1; KEY_BYTES_MAX + 1], 1).is_err());
    assert_eq!(tree.len(), 1);
}
