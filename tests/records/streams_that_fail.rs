//! Streamed values whose source fails or panics, or that do not fit: nothing of them remains.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tenure::{Error, Options, Store};

/// Yields some bytes, then fails or panics.
struct Failing {
    left: usize,
    panics: bool,
}

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            assert!(!self.panics, "the source panics");
            return Err(std::io::Error::other("the source failed"));
        }
        let read = buffer.len().min(self.left);
        buffer[..read].fill(7);
        self.left -= read;
        Ok(read)
    }
}

fn failing() -> Failing {
    Failing { left: 5_000_000, panics: false }
}

fn panicking() -> Failing {
    Failing { left: 5_000_000, panics: true }
}

#[test]
fn a_source_that_fails_leaves_no_chunks() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let id = store
        .write(|tx| {
            assert!(matches!(store.stage(failing()), Err(Error::Source { .. })));
            tx.insert(&set, "small")
        })
        .unwrap();
    assert_eq!(store.stats().chunks.records, 0);
    assert_eq!(store.get(id).unwrap().as_slice(), Some(&b"small"[..]));
}

#[test]
fn a_large_value_for_another_stores_set_is_refused_before_it_is_written() {
    let (store, other) = (Store::in_memory().unwrap(), Store::in_memory().unwrap());
    let (set, foreign) = (store.record_set("a").unwrap(), other.record_set("a").unwrap());
    store
        .write(|tx| {
            let refused = tx.insert(&foreign, vec![1; 3_000_000]);
            assert!(matches!(refused, Err(Error::OtherStore { .. })), "{refused:?}");
            tx.insert(&set, "small")
        })
        .unwrap();
    assert_eq!(store.stats().chunks.records, 0);
}

#[test]
fn a_head_that_finds_no_room_in_its_transaction_leaves_no_chunks() {
    let memory = tenure::backing::Memory::new();
    let store = Options::new().transaction_bytes_max(2048).open_backing(std::sync::Arc::new(memory)).unwrap();
    let set = store.record_set("a").unwrap();
    store
        .write(|tx| -> tenure::Result<_> {
            tx.insert(&set, [0; 1500])?;
            // Its head lists 77 chunks of eight bytes each.
            let refused = tx.insert(&set, vec![1; 5_000_000]);
            assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
            Ok(())
        })
        .unwrap();
    assert_eq!((store.stats().chunks.records, store.stats().records), (0, 1));
}

#[test]
fn a_source_that_panics_leaves_no_chunks_in_the_running_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("s")).unwrap();
    let set = store.record_set("a").unwrap();
    let result = catch_unwind(AssertUnwindSafe(|| store.stage(panicking())));
    assert!(result.is_err());
    assert_eq!(store.stats().chunks.records, 0);
    store.write(|tx| tx.insert(&set, "small")).unwrap();
    store.close().unwrap();
    let store = Store::open(dir.path().join("s")).unwrap();
    assert!(store.recovery_report().clean);
    assert_eq!(store.stats().records, 1);
}
