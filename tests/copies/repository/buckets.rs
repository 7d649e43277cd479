//! Repositories in buckets: the same as in directories, through wrong answers and servers that are down.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use tenure::Store;
use tenure::remote::Bucket;
use tenure::repository::{At, Keep, Repository};

use crate::common::contents;
use crate::repository::flaky::Flaky;
use crate::repository::{add, go_on, restored, rounds, small};

fn bucket(store: &Arc<dyn ObjectStore>) -> Repository {
    Repository::in_bucket(Bucket::new(Arc::clone(store), "backups").expect("a bucket"))
}

fn change(store: &Store, round: u64) {
    let set = store.record_set("a").expect("a set");
    store.write(|tx| tx.insert(&set, round.to_le_bytes().repeat(500))).expect("commits");
}

#[test]
fn a_bucket_holds_a_repository() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = small().open(dir.path().join("store")).expect("opens");
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let repository = bucket(&objects);
    assert!(!repository.exists().expect("looks"));
    let mut states = Vec::new();
    for round in 0..5 {
        change(&store, round);
        let added = add(&repository, &store).expect("backs up");
        states.push((added.id, contents(&store).expect("reads")));
    }
    repository.prune(&Keep::newest(3)).expect("prunes");
    let report = repository.verify(&mut go_on).expect("verifies");
    assert!(report.is_ok() && report.backups == 3 && report.unneeded == 0, "{report:?}");
    for (id, state) in &states[2..] {
        assert_eq!(restored(&repository, At::Id(*id), dir.path()).expect("restores"), *state);
    }
}

#[test]
fn a_directory_and_a_bucket_of_files_hold_the_same_objects() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = small().open(dir.path().join("store")).expect("opens");
    change(&store, 1);
    let url = format!("file://{}", dir.path().join("backups").display());
    let as_bucket = Repository::in_bucket(Bucket::at(&url).expect("a bucket"));
    add(&as_bucket, &store).expect("backs up");
    let state = contents(&store).expect("reads");
    let as_directory = Repository::in_directory(dir.path().join("backups"));
    assert_eq!(restored(&as_directory, At::Newest, dir.path()).expect("restores"), state);
    assert_eq!(as_directory.list().expect("lists"), as_bucket.list().expect("lists"));
}

#[test]
fn wrong_answers_lose_no_backup() {
    let dir = tempfile::tempdir().expect("a directory");
    for seed in 0..rounds("TENURE_REPOSITORY_ROUNDS", 6) {
        let store = small().open(dir.path().join(format!("store-{seed}"))).expect("opens");
        let flaky = Flaky::new(seed);
        let repository = bucket(&flaky.store());
        let mut states = Vec::new();
        for round in 0..6 {
            change(&store, round);
            flaky.fail_one_in(if round == 0 { 0 } else { 6 });
            if let Ok(added) = add(&repository, &store) {
                states.push((added.id, contents(&store).expect("reads")));
            }
            if round == 4 {
                drop(repository.prune(&Keep::newest(2)));
            }
        }
        flaky.fail_one_in(0);
        let listed = repository.list().expect("lists");
        assert!(listed.len() >= 2 && flaky.faults.load(Ordering::Relaxed) > 0);
        let report = repository.verify(&mut go_on).expect("verifies");
        assert!(report.is_ok(), "{report:?}");
        for info in listed {
            // One whose answer was lost is listed, and unknown here.
            let Some((_, state)) = states.iter().find(|(id, _)| *id == info.id) else { continue };
            assert_eq!(restored(&repository, At::Id(info.id), dir.path()).expect("restores"), *state);
        }
    }
}

#[test]
fn a_server_that_is_down_ends_a_backup_that_is_resumed() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = small().open(dir.path().join("store")).expect("opens");
    let flaky = Flaky::new(1);
    let repository = bucket(&flaky.store());
    // More pieces than are put at once.
    for round in 0..400 {
        change(&store, round);
    }
    let result = repository.add(&store, &tenure::repository::AddOptions::new(), &mut |now| {
        flaky.set_down(now.written > 0);
        std::ops::ControlFlow::Continue(())
    });
    assert!(result.is_err());
    flaky.set_down(false);
    assert!(repository.list().expect("lists").is_empty());
    let added = add(&repository, &store).expect("backs up");
    assert!(added.written < added.bytes, "it went on: {added:?}");
    assert_eq!(restored(&repository, At::Newest, dir.path()).expect("restores"), contents(&store).expect("reads"));
}

#[test]
fn pieces_are_put_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = small().open(dir.path().join("store")).expect("opens");
    for round in 0..250 {
        change(&store, round);
    }
    let objects = Flaky::new(1);
    objects.slow(Duration::from_millis(20));
    let repository = bucket(&objects.store());
    let added = add(&repository, &store).expect("backs up");
    let most = objects.counts.putting_most.load(Ordering::Relaxed);
    println!("{} pieces, {most} at once", added.pieces);
    assert!(added.pieces > 8 && (4..=16).contains(&most), "{added:?}, {most} at once");
    objects.slow(Duration::ZERO);
    let state = contents(&store).expect("reads");
    assert_eq!(restored(&repository, At::Newest, dir.path()).expect("restores"), state);
}
