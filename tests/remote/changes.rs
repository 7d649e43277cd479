//! The change feed of a store that is shipped to a bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tenure::backing::Memory;
use tenure::remote::Remote;
use tenure::{Durability, Error, Options, Seq, Store};

use crate::common::Ends;
use crate::flaky::Flaky;
use crate::{bucket, open, quick, small};

#[test]
fn a_feed_of_what_the_bucket_has_waits_for_it() {
    let objects = Flaky::new(1);
    let store = open(&Memory::new(), &bucket(&objects.store()), quick()).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    let since = store.last_seq();
    objects.set_down(true);
    let (_, seq) = store.write_with(Durability::Sync, |tx| tx.insert(&notes, "1")).unwrap();
    assert_eq!(store.changes(since).unwrap().count(), 1, "it is durable here");
    let mut feed = store.changes(since).unwrap().remote().unwrap();
    assert!(feed.next_timeout(Duration::from_millis(30)).unwrap().is_none(), "the bucket lacks it");
    objects.set_down(false);
    store.wait_remote(seq).unwrap();
    let commit = feed.next_timeout(Duration::from_secs(20)).unwrap().expect("the bucket has it");
    assert_eq!(commit.seq(), seq);
    assert!(feed.try_next().unwrap().is_none());
    let local = Store::in_memory().unwrap();
    assert!(matches!(local.changes(Seq::ZERO).unwrap().remote(), Err(Error::BadOption { .. })));
}

#[test]
fn a_follower_of_a_bucket_has_a_feed_that_goes_on() {
    let objects = Flaky::new(1);
    let place = bucket(&objects.store());
    let store = open(&Memory::new(), &place, quick()).unwrap();
    let notes = store.record_set("notes").unwrap();
    let all = store.add_consumer("all", Seq::ZERO).unwrap();
    let first = store.write_with(Durability::Remote, |tx| tx.insert(&notes, "1")).unwrap().0;
    let follower = Options::new().follow_interval(Some(Duration::from_millis(10))).follow_bucket(&place).unwrap();
    let mut feed = follower.store().changes(Seq::ZERO).unwrap();
    let mut seen = Vec::new();
    for number in 0..30_u8 {
        store.write_with(Durability::Remote, |tx| tx.insert(&notes, vec![number; 3_000])).unwrap();
        if number % 10 == 9 {
            store.write_with(Durability::Remote, |tx| tx.update(first, vec![number; 200_000])).unwrap();
            store.save_snapshot().unwrap();
        }
        // Says that the one before is durable.
        store.write_with(Durability::Remote, |tx| tx.insert(&notes, "")).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while !seen.contains(&vec![number; 3_000]) {
            assert!(Instant::now() < until, "{number}: {} seen", seen.len());
            let Some(commit) = feed.next_timeout(Duration::from_millis(20)).unwrap() else { continue };
            for change in commit.changes().map(Result::unwrap).filter(|change| change.id().is_some()) {
                seen.push(change.value().unwrap().bytes().expect("it is there").to_vec());
            }
        }
    }
    assert!(seen.contains(&vec![19; 200_000]), "a large value");
    all.acknowledge(store.durable_seq()).unwrap();
}

#[test]
fn a_follower_and_its_feed_look_at_the_same_bucket_and_both_get_all() {
    let objects = Flaky::new(1);
    let place = bucket(&objects.store());
    let store = open(&Memory::new(), &place, quick()).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "1")).unwrap();
    let interval = Some(Duration::from_millis(150));
    let follower = Options::new().follow_interval(interval).follow_bucket(&place).unwrap();
    let feed = follower.store().changes(store.last_seq()).unwrap();
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&ends);
        let mut feed = feed;
        let ends = &ends;
        let feeding = scope.spawn(move || {
            let mut seen = 0;
            while !ends.load(Ordering::Acquire) {
                seen += u32::from(feed.next_timeout(Duration::from_millis(5)).unwrap().is_some());
            }
            seen
        });
        for number in 0..8_u8 {
            let (_, seq) = store.write_with(Durability::Remote, |tx| tx.insert(&notes, [number])).unwrap();
            // What comes last has no commit after it that would lead there.
            assert!(follower.wait_for(seq, Duration::from_secs(10)).unwrap(), "{number}: {:?}", follower.stats());
            // Out of step with both.
            std::thread::sleep(Duration::from_millis(u64::from(number) * 70 % 500));
        }
        // Then nobody writes, and each look is one request.
        std::thread::sleep(Duration::from_millis(1_500));
        let (before, lists) = (objects.counts.all(), objects.counts.lists.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_secs(1));
        let (asked, lists) = (objects.counts.all() - before, objects.counts.lists.load(Ordering::Relaxed) - lists);
        ends.store(true, Ordering::Release);
        // By the follower seven, by the feed two; and after 64 looks the log is listed.
        assert!(asked <= 20 && lists <= 6, "{asked} requests, {lists} of them lists");
        assert!(feeding.join().unwrap() >= 7);
    });
}

#[test]
fn the_last_commit_comes_from_a_bucket_while_its_writer_is_idle() {
    for background in [true, false] {
        let objects = Flaky::new(1);
        let place = bucket(&objects.store());
        let remote = Remote::new(Arc::new(Memory::new()), place.clone(), quick());
        let store = small().background(background).open_backing(Arc::new(remote)).unwrap();
        let notes = store.record_set("notes").unwrap();
        let since = store.last_seq();
        store.wait_remote(since).unwrap();
        let reader = Options::new().read_only(true).open_backing(Arc::new(place.view(None).unwrap())).unwrap();
        let mut feed = reader.changes(since).unwrap();
        // One, several at once, and one that is larger than a segment.
        for values in [&[10][..], &[20, 30, 40], &[300_000], &[50]] {
            for len in values {
                store.write(|tx| tx.insert(&notes, vec![7; *len])).unwrap();
            }
            store.wait_remote(store.last_seq()).unwrap();
            for len in values {
                let commit = feed.next_timeout(Duration::from_secs(5)).unwrap().expect("the bucket has it");
                let change = commit.changes().next().unwrap().unwrap();
                assert_eq!(change.value().unwrap().bytes().unwrap().len(), *len, "{background}");
            }
            assert!(feed.try_next().unwrap().is_none());
        }
        let last = feed.passed();
        store.close().unwrap();
        assert!(feed.next_timeout(Duration::from_secs(1)).unwrap().is_none(), "{last}");
    }
}
