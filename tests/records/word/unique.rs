//! Unique keys are checked in each statement.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use tenure::extract::Extractor;
use tenure::key::Key;
use tenure::{Durability, Error, Index, RecordId, RecordSet, Store, TransactionOptions};

struct World {
    store: Store,
    set: RecordSet,
    index: Index,
    a: RecordId,
    b: RecordId,
}

/// Records with the text of their value as key, but for an empty one.
fn world() -> World {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("seats").unwrap();
    let extractor = Extractor::new("text", 1, |record, keys| {
        if !record.is_empty() {
            keys.push(record);
        }
    });
    let index = store.unique_index(&set, "holder", extractor).unwrap();
    let (a, b) = store.write(|tx| tx.insert(&set, "a").and_then(|a| Ok((a, tx.insert(&set, "b")?)))).unwrap();
    World { store, set, index, a, b }
}

fn check_violation<T: std::fmt::Debug>(result: &Result<T, Error>, text: &str, holder: RecordId) {
    match result {
        Err(Error::UniqueViolation { set, index, key, id }) => {
            let expected = Key::new(text.as_bytes()).unwrap();
            assert_eq!((set.as_str(), index.as_str(), key, *id), ("seats", "holder", &expected, holder));
        }
        other => panic!("no violation: {other:?}"),
    }
}

#[test]
fn a_taken_key_fails_in_the_statement_and_the_transaction_goes_on() {
    for reads_first in [false, true] {
        let World { store, set, index, a, b } = world();
        let mut tx = store.begin().unwrap();
        if reads_first {
            tx.get(a).unwrap();
        }
        check_violation(&tx.insert(&set, "a"), "a", a);
        check_violation(&tx.update(a, "b"), "b", b);
        check_violation(&tx.update_if(a, store.get(a).unwrap().seq(), "b"), "b", b);
        check_violation(&tx.insert_many(&set, &["x", "a"]), "a", a);
        let value = store.stage(&b"b"[..]).unwrap();
        check_violation(&tx.insert_staged(&set, &value), "b", b);
        // Own writes count: those that take a key, and those that give one up.
        let own = tx.insert(&set, "c").unwrap();
        check_violation(&tx.insert(&set, "c"), "c", own);
        check_violation(&tx.update(a, "c"), "c", own);
        tx.update(a, "a").unwrap();
        tx.delete(b).unwrap();
        tx.insert_staged(&set, &value).unwrap();
        tx.update(own, "d").unwrap();
        tx.insert(&set, "c").unwrap();
        tx.commit().unwrap();
        assert_eq!(index.len(&store.view()).unwrap(), 5, "a b c d x");
        assert!(store.verify_index(&index).unwrap().is_empty());
    }
}

#[test]
fn a_savepoint_catches_a_violation() {
    let World { store, set, a, .. } = world();
    let mut tx = store.begin().unwrap();
    tx.insert(&set, "kept").unwrap();
    let savepoint = tx.savepoint();
    tx.insert(&set, "taken back").unwrap();
    check_violation(&tx.insert(&set, "a"), "a", a);
    tx.roll_back_to(savepoint).unwrap();
    tx.insert(&set, "taken back").unwrap();
    tx.commit().unwrap();
    assert_eq!(store.view().len(&set), 4);
}

#[test]
fn what_others_take_meanwhile_is_found_at_commit() {
    let World { store, set, a, .. } = world();
    let mut late = store.begin().unwrap();
    late.insert(&set, "c").unwrap();
    let c = store.write(|tx| tx.insert(&set, "c")).unwrap();
    check_violation(&late.commit(), "c", c);

    // Code that continues after a refusal relies on it.
    let mut tx = store.begin().unwrap();
    check_violation(&tx.insert(&set, "a"), "a", a);
    tx.insert(&set, "because a was taken").unwrap();
    store.write(|tx| tx.delete(a)).unwrap();
    let committed = tx.commit_with(Durability::Buffered);
    assert!(matches!(committed, Err(Error::Conflict(_))), "{committed:?}");
}

#[test]
fn two_records_exchange_their_keys_in_one_transaction() {
    let World { store, set, index, a, b } = world();
    store.write(|tx| tx.update_many(&[(a, "b"), (b, "a")])).unwrap();
    assert_eq!(index.get(&store.view(), &b"a"[..]).unwrap(), Some(b));
    store.write(|tx| tx.update(a, "").and(tx.update(b, "b")).and(tx.update(a, "a"))).unwrap();
    let deferred = TransactionOptions::new().defer_unique(true);
    store.write_with(deferred, |tx| tx.update(a, "b").and(tx.update(b, "a"))).unwrap();
    assert_eq!(index.get(&store.view(), &b"b"[..]).unwrap(), Some(a));
    assert!(store.verify_index(&index).unwrap().is_empty());

    let mut tx = store.begin().unwrap();
    let savepoint = tx.savepoint();
    check_violation(&tx.update_many(&[(b, "c"), (a, "c")]), "c", b);
    tx.roll_back_to(savepoint).unwrap();
    tx.insert(&set, "c").unwrap();
    tx.commit().unwrap();
}

