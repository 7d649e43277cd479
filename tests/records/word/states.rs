//! Reads come from one consistent state, and reports about it are correct.

use std::sync::atomic::{AtomicBool, Ordering};

use tenure::{Durability, Error, Options};

#[test]
fn no_commit_is_named_before_a_view_sees_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::Buffered).open(dir.path().join("s")).unwrap();
    let set = store.record_set("a").unwrap();
    let values = vec![[7; 200]; 200];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                store.write(|tx| tx.insert_many(&set, &values)).unwrap();
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                store.sync().unwrap();
            }
        });
        for look in 0..6_000 {
            let (what, named) = match look % 5 {
                0 => ("last_seq", store.last_seq()),
                1 => ("a commit of nothing", store.begin().unwrap().commit().unwrap()),
                2 => ("durable_seq", store.durable_seq()),
                3 => ("statistics of what is durable", store.stats().durable_seq),
                _ => ("statistics", store.stats().last_seq),
            };
            let seen = store.view().seq();
            if named > seen {
                stop.store(true, Ordering::Relaxed);
                panic!("{what} named commit {named}, and a view that was taken afterwards sees {seen}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn the_commit_of_a_transaction_that_only_read_is_the_state_that_it_read() {
    let store = tenure::Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let (id, first) = store.write_with(Durability::Buffered, |tx| tx.insert(&set, "1")).unwrap();
    let mut tx = store.begin().unwrap();
    tx.get(id).unwrap();
    store.write(|tx| tx.update(id, "2")).unwrap();
    assert_eq!(tx.commit().unwrap(), first);
}

#[test]
fn a_transaction_without_writes_answers_from_one_state() {
    let store = tenure::Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let (a, b) = store.write(|tx| tx.insert(&set, "0").and_then(|a| Ok((a, tx.insert(&set, "0")?)))).unwrap();
    store.write(|tx| tx.delete(a)).unwrap();
    // The information in a failed write's error counts as read, too.
    let mut tx = store.begin().unwrap();
    let before = store.last_seq();
    assert!(matches!(tx.update(a, "1"), Err(Error::Deleted { .. })));
    store.write(|tx| tx.update(b, "1")).unwrap();
    assert_eq!(tx.get(b).unwrap().as_slice(), Some(&b"0"[..]), "`a` was deleted when `b` was 0");
    assert_eq!(tx.commit().unwrap(), before);
}
