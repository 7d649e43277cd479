//! Deleting what only old states need.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use object_store::ObjectStoreExt;
use object_store::local::LocalFileSystem;
use tenure::backing::{Backing, Memory};
use tenure::remote::{Bucket, LogPoint, Remote};
use tenure::{Durability, Error, Store};

use crate::common::Rng;
use crate::flaky::{Flaky, run};
use crate::{bucket, contents, quick, small};

fn churn(store: &Store, rng: &mut Rng, rounds: usize) {
    let notes = store.record_set("notes").unwrap();
    for _ in 0..rounds {
        let ids: Vec<_> = contents(store).into_keys().collect();
        let len = rng.below(4000);
        let value = rng.bytes(len);
        store
            .write(|tx| {
                if ids.len() > 20 {
                    tx.delete(ids[rng.below(ids.len())])?;
                }
                tx.insert(&notes, &*value)
            })
            .unwrap();
    }
    store.save_snapshot().unwrap();
    store.collect(None).unwrap();
    store.save_snapshot().unwrap();
    let last = store.last_seq();
    store.wait_remote(last).unwrap();
}

#[test]
fn what_is_retained_opens_and_what_is_not_needed_goes() {
    for seed in 1..=4 {
        let objects = Flaky::new(seed);
        let bucket = bucket(&objects.store());
        let mut rng = Rng::new(seed);
        let how =
            || quick().base_every(10).events_max(1).prune_every(None).part_bytes(64 << 10).retention(Duration::ZERO);
        let remote = Arc::new(Remote::new(Arc::new(Memory::new()), bucket.clone(), how()));
        let store = small().open_backing(Arc::clone(&remote) as Arc<dyn Backing>).unwrap();
        let mut gone = 0;
        for round in 0..6 {
            churn(&store, &mut rng, 60);
            let before = objects.names().len();
            let pruned = remote.prune().unwrap();
            gone += pruned.objects;
            // A base may be put meanwhile.
            let left = u64::try_from(objects.names().len()).unwrap();
            assert!(left + pruned.objects <= u64::try_from(before).unwrap() + 1, "round {round}: {pruned:?}");
            let status = bucket.status().unwrap().unwrap();
            let base = status.base.unwrap();
            // Every point from the oldest base on is still there.
            for number in base.number..=status.newest.number {
                let image = Memory::new();
                bucket.restore(Some(LogPoint { number, ..base }), &image).unwrap();
                drop(small().open_backing(Arc::new(image)).unwrap());
            }
            let image = Memory::new();
            bucket.restore(None, &image).unwrap();
            assert_eq!(contents(&small().open_backing(Arc::new(image)).unwrap()), contents(&store), "round {round}");
            let early = bucket.restore(Some(LogPoint { epoch: 1, number: 2 }), &Memory::new());
            assert!(matches!(early, Err(Error::PointGone { .. })), "{early:?}");
        }
        assert!(gone > 50, "seed {seed}: {gone} objects were deleted");
        drop(store);
        assert!(objects.names().iter().any(|name| name.contains("/epoch/")));
        let elsewhere = Remote::new(Arc::new(Memory::new()), bucket.clone(), how());
        drop(small().open_backing(Arc::new(elsewhere)).unwrap());
    }
}

#[test]
fn nothing_is_deleted_before_its_time_or_by_an_old_writer() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let mut rng = Rng::new(1);
    let how = || quick().base_every(5).prune_every(None);
    let remote = Arc::new(Remote::new(Arc::new(Memory::new()), bucket.clone(), how()));
    assert!(matches!(remote.prune(), Err(Error::Closed)), "it is not open");
    let store = small().open_backing(Arc::clone(&remote) as Arc<dyn Backing>).unwrap();
    churn(&store, &mut rng, 50);
    assert_eq!(remote.prune().unwrap().objects, 0, "all of it is younger than a day");
    let old = Remote::new(Arc::new(Memory::new()), bucket.clone(), how().retention(Duration::ZERO).take_over(true));
    let old = Arc::new(old);
    let of_old = small().open_backing(Arc::clone(&old) as Arc<dyn Backing>).unwrap();
    let new = Remote::new(Arc::new(Memory::new()), bucket, how().take_over(true));
    let new = small().open_backing(Arc::new(new)).unwrap();
    new.wait_remote(new.last_seq()).unwrap();
    let before = objects.names();
    assert!(matches!(old.prune(), Err(Error::Fenced { .. })));
    let after = objects.names();
    assert!(before.iter().all(|name| after.contains(name)), "{after:?}");
    let notes = new.record_set("notes").unwrap();
    new.write_with(Durability::Remote, |tx| tx.insert(&notes, "x")).unwrap();
    drop((store, of_old, new));
}

