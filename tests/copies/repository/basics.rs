//! What a repository refuses, what it shares, and who may work at once.

use std::ops::ControlFlow;

use tenure::repository::{AddOptions, At, BackupId, Keep, Repository};
use tenure::{Error, Point, Seq, Store};

use crate::repository::{add, go_on, restored, small};

fn store_with(path: &std::path::Path, values: u64) -> Store {
    let store = small().open(path).expect("opens");
    let set = store.record_set("a").expect("a set");
    for value in 0..values {
        store.write(|tx| tx.insert(&set, value.to_le_bytes())).expect("commits");
    }
    store
}

#[test]
fn backups_are_numbered_and_found_by_commit() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store_with(&dir.path().join("store"), 3);
    let repository = Repository::in_directory(dir.path().join("backups"));
    assert!(!repository.exists().expect("looks"));
    assert!(matches!(repository.list(), Err(Error::NotAStore { .. })));
    let mut states = Vec::new();
    for round in 0..4 {
        let set = store.record_set("a").expect("a set");
        store.write(|tx| tx.insert(&set, format!("round {round}"))).expect("commits");
        let added = add(&repository, &store).expect("backs up");
        assert_eq!((added.id, added.seq), (BackupId(round + 1), store.last_seq()));
        states.push((added, crate::common::contents(&store).expect("reads")));
    }
    let listed = repository.list().expect("lists");
    assert_eq!(listed.iter().map(|info| info.id.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    for (info, (added, state)) in listed.iter().zip(&states) {
        assert_eq!((info.seq, info.bytes, info.files), (added.seq, added.bytes, added.files));
        for at in [At::Id(added.id), At::Seq(added.seq)] {
            assert_eq!(restored(&repository, at, dir.path()).expect("restores"), *state);
        }
    }
    assert_eq!(restored(&repository, At::Newest, dir.path()).expect("restores"), states[3].1);
    for at in [At::Id(BackupId(9)), At::Seq(Seq(1))] {
        let error = repository.restore(at, dir.path().join("none"), &mut go_on).expect_err("refuses");
        assert!(matches!(error, Error::PointGone { .. }), "{error}");
        assert!(!dir.path().join("none").exists());
    }
}

#[test]
fn an_unchanged_store_adds_only_a_manifest_and_a_list() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store_with(&dir.path().join("store"), 500);
    let repository = Repository::in_directory(dir.path().join("backups"));
    let first = add(&repository, &store).expect("backs up");
    assert!(first.written > first.bytes);
    let second = add(&repository, &store).expect("backs up");
    assert_eq!(second.pieces, 1, "the manifest, which tells the time");
    assert!(second.written < 4_000, "{second:?}");
}

#[test]
fn other_places_and_other_stores_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store_with(&dir.path().join("store"), 2);
    let other = store_with(&dir.path().join("other"), 2);
    let refused = |repository: &Repository, store: &Store, words: &str| {
        let error = add(repository, store).expect_err("refuses");
        assert!(matches!(&error, Error::BadDestination { why, .. } if why.contains(words)), "{error}");
    };
    let repository = Repository::in_directory(dir.path().join("backups"));
    add(&repository, &store).expect("backs up");
    refused(&repository, &other, "another store");
    refused(&Repository::in_directory(dir.path().join("other")), &store, "neither empty nor a repository");
    refused(&Repository::in_directory(dir.path().join("store/inside")), &store, "inside the store");
    let error = repository.restore(At::Newest, dir.path().join("backups/inside"), &mut go_on).expect_err("refuses");
    assert!(matches!(error, Error::BadDestination { .. }), "{error}");
    let error = repository.restore(At::Newest, dir.path().join("other"), &mut go_on).expect_err("refuses");
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert!(add(&Repository::in_directory(dir.path().join("no/such")), &store).is_err());
}

#[test]
fn stores_that_diverged_share_a_repository_and_no_byte_that_differs() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = store_with(&path, 50);
    let repository = Repository::in_directory(dir.path().join("backups"));
    add(&repository, &store).expect("backs up");
    // A copy of the same store, which goes on with the same segment numbers.
    let twin = dir.path().join("twin");
    repository.restore(At::Newest, &twin, &mut go_on).expect("restores");
    let twin = small().open(&twin).expect("opens");
    for (store, value) in [(&store, "ours"), (&twin, "hers")] {
        let set = store.record_set("a").expect("a set");
        store.write(|tx| tx.insert(&set, value)).expect("commits");
    }
    for store in [&store, &twin, &store, &twin] {
        let added = add(&repository, store).expect("backs up");
        let state = crate::common::contents(store).expect("reads");
        assert_eq!(restored(&repository, At::Id(added.id), dir.path()).expect("restores"), state);
    }
    // Rolled back, it goes on in another lineage with the same names.
    store.save_named_snapshot("before").expect("saves");
    let set = store.record_set("a").expect("a set");
    store.write(|tx| tx.insert(&set, "a mistake")).expect("commits");
    let wrong = add(&repository, &store).expect("backs up");
    let mistaken = crate::common::contents(&store).expect("reads");
    drop(twin);
    let store = store.roll_back_to(&Point::Name("before".into())).expect("rolls back");
    let right = add(&repository, &store).expect("backs up");
    let state = crate::common::contents(&store).expect("reads");
    assert_eq!(restored(&repository, At::Id(right.id), dir.path()).expect("restores"), state);
    assert_eq!(restored(&repository, At::Id(wrong.id), dir.path()).expect("restores"), mistaken);
}

