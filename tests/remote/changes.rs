//! The change feed of a store that is shipped to a bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tenure::backing::Memory;
use tenure::remote::Remote;
use tenure::{Changes, Durability, Error, Options, Point, Seq, Store};

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
    let (_, second) = store.write_with(Durability::Sync, |tx| tx.insert(&notes, "2")).unwrap();
    let mut turned = store.changes(since).unwrap();
    assert_eq!(turned.try_next().unwrap().expect("it is durable here").seq(), seq);
    let mut turned = turned.remote().unwrap();
    assert!(turned.try_next().unwrap().is_none(), "it was durable here when the first was asked for");
    objects.set_down(false);
    store.wait_remote(second).unwrap();
    let commit = feed.next_timeout(Duration::from_secs(20)).unwrap().expect("the bucket has it");
    assert_eq!(commit.seq(), seq);
    for feed in [&mut feed, &mut turned] {
        assert_eq!(feed.next_timeout(Duration::from_secs(20)).unwrap().expect("the bucket has it").seq(), second);
        assert!(feed.try_next().unwrap().is_none());
    }
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

/// What a feed says until it fails. It fails.
fn until_it_fails(mut feed: Changes) -> (Vec<Seq>, Error) {
    let mut shown = Vec::new();
    loop {
        match feed.next_timeout(Duration::from_secs(20)) {
            Ok(Some(commit)) => shown.push(commit.seq()),
            Ok(None) => panic!("it says nothing of the rollback after {}, having shown {shown:?}", feed.passed()),
            Err(error) => {
                assert!(feed.try_next().is_err(), "it fails again");
                return (shown, error);
            }
        }
    }
}

#[test]
fn a_rollback_is_an_error_of_every_feed_of_the_bucket_from_before_it() {
    for has_more in [false, true] {
        let objects = Flaky::new(1);
        let place = bucket(&objects.store());
        let store = open(&Memory::new(), &place, quick()).unwrap();
        let notes = store.record_set("notes").unwrap();
        let write =
            |store: &Store, value: &str| store.write_with(Durability::Remote, |tx| tx.insert(&notes, value)).unwrap().1;
        write(&store, "before");
        let mark = store.mark("here").unwrap();
        let rolled_back = ["1", "2", "3"].map(|value| write(&store, value));
        let last = store.last_seq();
        let view = || Options::new().read_only(true).open_backing(Arc::new(place.view(None).unwrap())).unwrap();
        let before = view();
        let follower = Options::new().follow_interval(Some(Duration::from_millis(10))).follow_bucket(&place).unwrap();
        // They have come to the end, half of the way, and to the mark.
        let begin = |store: &Store, since: Seq, steps: usize| {
            let mut feed = store.changes(since).unwrap();
            for seq in rolled_back.iter().take(steps) {
                let commit = feed.next_timeout(Duration::from_secs(20)).unwrap().expect("the bucket has it");
                assert_eq!(commit.seq(), *seq);
            }
            feed
        };
        let running: Vec<_> = [&before, follower.store()]
            .into_iter()
            .flat_map(|store| {
                [begin(store, mark, 3), begin(store, mark, 1), begin(store, mark, 0), begin(store, last, 0)]
            })
            .collect();

        let store = store.roll_back_to(&Point::Mark("here".to_owned())).unwrap();
        let resumed = store.last_seq();
        assert!(resumed > last);
        let added = has_more.then(|| write(&store, "after"));
        store.wait_remote(store.last_seq()).unwrap();
        assert!(follower.wait_for(store.last_seq(), Duration::from_secs(20)).unwrap());
        let after = view();
        let stores = [&store, &before, &after, follower.store()];
        let sinces = [mark].into_iter().chain(rolled_back);
        let new = stores.into_iter().flat_map(|store| sinces.clone().map(|since| store.changes(since).unwrap()));
        let remote = sinces.clone().map(|since| store.changes(since).unwrap().remote().unwrap());
        for feed in running.into_iter().chain(new).chain(remote) {
            let since = feed.passed();
            let (shown, error) = until_it_fails(feed);
            // What was there before the rollback may come, without a gap, and nothing of what came after it.
            let expected = rolled_back.into_iter().filter(|seq| *seq > since).take(shown.len());
            assert_eq!(shown, expected.collect::<Vec<_>>(), "{since}: {error}");
            match error {
                Error::RolledBack { since, resumed: at } => {
                    assert!(since >= mark && since <= last && at == resumed, "{since} {at}");
                }
                // What it rolled back was deleted.
                Error::Gone { oldest, .. } => assert!(oldest >= resumed, "{oldest}"),
                error => panic!("{error}"),
            }
        }
        // The handle from before it has not learned of it.
        for store in stores.into_iter().filter(|store| store.last_seq() >= resumed) {
            let mut feed = store.changes(resumed).unwrap();
            let next = feed.next_timeout(Duration::from_secs(if has_more { 20 } else { 1 })).unwrap();
            assert_eq!(next.map(|commit| commit.seq()), added);
        }
    }
}

/// Numbers of commits that were not in the bucket are given again by who takes it over. Who copies what the bucket has goes on there.
#[test]
fn a_feed_of_what_the_bucket_has_goes_on_with_who_takes_it_over() {
    let objects = Flaky::new(1);
    let place = bucket(&objects.store());
    let store = open(&Memory::new(), &place, quick().close_wait(Duration::ZERO)).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "1")).unwrap();
    let (kept, _) = (store.last_seq(), place.status().unwrap().unwrap());
    objects.set_down(true);
    let here = [0; 3].map(|_| store.write_with(Durability::Sync, |tx| tx.insert(&notes, "only here")).unwrap().1);
    let passed = |feed: Changes| {
        let mut feed = feed;
        while feed.next_timeout(Duration::from_millis(30)).unwrap().is_some() {}
        feed.passed()
    };
    let local = passed(store.changes(Seq::ZERO).unwrap());
    let shipped = passed(store.changes(Seq::ZERO).unwrap().remote().unwrap());
    assert_eq!((local, shipped), (here[2], kept));
    drop(store);
    objects.set_down(false);
    let store = open(&Memory::new(), &place, quick().take_over(true)).unwrap();
    assert!(store.last_seq() < local, "{}", store.last_seq());
    // A position beyond what is there is an error of the writer's handle, and one that only reads waits.
    assert!(matches!(store.changes(local), Err(Error::PointGone { .. })));
    let reader = Options::new().read_only(true).open_backing(Arc::new(place.view(None).unwrap())).unwrap();
    let mut waiting = reader.changes(local).unwrap();
    assert!(waiting.next_timeout(Duration::from_millis(600)).unwrap().is_none());
    let next = store.write_with(Durability::Remote, |tx| tx.insert(&notes, "2")).unwrap().1;
    for store in [&store, &reader] {
        let mut feed = store.changes(shipped).unwrap();
        let commit = feed.next_timeout(Duration::from_secs(20)).unwrap().expect("the next one");
        let change = commit.changes().next().unwrap().unwrap();
        assert_eq!((commit.seq(), change.value().unwrap().bytes()), (next, Some(&b"2"[..])));
    }
    assert!(waiting.next_timeout(Duration::from_millis(600)).unwrap().is_none());
}
