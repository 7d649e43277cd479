//! A commit that reached the log but could only be applied in part. The handle stops and shows the state before it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tenure::backing::{Broken, Call, FailFor, FaultBacking};
use tenure::extract::Extractor;
use tenure::{Durability, Error, Options, RecordSet, Store};

const SETS: [&str; 3] = ["a", "b", "c"];

/// Three sets with a record each. Their pages were saved, and have not been read since.
fn saved(store: &Store) -> Vec<RecordSet> {
    let sets: Vec<RecordSet> = SETS.iter().map(|name| store.record_set(name).unwrap()).collect();
    for set in &sets {
        store.write(|tx| tx.insert(set, "first")).unwrap();
    }
    store.save_snapshot().unwrap();
    sets
}

/// The content of the sets in a new view.
fn shown(store: &Store, sets: &[RecordSet]) -> Vec<(u64, Vec<String>)> {
    let view = store.view();
    let values = |set| view.scan(set).map(|record| String::from_utf8(record.unwrap().to_vec().unwrap()).unwrap());
    sets.iter().map(|set| (view.len(set), values(set).collect())).collect()
}

/// A commit that puts something into each set.
fn commit(store: &Store, sets: &[RecordSet]) -> tenure::Result<tenure::Seq> {
    let mut tx = store.begin()?;
    for set in sets {
        tx.insert(set, "second")?;
        tx.insert(set, "third")?;
    }
    tx.commit_with(Durability::Buffered)
}

fn before() -> Vec<(u64, Vec<String>)> {
    SETS.iter().map(|_| (1, vec!["first".to_owned()])).collect()
}

#[test]
fn a_view_after_a_commit_that_could_not_be_applied_shows_none_of_it() {
    let options = Options::new().background(false);
    let mut in_the_middle = 0;
    for read in 0..4 {
        let backing = FaultBacking::new();
        let store = options.open_backing(Arc::new(backing.clone())).unwrap();
        let sets = saved(&store);
        let seq = store.last_seq();
        // The pages of the sets are read when they change for the first time.
        backing.fail_read_at(backing.reads() + read, std::io::ErrorKind::Other, FailFor::Once);
        let result = commit(&store, &sets);
        backing.heal();
        if result.is_ok() {
            continue;
        }
        in_the_middle += u32::from(read > 0);
        assert!(matches!(result, Err(Error::Indeterminate { .. })), "{result:?}");
        assert_eq!(shown(&store, &sets), before(), "at read {read}");
        assert_eq!(store.view().seq(), seq);
        assert!(matches!(store.begin().map(drop), Err(Error::Poisoned { .. })));
        drop(store);
        // The log has all of it.
        let store = options.open_backing(Arc::new(backing.kill_image())).unwrap();
        assert!(shown(&store, &sets).iter().all(|(count, _)| *count == 3));
    }
    assert!(in_the_middle > 0, "no failure came after the first page");
}

#[test]
fn a_view_after_a_panic_in_the_middle_of_a_commit_shows_none_of_it() {
    let backing = FaultBacking::new();
    let store = Options::new().background(false).open_backing(Arc::new(backing.clone())).unwrap();
    let sets = saved(&store);
    // The first set's page is on the heap again, the others' are not.
    store.write(|tx| tx.insert(&sets[0], "more")).unwrap();
    let mut expected = before();
    expected[0] = (2, vec!["first".to_owned(), "more".to_owned()]);
    backing.break_calls(Call::Read, Broken::Panics);
    let result = catch_unwind(AssertUnwindSafe(|| commit(&store, &sets)));
    assert!(result.is_err(), "{result:?}");
    backing.break_calls(Call::Create, Broken::Panics);
    assert_eq!(shown(&store, &sets), expected);
    assert!(store.stats().stopped.unwrap().contains("in the middle of a commit"));
    assert!(matches!(store.begin().map(drop), Err(Error::Poisoned { .. })));
}

#[test]
fn an_index_that_was_changed_in_part_is_not_read_any_more() {
    let options = Options::new().background(false);
    let mut stopped = 0;
    for read in 0..6 {
        let backing = FaultBacking::new();
        let store = options.open_backing(Arc::new(backing.clone())).unwrap();
        let set = store.record_set(SETS[0]).unwrap();
        let whole = Extractor::new("whole", 1, |record, keys| keys.push(record));
        let index = store.index(&set, "value", whole).unwrap();
        let sets = saved(&store);
        let view = store.view();
        // An ID whose transaction aborted is logged with the next commit, after the changes of the index.
        let mut aborted = store.begin().unwrap();
        aborted.insert(&sets[1], "never").unwrap();
        drop(aborted);
        backing.fail_read_at(backing.reads() + read, std::io::ErrorKind::Other, FailFor::Once);
        let result = commit(&store, &sets[..1]);
        backing.heal();
        let now = store.view();
        let entry = index.get(&now, &b"second"[..]);
        if result.is_ok() {
            assert!(entry.unwrap().is_some());
            continue;
        }
        assert_eq!(shown(&store, &sets[..1]), before()[..1], "at read {read}");
        assert!(!matches!(entry, Ok(Some(_))), "at read {read}: an entry without its record: {entry:?}");
        assert!(index.get(&view, &b"first"[..]).unwrap().is_some(), "older views go on");
        stopped += u32::from(matches!(entry, Err(Error::NoSuchIndex { .. })));
    }
    assert!(stopped > 0, "no failure came in the middle");
}
