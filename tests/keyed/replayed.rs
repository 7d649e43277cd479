//! Replaying the changes of several indexes, which threads do at once where they may.

use std::sync::Arc;

use tenure::backing::{Backing, FaultBacking};
use tenure::extract::Extractor;
use tenure::{Options, RecordId, Store};

const RECORDS: u32 = 6_000;
const INDEXES: usize = 3;

fn key(record: &[u8], which: usize) -> &[u8] {
    &record[4 * which..4 * which + 4 + which]
}

fn value(number: u32) -> [u8; 16] {
    std::array::from_fn(|at| {
        number.wrapping_mul(0x9E37_79B1).rotate_left(7 * u32::try_from(at / 4).unwrap()).to_be_bytes()[at % 4]
    })
}

fn open(backing: &Arc<dyn Backing>, background: bool) -> Store {
    let store = Options::new().background(background).collector(false).open_backing(Arc::clone(backing)).unwrap();
    let set = store.record_set("a").unwrap();
    for which in 0..INDEXES {
        let extractor = Extractor::new("part", 1, move |record, keys| keys.push(key(record, which)));
        store.index(&set, &which.to_string(), extractor).unwrap();
    }
    store
}

fn entries(store: &Store) -> Vec<Vec<(String, RecordId)>> {
    let set = store.find_set("a").unwrap();
    let view = store.view();
    let all = |which: usize| {
        let index = store.find_index(&set, &which.to_string()).unwrap();
        let found = index.all(&view).unwrap().map(|entry| entry.map(|entry| (entry.key.to_string(), entry.id)));
        found.collect::<Result<Vec<_>, _>>().unwrap()
    };
    (0..INDEXES).map(all).collect()
}

#[test]
fn several_trees_that_are_changed_at_once_become_what_they_were() {
    let disk = FaultBacking::new();
    let backing: Arc<dyn Backing> = Arc::new(disk.clone());
    let store = open(&backing, false);
    let set = store.record_set("a").unwrap();
    let values: Vec<_> = (0..RECORDS).map(value).collect();
    let ids = store.write(|tx| tx.insert_many(&set, &values)).unwrap();
    store.save_snapshot().unwrap();
    // More than a thread is worth, and fewer of one index.
    for (number, id) in (RECORDS..).zip(&ids) {
        let mut value = value(number);
        if number % 9 > 0 {
            let before = store.get(*id).unwrap().to_vec().unwrap();
            value[4..8].copy_from_slice(&before[4..8]);
        }
        store.write_with(tenure::Durability::Buffered, |tx| tx.update(*id, value)).unwrap();
    }
    store.sync().unwrap();
    let expected = entries(&store);
    for background in [true, false] {
        let image: Arc<dyn Backing> = Arc::new(disk.kill_image());
        let again = open(&image, background);
        assert!(again.recovery_report().commits_replayed >= u64::from(RECORDS));
        assert!(entries(&again) == expected, "background: {background}");
        again.close().unwrap();
        let report = tenure::verify::verify_backing(&image, &mut |_| {}).unwrap();
        assert!(report.is_ok(), "{:?}", report.problems);
    }
}
