//! How many requests, and how many bytes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tenure::Durability;
use tenure::backing::Memory;
use tenure::remote::{Remote, RemoteOptions};

use crate::flaky::Flaky;
use crate::{bucket, open, quick, small};

#[test]
fn commits_that_wait_share_puts() {
    for (threads, each, most) in [(1, 30, 1.0), (8, 30, 0.25), (64, 30, 0.04)] {
        let objects = Flaky::new(1);
        // A put takes much longer than a commit, as over a network.
        objects.slow(Duration::from_millis(25));
        let store = open(&Memory::new(), &bucket(&objects.store()), quick()).unwrap();
        let notes = store.record_set("notes").unwrap();
        store.wait_remote(store.last_seq()).unwrap();
        let before = objects.counts.puts();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..each {
                        store.write_with(Durability::Remote, |tx| tx.insert(&notes, "x")).unwrap();
                    }
                });
            }
        });
        let puts = objects.counts.puts() - before;
        let commits = u64::try_from(threads * each).unwrap();
        // One more for the tail, and one base for every 64.
        let bases = puts / 64 + 1;
        println!("{threads} threads: {puts} puts for {commits} commits");
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let share = (puts - bases.min(puts)) as f64 / commits as f64;
        assert!(share <= most * 1.2, "{threads} threads: {puts} puts for {commits} commits");
    }
}

#[test]
fn an_idle_store_sends_nothing() {
    let objects = Flaky::new(1);
    let store = open(&Memory::new(), &bucket(&objects.store()), quick()).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "x")).unwrap();
    let before = objects.counts.all();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(objects.counts.all(), before);
}

#[test]
fn each_byte_is_uploaded_once() {
    let objects = Flaky::new(1);
    let how = quick().lag(Duration::from_millis(5));
    let remote = Remote::new(Arc::new(Memory::new()), bucket(&objects.store()), how);
    let store = small().segment_bytes(1 << 20).open_backing(Arc::new(remote)).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    let (uploaded, logged) = (objects.counts.put_bytes.load(Ordering::Relaxed), store.stats().log_bytes_appended);
    for _ in 0..3_000 {
        store.write(|tx| tx.insert(&notes, vec![3; 1_000])).unwrap();
    }
    store.wait_remote(store.last_seq()).unwrap();
    let uploaded = objects.counts.put_bytes.load(Ordering::Relaxed) - uploaded;
    let logged = store.stats().log_bytes_appended - logged;
    println!("{uploaded} bytes uploaded for {logged} bytes of log");
    assert!(uploaded * 10 <= logged * 12, "{uploaded} bytes uploaded for {logged} bytes of log");
}

#[test]
fn the_bucket_is_at_most_a_second_behind_by_default() {
    let objects = Flaky::new(1);
    let store = open(&Memory::new(), &bucket(&objects.store()), RemoteOptions::new()).unwrap();
    let notes = store.record_set("notes").unwrap();
    for _ in 0..15 {
        store.write(|tx| tx.insert(&notes, "x")).unwrap();
        thread::sleep(Duration::from_millis(50));
        let remote = store.stats().remote.unwrap();
        assert!(remote.lag < Duration::from_secs(1), "{remote:?}");
    }
    assert!(store.stats().remote.unwrap().seq > tenure::Seq(1));
}

#[test]
fn opening_needs_few_requests() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let store = open(&Memory::new(), &bucket, quick().part_bytes(64 << 10)).unwrap();
    let notes = store.record_set("notes").unwrap();
    for _ in 0..300 {
        store.write_with(Durability::Remote, |tx| tx.insert(&notes, "x")).unwrap();
    }
    drop(store);
    let before = objects.counts.all();
    let status = bucket.status().unwrap().unwrap();
    let requests = objects.counts.all() - before;
    println!("{requests} requests for the table of files at {}", status.newest);
    assert!(status.newest.number > 200 && requests <= 100, "{requests} requests, {status:?}");
}
