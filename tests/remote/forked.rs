//! A process forks with a bucket in use. The child has the handles, but none of the threads that drive them.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tenure::backing::{Backing, Files};
use tenure::remote::{Bucket, Remote};
use tenure::repository::{AddOptions, At, Keep, Repository};
use tenure::{Durability, Error, Options};

use crate::{contents, quick, small};

/// Runs `child` in a child process, which ends with it. Says whether it ended well.
#[expect(unsafe_code, reason = "there is no safe fork")]
fn fork(child: impl FnOnce()) -> bool {
    // SAFETY: the child runs on the only thread that it has. Threads that drive the parent's bucket are what the test is about.
    let number = unsafe { libc::fork() };
    if number == 0 {
        // SAFETY: it ends a child that waits for ever.
        unsafe { libc::alarm(10) };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        // SAFETY: nothing of the parent's, such as its test harness, may run here.
        unsafe { libc::_exit(i32::from(result.is_err())) }
    }
    assert!(number > 0, "no fork");
    let mut status = 0;
    // SAFETY: the pointer is to a number of our own.
    let waited = unsafe { libc::waitpid(number, &raw mut status, 0) };
    (waited, status) == (number, 0)
}

fn is_parents<T>(what: &str, result: tenure::Result<T>) {
    match result.map(drop) {
        Err(Error::OtherProcess { owner }) if owner == std::os::unix::process::parent_id() => {}
        other => panic!("{what}: {other:?}, instead of the parent's"),
    }
}

#[test]
fn a_child_waits_for_no_bucket_of_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().join("bucket").display());
    let bucket = Bucket::at(&url).unwrap();
    std::fs::create_dir(dir.path().join("store")).unwrap();
    let local = Arc::new(Files::open(&dir.path().join("store")).unwrap());
    let remote = Arc::new(Remote::new(local, bucket.clone(), quick()));
    let store = small().open_backing(Arc::clone(&remote) as Arc<dyn Backing>).unwrap();
    let notes = store.record_set("notes").unwrap();
    let (id, seq) = store.write_with(Durability::Remote, |tx| tx.insert(&notes, vec![1; 9_000])).unwrap();
    store.save_snapshot().unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    let view = bucket.view(None).unwrap();
    let mut reader = Options::new().read_only(true).background(false).open_backing(Arc::new(view)).unwrap();
    let ended_well = fork(|| {
        is_parents("status", bucket.status());
        is_parents("wait", store.wait_remote(seq));
        is_parents("write", store.write_with(Durability::Remote, |tx| tx.delete(id)));
        is_parents("prune", remote.prune());
        is_parents("view", bucket.view(None));
        is_parents("restore", bucket.restore(None, &tenure::backing::Memory::new()));
        // What was read before the fork is there; what was not is refused.
        drop(reader.get(id));
        assert!(reader.refresh().is_err());
        drop((store.clone(), reader.clone()));
    });
    assert!(ended_well, "the child");
    store.write_with(Durability::Remote, |tx| tx.update(id, "after")).unwrap();
    reader.refresh().unwrap();
    assert_eq!(contents(&reader), contents(&store));
    drop(store);
    assert!(bucket.status().unwrap().unwrap().is_sealed);
}

#[test]
fn a_child_leaves_followers_and_backups_to_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let [path, backups] = ["store", "backups"].map(|name| dir.path().join(name));
    let store = small().open(&path).unwrap();
    let notes = store.record_set("notes").unwrap();
    let note = store.write(|tx| tx.insert(&notes, "before")).unwrap();
    let interval = Some(Duration::from_millis(10));
    let follower = Options::new().follow_interval(interval).follow(&path).unwrap();
    let repository = Repository::in_directory(&backups);
    let mut go_on = |_| ControlFlow::Continue(());
    let first = repository.add(&store, &AddOptions::new(), &mut go_on).unwrap();
    let mut children = 0;
    let second = repository.add(&store, &AddOptions::new(), &mut |_| {
        if std::mem::replace(&mut children, 1) == 0 {
            let ended_well = fork(|| {
                is_parents("wait", follower.wait_for(tenure::Seq(u64::MAX), Duration::from_secs(5)));
                is_parents("look", follower.look());
                is_parents("back up", repository.add(&store, &AddOptions::new(), &mut |_| ControlFlow::Continue(())));
                // Its parent's mark is not abandoned.
                assert!(matches!(repository.prune(&Keep::newest(1)), Err(Error::Locked { .. })));
            });
            assert!(ended_well, "the child");
        }
        ControlFlow::Continue(())
    });
    let second = second.unwrap();
    for id in [first.id, second.id] {
        repository.restore(At::Id(id), dir.path().join(id.to_string()), &mut go_on).unwrap();
    }
    assert!(repository.verify(&mut go_on).unwrap().is_ok());
    store.write(|tx| tx.update(note, "after")).unwrap();
    assert!(follower.wait_for(store.last_seq(), Duration::from_mins(1)).unwrap());
    let promoted = std::thread::spawn(move || follower.promote(&small(), Duration::from_mins(1)));
    store.close().unwrap();
    assert_eq!(promoted.join().unwrap().unwrap().get(note).unwrap().as_slice(), Some(&b"after"[..]));
}

