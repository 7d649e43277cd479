//! Statistics of views: their age, and the space each of them retains.

use std::sync::Arc;
use std::time::Duration;

use tenure::backing::Memory;
use tenure::extract::Extractor;
use tenure::{Durability, Lookup, Options, RecordId, RecordSet, Store, Transaction, ViewStats};

const RECORDS: u64 = 2_000;

fn open(is_indexed: bool) -> (Store, RecordSet, Vec<RecordId>) {
    let options = Options::new().background(false).durability(Durability::Buffered);
    let store = options.open_backing(Arc::new(Memory::new())).unwrap();
    let set = store.record_set("a").unwrap();
    if is_indexed {
        store.index(&set, "n", Extractor::new("n", 1, |record, keys| keys.push(&record[..8]))).unwrap();
    }
    let ids = store.write(|tx| (0..RECORDS).map(|number| tx.insert(&set, value(number))).collect()).unwrap();
    (store, set, ids)
}

/// 8 bytes that are a key, and 92 more: with its header a record takes 128 bytes of the log.
fn value(number: u64) -> Vec<u8> {
    let mut bytes = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec();
    bytes.resize(100, 7);
    bytes
}

fn kept(view: &ViewStats) -> (u64, u64, u64) {
    (view.heap_bytes, view.log_bytes, view.page_bytes)
}

#[test]
fn a_view_of_the_newest_commit_keeps_nothing() {
    for is_indexed in [false, true] {
        let (store, ..) = open(is_indexed);
        assert!(store.stats().views.is_empty());
        let view = store.view();
        std::thread::sleep(Duration::from_millis(20));
        let younger = store.view();
        let views = store.stats().views;
        assert_eq!(views.iter().map(kept).collect::<Vec<_>>(), [(0, 0, 0), (0, 0, 0)]);
        assert!(views[0].age >= Duration::from_millis(20) && views[1].age < views[0].age);
        store.save_snapshot().unwrap();
        let pages_on_the_heap = store.stats().views[0].heap_bytes;
        assert!(pages_on_the_heap >= 4 * 4096, "the pages that it saw before they were saved are still its own");
        let copy = view.clone();
        drop(view);
        assert_eq!(store.stats().views.len(), 2, "a copy is the same view");
        drop((copy, younger));
        assert!(store.stats().views.is_empty());
    }
}

#[test]
fn what_was_replaced_or_deleted_is_shown_to_the_byte() {
    let (store, set, ids) = open(false);
    store.save_snapshot().unwrap();
    let view = store.view();
    let seq = view.seq();
    store
        .write(|tx| {
            tx.update(ids[0], value(1))?;
            tx.update(ids[1], "short")?;
            tx.delete(ids[2])
        })
        .unwrap();
    store.write(|tx| tx.insert(&set, "new")).unwrap();
    let stats = store.stats();
    assert_eq!(stats.views[0].seq, seq);
    // Three old versions of 128 bytes. The images of their page and of the directory are the newest state's too: the next snapshot may
    // write patches of them.
    assert_eq!(kept(&stats.views[0]), (0, 3 * 128, 0));
    // A second change of the same records adds nothing: the view sees the first versions.
    store.write(|tx| tx.update(ids[0], value(3)).and(tx.update(ids[1], value(4)))).unwrap();
    assert_eq!(kept(&store.stats().views[0]), kept(&stats.views[0]));
    // One between the two keeps what only it has, and what both have is shown for both.
    let between = store.view();
    store.write(|tx| tx.update(ids[0], value(5)).and(tx.update(ids[9], value(9)))).unwrap();
    let views = store.stats().views;
    assert_eq!((views[0].log_bytes, views[1].log_bytes), (4 * 128, 2 * 128));
    assert_eq!(views[1].heap_bytes, 0, "the newest state needs its page too, below the block that has changed");
    drop(view);
    assert_eq!(store.stats().views.len(), 1);
    drop(between);
}

#[test]
fn nodes_of_indexes_count_where_the_newest_tree_has_others() {
    let (store, _, ids) = open(true);
    store.save_snapshot().unwrap();
    let view = store.view();
    // The payload alone: no node.
    let mut bytes = value(0);
    bytes[50] = 0;
    store.write(|tx| tx.update(ids[0], &bytes)).unwrap();
    let plain = store.stats().views[0].clone();
    store.write(|tx| tx.update(ids[0], value(RECORDS))).unwrap();
    let keyed = store.stats().views[0].clone();
    assert_eq!(plain.log_bytes, keyed.log_bytes);
    assert_eq!(keyed.page_bytes, plain.page_bytes, "the next snapshot may write patches of the changed nodes");
    drop(view);
    // On the heap.
    let view = store.view();
    store.write(|tx| tx.update(ids[0], value(RECORDS + 1))).unwrap();
    let heap = store.stats().views[0].clone();
    assert!(heap.heap_bytes >= 2 * 4096 && heap.page_bytes <= keyed.page_bytes, "{heap:?}");
    // An index that is dropped is all the view's.
    let set = store.find_set("a").unwrap();
    let before = store.stats().views[0].page_bytes;
    let index = store.find_index(&set, "n").unwrap();
    store.drop_index(&index).unwrap();
    assert!(store.stats().views[0].page_bytes > before + RECORDS * 15);
    assert_eq!(index.len(&view).unwrap(), RECORDS);
}

#[test]
fn images_of_nodes_count_once_the_newest_tree_has_others() {
    let (store, _, ids) = open(true);
    store.save_snapshot().unwrap();
    let view = store.view();
    let all = |tx: &mut Transaction| (0..RECORDS).zip(&ids).try_for_each(|(n, id)| tx.update(*id, value(RECORDS + n)));
    store.write(all).unwrap();
    store.save_snapshot().unwrap();
    let kept = store.stats().views[0].page_bytes;
    assert!(kept > RECORDS * 15, "all nodes were written whole: {kept}");
    drop(view);
}

#[test]
fn records_that_were_detached_keep_their_values_when_the_view_is_gone() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("files").unwrap();
    let large = vec![7; 200_000];
    let id = store.write(|tx| tx.insert(&set, &large)).unwrap();
    let mut detached = Vec::new();
    {
        let view = store.view();
        detached.push(view.get(id).unwrap().into_owned());
        detached.push(view.scan(&set).next().unwrap().unwrap().into_owned());
        let Lookup::Live(found) = view.lookup(id).unwrap() else { panic!("it lives") };
        detached.push(found.into_owned());
        detached.push(store.get(id).unwrap().into_owned());
    }
    let mut tx = store.begin().unwrap();
    detached.push(tx.get(id).unwrap().into_owned());
    drop(tx);
    for round in 0..3_u8 {
        store.write(|tx| tx.update(id, vec![round; 150_000])).unwrap();
        store.write(|tx| tx.insert(&set, [round; 10])).unwrap();
    }
    store.write(|tx| tx.delete(id)).unwrap();
    store.write(|tx| tx.insert(&set, vec![9; 200_000])).unwrap();
    for record in detached {
        assert!(record.to_vec().unwrap() == large, "a record that holds its own state");
    }
}
