//! The directory of a store is renamed under its writer, its feeds and its followers, and moved back.

#![expect(clippy::disallowed_methods, reason = "what is renamed is a directory, by a user")]

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use tenure::{Changes, Durability, Options, RecordId, Seq, Store};

use crate::common::Rng;
use crate::following::LONG;

type Records = BTreeMap<RecordId, Vec<u8>>;

fn options() -> Options {
    Options::new()
        .segment_bytes(64 << 10)
        .snapshot_log_bytes(48 << 10)
        .space_ratio(1.2)
        .durability(Durability::Sync)
        .follow_interval(Some(Duration::from_millis(10)))
}

/// Inserts, updates and deletes, so that segments come and go.
fn churn(store: &Store, rng: &mut Rng, live: &mut Records) {
    let notes = store.record_set("notes").unwrap();
    for _ in 0..120 {
        let len = rng.below(2_000);
        let value = rng.bytes(len);
        let old = (live.len() > 20).then(|| *live.keys().nth(rng.below(live.len())).unwrap());
        let id = store.write(|tx| match old {
            Some(old) if rng.one_in(2) => tx.update(old, &*value).map(|()| old),
            Some(old) => tx.delete(old).and_then(|()| tx.insert(&notes, &*value)),
            None => tx.insert(&notes, &*value),
        });
        let id = id.unwrap();
        if let Some(old) = old {
            live.remove(&old);
        }
        live.insert(id, value);
    }
    store.save_snapshot().unwrap();
    store.collect(None).unwrap();
}

fn contents(store: &Store) -> Records {
    let view = store.view();
    let sets = store.record_sets();
    let records = sets.iter().flat_map(|set| view.scan(set).map(Result::unwrap).collect::<Vec<_>>());
    records.map(|record| (record.id(), record.to_vec().unwrap())).collect()
}

/// Applies what a feed has up to a commit.
fn apply(feed: &mut Changes, until: Seq, to: &mut Records) {
    let mut waited = Duration::ZERO;
    while feed.passed() < until {
        let Some(commit) = feed.next_timeout(Duration::from_millis(200)).unwrap() else {
            waited += Duration::from_millis(200);
            assert!(waited < LONG, "the feed ends at {}, before {until}", feed.passed());
            continue;
        };
        for change in commit.changes().map(Result::unwrap) {
            let Some(id) = change.id() else { continue };
            match change.value().unwrap().into_bytes() {
                Some(value) => drop(to.insert(id, value.into_owned())),
                None => drop(to.remove(&id)),
            }
        }
    }
}

#[test]
fn feeds_and_followers_stay_with_a_directory_that_is_renamed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = options().open(&path).unwrap();
    let (mut rng, mut live) = (Rng::new(1), Records::new());
    churn(&store, &mut rng, &mut live);
    let follower = options().follow(&path).unwrap();
    let consumer = store.add_consumer("mirror", store.last_seq()).unwrap();
    let mut feed = consumer.changes().unwrap();
    let mut beside = follower.changes(follower.last_seq()).unwrap();
    let (mut of_feed, mut of_beside) = (contents(&store), contents(&follower));
    let mut now = path;
    for place in ["moved", "moved again", "s", "elsewhere"] {
        let next = dir.path().join(place);
        fs::rename(&now, &next).unwrap();
        now = next;
        churn(&store, &mut rng, &mut live);
        // The collector has deleted segments, and others were begun.
        let last = store.last_seq();
        store.sync().unwrap();
        apply(&mut feed, last, &mut of_feed);
        apply(&mut beside, last, &mut of_beside);
        assert!(follower.wait_for(last, LONG).unwrap(), "{place}: {:?}", follower.progress());
        assert_eq!(contents(&follower), live, "{place}: the follower");
        assert_eq!((&of_feed, &of_beside), (&live, &live), "{place}: the feeds");
        // What both have seen the collector may delete.
        consumer.acknowledge(last).unwrap();
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was made where it was");
    let refused = follower.promote(&Options::new(), Duration::from_millis(100)).map(drop);
    assert!(refused.is_err(), "where it was opened there is nothing");
    store.close().unwrap();
    assert_eq!(contents(&Store::open(&now).unwrap()), live);
}