#[test]
fn a_key_that_own_records_have_passed_on_is_free() {
    let World { store, set, index, a, .. } = world();
    for reads_first in [false, true] {
        let mut tx = store.begin().unwrap();
        if reads_first {
            tx.get(a).unwrap();
        }
        // From `a` to a new record, and from that one on.
        tx.update(a, "x").unwrap();
        let first = tx.insert(&set, "a").unwrap();
        tx.update(first, "y").unwrap();
        let second = tx.insert(&set, "a").unwrap();
        tx.delete(second).unwrap();
        tx.insert(&set, "a").unwrap();
        check_violation(&tx.update(first, "x"), "x", a);
    }
    let mut tx = store.begin().unwrap();
    let savepoint = tx.savepoint();
    tx.update(a, "x").unwrap();
    tx.roll_back_to(savepoint).unwrap();
    check_violation(&tx.insert(&set, "a"), "a", a);
    tx.release(savepoint).unwrap();
    tx.delete(a).unwrap();
    tx.insert(&set, "a").unwrap();
    tx.commit().unwrap();
    assert!(store.verify_index(&index).unwrap().is_empty());
}

#[test]
fn a_statement_of_several_records_counts_what_it_leaves() {
    let World { store, index, a, b, .. } = world();
    // The first value of `a` is taken, and is not its final one.
    store.write(|tx| tx.update_many(&[(a, "b"), (a, "c")])).unwrap();
    store.write(|tx| tx.update_many(&[(a, "b"), (b, "c"), (b, "d")])).unwrap();
    let mut tx = store.begin().unwrap();
    check_violation(&tx.update_many(&[(a, "x"), (b, "y"), (a, "d"), (b, "d")]), "d", a);
    drop(tx);
    assert_eq!(index.get(&store.view(), &b"d"[..]).unwrap(), Some(b));
    assert!(store.verify_index(&index).unwrap().is_empty());
}

#[test]
fn what_was_replaced_in_another_state_is_a_conflict_and_no_violation() {
    let World { store, set, a, .. } = world();
    let mut runs = 0;
    store
        .write(|tx| {
            runs += 1;
            tx.update(a, "c")?;
            if runs == 1 {
                // Whoever comes first: `a` has no "d" in the end.
                store.write(|tx| tx.update(a, "d"))?;
            }
            tx.insert(&set, "d")
        })
        .unwrap();
    assert_eq!(runs, 2);
}

#[test]
fn a_panic_in_a_statement_of_several_records_leaves_the_next_one_as_it_was() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("seats").unwrap();
    let extractor = Extractor::new("text", 1, |record, keys| {
        assert_ne!(record, b"panic");
        keys.push(record);
    });
    store.unique_index(&set, "holder", extractor).unwrap();
    let a = store.write(|tx| tx.insert(&set, "a")).unwrap();
    let mut tx = store.begin().unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| tx.update_many(&[(a, "panic")])));
    assert!(panicked.is_err());
    check_violation(&tx.insert(&set, "a"), "a", a);
    tx.commit().unwrap();
}

#[test]
fn an_index_that_is_being_built_refuses_nothing() {
    let World { store, set, index, .. } = world();
    for is_successor in [false, true] {
        let (gate, stops) = (Arc::new(Barrier::new(2)), AtomicBool::new(true));
        let of_build = Arc::clone(&gate);
        // The first letter, in front of the first record of the build.
        let initial = Extractor::new("text", 2, move |record, keys| {
            if stops.swap(false, Ordering::AcqRel) {
                of_build.wait();
                of_build.wait();
            }
            record.iter().take(1).for_each(|byte| keys.push(byte));
        });
        std::thread::scope(|scope| {
            let (store, set) = (&store, &set);
            let name = if is_successor { "holder" } else { "initial" };
            let build = scope.spawn(move || store.unique_index(set, name, initial));
            gate.wait();
            // In one statement after the other, in one statement, and in several transactions.
            let all = ["ka", "kb", "kc", "kd", "ke"].map(|text| format!("{text}{is_successor}"));
            let written = store.write(|tx| {
                let first = tx.insert(set, &all[0])?;
                let savepoint = tx.savepoint();
                tx.insert(set, &all[1])?;
                tx.release(savepoint)?;
                tx.insert_many(set, &all[2..4]).map(|more| [vec![first], more].concat())
            });
            let written = written.and_then(|ids| {
                store.write(|tx| tx.insert(set, &all[4]))?;
                let changes = [(ids[0], format!("kx{is_successor}")), (ids[1], format!("ky{is_successor}"))];
                store.write(|tx| tx.update_many(&changes))
            });
            // The build has to end, whatever was written.
            gate.wait();
            written.unwrap();
            let result = build.join().unwrap();
            assert!(matches!(result, Err(Error::UniqueViolation { .. })), "{result:?}");
        });
    }
    // The existing index is enforced throughout.
    assert_eq!(store.indexes(&set).len(), 1);
    assert_eq!(index.len(&store.view()).unwrap(), store.view().len(&set));
    assert!(store.verify_index(&index).unwrap().is_empty());
}
