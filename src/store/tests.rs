//! Limits that tests cannot reach by writing: the store is told that it is close to one.

mod ahead;
mod emptying;

use std::sync::Arc;

use crate::backing::{Backing, Memory};
use crate::error::{Error, Result};
use crate::format::value::CHUNK_BYTES;
use crate::gc::LOOKS;
use crate::id::SetNumber;
use crate::options::Options;
use crate::record_index::Cell;
use crate::store::Store;
use crate::txn::{CHUNKS_MAX, Staged, Stager};

#[test]
fn commits_that_add_end_before_places_do_and_the_collector_goes_on() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let id = store.write(|tx| tx.insert(&set, "x")).unwrap();
    let heap = &store.engine().heap;
    heap.assume_places(1_026);
    store.write(|tx| tx.insert(&set, "x")).unwrap();
    heap.assume_places(1_025);
    store.write(|tx| tx.insert(&set, "x")).unwrap();
    heap.assume_places(1_024);
    let error = store.write(|tx| tx.insert(&set, "x")).unwrap_err();
    assert!(matches!(error, Error::Exhausted { what: "place for a segment", .. }), "{error}");
    assert!(error.advice().contains("compact"), "{}", error.advice());
    store.write(|tx| tx.delete(id)).unwrap();
    // Segments that the collector emptied make room.
    heap.release_places([5, 6].into_iter());
    store.write(|tx| tx.insert(&set, "x")).unwrap();
    store.close().unwrap();
}

/// Checks that the sums equal what the segments report one by one.
fn check_sizes(store: &Store) {
    let engine = store.engine();
    let table = engine.heap.segments();
    let of_each = table
        .iter()
        .fold((0, 0), |(bytes, live), (_, segment)| (bytes + segment.len().unwrap(), live + segment.live_bytes()));
    let sizes = &engine.log.source().sizes;
    assert_eq!((sizes.bytes(), sizes.live_bytes()), of_each);
}

#[test]
fn sums_over_all_segments_are_right_after_anything() {
    let memory: Arc<dyn Backing> = Arc::new(Memory::new());
    let options = || Options::new().segment_bytes(64 << 10).background(false);
    let mut ids = Vec::new();
    for round in 0..6_usize {
        let store = options().open_backing(Arc::clone(&memory)).unwrap();
        check_sizes(&store);
        let set = store.record_set("a").unwrap();
        for number in 0..300_usize {
            let bytes = if number.is_multiple_of(40) { 150_000 } else { 1_000 };
            ids.push(store.write(|tx| tx.insert(&set, vec![7; bytes])).unwrap());
            if number.is_multiple_of(2) {
                let id = ids.swap_remove(number * 7 % ids.len());
                store.write(|tx| tx.delete(id)).unwrap();
            }
        }
        check_sizes(&store);
        if round.is_multiple_of(2) {
            store.collect(None).unwrap();
            check_sizes(&store);
        }
        if round == 3 {
            store.save_named_snapshot("a").unwrap();
        }
        if round != 4 {
            // The others are left as a killed process leaves them.
            store.close().unwrap();
        }
    }
}

#[test]
fn a_value_has_no_more_chunks_than_one_transaction_can_free() -> Result<()> {
    for (before, is_written) in [(CHUNKS_MAX - 21, true), (CHUNKS_MAX - 20, true), (CHUNKS_MAX - 19, false)] {
        let store = Store::in_memory()?;
        let mut stager = Stager::new(store.engine(), store.engine().streams.take()?);
        stager.assume(before);
        let result = stager.stage(&mut &*vec![7; 20 * CHUNK_BYTES]);
        let state = store.engine().heap.pin();
        let records = state.catalogue.set(SetNumber::CHUNKS).map(|set| set.records);
        if is_written {
            assert!(matches!(result?, Staged::Chunked { .. }));
            assert_eq!(records, Some(20));
        } else {
            // Giving it up gets the store away from the limit: its chunks are freed.
            assert!(matches!(result, Err(Error::TooLarge { what: "value", .. })));
            assert_eq!((state.catalogue.streams().count(), records), (0, Some(0)));
        }
    }
    Ok(())
}

