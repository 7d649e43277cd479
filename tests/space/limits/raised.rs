//! Reuse counts raised by a rollback cost nothing afterwards.

use std::collections::BTreeSet;
use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::{Durability, Options, Point, RecordId, Store};

fn open(backing: &Arc<dyn Backing>) -> Store {
    let options = Options::new().segment_bytes(64 << 10).durability(Durability::Buffered).background(false);
    options.open_backing(Arc::clone(backing)).unwrap()
}

fn manifest_bytes(backing: &dyn Backing) -> u64 {
    let names = backing.list().unwrap();
    names
        .iter()
        .filter(|name| name.starts_with("manifest"))
        .map(|name| backing.open(name).unwrap().len().unwrap())
        .sum()
}

fn insert(store: &Store, count: usize) -> Vec<RecordId> {
    let set = store.record_set("a").unwrap();
    store.write(|tx| (0..count).map(|_| tx.insert(&set, "x")).collect()).unwrap()
}

fn delete(store: &Store, ids: &[RecordId]) {
    store.write(|tx| ids.iter().try_for_each(|id| tx.delete(*id))).unwrap();
    store.sync().unwrap();
}

/// 40,000 slots are reused three times after a snapshot, and the store rolls back to it, twice.
#[test]
fn a_snapshot_after_going_back_is_as_short_as_before() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let mut store = open(&backing);
    let mut ever: BTreeSet<RecordId> = BTreeSet::new();
    let first = insert(&store, 40_000);
    ever.extend(&first);
    store.save_named_snapshot("then").unwrap();
    let mut now = first.clone();
    for _ in 0..3 {
        delete(&store, &now);
        now = insert(&store, 40_000);
        assert!(now.iter().all(|id| ever.insert(*id)), "an ID came back");
    }
    let before = manifest_bytes(&*backing);
    for _ in 0..2 {
        store = store.roll_back_to(&Point::Name("then".to_owned())).unwrap();
        for name in ["one", "two", "three"] {
            store.save_named_snapshot(name).unwrap();
        }
        let after = manifest_bytes(&*backing);
        assert!(after < before + 20_000, "{before} bytes of manifest before, {after} after going back");
        for name in ["one", "two", "three"] {
            store.drop_snapshot(name).unwrap();
        }
        // The state at the snapshot, and no ID of its slots is reused.
        assert!(first.iter().all(|id| store.get(*id).is_ok_and(|lookup| lookup.as_slice().is_some())));
        store.close().unwrap();
        store = open(&backing);
        delete(&store, &first);
        let next = insert(&store, 40_000);
        assert!(next.iter().all(|id| ever.insert(*id)), "an ID came back");
        let report = tenure::verify::verify_backing(&backing, &mut |_| {}).unwrap();
        assert!(report.is_ok(), "{:?}", report.problems);
    }
}
