//! Transactions can do everything that views can, including their own writes.

use tenure::extract::Extractor;
use tenure::{Contended, Error, Index, Isolation, RecordId, RecordSet, Store, Transaction, Upserted};

fn store() -> (Store, RecordSet) {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    (store, set)
}

/// Each byte of a record is a key.
fn by_byte(store: &Store, set: &RecordSet, is_unique: bool) -> Index {
    let bytes = Extractor::new("bytes", 1, |record, keys| record.iter().for_each(|byte| keys.push(byte)));
    let index = if is_unique { store.unique_index(set, "byte", bytes) } else { store.index(set, "byte", bytes) };
    index.unwrap()
}

fn scanned(tx: &mut Transaction, set: &RecordSet) -> Vec<(RecordId, Vec<u8>)> {
    let scan = tx.scan(set).unwrap();
    scan.iter().map(|record| record.unwrap()).map(|record| (record.id(), record.to_vec().unwrap())).collect()
}

#[test]
fn a_scan_has_own_writes_in_it_in_the_order_of_ids() {
    let (store, set) = store();
    let other = store.record_set("b").unwrap();
    let ids = store.write(|tx| tx.insert_many(&set, &[[0], [1], [2], [3]])).unwrap();
    let mut tx = store.begin().unwrap();
    tx.update(ids[1], [9]).unwrap();
    tx.delete(ids[2]).unwrap();
    tx.insert(&other, "elsewhere").unwrap();
    let (new, large) = (tx.insert(&set, [4]).unwrap(), tx.insert(&set, vec![5; 200_000]).unwrap());
    let gone = tx.insert(&set, [6]).unwrap();
    tx.delete(gone).unwrap();
    let expected = [(ids[0], vec![0]), (ids[1], vec![9]), (ids[3], vec![3]), (new, vec![4]), (large, vec![5; 200_000])];
    assert_eq!(scanned(&mut tx, &set), expected);
    assert_eq!((tx.len(&set).unwrap(), tx.len(&other).unwrap()), (5, 1));
    let part = tx.scan_range(&set, ids[1]..new).unwrap();
    assert_eq!(part.iter().map(|record| record.unwrap().id()).collect::<Vec<_>>(), [ids[1], ids[3]]);
    // Writes during a scan are not in it, and do not end it.
    let scan = tx.scan(&set).unwrap();
    let mut count = 0;
    for record in &scan {
        let id = record.unwrap().id();
        tx.delete(id).unwrap();
        tx.insert(&set, "new").unwrap();
        count += 1;
    }
    assert_eq!((count, scan.iter().count(), tx.len(&set).unwrap()), (5, 5, 5));
    tx.commit().unwrap();
    assert!(store.view().scan(&set).all(|record| record.unwrap().as_slice() == Some(&b"new"[..])));
}

#[test]
fn there_is_no_write_skew_through_scans() {
    // Each adds a record if there is none yet.
    let add_if_none = |tx: &mut Transaction, set: &RecordSet| {
        assert_eq!(tx.scan(set).unwrap().iter().count(), 0);
        tx.insert(set, "the only one").unwrap();
    };
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let (store, set) = store();
        let (mut one, mut two) = (store.begin_with(isolation).unwrap(), store.begin_with(isolation).unwrap());
        add_if_none(&mut one, &set);
        add_if_none(&mut two, &set);
        let first = one.commit().unwrap();
        let second = two.commit();
        if isolation == Isolation::Snapshot {
            second.unwrap();
            continue;
        }
        let Err(Error::Conflict(conflict)) = second else { panic!("{second:?}") };
        assert_eq!((&conflict.on, conflict.with), (&Contended::Scan { set: "a".to_owned() }, first));
        assert!(conflict.read_at < first && conflict.to_string().contains("\"a\""), "{conflict}");
    }
}

