//! Following a bucket from elsewhere, beside its writer, which collects and deletes objects. `TENURE_FOLLOW_BUCKET_READS` sets the number of
//! reads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use tenure::backing::{Backing, Memory, ReadAt};
use tenure::remote::{Bucket, Remote, RemoteOptions};
use tenure::{Durability, Error, Options, Store};

use crate::common::Ends;
use crate::following::ledger::{Reader, Writer, options};
use crate::following::{LONG, amount};

fn open(bucket: &Bucket, local: &Memory, how: RemoteOptions) -> tenure::Result<Store> {
    let remote = Remote::new(Arc::new(local.clone()), bucket.clone(), how);
    options().open_backing(Arc::new(remote))
}

fn quick() -> Options {
    Options::new().follow_interval(Some(Duration::from_millis(10)))
}

/// Reads states beside a writer until it has read enough. Returns how many reads met what is not retained any more.
fn churn(bucket: &Bucket, retention: Duration, wanted: u64) -> u64 {
    let how = move || {
        RemoteOptions::new()
            .lag(Duration::from_millis(5))
            .retention(retention)
            .prune_every(Some(Duration::ZERO))
            .base_every(8)
    };
    let local = Memory::new();
    let mut writer = Writer::new(open(bucket, &local, how()).unwrap(), 1);
    writer.commit().unwrap();
    writer.store.wait_remote(writer.store.last_seq()).unwrap();
    let follower = quick().follow_bucket(bucket).unwrap();
    let reader = Reader::new(&follower).unwrap();
    let ends = AtomicBool::new(false);
    // Commits of the writer, each with a time at which there was none after it.
    let made = Mutex::new(vec![(follower.last_seq(), Instant::now())]);
    let (mut reads, mut states, mut gone, mut last, began) = (0, 0, 0, follower.last_seq(), Instant::now());
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut opened = 0;
            while !ends.load(Ordering::Acquire) {
                for number in 0..400 {
                    made.lock().unwrap().push((writer.store.last_seq(), Instant::now()));
                    writer.commit().unwrap();
                    if number % 20 == 0 {
                        writer.event().unwrap();
                    }
                    if ends.load(Ordering::Acquire) {
                        break;
                    }
                    // Else the writer would be far ahead of what a bucket of a test takes.
                    writer.store.wait_remote(writer.store.last_seq()).unwrap();
                }
                writer.store.clone().close().unwrap();
                opened += 1;
                drop(std::mem::replace(&mut writer, Writer::new(Store::in_memory().unwrap(), 1)));
                writer = Writer::new(open(bucket, &local, how()).unwrap(), 1 + opened);
            }
            writer.store.wait_remote(writer.store.last_seq()).unwrap();
            writer.store.last_seq()
        });
        let _ends = Ends(&ends);
        while reads < wanted {
            let view = follower.view();
            assert!(view.seq() >= last);
            if view.seq() == last {
                follower.wait_for(last.next(), Duration::from_secs(10)).unwrap();
            }
            last = view.seq();
            match reader.check(&view) {
                Ok(found) => reads += found,
                Err(Error::PointGone { .. }) => {
                    // Only of a state that is older than the retention, as far as the times of files tell.
                    let made = made.lock().unwrap();
                    let before = made.iter().rev().find(|(seq, _)| *seq < view.seq());
                    let age = before.map_or(began, |(_, time)| *time).elapsed();
                    assert!(age + Duration::from_millis(20) >= retention, "commit {} is {age:?} old", view.seq());
                    gone += 1;
                }
                Err(error) => panic!("{error}"),
            }
            states += 1;
        }
        ends.store(true, Ordering::Release);
        let last = writing.join().unwrap();
        assert!(follower.wait_for(last, LONG).unwrap(), "{:?}", follower.progress());
    });
    reader.check(&follower.view()).unwrap();
    println!("{reads} reads of {states} states in {:?}, {gone} were gone, {:?}", began.elapsed(), follower.progress());
    gone
}

#[test]
fn every_state_of_a_bucket_beside_a_churning_writer_is_that_of_a_commit() {
    let reads = amount("TENURE_FOLLOW_BUCKET_READS", 10_000);
    assert_eq!(churn(&Bucket::at("memory:///store").unwrap(), Duration::from_hours(24), reads), 0);
}

#[test]
fn a_reader_of_a_bucket_fails_only_by_the_retention() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::at(&format!("file://{}", dir.path().join("bucket").display())).unwrap();
    churn(&bucket, Duration::from_millis(100), amount("TENURE_FOLLOW_BUCKET_READS", 10_000) / 4);
}

