//! Large values, whose parts are in commits of their own before them.

use tenure::{ChangeKind, ChangeValue, Durability, Options, RecordId, Seq, Store};

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).snapshot_log_bytes(256 << 10).background(false)
}

fn value(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|index| seed.wrapping_add(u8::try_from(index % 251).unwrap())).collect()
}

/// The values of all changes of a record, oldest first.
fn values(store: &Store, since: Seq, id: RecordId) -> Vec<Option<Vec<u8>>> {
    let mut all = Vec::new();
    for commit in store.changes(since).unwrap() {
        let commit = commit.unwrap();
        for change in commit.changes().map(Result::unwrap).filter(|change| change.id() == Some(id)) {
            all.push(match change.value().unwrap() {
                ChangeValue::Bytes(bytes) => Some(bytes.into_owned()),
                ChangeValue::Gone => None,
                other => {
                    assert_eq!((other, change.kind()), (ChangeValue::Nothing, ChangeKind::Delete));
                    continue;
                }
            });
        }
    }
    all
}

#[test]
fn a_large_value_that_was_replaced_is_read_while_its_parts_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().open(&path).unwrap();
    let set = store.record_set("a").unwrap();
    let since = store.last_seq();
    store.add_consumer("all", since).unwrap();
    // The last one has lists of parts, and is written in many commits.
    let all = [value(1, 70_000), value(2, 300_000), value(3, 3_000_000), value(4, 65_504), value(5, 1_500_000)];
    let id = store.write(|tx| tx.insert(&set, &all[0])).unwrap();
    for value in &all[1..] {
        store.write(|tx| tx.update(id, value)).unwrap();
    }
    store.write(|tx| tx.delete(id)).unwrap();
    let expected: Vec<_> = all.iter().cloned().map(Some).collect();
    let is_same = |store: &Store, when: &str| {
        let same = values(store, since, id) == expected;
        assert!(same, "{when}");
    };
    is_same(&store, "deleted");
    store.save_snapshot().unwrap();
    store.save_snapshot().unwrap();
    store.collect(None).unwrap();
    is_same(&store, "collected");
    let reader = Options::new().read_only(true).open(&path).unwrap();
    is_same(&reader, "beside the writer");
    store.close().unwrap();
    is_same(&options().open(&path).unwrap(), "opened again");
}

#[test]
fn a_reader_that_does_not_refresh_gets_large_values() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().open(&path).unwrap();
    let set = store.record_set("a").unwrap();
    store.sync().unwrap();
    let reader = Options::new().read_only(true).open(&path).unwrap();
    let since = reader.last_seq();
    let id = store.write(|tx| tx.insert(&set, value(1, 400_000))).unwrap();
    // Says that the one before is durable.
    store.write_with(Durability::Buffered, |tx| tx.insert(&set, "2")).unwrap();
    assert!(values(&reader, since, id) == [Some(value(1, 400_000))]);
}

#[test]
fn a_large_value_whose_parts_were_collected_is_gone_and_not_absent() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path().join("store")).unwrap();
    let set = store.record_set("a").unwrap();
    let id = store.write(|tx| tx.insert(&set, value(1, 400_000))).unwrap();
    // From the commit of the head on: those of its parts are before it.
    let head = Seq(store.last_seq().0 - 1);
    assert!(values(&store, head, id) == [Some(value(1, 400_000))], "it is the newest");
    store.write(|tx| tx.update(id, value(2, 400_000))).unwrap();
    assert!(values(&store, head, id) == [None, Some(value(2, 400_000))]);
}