#[test]
fn every_change_of_a_scanned_set_is_a_conflict_and_nothing_else() {
    type Change = fn(&Store, &RecordSet, RecordId) -> tenure::Result<()>;
    let changes: [(Change, bool); 6] = [
        (|store, set, _| store.write(|tx| tx.insert(set, "new").map(drop)), true),
        (|store, _, id| store.write(|tx| tx.update(id, "other")), true),
        (|store, _, id| store.write(|tx| tx.delete(id)), true),
        (|store, _, _| store.write(|tx| tx.insert(&store.record_set("b")?, "elsewhere").map(drop)), false),
        // IDs that come to nothing are freed with the next commit.
        (
            |store, set, _| {
                store.begin()?.insert(set, "dropped")?;
                store.write(|tx| tx.insert(&store.record_set("b")?, "elsewhere").map(drop))
            },
            false,
        ),
        (|store, _, _| store.save_snapshot().map(drop), false),
    ];
    for (place, (change, conflicts)) in changes.into_iter().enumerate() {
        for state_first in [false, true] {
            let (store, set) = store();
            let id = store.write(|tx| tx.insert(&set, "old")).unwrap();
            let target = store.record_set("target").unwrap();
            store.record_set("b").unwrap();
            let mut tx = store.begin().unwrap();
            if state_first {
                // The state is older than the scan.
                assert!(tx.lookup("77.1".parse().unwrap()).is_ok());
            } else {
                assert_eq!(tx.scan(&set).unwrap().iter().count(), 1);
            }
            change(&store, &set, id).unwrap();
            assert_eq!(tx.scan(&set).unwrap().iter().count(), 1, "one state");
            tx.insert(&target, "because of the scan").unwrap();
            let committed = tx.commit();
            assert_eq!(matches!(committed, Err(Error::Conflict(_))), conflicts, "change {place}: {committed:?}");
        }
    }
}

#[test]
fn a_state_that_is_older_than_its_first_scan_is_validated_too() {
    for changes in [false, true] {
        let (store, set) = store();
        let (id, other) =
            store.write(|tx| tx.insert(&set, "0").and_then(|id| Ok((id, tx.insert(&set, "0")?)))).unwrap();
        let target = store.record_set("target").unwrap();
        let mut tx = store.begin().unwrap();
        tx.get(id).unwrap();
        if changes {
            store.write(|tx| tx.update(other, "1")).unwrap();
        } else {
            store.write(|tx| tx.insert(&target, "elsewhere")).unwrap();
        }
        assert_eq!(scanned(&mut tx, &set)[1].1, b"0");
        tx.insert(&target, "because of the scan").unwrap();
        let committed = tx.commit();
        assert_eq!(matches!(committed, Err(Error::Conflict(_))), changes, "{committed:?}");
    }
}

#[test]
fn a_part_of_a_set_and_its_number_of_records_conflict_with_less() {
    let (store, set) = store();
    let ids = store.write(|tx| tx.insert_many(&set, &[[0], [1], [2], [3]])).unwrap();
    let mut tx = store.begin().unwrap();
    assert_eq!(tx.scan_range(&set, ..=ids[1]).unwrap().iter().count(), 2);
    assert_eq!(tx.len(&set).unwrap(), 4);
    tx.insert(&set, "because of both").unwrap();
    store.write(|tx| tx.delete(ids[2]).and(tx.insert(&set, [5]))).unwrap();
    tx.commit().unwrap();

    let mut tx = store.begin().unwrap();
    assert_eq!(tx.len(&set).unwrap(), 5);
    tx.insert(&set, "because of it").unwrap();
    store.write(|tx| tx.insert(&set, [6])).unwrap();
    let committed = tx.commit();
    let Err(Error::Conflict(conflict)) = committed else { panic!("{committed:?}") };
    assert_eq!(conflict.on, Contended::Len { set: "a".to_owned() });
}

#[test]
fn many_records_are_read_at_once() {
    let (store, set) = store();
    let ids = store.write(|tx| tx.insert_many(&set, &[[0], [1], [2]])).unwrap();
    let mut tx = store.begin().unwrap();
    tx.update(ids[0], [9]).unwrap();
    tx.delete(ids[1]).unwrap();
    let missing = "77.1".parse().unwrap();
    let found = tx.get_many(&[ids[2], ids[0], ids[1], missing]);
    assert_eq!(found[0].as_ref().unwrap().as_slice(), Some(&[2][..]));
    assert_eq!(found[1].as_ref().unwrap().as_slice(), Some(&[9][..]));
    assert!(matches!((&found[2], &found[3]), (Err(Error::Deleted { .. }), Err(Error::NeverAllocated { .. }))));
    drop(found);
    store.write(|tx| tx.update(ids[2], [3])).unwrap();
    assert!(matches!(tx.commit(), Err(Error::Conflict(_))), "what was read is validated");
}

