//! Indexes created, dropped or reopened in the middle of transactions and snapshots.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tenure::backing::Memory;
use tenure::extract::Extractor;
use tenure::{Durability, Error, FileKind, Index, Options, RecordSet, Store};

use crate::common;
use crate::hooked::Hooked;

fn whole(version: u32) -> Extractor {
    Extractor::new("whole", version, |record, keys| keys.push(record))
}

fn open() -> (Store, RecordSet, Index) {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let index = store.index(&set, "whole", whole(1)).unwrap();
    (store, set, index)
}

#[test]
fn a_range_of_an_index_that_is_made_anew_or_dropped_is_validated() {
    for made_anew in [true, false] {
        let (store, set, index) = open();
        let mut tx = store.begin().unwrap();
        assert_eq!(tx.find(&index, &b"x"[..]).unwrap(), None);
        if made_anew {
            store.index(&set, "whole", whole(2)).unwrap();
        } else {
            store.drop_index(&index).unwrap();
        }
        store.write(|tx| tx.insert(&set, "x")).unwrap();
        tx.insert(&set, "x").unwrap();
        let committed = tx.commit_with(Durability::Buffered);
        assert!(matches!(committed, Err(Error::Conflict { .. })), "a phantom: {committed:?}");
    }
}

#[test]
fn opening_an_index_as_it_is_disturbs_no_transaction() {
    let (store, set, _) = open();
    let mut tx = store.begin().unwrap();
    tx.insert(&set, "x").unwrap();
    let index = store.index(&set, "whole", whole(1)).unwrap();
    tx.commit_with(Durability::Buffered).unwrap();
    assert_eq!(index.len(&store.view()).unwrap(), 1);
}

#[test]
fn an_extractor_that_panics_leaves_no_index() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    store.write(|tx| tx.insert(&set, "x")).unwrap();
    let panics = Extractor::new("panics", 1, |_, _| panic!("on purpose"));
    let made = catch_unwind(AssertUnwindSafe(|| store.index(&set, "bad", panics)));
    assert!(made.is_err());
    assert!(store.find_index(&set, "bad").is_none());
    store.write(|tx| tx.insert(&set, "y")).unwrap();
    let index = store.index(&set, "bad", whole(1)).unwrap();
    assert_eq!(index.len(&store.view()).unwrap(), 2);
}

#[test]
fn a_slow_closure_comes_to_its_end_beside_fast_ones() {
    let store = Options::new().durability(Durability::Buffered).open_backing(Arc::new(Memory::new())).unwrap();
    let set = store.record_set("a").unwrap();
    let id = store.write(|tx| tx.insert(&set, "0")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    store.write(|tx| tx.update(id, "fast")).unwrap();
                }
            });
        }
        let mut runs = 0;
        let slow = store.write(|tx| {
            runs += 1;
            let seen = tx.get(id)?.to_vec()?;
            std::thread::sleep(Duration::from_millis(3));
            // A transaction within waits for nobody either.
            if runs > 8 {
                store.write(|inner| inner.insert(&set, "inner"))?;
            }
            tx.update(id, seen)
        });
        stop.store(true, Ordering::Relaxed);
        assert!(slow.is_ok(), "{slow:?} after {runs} runs");
    });
}

/// Live bytes of all page segments.
fn live_page_bytes(store: &Store) -> u64 {
    let segments = store.stats().segments;
    segments.iter().filter(|segment| segment.kind == FileKind::Pages).map(|segment| segment.live_bytes).sum()
}

#[test]
fn an_index_that_is_dropped_while_it_is_saved_leaves_no_pages() {
    let backing = Hooked::on("pages-");
    let hook = Arc::clone(&backing.hook);
    let store = Options::new().background(false).segment_bytes(64 << 10).open_backing(Arc::new(backing)).unwrap();
    let set = store.record_set("a").unwrap();
    let index = store.index(&set, "whole", whole(1)).unwrap();
    let insert =
        |from: u32| store.write(|tx| (from..from + 500).try_for_each(|n| tx.insert(&set, n.to_be_bytes()).map(drop)));
    insert(0).unwrap();
    store.save_snapshot().unwrap();
    insert(500).unwrap();
    let (dropper, gone) = (store.clone(), index.clone());
    *hook.lock().unwrap() = Some(Box::new(move || {
        // A backing must not call the store; another thread may.
        std::thread::spawn(move || dropper.drop_index(&gone).unwrap()).join().unwrap();
    }));
    store.save_snapshot().unwrap();
    assert!(hook.lock().unwrap().is_none());
    insert(1000).unwrap();
    store.save_snapshot().unwrap();
    let left = live_page_bytes(&store);

    let plain = Options::new().background(false).segment_bytes(64 << 10).open_backing(Arc::new(Memory::new())).unwrap();
    let set = plain.record_set("a").unwrap();
    // Patches take bytes as well: the same changes between the same snapshots.
    for from in [0, 500, 1000_u32] {
        let insert = |n: u32| plain.write(|tx| tx.insert(&set, n.to_be_bytes()));
        (from..from + 500).try_for_each(|n| insert(n).map(drop)).unwrap();
        plain.save_snapshot().unwrap();
    }
    assert_eq!(left, live_page_bytes(&plain));
}

