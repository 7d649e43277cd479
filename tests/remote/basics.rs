//! Opening, committing, losing the machine, opening elsewhere.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use tenure::backing::{Backing, FaultBacking, Files, Memory, conformance};
use tenure::remote::{Bucket, LogPoint, Remote};
use tenure::{Durability, Error, Store};

use crate::flaky::Flaky;
use crate::{bucket, common, contents, open, open_in, quick, small};

#[test]
fn the_backing_conforms() {
    conformance::check(&|| {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        Arc::new(Remote::new(Arc::new(Memory::new()), bucket(&store), quick()))
    })
    .unwrap();
}

#[test]
fn a_commit_that_waited_for_the_bucket_survives_the_loss_of_the_machine() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let store = open(&Memory::new(), &bucket, quick()).unwrap();
    let notes = store.record_set("notes").unwrap();
    let (kept, seq) = store.write_with(Durability::Remote, |tx| tx.insert(&notes, "kept")).unwrap();
    assert!(store.stats().remote.unwrap().seq >= seq);
    // The machine is lost: nothing more is uploaded.
    let image = Flaky::over(copy_of(&objects), 2);
    drop(store);
    let copy = crate::bucket(&image.store());
    assert!(matches!(open(&Memory::new(), &copy, quick()), Err(Error::Locked { .. })), "a writer may be at work");
    let store = open(&Memory::new(), &copy, quick().take_over(true)).unwrap();
    assert_eq!(store.get(kept).unwrap().as_slice(), Some(&b"kept"[..]));
}

/// A copy of all objects at this moment.
fn copy_of(objects: &Flaky) -> Arc<InMemory> {
    Arc::new(objects.fork())
}

#[test]
fn a_store_that_was_closed_opens_elsewhere_and_goes_on() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let mut wanted = std::collections::BTreeMap::new();
    for round in 0..5 {
        let store = open(&Memory::new(), &bucket, quick()).unwrap();
        assert_eq!(contents(&store), wanted, "round {round}");
        assert!(round == 0 || store.recovery_report().clean, "round {round}: closing ships every byte");
        let notes = store.record_set("notes").unwrap();
        for number in 0..20 {
            let value = format!("{round} {number}").into_bytes();
            let id = store.write(|tx| tx.insert(&notes, &*value)).unwrap();
            wanted.insert(id, value);
        }
        store.close().unwrap();
    }
    let status = bucket.status().unwrap().unwrap();
    assert_eq!((status.newest.epoch, status.is_sealed), (5, true));
}

#[test]
fn the_local_directory_serves_again_and_ships_what_the_bucket_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let files = || Arc::new(Files::open(dir.path()).unwrap()) as Arc<dyn Backing>;
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let options = || quick().close_wait(Duration::ZERO);
    let store = open_in(files(), &bucket, options()).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "first")).unwrap();
    objects.set_down(true);
    let second = store.write(|tx| tx.insert(&notes, "second")).unwrap();
    drop(store);
    objects.set_down(false);
    let store = open_in(files(), &bucket, options()).unwrap();
    assert_eq!(store.get(second).unwrap().as_slice(), Some(&b"second"[..]));
    store.wait_remote(store.last_seq()).unwrap();
    let image = Memory::new();
    bucket.restore(None, &image).unwrap();
    assert_eq!(contents(&small().open_backing(Arc::new(image)).unwrap()), contents(&store));
}

#[test]
fn a_directory_of_an_older_epoch_is_refused() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let (here, there) = (Memory::new(), Memory::new());
    drop(open(&here, &bucket, quick()).unwrap());
    drop(open(&there, &bucket, quick()).unwrap());
    let refused = open(&here, &bucket, quick()).unwrap_err();
    assert!(matches!(refused, Error::Fenced { .. }), "{refused}");
    let foreign = Memory::new();
    drop(small().open_backing(Arc::new(foreign.clone())).unwrap());
    let refused = open(&foreign, &bucket, quick().take_over(true)).unwrap_err();
    assert!(matches!(refused, Error::Fenced { .. }), "a store of its own: {refused}");
    drop(open(&there, &bucket, quick()).unwrap());
}