#[test]
fn a_record_is_written_where_its_key_is() {
    let (store, set) = store();
    let index = by_byte(&store, &set, true);
    let mut tx = store.begin().unwrap();
    let new = tx.upsert(&index, [1]).unwrap();
    assert!(new.is_inserted());
    assert_eq!(tx.upsert(&index, [1, 2]).unwrap(), Upserted::Existing(new.id()), "own writes count");
    tx.commit().unwrap();
    let got = store.write(|tx| tx.insert_or_get(&index, [2])).unwrap();
    assert_eq!((got, store.get(new.id()).unwrap().as_slice()), (Upserted::Existing(new.id()), Some(&[1, 2][..])));
    assert!(store.write(|tx| tx.insert_or_get(&index, [3])).unwrap().is_inserted());
    let both = store.write(|tx| tx.upsert(&index, [1, 3]));
    assert!(matches!(both, Err(Error::UniqueViolation { .. })), "keys of two records: {both:?}");
    assert!(store.write(|tx| tx.upsert(&index, [])).unwrap().is_inserted(), "no key");

    // Two transactions that find nothing cannot both insert.
    let (mut one, mut two) = (store.begin().unwrap(), store.begin().unwrap());
    assert!(
        one.insert_or_get(&index, [4]).unwrap().is_inserted() && two.insert_or_get(&index, [4]).unwrap().is_inserted()
    );
    one.commit().unwrap();
    assert!(matches!(two.commit(), Err(Error::Conflict(_))));

    // Under any isolation: whoever comes second runs again, and finds the record of the other.
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let (mut runs, key) = (0, 5 + u8::from(isolation == Isolation::Snapshot));
        let ((first, second), _) = store
            .write_with(isolation, |tx| {
                runs += 1;
                let upserted = tx.upsert(&index, [key])?;
                let other = if runs == 1 { Some(store.write(|tx| tx.upsert(&index, [key]))?) } else { None };
                Ok::<_, Error>((upserted, other))
            })
            .unwrap();
        assert_eq!((runs, first.is_inserted(), second), (2, false, None), "{isolation:?}");
    }

    let other = store.record_set("b").unwrap();
    let several = by_byte(&store, &other, false);
    assert!(matches!(store.write(|tx| tx.upsert(&several, [1])), Err(Error::NotUnique { .. })));
    store.write(|tx| tx.update_with(new.id(), |old| [old, &[7]].concat())).unwrap();
    assert_eq!(store.get(new.id()).unwrap().as_slice(), Some(&[1, 2, 7][..]));
}

#[test]
fn a_range_of_keys_is_deleted_and_walked_over_while_it_changes() {
    let (store, set) = store();
    let index = by_byte(&store, &set, false);
    store.write(|tx| tx.insert_many(&set, &[[1, 2], [2, 3], [5, 9], [9, 9]])).unwrap();
    let mut tx = store.begin().unwrap();
    tx.insert(&set, [3]).unwrap();
    assert_eq!(tx.delete_range(&index, 2_u8..5).unwrap(), 3, "each once");
    for entry in tx.range(&index, ..10_u8).unwrap() {
        let id = entry.unwrap().id;
        tx.insert(&set, [6]).unwrap();
        tx.update(id, [8]).unwrap();
    }
    tx.commit().unwrap();
    let view = store.view();
    let values: Vec<_> = view.scan(&set).map(|record| record.unwrap().to_vec().unwrap()).collect();
    assert_eq!(values.iter().filter(|value| **value == [8]).count(), 2);
    assert_eq!(values.iter().filter(|value| **value == [6]).count(), 3, "entries of before: 5, 9 and 9");
    assert!(store.verify_index(&index).unwrap().is_empty());
}

#[test]
fn a_savepoint_is_released() {
    let (store, set) = store();
    let mut tx = store.begin().unwrap();
    let outer = tx.savepoint();
    tx.insert(&set, "1").unwrap();
    let inner = tx.savepoint();
    tx.insert(&set, "2").unwrap();
    tx.release(inner).unwrap();
    assert!(matches!(tx.roll_back_to(inner), Err(Error::NoSuchSavepoint)));
    assert_eq!(tx.len(&set).unwrap(), 2);
    tx.roll_back_to(outer).unwrap();
    assert_eq!(tx.len(&set).unwrap(), 0);
    let kept = tx.insert(&set, "3").unwrap();
    tx.release(outer).unwrap();
    assert!(matches!(tx.release(outer), Err(Error::NoSuchSavepoint)));
    tx.commit().unwrap();
    assert_eq!(store.view().scan(&set).map(|record| record.unwrap().id()).collect::<Vec<_>>(), [kept]);
}