#[test]
fn the_collector_looks_at_all_segments_only_when_something_has_changed() -> Result<()> {
    let options = Options::new().segment_bytes(64 << 10).background(false);
    let store = options.open_backing(Arc::new(Memory::new()))?;
    let set = store.record_set("a")?;
    let insert = || store.write(|tx| (0..1_000).map(|_| tx.insert(&set, [7; 100])).collect::<Result<Vec<_>>>());
    let (ids, engine) = (insert()?, store.engine());
    let looks = |times: u32| -> Result<u64> {
        let before = LOOKS.get();
        for _ in 0..times {
            while store.collector().work(engine)? {}
        }
        Ok(LOOKS.get() - before)
    };
    assert!(looks(1)? > 0);
    assert_eq!(looks(100)?, 0, "nothing has changed");
    // Each of these may make work for the collector.
    let changes: [&dyn Fn() -> Result<()>; 4] = [
        &|| store.write(|tx| tx.delete(ids[0])),
        &|| store.save_named_snapshot("a").map(drop),
        &|| store.drop_snapshot("a"),
        &|| store.collect(None).map(drop),
    ];
    for (index, change) in changes.iter().enumerate() {
        change()?;
        assert!(looks(1)? > 0, "change {index} was not seen");
        assert_eq!(looks(100)?, 0, "nothing has changed since {index}");
    }
    // Above the cap the collector looks as often as there is something to gain, and no more.
    store.write(|tx| ids.iter().skip(1).try_for_each(|id| tx.delete(*id)))?;
    drop((insert()?, insert()?));
    assert!(looks(1)? > 0);
    assert_eq!(looks(100)?, 0, "nothing has changed since");
    store.close()
}

/// Bytes of the images that the newest snapshot refers to in the record index, and bytes that count as live.
fn page_bytes(store: &Store) -> (u64, u64) {
    let (engine, state) = (store.engine(), store.engine().heap.pin());
    let mut pages = vec![engine.page_writer.lock().root()];
    for mid in state.root.mids.iter() {
        pages.push(mid.page);
        pages.extend(mid.saved);
        for (own, base) in mid.cells.iter().map(Cell::images) {
            pages.push(own);
            pages.extend(base);
        }
    }
    let live = engine.pages.all_rows().into_iter().map(|(_, _, live)| live).sum();
    (pages.iter().map(|page| u64::from(page.bytes)).sum(), live)
}

#[test]
fn pages_that_count_as_live_are_those_that_the_record_index_refers_to() {
    let memory: Arc<dyn Backing> = Arc::new(Memory::new());
    let options = || Options::new().segment_bytes(64 << 10).background(false).collector(false);
    let (mut ids, mut number) = (Vec::new(), 1_usize);
    let mut below = |end: usize| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) % end
    };
    let (mut patched, mut round) = (0, 0);
    for _ in 0..4 {
        let store = options().open_backing(Arc::clone(&memory)).unwrap();
        let set = store.record_set("a").unwrap();
        for _ in 0..15 {
            round += 1;
            for _ in 0..=below(200) {
                ids.push(store.write(|tx| tx.insert(&set, "new")).unwrap());
            }
            for _ in 0..below(if round % 5 == 0 { 600 } else { 20 }) {
                let at = below(ids.len());
                store.write(|tx| tx.update(ids[at], "changed")).unwrap();
            }
            for _ in 0..below(10) {
                let id = ids.swap_remove(below(ids.len()));
                store.write(|tx| tx.delete(id)).unwrap();
            }
            store.save_snapshot().unwrap();
            let (referred, live) = page_bytes(&store);
            assert_eq!(referred, live, "round {round}");
            let state = store.engine().heap.pin();
            patched += state.root.cells().filter(|cell| cell.saved.is_some()).count();
        }
        store.close().unwrap();
    }
    assert!(patched > 60, "{patched} patches");
}
