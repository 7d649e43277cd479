//! Limits that no test reaches by what it writes: a store that thinks that it is near one.

use crate::error::Error;
use crate::error::Result;
use crate::format::value::CHUNK_BYTES;
use crate::id::SetNumber;
use crate::store::Store;
use crate::txn::CHUNKS_MAX;
use crate::txn::Staged;
use crate::txn::Stager;

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
    // What the collector has emptied makes room.
    heap.release_places([5, 6].into_iter());
    store.write(|tx| tx.insert(&set, "x")).unwrap();
    store.close().unwrap();
}

#[test]
fn a_value_has_no_more_chunks_than_one_transaction_can_free() -> Result<()> {
    for (before, is_written) in [(CHUNKS_MAX - 21, true), (CHUNKS_MAX - 20, true), (CHUNKS_MAX - 19, false)] {
        let store = Store::in_memory()?;
        let mut stager = Stager::new(store.engine(), store.engine().take_stream()?);
        stager.assume(before);
        let result = stager.stage(&mut &*vec![7; 20 * CHUNK_BYTES]);
        let state = store.engine().heap.pin();
        let records = state.catalogue.set(SetNumber::CHUNKS).map(|set| set.records);
        if is_written {
            assert!(matches!(result?, Staged::Chunked { .. }));
            assert_eq!(records, Some(20));
        } else {
            // It comes away from it by being given up: its chunks are freed.
            assert!(matches!(result, Err(Error::TooLarge { what: "value", .. })));
            assert_eq!((state.catalogue.streams().count(), records), (0, Some(0)));
        }
    }
    Ok(())
}