#[test]
fn a_set_that_is_dropped_or_cleared_is_a_conflict_with_who_has_scanned_or_counted_it() {
    type Read = fn(&mut Transaction, &RecordSet) -> tenure::Result<()>;
    let reads: [Read; 2] = [|tx, set| tx.scan(set).map(drop), |tx, set| tx.len(set).map(drop)];
    for (read, records) in [(0, 0), (0, 2), (1, 0), (1, 2)] {
        for clears in [false, true] {
            let (store, set) = store();
            let target = store.record_set("target").unwrap();
            store.write(|tx| tx.insert_many(&set, &vec!["old"; records])).unwrap();
            let mut tx = store.begin().unwrap();
            reads[read](&mut tx, &set).unwrap();
            if clears {
                store.clear_set(&set).unwrap();
            } else {
                store.drop_set(&set).unwrap();
            }
            // The next transaction sees that set, but not the other one's future writes.
            store.write(|tx| tx.insert(&store.record_set("a")?, "new")).unwrap();
            tx.insert(&target, "because of the set").unwrap();
            let committed = tx.commit();
            assert!(matches!(committed, Err(Error::Conflict(_))), "{read}, {records}, {clears}: {committed:?}");
        }
    }
}

#[test]
fn a_set_that_is_not_there_is_not_scanned_or_counted() {
    let (store, set) = store();
    store.write(|tx| tx.insert(&set, "old")).unwrap();
    let view = store.view();
    store.drop_set(&set).unwrap();
    drop(view);
    let mut tx = store.begin().unwrap();
    assert!(matches!(tx.scan(&set), Err(Error::NoSuchSet { .. })));
    assert!(matches!(tx.len(&set), Err(Error::NoSuchSet { .. })));
    // A set created after the transaction's state has only the transaction's own records.
    let late = store.record_set("late").unwrap();
    assert_eq!((tx.len(&late).unwrap(), scanned(&mut tx, &late)), (0, vec![]));
    let id = tx.insert(&late, "own").unwrap();
    assert_eq!((tx.len(&late).unwrap(), scanned(&mut tx, &late)), (1, vec![(id, b"own".to_vec())]));
    tx.commit().unwrap();
}

#[test]
fn own_records_of_a_set_that_was_cleared_behind_the_state_are_scanned() {
    let (store, set) = store();
    let old = store.write(|tx| tx.insert(&set, "old")).unwrap();
    let mut tx = store.begin_with(Isolation::Snapshot).unwrap();
    tx.get(old).unwrap();
    store.clear_set(&set).unwrap();
    let new = tx.insert(&set, "own").unwrap();
    assert_eq!((tx.len(&set).unwrap(), scanned(&mut tx, &set).last().unwrap().0), (2, new));
    tx.commit().unwrap();
    assert_eq!(store.view().scan(&set).map(|record| record.unwrap().id()).collect::<Vec<_>>(), [new]);
}

#[test]
fn a_handle_of_an_index_goes_on_where_its_set_was_cleared() {
    let (store, set) = store();
    let index = by_byte(&store, &set, true);
    store.write(|tx| tx.upsert(&index, [1])).unwrap();
    store.clear_set(&set).unwrap();
    assert!(store.write(|tx| tx.upsert(&index, [1])).unwrap().is_inserted());
    assert!(!store.write(|tx| tx.insert_or_get(&index, [1])).unwrap().is_inserted());
    assert_eq!(store.view().len(&set), 1);

    let renamed = store.record_set("renamed").unwrap();
    let index = by_byte(&store, &renamed, true);
    let renamed = store.rename_set(&renamed, "c").unwrap();
    assert!(store.write(|tx| tx.upsert(&index, [1])).unwrap().is_inserted());
    assert_eq!(store.view().len(&renamed), 1);
    store.drop_set(&renamed).unwrap();
    let gone = store.write(|tx| tx.upsert(&index, [1]));
    assert!(matches!(gone, Err(Error::NoSuchSet { .. })), "{gone:?}");
}
