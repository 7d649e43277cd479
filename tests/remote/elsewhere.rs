//! Following a bucket and reading its changes, elsewhere than its writer.
//!
//! Over a directory, or over a real server: see `world`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tenure::backing::Memory;
use tenure::remote::Remote;
use tenure::{Changes, Error, Options, Result, Seq, Store};

use crate::common::Ends;
use crate::world::{Changed, LONG, Place, Reader, Records, World, read};
use crate::writers::is_fenced;
use crate::{quick, rounds, small};

/// A writer as programs have it, with its thread.
fn write(place: &Place) -> Store {
    let remote = Remote::new(Arc::new(Memory::new()), place.bucket(), quick());
    small().background(true).snapshot_log_bytes(64 << 10).open_backing(Arc::new(remote)).unwrap()
}

#[test]
fn a_follower_shows_each_commit_and_takes_over_from_its_writer() {
    let place = Place::new();
    let mut world = World::new(write(&place), 1);
    let follower = Options::new().follow_interval(Some(Duration::from_millis(10))).follow(&place.url).unwrap();
    let other = Store::follow(&place.url).unwrap();
    let reader = Reader::new(&follower);
    let ends = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let _ends = Ends(&ends);
        let watching = scope.spawn(|| {
            let mut seen: BTreeMap<Seq, Records> = BTreeMap::new();
            loop {
                let last = ends.load(Ordering::Acquire);
                let view = follower.view();
                assert!(seen.keys().next_back().is_none_or(|before| *before <= view.seq()), "it went back");
                seen.entry(view.seq()).or_insert_with(|| reader.read(&view));
                if last {
                    return seen;
                }
                follower.wait_for(view.seq().next(), Duration::from_millis(100)).unwrap();
            }
        });
        for number in 1..=rounds("TENURE_REMOTE_COMMITS", 200) {
            let seq = world.commit().unwrap();
            if number % 30 == 0 {
                world.collect();
            }
            // Each of ten, then what there is after ten.
            if number % 20 < 10 {
                assert!(follower.wait_for(seq, LONG).unwrap(), "{:?}", follower.progress());
                assert_eq!(reader.read(&follower.view()), world.now, "commit {seq}");
            }
        }
        assert!(follower.wait_for(world.store.last_seq(), LONG).unwrap(), "{:?}", follower.progress());
        ends.store(true, Ordering::Release);
        watching.join().unwrap()
    });
    for (seq, records) in &seen {
        assert_eq!(records, world.at(*seq), "commit {seq}");
    }
    assert_eq!(read(&follower), read(&world.store));
    println!("{} states, {:?}", seen.len(), follower.progress());

    let store = follower.promote_into(Arc::new(Memory::new()), &small(), quick()).unwrap();
    let error = world.commit().expect_err("another one writes");
    assert!(is_fenced(&error), "{error}");
    assert_eq!(read(&store), world.now, "all that was acknowledged, and nothing else");
    world.go_on(store);
    let last = (0..20).map(|_| world.commit().unwrap()).last().unwrap();
    assert!(other.wait_for(last, LONG).unwrap(), "{:?}", other.progress());
    assert_eq!((read(&other), read(&world.store)), (world.now.clone(), world.now));
}

/// Reads a feed up to a commit, which may come later.
fn read_changes(feed: &mut Changes, until: impl Fn() -> Option<Seq>, passed: &AtomicU64) -> Changed {
    let (mut seen, begin) = (Changed::new(), Instant::now());
    while until().is_none_or(|until| feed.passed() < until) {
        assert!(begin.elapsed() < LONG, "{} of {:?}", feed.passed(), until());
        let Some(commit) = feed.next_timeout(Duration::from_millis(50)).unwrap() else { continue };
        let changes = commit.changes().map(Result::unwrap).filter_map(|change| {
            let value = change.value().unwrap().into_bytes().map(std::borrow::Cow::into_owned);
            Some((change.id()?, value))
        });
        seen.push((commit.seq(), changes.collect()));
        passed.store(feed.passed().0, Ordering::Release);
    }
    seen
}

#[test]
fn a_consumer_reads_each_commit_once_and_in_order() {
    let place = Place::new();
    let mut world = World::new(write(&place), 2);
    let since = world.store.last_seq();
    let consumer = world.store.add_consumer("mirror", since).unwrap();
    for number in 0..30 {
        world.commit().unwrap();
        if number % 10 == 9 {
            world.collect();
        }
    }
    // It was kept for the consumer.
    let reader = place.read();
    let there = reader.consumer("mirror").unwrap();
    assert!(matches!(there.acknowledge(since), Err(Error::ReadOnly)));
    let mut feed = there.changes().unwrap();
    let (last, passed) = (AtomicU64::new(0), AtomicU64::new(0));
    let until = || Some(Seq(last.load(Ordering::Acquire))).filter(|last| last.0 > 0);
    let seen = std::thread::scope(|scope| {
        let feeding = scope.spawn(|| read_changes(&mut feed, until, &passed));
        for number in 0..60 {
            world.commit().unwrap();
            if number % 20 == 19 {
                // The writer's own handle says what need not be kept.
                consumer.acknowledge(Seq(passed.load(Ordering::Acquire))).unwrap();
                world.collect();
            }
        }
        last.store(world.history.keys().next_back().unwrap().0, Ordering::Release);
        feeding.join().unwrap()
    });
    assert_eq!(seen, world.changes(since));
    let middle = seen[seen.len() / 2].0;
    consumer.acknowledge(middle).unwrap();
    world.commit().unwrap();
    let again = place.read();
    let mut feed = again.consumer("mirror").unwrap().changes().unwrap();
    let position = consumer.position().unwrap();
    assert!(position >= middle);
    let rest = read_changes(&mut feed, || world.history.keys().next_back().copied(), &passed);
    assert_eq!(rest, world.changes(position));
    println!("{} commits, {} of them again", seen.len(), rest.len());
}