#[test]
fn an_index_is_made_anew_by_one_commit() {
    let memory = Memory::new();
    let options = Options::new().background(false).durability(Durability::Buffered);
    let store = options.open_backing(Arc::new(memory.clone())).unwrap();
    let set = store.record_set("a").unwrap();
    let index = store.unique_index(&set, "whole", whole(1)).unwrap();
    let id = store.write(|tx| tx.insert(&set, "x")).unwrap();
    let before = store.last_seq();
    let made = store.rebuild_index(&index).unwrap();
    // One commit defines it, and one puts it in place of the other: no commit has neither the one nor the other.
    assert_eq!(store.last_seq(), before.next().next());
    assert_eq!((made.get(&store.view(), &b"x"[..]).unwrap(), made.is_unique()), (Some(id), true));
    assert_eq!(index.get(&store.view(), &b"x"[..]).unwrap(), Some(id), "the handle goes on");
    store.rebuild_index(&index).unwrap();
    store.unique_index(&set, "whole", whole(2)).unwrap();
    assert_eq!(store.last_seq().0, before.0 + 6);
    assert!(matches!(Store::in_memory().unwrap().rebuild_index(&made), Err(Error::OtherStore { .. })));
    store.close().unwrap();
    // Without its extractor it cannot be made.
    let store = options.open_backing(Arc::new(memory)).unwrap();
    let index = store.find_index(&set, "whole").unwrap();
    assert!(matches!(store.rebuild_index(&index), Err(Error::NoExtractor { .. })));
    assert_eq!(index.get(&store.view(), &b"x"[..]).unwrap(), Some(id));
}

#[test]
fn a_transaction_walks_over_a_prefix_with_its_own_writes() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let pairs = Extractor::new("pair", 1, |record, keys| keys.push(&(record[0], record[1])));
    let index = store.index(&set, "pair", pairs).unwrap();
    let id =
        store.write(|tx| ["aa", "ba", "bc", "ca"].iter().map(|pair| tx.insert(&set, pair)).last().unwrap()).unwrap();
    let mut tx = store.begin().unwrap();
    tx.insert(&set, "bb").unwrap();
    tx.update(id, "bd").unwrap();
    let found = tx.prefix(&index, &b'b').unwrap().map(|entry| entry.map(|entry| entry.key.to_string()));
    let found: Vec<String> = found.collect::<tenure::Result<_>>().unwrap();
    assert_eq!(found, ["98, 97", "98, 98", "98, 99", "98, 100"]);
    store.write(|tx| tx.insert(&set, "bz")).unwrap();
    assert!(matches!(tx.commit_with(Durability::Buffered), Err(Error::Conflict { .. })), "a phantom behind the prefix");
}

#[test]
fn records_from_the_back_are_the_last_ones_or_an_error() {
    let memory = Memory::new();
    let options = Options::new().background(false).durability(Durability::Buffered);
    let store = options.open_backing(Arc::new(memory.clone())).unwrap();
    let set = store.record_set("a").unwrap();
    store.index(&set, "whole", whole(1)).unwrap();
    store.write(|tx| (0..1_000_u32).try_for_each(|n| tx.insert(&set, n.to_be_bytes()).map(drop))).unwrap();
    store.close().unwrap();
    let mut files = common::read_backing(&memory);
    // The leaves are written first, one behind the other: this is the second.
    let (_, pages) = files.iter_mut().find(|(name, _)| name.starts_with("pages-")).unwrap();
    pages[6_000] ^= 1;
    let store = options.read_only(true).open_backing(common::memory_of(&files)).unwrap();
    let set = store.find_set("a").unwrap();
    let index = store.find_index(&set, "whole").unwrap();
    let view = store.view();
    let mut failed = 0;
    for steps in 0..1_000_u32 {
        let mut walk = index.all(&view).unwrap().records(&view);
        if (0..steps).any(|_| walk.next().unwrap().is_err()) {
            break;
        }
        match walk.next_back().unwrap() {
            Ok(record) => assert_eq!(record.as_slice(), Some(&999_u32.to_be_bytes()[..]), "{steps} steps"),
            Err(_) => {
                failed += 1;
                assert!(walk.next_back().is_none() && walk.next().is_none(), "after an error it ends");
            }
        }
    }
    assert!(failed > 0, "the damage was never found ahead");
}
