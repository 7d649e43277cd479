//! With a reuse count of four bits: a slot is retired after fifteen uses, and no ID is ever reused.

#![cfg(feature = "planted")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use tenure::planted::{NARROW_REUSE, REUSE_MAX_NARROW};
use tenure::{Durability, Lookup, Options, RecordId};

use crate::common;
use crate::common::Rng;

const USES: u32 = REUSE_MAX_NARROW;

/// Runs the test in a process with a narrow count.
fn narrow() {
    let program = std::env::current_exe().expect("this program");
    let this = common::test_name(module_path!(), "a_slot_is_retired_after_its_last_use_and_no_id_returns");
    let run = Command::new(program).args(["--exact", &this]).env(NARROW_REUSE, "1").output().expect("runs");
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && told.contains("1 passed"), "{told}");
}

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).durability(Durability::Buffered).background(false)
}

#[test]
fn a_slot_is_retired_after_its_last_use_and_no_id_returns() {
    if std::env::var_os(NARROW_REUSE).is_none() {
        return narrow();
    }
    assert!(RecordId::from_parts(0, USES + 1).is_none(), "the count is not narrow");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let mut store = options().open(&path).expect("opens");
    let mut rng = Rng::new(21);
    let mut ever = BTreeSet::new();
    let mut uses: BTreeMap<u64, u32> = BTreeMap::new();
    let mut live: Vec<RecordId> = Vec::new();
    for round in 0..3_000 {
        let set = store.record_set("a").expect("a set");
        let mut tx = store.begin().expect("begins");
        let mut fresh = Vec::new();
        for _ in 0..10 {
            let id = tx.insert(&set, round.to_string()).expect("inserts");
            assert!((1..=USES).contains(&id.reuse_count()), "{id}");
            assert!(ever.insert(id), "{id} was handed out twice");
            let last = uses.entry(id.slot()).or_default();
            assert!(id.reuse_count() > *last, "{id} after {last} uses");
            *last = id.reuse_count();
            fresh.push(id);
        }
        if rng.one_in(5) {
            drop(tx);
        } else {
            tx.commit_with(Durability::Buffered).expect("commits");
            live.extend(fresh);
        }
        while live.len() > 20 {
            let id = live.swap_remove(rng.below(live.len()));
            store.write(|tx| tx.delete(id)).expect("deletes");
        }
        if rng.one_in(8) {
            // A slot is reused once the preceding deletion is durable.
            store.sync().expect("syncs");
        }
        if rng.one_in(200) {
            store.close().expect("closes");
            store = options().open(&path).expect("opens");
        }
    }
    let retired: Vec<u64> = uses.iter().filter(|(_, count)| **count == USES).map(|(slot, _)| *slot).collect();
    assert!(retired.len() > 500, "{} slots were retired", retired.len());
    for id in &ever {
        let is_live = matches!(store.lookup(*id).expect("looks up"), Lookup::Live(_));
        assert_eq!(is_live, live.contains(id), "{id}");
    }
    drop(store);
    let store = options().open(&path).expect("opens");
    assert_eq!(common::contents(&store).expect("reads")["a"].len(), live.len());
    for slot in retired {
        let last = RecordId::from_parts(slot, USES).expect("an ID");
        assert_eq!(common::is_dead(&store, last), !live.contains(&last), "{last}");
    }
}
