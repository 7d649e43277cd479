//! Closed handles, read-only handles, and refreshed ones.

use std::sync::Arc;

use tenure::backing::FaultBacking;
use tenure::extract::Extractor;
use tenure::{Durability, Error, Options, Point, Store};

fn whole(version: u32) -> Extractor {
    Extractor::new("whole", version, |record, keys| keys.push(record))
}

#[test]
fn what_is_done_after_closing_says_that_it_was_closed() {
    let store = Store::in_memory().unwrap();
    let words = store.record_set("words").unwrap();
    let index = store.index(&words, "whole", whole(1)).unwrap();
    let id = store.write(|tx| tx.insert(&words, "once")).unwrap();
    let (mut other, mut open, view) = (store.clone(), store.begin().unwrap(), store.view());
    open.insert(&words, "upon").unwrap();
    store.close().unwrap();
    let is_closed = |error: Error| assert!(matches!(error, Error::Closed), "{error}");
    is_closed(open.commit_with(Durability::Sync).unwrap_err());
    is_closed(other.begin().map(drop).unwrap_err());
    is_closed(other.write(|tx| tx.insert(&words, "time")).unwrap_err());
    is_closed(other.record_set("others").unwrap_err());
    is_closed(other.index(&words, "whole", whole(2)).unwrap_err());
    is_closed(other.drop_index(&index).unwrap_err());
    is_closed(other.save_snapshot().unwrap_err());
    is_closed(other.mark("now").unwrap_err());
    is_closed(other.sync().unwrap_err());
    is_closed(other.refresh().unwrap_err());
    assert_eq!(Error::Closed.to_string(), "the store was closed");
    // A view stays usable.
    assert_eq!(view.get(id).unwrap().as_slice(), Some(&b"once"[..]));
    assert_eq!(index.get(&view, &b"once"[..]).unwrap(), Some(id));
}

#[test]
fn a_handle_that_only_reads_says_what_is_not_there() {
    let backing = Arc::new(FaultBacking::new());
    let store = Options::new().open_backing(backing.clone()).unwrap();
    let words = store.record_set("words").unwrap();
    store.index(&words, "whole", whole(1)).unwrap();
    let reader = Options::new().read_only(true).open_backing(backing).unwrap();
    let missing = reader.record_set("others").unwrap_err();
    assert!(matches!(&missing, Error::NoSuchSet { name } if name == "others"), "{missing}");
    let words = reader.record_set("words").unwrap();
    let missing = reader.index(&words, "length", whole(1)).unwrap_err();
    assert!(matches!(&missing, Error::NoSuchIndex { index, .. } if index == "length"), "{missing}");
    // Nor is one recreated.
    let other = reader.index(&words, "whole", whole(2)).unwrap_err();
    assert!(matches!(&other, Error::NoSuchIndex { why, .. } if why.contains("another version")), "{other}");
    let index = reader.index(&words, "whole", whole(1)).unwrap();
    assert_eq!(index.len(&reader.view()).unwrap(), 0);
    assert!(matches!(reader.begin().map(drop), Err(Error::ReadOnly)));
}

#[test]
fn a_handle_beside_a_writer_looks_again() {
    let backing = Arc::new(FaultBacking::new());
    let store = Options::new().open_backing(backing.clone()).unwrap();
    let words = store.record_set("words").unwrap();
    let index = store.index(&words, "whole", whole(1)).unwrap();
    store.write(|tx| tx.insert(&words, "once")).unwrap();
    let mark = store.mark("then").unwrap();
    let mut reader = Options::new().read_only(true).open_backing(backing.clone()).unwrap();
    let found = reader.index(&words, "whole", whole(1)).unwrap();
    let (before, clone) = (reader.view(), reader.clone());
    let mut past = Options::new().open_backing_at(backing, &Point::Mark("then".to_owned())).unwrap();

    let upon = store.write(|tx| tx.insert(&words, "upon")).unwrap();
    let others = store.record_set("others").unwrap();
    store.rebuild_index(&index).unwrap();
    assert!(reader.get(upon).is_err());
    assert_eq!(reader.refresh().unwrap(), store.view().seq());
    assert_eq!(reader.get(upon).unwrap().as_slice(), Some(&b"upon"[..]));
    assert_eq!(reader.find_set("others"), Some(others));
    assert_eq!(found.get(&reader.view(), &b"upon"[..]).unwrap(), Some(upon));
    assert_eq!(reader.verify_index(&found).unwrap(), Vec::<String>::new());
    // Views and clones that were there stay where they are, and so does a handle of the past.
    assert_eq!((before.len(&words), found.len(&before).unwrap()), (1, 1));
    assert!(clone.get(upon).is_err());
    assert_eq!(past.refresh().unwrap(), mark);
    assert!(past.get(upon).is_err());
    let mut writer = store;
    assert_eq!(writer.refresh().unwrap(), writer.view().seq());
}
