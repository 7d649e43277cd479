//! Changes and consumers that are not there, and commits that do not come.

use tenure::{Options, Result};

use crate::support::{Fixture, tenure};
use crate::table::assert_told;

#[test]
fn changes_that_are_gone() {
    let fixture = Fixture::new();
    let path = fixture.path("collected");
    let store = Options::new().background(false).segment_bytes(64 << 10).open(&path).expect("opens");
    let set = store.record_set("a").expect("a set");
    for _ in 0..20 {
        let ids = store.write(|tx| (0..50).map(|_| tx.insert(&set, [7; 1000])).collect::<Result<Vec<_>>>());
        let ids = ids.expect("inserts");
        store.write(|tx| ids.iter().try_for_each(|id| tx.delete(*id).map(drop))).expect("deletes");
    }
    store.save_snapshot().expect("saves");
    store.save_snapshot().expect("saves");
    store.collect(None).expect("collects");
    store.close().expect("closes");
    for args in [&["changes", &path, "--since", "1"][..], &["consumer", "add", &path, "late", "--since", "1"]] {
        assert_told("changes_that_are_gone", &tenure(args), "commit 1 ");
    }
    fixture.assert_unchanged();
}

#[test]
fn changes_from_before_a_rollback() {
    let fixture = Fixture::new();
    let path = fixture.path("rolled-back");
    tenure(&["put", &path, "--set", "a", "one"]).ok();
    tenure(&["snapshot", "save", &path, "before"]).ok();
    tenure(&["put", &path, "--set", "a", "two"]).ok();
    tenure(&["rollback", &path, "--snapshot", "before"]).ok();
    assert_told("changes_from_before_a_rollback", &tenure(&["changes", &path, "--since", "2"]), "commit 2;");
    // All that the log has: what led to the state before, and what came after.
    let run = tenure(&["changes", &path]);
    assert!(run.code == 0 && run.err.starts_with("note: the store was rolled back after commit 2"), "{run:?}");
    fixture.assert_unchanged();
}

#[test]
fn consumer_that_is_not_there() {
    let fixture = Fixture::new();
    let store = fixture.store();
    for args in [&["changes", &store, "--consumer", "nobody"][..], &["consumer", "remove", &store, "nobody"]] {
        assert_told("consumer_that_is_not_there", &tenure(args), "\"nobody\"");
    }
    fixture.assert_unchanged();
}

#[test]
fn consumer_of_a_name_that_is_taken() {
    let fixture = Fixture::new();
    let store = fixture.store();
    tenure(&["consumer", "add", &store, "mirror"]).ok();
    assert_told("consumer_of_a_name_that_is_taken", &tenure(&["consumer", "add", &store, "mirror"]), "\"mirror\"");
    tenure(&["consumer", "remove", &store, "mirror"]).ok();
    fixture.assert_unchanged();
}

#[test]
fn commit_that_does_not_come() {
    let fixture = Fixture::new();
    let run = tenure(&["watch", &fixture.store(), "--until", "4711", "--for", "50ms"]);
    assert_told("commit_that_does_not_come", &run, "4711");
    fixture.assert_unchanged();
}