#[test]
fn pruning_keeps_what_the_others_need() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store_with(&dir.path().join("store"), 300);
    let repository = Repository::in_directory(dir.path().join("backups"));
    let mut states = Vec::new();
    for round in 0..6_u64 {
        let set = store.record_set("a").expect("a set");
        store.write(|tx| tx.insert(&set, round.to_le_bytes().repeat(300))).expect("commits");
        store.collect(None).expect("collects");
        add(&repository, &store).expect("backs up");
        states.push(crate::common::contents(&store).expect("reads"));
    }
    let pruned = repository.prune(&Keep::newest(2)).expect("prunes");
    assert_eq!(pruned.backups, [1, 2, 3, 4].map(BackupId));
    assert!(pruned.pieces > 0);
    let report = repository.verify(&mut go_on).expect("verifies");
    assert!(report.is_ok() && report.backups == 2 && report.unneeded == 0, "{report:?}");
    for (id, state) in [(5, &states[4]), (6, &states[5])] {
        assert_eq!(restored(&repository, At::Id(BackupId(id)), dir.path()).expect("restores"), *state);
    }
    assert_eq!(repository.prune(&Keep::newest(2)).expect("prunes").pieces, 0);
    assert_eq!(add(&repository, &store).expect("backs up").id, BackupId(7));
}

#[test]
fn a_cancelled_backup_is_resumed() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store_with(&dir.path().join("store"), 3_000);
    let repository = Repository::in_directory(dir.path().join("backups"));
    let whole = add(&Repository::in_directory(dir.path().join("whole")), &store).expect("backs up");
    let mut written = 0;
    let error = repository
        .add(&store, &AddOptions::new(), &mut |now| {
            written = now.written;
            if now.written > whole.bytes / 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .expect_err("was cancelled");
    assert!(error.to_string().contains("cancelled"), "{error}");
    assert!(repository.list().expect("lists").is_empty() && written > 0);
    let added = add(&repository, &store).expect("backs up");
    assert!(added.written < whole.written - written + 10_000, "{added:?} after {written} of {whole:?}");
    let state = crate::common::contents(&store).expect("reads");
    assert_eq!(restored(&repository, At::Newest, dir.path()).expect("restores"), state);
}

#[test]
fn nothing_is_pruned_beside_a_backup_and_two_backups_are_both_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store_with(&dir.path().join("store"), 500);
    let repository = Repository::in_directory(dir.path().join("backups"));
    add(&repository, &store).expect("backs up");
    let state = crate::common::contents(&store).expect("reads");
    let mut others = 0;
    let outer = repository.add(&store, &AddOptions::new(), &mut |_| {
        if others == 0 {
            others += 1;
            let error = repository.prune(&Keep::newest(1)).expect_err("a backup is at work");
            assert!(matches!(error, Error::Locked { .. }), "{error}");
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    let (repository, store) = (repository.clone(), store.clone());
                    std::thread::spawn(move || add(&repository, &store).expect("backs up"))
                })
                .collect();
            let mut ids: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("ends").id.0).collect();
            ids.sort_unstable();
            assert_eq!(ids, [2, 3, 4]);
        }
        ControlFlow::Continue(())
    });
    assert_eq!(outer.expect("backs up").id, BackupId(5));
    for id in 1..=5 {
        assert_eq!(restored(&repository, At::Id(BackupId(id)), dir.path()).expect("restores"), state);
    }
    assert_eq!(repository.prune(&Keep::newest(1)).expect("prunes").backups.len(), 4);
    assert_eq!(restored(&repository, At::Newest, dir.path()).expect("restores"), state);
}

#[test]
fn marks_of_dead_owners_are_found_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let backups = dir.path().join("backups");
    let store = store_with(&dir.path().join("store"), 5);
    let repository = Repository::in_directory(&backups);
    add(&repository, &store).expect("backs up");
    for dead in ["marks/prune-1", "marks/backup-2", "temporary/3"] {
        std::fs::write(backups.join(dead), "left").expect("writes");
    }
    add(&repository, &store).expect("backs up");
    repository.prune(&Keep::newest(1)).expect("prunes");
    for folder in ["marks", "temporary"] {
        assert_eq!(std::fs::read_dir(backups.join(folder)).expect("lists").count(), 0, "{folder}");
    }
    let mut options = std::fs::OpenOptions::new();
    let living = options.write(true).create_new(true).open(backups.join("marks/prune-4")).expect("creates");
    living.lock().expect("locks");
    assert!(matches!(add(&repository, &store), Err(Error::Locked { .. })));
}
