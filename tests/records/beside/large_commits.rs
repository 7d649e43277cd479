//! Views, one-shot reads and other commits beside commits that are large enough to be applied beside a state for views.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tenure::extract::Extractor;
use tenure::{Durability, Options, RecordId};

const RECORDS: u64 = 40_000;
const COMMITS: u64 = 5;

/// A view shows each large commit whole or not at all, never an older state than one before, and a commit that was
/// acknowledged is in each later view.
#[test]
fn views_beside_large_commits_are_whole_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::Buffered).open(dir.path().join("store")).unwrap();
    let set = store.record_set("large").unwrap();
    let index = store.index(&set, "key", Extractor::new("key", 1, |record, keys| keys.push(&record[..8]))).unwrap();
    let others = store.record_set("others").unwrap();
    let (is_done, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let newest = AtomicU64::new(RecordId::from_parts(0, 1).unwrap().as_u64());
    std::thread::scope(|scope| {
        let views = scope.spawn(|| {
            let (mut views, mut last) = (0_u64, tenure::Seq(0));
            while !is_done.load(Ordering::Acquire) {
                let at_least = acknowledged.load(Ordering::Acquire);
                // A one-shot read of a record of the newest large commit: whoever has found it finds it in a later view.
                let id = RecordId::from_u64(newest.load(Ordering::Acquire)).unwrap();
                let was_there = store.get(id).is_ok();
                let view = store.view();
                assert!(view.seq().0 >= at_least, "{} is older than {at_least}", view.seq());
                assert!(view.seq() >= last, "{} after {last}", view.seq());
                assert!(!was_there || view.get(id).is_ok(), "a record that was there before the view");
                let (by_set, by_index) = (view.len(&set), index.len(&view).unwrap());
                assert_eq!((by_set % RECORDS, by_index), (0, by_set));
                (last, views) = (view.seq(), views + 1);
            }
            views
        });
        scope.spawn(|| {
            let mut number = 0_u64;
            while !is_done.load(Ordering::Acquire) {
                number += 1;
                let mut tx = store.begin().unwrap();
                tx.insert(&others, number.to_le_bytes()).unwrap();
                acknowledged.fetch_max(tx.commit().unwrap().0, Ordering::AcqRel);
                std::thread::yield_now();
            }
        });
        for commit in 0..COMMITS {
            let mut tx = store.begin().unwrap();
            let key = |at: u64| (commit * RECORDS + at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            let ids = tx.insert_many(&set, &(0..RECORDS).map(key).collect::<Vec<_>>()).unwrap();
            newest.store(ids[ids.len() / 2].as_u64(), Ordering::Release);
            acknowledged.fetch_max(tx.commit().unwrap().0, Ordering::AcqRel);
        }
        is_done.store(true, Ordering::Release);
        assert!(views.join().unwrap() > COMMITS);
    });
    assert_eq!(store.view().len(&set), COMMITS * RECORDS);
    let report = store.verify_index(&index).unwrap();
    assert!(report.is_empty(), "{report:?}");
}
