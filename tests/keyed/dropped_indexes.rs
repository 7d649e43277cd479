//! Dropping large indexes: nobody waits while their pages are looked for, and all of them are released.

use std::sync::Arc;

use tenure::backing::{Backing, FaultBacking};
use tenure::extract::Extractor;
use tenure::{Options, Store};

const RECORDS: u32 = 30_000;

fn open(disk: &FaultBacking) -> Store {
    let backing: Arc<dyn Backing> = Arc::new(disk.clone());
    Options::new().background(false).open_backing(backing).unwrap()
}

fn whole() -> Extractor {
    Extractor::new("whole", 1, |record, keys| keys.push(record))
}

fn page_bytes(disk: &FaultBacking) -> usize {
    let names = disk.names().into_iter().filter(|name| name.starts_with("pages-"));
    names.filter_map(|name| disk.contents(&name)).map(|bytes| bytes.len()).sum()
}

fn loaded(disk: &FaultBacking) -> usize {
    let store = open(disk);
    let set = store.record_set("a").unwrap();
    let values: Vec<[u8; 300]> = (0..RECORDS).map(|n| std::array::from_fn(|at| n.to_le_bytes()[at % 4])).collect();
    store.write(|tx| tx.insert_many(&set, &values)).unwrap();
    store.save_snapshot().unwrap();
    store.collect(None).unwrap();
    let bare = page_bytes(disk);
    store.index(&set, "whole", whole()).unwrap();
    store.save_snapshot().unwrap();
    store.close().unwrap();
    bare
}

#[test]
fn dropping_an_index_reads_none_of_it_and_releases_all_of_it() {
    for is_changed in [false, true] {
        let disk = FaultBacking::new();
        let bare = loaded(&disk);
        let with_index = page_bytes(&disk);
        assert!(with_index > bare + 4_000_000, "{bare}, {with_index}");
        let store = open(&disk);
        let set = store.record_set("a").unwrap();
        let index = store.index(&set, "whole", whole()).unwrap();
        if is_changed {
            store.write(|tx| tx.insert(&set, "one more")).unwrap();
        }
        let before = disk.reads();
        store.drop_index(&index).unwrap();
        let reads = disk.reads() - before;
        assert!(reads < 3, "{reads} reads while others wait");
        for _ in 0..3 {
            store.save_snapshot().unwrap();
            store.collect(None).unwrap();
        }
        let left = page_bytes(&disk);
        assert!(left < bare + 400_000, "{bare}, {with_index}, {left}");
        store.close().unwrap();
        let backing: Arc<dyn Backing> = Arc::new(disk.clone());
        let report = tenure::verify::verify_backing(&backing, &mut |_| {}).unwrap();
        assert!(report.is_ok(), "{:?}", report.problems);
    }
}