/// The mark of the epoch is still there, the store is not.
#[test]
fn a_directory_that_lost_its_files_does_not_empty_the_bucket() {
    for lost in ["", "manifest-"] {
        let objects = Flaky::new(1);
        let bucket = bucket(&objects.store());
        let local = Memory::new();
        let store = open(&local, &bucket, quick()).unwrap();
        let notes = store.record_set("notes").unwrap();
        store.write(|tx| tx.insert(&notes, "kept")).unwrap();
        let wanted = contents(&store);
        drop(store);
        let names = local.list().unwrap();
        assert!(names.iter().any(|name| name.starts_with("remote-")), "{names:?}");
        for name in names.iter().filter(|name| name.starts_with(lost) && !name.starts_with("remote-")) {
            local.delete(name).unwrap();
        }
        match open(&local, &bucket, quick()) {
            Ok(store) => assert_eq!(contents(&store), wanted, "{lost:?}"),
            Err(error) => assert!(!lost.is_empty() && error.is_corruption(), "{lost:?}: {error}"),
        }
        let image = Memory::new();
        bucket.restore(None, &image).unwrap();
        assert_eq!(contents(&small().open_backing(Arc::new(image)).unwrap()), wanted, "{lost:?}");
    }
}

#[test]
fn a_store_that_was_local_is_shipped_as_a_whole() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let local = Memory::new();
    let store = small().open_backing(Arc::new(local.clone())).unwrap();
    let notes = store.record_set("notes").unwrap();
    for number in 0..200 {
        store.write(|tx| tx.insert(&notes, vec![7; 1000 + number])).unwrap();
    }
    let wanted = contents(&store);
    store.close().unwrap();
    let store = open(&local, &bucket, quick().part_bytes(64 << 10)).unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    drop(store);
    let store = open(&Memory::new(), &bucket, quick()).unwrap();
    assert_eq!(contents(&store), wanted);
}

#[test]
fn large_values_become_data_objects() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let store = open(&Memory::new(), &bucket, quick().part_bytes(64 << 10)).unwrap();
    let notes = store.record_set("notes").unwrap();
    let value: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let (id, _) = store.write_with(Durability::Remote, |tx| tx.insert(&notes, &*value)).unwrap();
    drop(store);
    assert!(objects.names().iter().any(|name| name.contains("/data/")));
    let store = open(&Memory::new(), &bucket, quick()).unwrap();
    assert_eq!(store.get(id).unwrap().to_vec().unwrap(), value);
}

#[test]
fn waiting_for_a_bucket_without_one_is_refused_and_commits_nothing() {
    let store = small().open_backing(Arc::new(Memory::new())).unwrap();
    let notes = store.record_set("notes").unwrap();
    let refused = store.write_with(Durability::Remote, |tx| tx.insert(&notes, "x")).unwrap_err();
    assert!(matches!(refused, Error::BadOption { option: "durability", .. }), "{refused}");
    assert_eq!(store.stats().records, 0);
    assert!(store.wait_remote(store.last_seq()).is_err() && store.stats().remote.is_none());
}

#[test]
fn a_full_backlog_fails_commits_and_a_bucket_that_is_back_lets_them_through() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let store = open(&Memory::new(), &bucket, quick().backlog_bytes_max(64 << 10)).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    objects.set_down(true);
    let mut done = 0;
    let refused = loop {
        match store.write(|tx| tx.insert(&notes, vec![1; 4000])) {
            Ok(_) => done += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::NoSpace { .. }) && done >= 15, "{done}: {refused}");
    let remote = store.stats().remote.unwrap();
    assert!(remote.backlog_bytes >= 64 << 10, "{remote:?}");
    objects.set_down(false);
    store.wait_remote(store.last_seq()).unwrap();
    store.write(|tx| tx.insert(&notes, "again")).unwrap();
    assert_eq!(store.stats().records, done + 1);
}

#[test]
fn a_store_that_is_larger_than_the_backlog_is_opened_and_goes_on_while_it_is_uploaded() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let local = Memory::new();
    let store = small().open_backing(Arc::new(local.clone())).unwrap();
    let notes = store.record_set("notes").unwrap();
    let fill = |store: &Store| {
        for _ in 0..100 {
            store.write(|tx| tx.insert(&notes, vec![1; 4000])).unwrap();
        }
    };
    fill(&store);
    // As after a kill.
    let killed = common::memory_of(&common::read_backing(&local));
    drop(store);
    objects.slow(Duration::from_millis(700));
    let how = quick().backlog_bytes_max(64 << 10);
    let store = open_in(Arc::clone(&killed), &bucket, how.clone()).unwrap();
    assert!(store.stats().remote.unwrap().backlog_bytes > 64 << 10);
    let notes = store.find_set("notes").unwrap();
    let mut done = 0;
    let refused = loop {
        match store.write(|tx| tx.insert(&notes, vec![1; 4000])) {
            Ok(_) => done += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::NoSpace { .. }) && done >= 10, "{done}: {refused}");
    objects.slow(Duration::ZERO);
    store.wait_remote(store.last_seq()).unwrap();
    assert_eq!(store.stats().records, 100 + done);
    drop(store);
    assert_eq!(open(&Memory::new(), &bucket, how).unwrap().stats().records, 100 + done);
}

