//! Handles that end although a request is never answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure::backing::Memory;
use tenure::remote::Bucket;
use tenure::{Durability, Follower, Options, Store};

use crate::flaky::Flaky;
use crate::{bucket, contents, in_time, open, quick, small};

/// A bucket with a store, and a follower of it whose thread has sent a request that is never answered.
fn stuck(objects: &Arc<Flaky>, follow: impl FnOnce(&Bucket) -> Follower) -> (Bucket, Store, Follower) {
    let bucket = bucket(&objects.store());
    let store = open(&Memory::new(), &bucket, quick()).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "x")).unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    let follower = follow(&bucket);
    objects.hang(true);
    let begun = Instant::now();
    while objects.hanging() == 0 {
        assert!(begun.elapsed() < Duration::from_mins(1), "it sends no request");
        std::thread::sleep(Duration::from_millis(1));
    }
    (bucket, store, follower)
}

fn often() -> Options {
    Options::new().follow_interval(Some(Duration::from_millis(10)))
}

#[test]
fn a_follower_ends_although_a_request_is_never_answered() {
    let of_bucket = |bucket: &Bucket| often().follow_bucket(bucket).unwrap();
    let of_view = |bucket: &Bucket| often().follow_backing(Arc::new(bucket.view(None).unwrap())).unwrap();
    for follow in [of_bucket as fn(&Bucket) -> Follower, of_view] {
        let objects = Flaky::new(1);
        let (_bucket, store, follower) = stuck(&objects, follow);
        let reader = follower.store().clone();
        in_time(move || drop(follower));
        // Its request is still without an answer, and others are answered.
        assert_eq!(objects.hanging(), 1);
        objects.hang(false);
        let notes = store.record_set("notes").unwrap();
        let (more, _) = store.write_with(Durability::Remote, |tx| tx.insert(&notes, "more")).unwrap();
        let mut reader = reader;
        reader.refresh().unwrap();
        assert_eq!(reader.get(more).unwrap().as_slice(), Some(&b"more"[..]));
    }
}

#[test]
fn a_follower_ends_although_who_goes_on_beside_it_gets_no_answer() {
    let objects = Flaky::new(1);
    let (_bucket, _store, follower) = stuck(&objects, |bucket| {
        let follower = Options::new().follow_interval(Some(Duration::from_millis(200))).follow_bucket(bucket).unwrap();
        let mut beside = follower.store().clone();
        objects.hang(true);
        // Not the follower's own thread, which would find the same.
        std::thread::spawn(move || beside.refresh());
        follower
    });
    // Its own thread looks meanwhile, too.
    std::thread::sleep(Duration::from_millis(300));
    in_time(move || drop(follower));
}

#[test]
fn a_bucket_is_taken_over_by_a_follower_that_waited_for_an_answer() {
    let objects = Flaky::new(1);
    let (_bucket, store, follower) = stuck(&objects, |bucket| often().follow_bucket(bucket).unwrap());
    objects.hang(false);
    let expected = contents(&store);
    let promoted = in_time(move || follower.promote_into(Arc::new(Memory::new()), &small(), quick())).unwrap();
    assert_eq!(objects.hanging(), 1);
    assert_eq!(contents(&promoted), expected);
}