#[test]
fn a_child_goes_on_with_no_feed_or_follower_of_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::at(&format!("file://{}", dir.path().join("bucket").display())).unwrap();
    let path = dir.path().join("store");
    std::fs::create_dir(&path).unwrap();
    let remote = Remote::new(Arc::new(Files::open(&path).unwrap()), bucket.clone(), quick());
    let store = small().open_backing(Arc::new(remote)).unwrap();
    let notes = store.record_set("notes").unwrap();
    let consumer = store.add_consumer("mirror", store.last_seq()).unwrap();
    let mut mirror = std::collections::BTreeMap::new();
    let (first, seq) = store.write_with(Durability::Remote, |tx| tx.insert(&notes, "first")).unwrap();
    let interval = Some(Duration::from_millis(10));
    let follow = || Options::new().follow_interval(interval);
    let [mut beside, mut elsewhere] =
        [follow().follow(&path).unwrap(), follow().follow_bucket(&bucket).unwrap()].map(Some);
    let mut feed = consumer.changes().unwrap();
    let mut of_bucket = consumer.changes().unwrap().remote().unwrap();
    let mut beside_feed = beside.as_ref().unwrap().changes(store.durable_seq()).unwrap();
    let commit = feed.try_next().unwrap().unwrap();
    let mut apply = |commit: &tenure::Commit| {
        for change in commit.changes().map(Result::unwrap) {
            let value = change.value().unwrap().into_bytes().map(std::borrow::Cow::into_owned);
            match (change.id(), value) {
                (Some(id), Some(value)) => drop(mirror.insert(id, value)),
                (Some(id), None) => drop(mirror.remove(&id)),
                _ => {}
            }
        }
    };
    apply(&commit);
    let ended_well = fork(|| {
        let long = Duration::from_secs(5);
        // What was read before the fork is there.
        let change = commit.changes().next().unwrap().unwrap();
        assert_eq!(change.value().unwrap().bytes(), Some(&b"first"[..]));
        is_parents("feed", feed.try_next());
        is_parents("feed of the bucket", of_bucket.next_timeout(long));
        is_parents("feed beside", beside_feed.next_timeout(long));
        is_parents("new feed", store.changes(seq).and_then(|mut feed| feed.next_timeout(long)));
        is_parents("acknowledge", consumer.acknowledge(seq));
        is_parents("feed of a consumer", consumer.changes().and_then(|mut feed| feed.try_next()));
        is_parents("new consumer", store.add_consumer("child's", seq));
        is_parents("removal", store.remove_consumer("mirror"));
        for follower in [&beside, &elsewhere].into_iter().flatten() {
            is_parents("wait", follower.wait_for(tenure::Seq(u64::MAX), long));
            is_parents("look", follower.look());
        }
        let promoted = beside.take().unwrap().promote(&small(), Duration::from_millis(50)).map(drop);
        assert!(matches!(promoted, Err(Error::Locked { .. } | Error::OtherProcess { .. })), "{promoted:?}");
        let local = Arc::new(tenure::backing::Memory::new());
        is_parents("promote", elsewhere.take().unwrap().promote_into(local, &small(), quick()));
    });
    assert!(ended_well, "the child");
    // What the child took was its copy.
    for value in ["second", "third"] {
        let (id, _) = store.write_with(Durability::Remote, |tx| tx.insert(&notes, value)).unwrap();
        store.write_with(Durability::Remote, |tx| tx.update(first, value).and(tx.delete(id))).unwrap();
    }
    while let Some(commit) = feed.next_timeout(Duration::from_millis(100)).unwrap() {
        apply(&commit);
    }
    let last = store.last_seq();
    consumer.acknowledge(last).unwrap();
    assert_eq!(mirror, contents(&store));
    for follower in [&beside, &elsewhere].into_iter().flatten() {
        assert!(follower.wait_for(last, Duration::from_mins(1)).unwrap(), "{:?}", follower.progress());
        assert_eq!(contents(follower), mirror);
    }
    store.close().unwrap();
    assert!(bucket.status().unwrap().unwrap().is_sealed);
}