#[test]
fn a_copy_that_was_interrupted_is_not_opened() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let store = open(&Memory::new(), &bucket, quick()).unwrap();
    let notes = store.record_set("notes").unwrap();
    for _ in 0..200 {
        store.write(|tx| tx.insert(&notes, vec![1; 4000])).unwrap();
    }
    store.close().unwrap();
    let mut refused = 0;
    for step in 1.. {
        let disk = FaultBacking::new();
        disk.crash_at(step);
        let copied = bucket.restore(None, &disk);
        let image = disk.kill_image();
        if copied.is_ok() {
            assert_eq!(small().open_backing(Arc::new(image)).unwrap().stats().records, 200);
            break;
        }
        if image.names().is_empty() {
            continue;
        }
        match small().open_backing(Arc::new(image)) {
            Ok(store) => assert_eq!(store.stats().records, 200, "step {step}: it is the last one"),
            Err(error) => {
                assert!(matches!(error, Error::NotAStore { .. }), "step {step}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn each_point_can_be_restored() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let store = open(&Memory::new(), &bucket, quick()).unwrap();
    let notes = store.record_set("notes").unwrap();
    let mut wanted = Vec::new();
    for number in 0..100_u32 {
        store.write_with(Durability::Remote, |tx| tx.insert(&notes, number.to_le_bytes())).unwrap();
        wanted.push((bucket.status().unwrap().unwrap().newest, contents(&store)));
    }
    for (point, wanted) in wanted.iter().step_by(7) {
        let image = Memory::new();
        assert_eq!(bucket.restore(Some(*point), &image).unwrap(), *point);
        assert_eq!(contents(&small().open_backing(Arc::new(image)).unwrap()), *wanted, "{point}");
    }
    let (_, newest) = wanted.last().unwrap();
    let point = bucket.restore(None, &Memory::new()).unwrap();
    assert_eq!((contents(&store), point.to_string().parse().unwrap()), (newest.clone(), point));
    let future = LogPoint { epoch: point.epoch, number: point.number + 1 };
    assert!(matches!(bucket.restore(Some(future), &Memory::new()), Err(Error::PointGone { .. })));
}

#[test]
fn a_server_that_overwrites_is_refused() {
    let objects = Flaky::new(1);
    objects.overwrites.store(true, std::sync::atomic::Ordering::Relaxed);
    let refused = open(&Memory::new(), &bucket(&objects.store()), quick()).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }) && refused.to_string().contains("overwrite"), "{refused}");
}

#[test]
fn damage_is_found_and_named() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let store = open(&Memory::new(), &bucket, quick()).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "x")).unwrap();
    drop(store);
    let log = objects.names().into_iter().find(|name| name.contains("/log/")).unwrap();
    objects.damage(&log);
    let error = bucket.restore(None, &Memory::new()).unwrap_err();
    assert!(error.is_corruption() && error.to_string().contains(log.trim_start_matches('/')), "{error}");
}

#[test]
fn urls_name_buckets_and_carry_no_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().join("bucket").display());
    let local = Memory::new();
    let store = open(&local, &Bucket::at(&url).unwrap(), quick()).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "x")).unwrap();
    drop(store);
    let store = open(&Memory::new(), &Bucket::at(&url).unwrap(), quick()).unwrap();
    assert_eq!(store.stats().records, 1);
    for bad in [
        "s3://key:secret@bucket/x",
        "s3://AKIA:se/cret@bucket/x",
        "s3://AKIA:12/cret@bucket/x",
        "s3://AKIA/12cret@bucket/x",
        "s3://AKIA:12/cret",
        "gs://AKIA:se/cret",
        "az://AKIA:se#cret@bucket/x",
        "s3://bucket/x?token=cret",
        "file:///a?token=cret",
        "not a URL with cret",
        "nothing",
        "ftp://host/x",
        "http://host/x",
        "memory:///a#b",
        "memory:///a?b",
    ] {
        let error = Bucket::at(bad).unwrap_err().to_string();
        assert!(!error.contains("cret") && !error.contains("AKIA"), "{error}");
    }
    // A directory may have any name.
    let with_an_at = format!("file://{}", dir.path().join("me@home").display());
    assert!(open(&Memory::new(), &Bucket::at(&with_an_at).unwrap(), quick()).is_ok());
}