#[test]
fn a_store_that_is_open_prunes_by_itself() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let how = quick().base_every(5).events_max(1).retention(Duration::ZERO).prune_every(Some(Duration::ZERO));
    let remote = Remote::new(Arc::new(Memory::new()), bucket.clone(), how);
    let store = small().open_backing(Arc::new(remote)).unwrap();
    churn(&store, &mut Rng::new(1), 200);
    let wanted = contents(&store);
    drop(store);
    let bases = objects.names().into_iter().filter(|name| name.contains("/base/")).count();
    assert!(bases <= 3, "{bases} bases are left");
    let image = Memory::new();
    bucket.restore(None, &image).unwrap();
    assert_eq!(contents(&small().open_backing(Arc::new(image)).unwrap()), wanted);
}

#[test]
fn objects_of_small_commits_are_merged() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let how = quick().events_max(1).prune_every(None).retention(Duration::ZERO);
    let remote = Arc::new(Remote::new(Arc::new(Memory::new()), bucket.clone(), how));
    let store = small().open_backing(Arc::clone(&remote) as Arc<dyn Backing>).unwrap();
    let notes = store.record_set("notes").unwrap();
    for number in 0..2000_u32 {
        store.write_with(Durability::Remote, |tx| tx.insert(&notes, &number.to_le_bytes()[..])).unwrap();
    }
    store.wait_remote(store.last_seq()).unwrap();
    let logs = || objects.names().iter().filter(|name| name.contains("/log/")).count();
    let before = logs();
    remote.prune().unwrap();
    assert!(before >= 2000 && logs() < 400, "{before} objects of the log, then {}", logs());
    let image = Memory::new();
    bucket.restore(None, &image).unwrap();
    let restored = small().open_backing(Arc::new(image)).unwrap();
    assert_eq!(contents(&restored), contents(&store));
}

#[test]
fn a_clock_of_the_server_that_was_ahead_for_a_moment_ends_no_retention() {
    let dir = tempfile::tempdir().unwrap();
    let objects = LocalFileSystem::new_with_prefix(dir.path()).unwrap();
    let bucket = Bucket::new(Arc::new(objects), "store").unwrap();
    let how = quick().base_every(5).events_max(1).prune_every(None).retention(Duration::from_hours(1));
    let remote = Arc::new(Remote::new(Arc::new(Memory::new()), bucket, how));
    let store = small().open_backing(Arc::clone(&remote) as Arc<dyn Backing>).unwrap();
    churn(&store, &mut Rng::new(1), 30);
    let at = |days: u64| SystemTime::now() + Duration::from_hours(24 * days);
    let log = dir.path().join("store/log/0000000000000001");
    let mut logs: Vec<_> = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).collect();
    logs.sort();
    for early in [&logs[3], logs.last().unwrap()] {
        let file = std::fs::OpenOptions::new().write(true).open(early).unwrap();
        file.set_modified(at(365)).unwrap();
        assert_eq!(remote.prune().unwrap().objects, 0, "all of it is younger than an hour: {early:?}");
        file.set_modified(at(0)).unwrap();
    }
}

#[test]
fn requests_to_delete_do_not_follow_the_number_of_openings() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let local = Memory::new();
    let how = quick().base_every(5).prune_every(None).retention(Duration::ZERO);
    let (mut requests, mut listed) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        let remote = Arc::new(Remote::new(Arc::new(local.clone()), bucket.clone(), how.clone()));
        let store = small().open_backing(Arc::clone(&remote) as Arc<dyn Backing>).unwrap();
        let notes = store.record_set("notes").unwrap();
        for _ in 0..6 {
            store.write_with(Durability::Remote, |tx| tx.insert(&notes, "x")).unwrap();
        }
        let counts = || [&objects.counts.gets, &objects.counts.listed].map(|count| count.load(Ordering::Relaxed));
        let before = counts();
        remote.prune().unwrap();
        remote.prune().unwrap();
        let after = counts();
        requests.push(after[0] - before[0]);
        listed.push(after[1] - before[1]);
        drop(store);
    }
    println!("{requests:?} requests, {listed:?} objects listed");
    assert!(requests[59] <= requests[19].max(10) + 5, "{requests:?}");
    assert!(listed[59] <= listed[19] + 10, "{listed:?}");
}

