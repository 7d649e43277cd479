//! Nodes as bytes: entries, images and searches agree with a plain list.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::format::PAGE_BYTES;
use crate::format::node::{KeyEntry, NodeView};
use crate::key_index::slotted::{Slotted, image, load};

fn config() -> ProptestConfig {
    let kept = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(kept)), ..ProptestConfig::default() }
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop_oneof![Just(0), Just(1), Just(255), any::<u8>()];
    (prop_oneof![Just(0), Just(3), Just(9)], vec(bytes, 0..7)).prop_map(|(same, end)| [vec![5; same], end].concat())
}

fn read(view: &NodeView<'_>) -> Vec<(Vec<u8>, u64)> {
    let entry = |index| {
        let mut key = Vec::new();
        let id = view.read(index, &mut key).unwrap();
        (key, id)
    };
    (0..view.count()).map(entry).collect()
}

fn insert(bytes: &mut [u8], key: &[u8], id: u64) -> bool {
    let entry = KeyEntry { key, id };
    let at = NodeView::parse(bytes).unwrap().search(&entry, false).unwrap();
    Slotted::new(bytes).insert(at, entry, PAGE_BYTES).unwrap()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_node_holds_what_was_put_in(
        entries in btree_set((key(), 0_u64..4), 0..60),
        order in any::<u64>(),
        probes in vec((key(), 0_u64..5), 20),
        gone in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut bytes = [0; PAGE_BYTES];
        Slotted::begin(&mut bytes, 0, &[]);
        let mut shuffled: Vec<_> = entries.iter().cloned().collect();
        shuffled.sort_by_key(|(key, id)| crc32fast::hash(&[key, &id.to_le_bytes()[..], &order.to_le_bytes()].concat()));
        for (key, id) in &shuffled {
            prop_assert!(insert(&mut bytes, key, *id));
        }
        let mut left: Vec<_> = entries.into_iter().collect();
        for index in gone {
            if !left.is_empty() {
                let at = index.index(left.len());
                left.remove(at);
                Slotted::new(&mut bytes).remove(at).unwrap();
            }
        }
        let view = NodeView::parse(&bytes).unwrap();
        view.check().unwrap();
        prop_assert_eq!(read(&view), left.clone());
        let mut packed = Vec::new();
        image(&bytes, &[], &[], &mut packed).unwrap();
        let small = NodeView::parse(&packed).unwrap();
        let used = small.check().unwrap();
        prop_assert_eq!(packed.len(), used + small.front_bytes(), "an image has no room");
        for view in [view, small] {
            prop_assert_eq!(read(&view), left.clone());
            for (key, id) in &probes {
                let entry = KeyEntry { key, id: *id };
                let before = left.iter().filter(|(key, id)| KeyEntry { key, id: *id } < entry).count();
                let there = usize::from(left.contains(&(key.clone(), *id)));
                prop_assert_eq!(view.search(&entry, false), Some(before));
                prop_assert_eq!(view.search(&entry, true), Some(before + there));
                if let Some((other, _)) = left.get(before) {
                    prop_assert_eq!(view.has_key(before, key), Some(key == other));
                }
            }
        }
        let mut again = [0; PAGE_BYTES];
        load(&small, 0, used, &mut again).unwrap();
        prop_assert_eq!(read(&NodeView::parse(&again).unwrap()), left.clone());
        let fits = insert(&mut again, b"zzz", 9);
        prop_assert!(fits && read(&NodeView::parse(&again).unwrap()).len() == left.len() + 1);
    }
}

#[test]
fn a_prefix_is_given_up_when_a_key_does_not_have_it() {
    let mut bytes = [0; PAGE_BYTES];
    Slotted::begin(&mut bytes, 0, &[]);
    let keys: [&[u8]; 4] = [b"common/abc", b"common/abd", b"com", b"zebra"];
    let prefixes: [&[u8]; 4] = [b"common/abc", b"common/ab", b"com", b""];
    for (key, prefix) in keys.into_iter().zip(prefixes) {
        assert!(insert(&mut bytes, key, 1));
        assert_eq!(NodeView::parse(&bytes).unwrap().prefix(), prefix);
    }
    assert_eq!(read(&NodeView::parse(&bytes).unwrap()).len(), 4);
}
