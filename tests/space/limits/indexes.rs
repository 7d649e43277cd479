//! The definition of an index must fit into an item of the log.

use tenure::extract::Extractor;
use tenure::{Error, Options, Store};

/// Bytes of a definition beside its texts, the type of its keys and the index that it may come to replace among them.
const FIXED: usize = 26;
const LIMIT: usize = 65_504;

fn extractor(name: &str) -> Extractor {
    Extractor::new(name, 1, |value, keys| keys.push(&value.len()))
}

fn name_for(bytes: usize) -> String {
    "n".repeat(bytes - FIXED - "by length".len())
}

#[test]
fn a_definition_that_no_item_can_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Store::open(&path).unwrap();
    for (set, bytes) in [("below", LIMIT - 1), ("at", LIMIT)] {
        let set = store.record_set(set).unwrap();
        store.index(&set, "by length", extractor(&name_for(bytes))).unwrap();
    }
    let above = store.record_set("above").unwrap();
    let name = name_for(LIMIT + 1);
    let refused = store.index(&above, "by length", extractor(&name)).map(drop);
    assert!(matches!(refused, Err(Error::TooLarge { bytes: 65_505, limit: 65_504, .. })), "{refused:?}");
    let refused = store.index(&above, "by length", extractor(&"n".repeat(1 << 20))).map(drop);
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    // A shorter name works.
    store.index(&above, "by length", extractor("length")).unwrap();
    store.write(|tx| tx.insert(&above, "abc")).unwrap();
    // Also without a snapshot that a close saves: from the log.
    let beside = Options::new().read_only(true).open(&path).unwrap();
    assert_eq!(beside.record_sets().len(), 3);
    store.close().unwrap();
    let store = Store::open(&path).unwrap();
    for set in ["below", "at", "above"] {
        let set = store.find_set(set).unwrap();
        assert!(store.find_index(&set, "by length").is_some());
    }
}