#[test]
fn what_a_mark_hides_from_the_listing_is_deleted_when_it_is_not_named_any_more() {
    for seed in 1..=4 {
        let objects = Flaky::new(seed);
        let bucket = bucket(&objects.store());
        let (local, mut rng) = (Memory::new(), Rng::new(seed));
        let how = || quick().base_every(6).events_max(1).prune_every(None).retention(Duration::ZERO);
        let open = || {
            let remote = Arc::new(Remote::new(Arc::new(local.clone()), bucket.clone(), how()));
            (small().open_backing(Arc::clone(&remote) as Arc<dyn Backing>).unwrap(), remote)
        };
        for _ in 0..8 {
            let (store, remote) = open();
            churn(&store, &mut rng, 40);
            remote.prune().unwrap();
            drop(store);
        }
        // Without the mark everything is listed.
        let (store, remote) = open();
        churn(&store, &mut rng, 40);
        // A base may be put meanwhile.
        while remote.prune().unwrap().objects > 0 {}
        let marks: Vec<_> = objects.names().into_iter().filter(|name| name.contains("/cleared/")).collect();
        assert_eq!(marks.len(), 1, "seed {seed}: {marks:?}");
        let mark = object_store::path::Path::from(marks[0].trim_start_matches('/'));
        run(objects.store().delete(&mark)).unwrap();
        let left = objects.names();
        assert_eq!(remote.prune().unwrap().objects, 0, "seed {seed}: {left:?}");
        assert!(objects.names().contains(&marks[0]), "seed {seed}: the mark is there again");
        let image = Memory::new();
        bucket.restore(None, &image).unwrap();
        assert_eq!(contents(&small().open_backing(Arc::new(image)).unwrap()), contents(&store), "seed {seed}");
    }
}

/// What an opening uploaded before its process died, and nothing names.
#[test]
fn what_an_upload_that_was_cut_off_left_is_deleted_when_it_is_old() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let local = Memory::new();
    let large = || small().segment_bytes(1 << 20);
    let store = large().open_backing(Arc::new(local.clone())).unwrap();
    let notes = store.record_set("notes").unwrap();
    for number in 0..400_u32 {
        store.write(|tx| tx.insert(&notes, vec![number.to_le_bytes()[0]; 3_000])).unwrap();
    }
    store.close().unwrap();
    let how = || quick().base_every(4).events_max(1).prune_every(None).part_bytes(64 << 10);
    let of_data = || objects.names().into_iter().filter(|name| name.contains("/data/")).collect::<Vec<_>>();
    for cut in 1..=2 {
        objects.slow(Duration::from_millis(100));
        let before = of_data().len();
        let remote =
            Remote::new(Arc::new(local.clone()), bucket.clone(), how().close_wait(Duration::ZERO).events_max(99));
        let store = large().open_backing(Arc::new(remote)).unwrap();
        let begun = Instant::now();
        while of_data().len() < before + 4 {
            assert!(begun.elapsed() < Duration::from_mins(1), "nothing is uploaded");
            std::thread::sleep(Duration::from_millis(1));
        }
        objects.set_down(true);
        drop(store);
        objects.set_down(false);
        objects.slow(Duration::ZERO);
        let logs = objects.names().into_iter().filter(|name| name.contains("/log/")).count();
        assert_eq!(logs, cut - 1, "only the seals of earlier ones");
    }
    let left = of_data();
    let open = |retention| {
        let remote = Arc::new(Remote::new(Arc::new(local.clone()), bucket.clone(), how().retention(retention)));
        (large().open_backing(Arc::clone(&remote) as Arc<dyn Backing>).unwrap(), remote)
    };
    let (store, remote) = open(Duration::from_hours(1));
    churn(&store, &mut Rng::new(1), 20);
    assert!(bucket.status().unwrap().unwrap().base.is_some());
    assert_eq!(remote.prune().unwrap().objects, 0, "all of it is younger than an hour");
    assert!(left.iter().all(|name| of_data().contains(name)), "{left:?}");
    drop((store, remote));
    let (store, remote) = open(Duration::ZERO);
    let pruned = remote.prune().unwrap();
    assert!(pruned.objects >= u64::try_from(left.len()).unwrap(), "{pruned:?}");
    assert!(left.iter().all(|name| !of_data().contains(name)), "{left:?}");
    let image = Memory::new();
    bucket.restore(None, &image).unwrap();
    assert_eq!(contents(&small().open_backing(Arc::new(image)).unwrap()), contents(&store));
}