#[test]
fn a_follower_that_slept_past_the_retention_goes_on() {
    let bucket = Bucket::at("memory:///store").unwrap();
    let how = RemoteOptions::new().lag(Duration::ZERO).retention(Duration::ZERO).prune_every(None).base_every(4);
    let remote = Arc::new(Remote::new(Arc::new(Memory::new()), bucket.clone(), how));
    let mut writer = Writer::new(options().open_backing(Arc::clone(&remote) as Arc<_>).unwrap(), 1);
    writer.commit().unwrap();
    writer.store.wait_remote(writer.store.last_seq()).unwrap();
    let follower = Options::new().follow_interval(Some(Duration::from_hours(1))).follow_bucket(&bucket).unwrap();
    let reader = Reader::new(&follower).unwrap();
    for _ in 0..3 {
        for _ in 0..400 {
            writer.commit().unwrap();
        }
        writer.store.save_snapshot().unwrap();
        writer.store.save_snapshot().unwrap();
        writer.store.collect(None).unwrap();
        for _ in 0..12 {
            writer.commit().unwrap();
            writer.store.wait_remote(writer.store.last_seq()).unwrap();
        }
        let pruned = remote.prune().unwrap();
        assert!(pruned.objects > 0);
        // It asks for the next object, which is gone, and for the log, at the latest with its 64th look.
        for _ in 0..64 {
            follower.look().unwrap();
        }
        assert_eq!(follower.last_seq(), writer.store.last_seq());
        reader.check(&follower.view()).unwrap();
    }
}

#[test]
fn a_bucket_is_taken_over_by_its_follower() {
    let bucket = Bucket::at("memory:///store").unwrap();
    let how = || RemoteOptions::new().lag(Duration::ZERO);
    let writer = open(&bucket, &Memory::new(), how()).unwrap();
    let notes = writer.record_set("notes").unwrap();
    let (note, _) = writer.write_with(Durability::Remote, |tx| tx.insert(&notes, "kept")).unwrap();
    let follower = quick().follow_bucket(&bucket).unwrap();
    assert!(follower.wait_for(writer.last_seq(), LONG).unwrap());
    let other = quick().follow_bucket(&bucket).unwrap();
    let refused = quick().follow_bucket(&bucket).unwrap().promote(&Options::new(), Duration::ZERO);
    assert!(matches!(refused, Err(Error::BadOption { .. })));
    let store = follower.promote_into(Arc::new(Memory::new()), &options(), how()).unwrap();
    let notes = store.record_set("notes").unwrap();
    let (more, _) = store.write_with(Durability::Remote, |tx| tx.insert(&notes, "more")).unwrap();
    assert!(writer.write_with(Durability::Remote, |tx| tx.update(note, "lost")).is_err());
    // Another follower goes on into the new epoch.
    assert!(other.wait_for(store.last_seq(), LONG).unwrap(), "{:?}", other.progress());
    assert_eq!(other.get(more).unwrap().to_vec().unwrap(), b"more");
    assert_eq!(other.get(note).unwrap().to_vec().unwrap(), b"kept");
}

#[test]
fn many_reads_of_a_bucket_are_under_way_at_once() {
    const WAIT: Duration = Duration::from_millis(50);
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let bucket = Bucket::new(Arc::clone(&objects), "store").unwrap();
    let how = RemoteOptions::new().lag(Duration::ZERO).part_bytes(64 << 10);
    let remote = Remote::new(Arc::new(Memory::new()), bucket.clone(), how);
    let store = Options::new().background(false).open_backing(Arc::new(remote)).unwrap();
    let notes = store.record_set("notes").unwrap();
    // A data object for each.
    let ids: Vec<_> = (0..32_u8)
        .map(|number| {
            let inserted = store.write_with(Durability::Remote, |tx| {
                tx.insert(&notes, vec![number; 60_000])?;
                tx.insert(&notes, vec![number; 60_000])
            });
            inserted.unwrap().0
        })
        .collect();
    store.save_snapshot().unwrap();
    drop(store);
    let config = ThrottleConfig { wait_get_per_call: WAIT, ..ThrottleConfig::default() };
    let slow: Arc<dyn ObjectStore> = Arc::new(ThrottledStore::new(Arc::clone(&objects), config));
    let view = Bucket::new(slow, "store").unwrap().view(None).unwrap();
    let reader = Options::new().read_only(true).open_backing(Arc::new(view.clone())).unwrap();
    let began = Instant::now();
    let found =
        reader.view().get_many(&ids).into_iter().map(|record| record.unwrap().to_vec().unwrap()).collect::<Vec<_>>();
    let took = began.elapsed();
    assert!(found.iter().zip(0..).all(|(bytes, number)| *bytes == vec![number; 60_000]));
    // One after the other they take at least this long together.
    assert!(took < WAIT * 32 / 2, "{took:?}");
    let name = view.list().unwrap().into_iter().find(|name| name.starts_with("log-")).unwrap();
    let mut buffers = [[0; 16]; 3];
    let reads = buffers.iter_mut().map(|buffer| ReadAt { name: &name, offset: 32, buffer });
    view.read_many(&mut reads.collect::<Vec<_>>()).unwrap();
    let mut expected = [0; 16];
    view.open(&name).unwrap().read_at(32, &mut expected).unwrap();
    assert_eq!(buffers, [expected; 3]);
}
