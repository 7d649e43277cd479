//! Objects of impossible sizes, folders that a copy has lost, a pruning in the midst of reading, and what one damaged list hides.

use std::fs::{self, OpenOptions};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tenure::repository::{At, Keep, Repository};
use tenure::{Error, Store};

use crate::common::{Contents, contents};
use crate::repository::{add, go_on, restored, small};

/// A repository with some backups, each of its own records.
fn fixture(dir: &Path, backups: u64) -> (Store, Repository, Vec<Contents>) {
    let store = small().open(dir.join("store")).expect("opens");
    let set = store.record_set("a").expect("a set");
    let repository = Repository::in_directory(dir.join("backups"));
    let mut states = Vec::new();
    for backup in 0..backups {
        for value in 0..100_u64 {
            store.write(|tx| tx.insert(&set, (value ^ backup).to_le_bytes().repeat(60))).expect("commits");
        }
        store.collect(None).expect("collects");
        add(&repository, &store).expect("backs up");
        states.push(contents(&store).expect("reads"));
    }
    (store, repository, states)
}

fn files(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(path).expect("lists").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// Gives a file a length that no memory holds. It takes no space.
fn swell(path: &Path) {
    OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
}

#[test]
fn an_object_that_is_far_too_long_is_damage_and_not_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, repository, states) = fixture(dir.path(), 1);
    let piece = files(&dir.path().join("backups/data")).remove(0);
    swell(&piece);
    let report = repository.verify(&mut go_on).expect("verifies");
    assert!(report.problems.len() == 1 && report.problems[0].corrupt, "{report:?}");
    let error = restored(&repository, At::Newest, dir.path()).expect_err("refuses");
    assert!(error.is_corruption(), "{error}");
    fs::remove_dir_all(dir.path().join("restored")).expect("deletes");
    add(&repository, &store).expect("backs up");
    assert_eq!(restored(&repository, At::Newest, dir.path()).expect("restores"), states[0]);
    swell(&dir.path().join("backups/backups/000000000002"));
    let error = restored(&repository, At::Newest, dir.path()).expect_err("refuses");
    assert!(error.is_corruption() && error.to_string().contains("000000000002"), "{error}");
    swell(&dir.path().join("backups/repository"));
    let error = repository.list().expect_err("refuses");
    assert!(error.is_corruption() && error.to_string().contains("repository"), "{error}");
}

#[test]
fn a_damaged_list_hides_no_other_backup() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, repository, states) = fixture(dir.path(), 3);
    let seqs: Vec<_> = repository.list().expect("lists").into_iter().map(|info| info.seq).collect();
    fs::write(dir.path().join("backups/backups/000000000003"), "tenure").expect("writes");
    for (seq, state) in seqs.iter().zip(&states).take(2) {
        assert_eq!(restored(&repository, At::Seq(*seq), dir.path()).expect("restores"), *state);
    }
    // It may be the one that is meant.
    let error = restored(&repository, At::Seq(seqs[2]), dir.path()).expect_err("refuses");
    assert!(error.is_corruption() && error.to_string().contains("000000000003"), "{error}");
}

#[test]
fn a_copy_without_its_empty_folders_is_a_repository() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, repository, states) = fixture(dir.path(), 2);
    let lose = || {
        for folder in ["marks", "damaged", "temporary"] {
            drop(fs::remove_dir(dir.path().join("backups").join(folder)));
        }
    };
    lose();
    assert!(repository.verify(&mut go_on).expect("verifies").is_ok());
    assert_eq!(restored(&repository, At::Newest, dir.path()).expect("restores"), states[1]);
    lose();
    add(&repository, &store).expect("backs up");
    lose();
    assert_eq!(repository.prune(&Keep::newest(1)).expect("prunes").backups.len(), 2);
    lose();
    // Damage is noted as well.
    let piece = files(&dir.path().join("backups/data")).remove(0);
    fs::write(&piece, "x").expect("writes");
    assert_eq!(repository.verify(&mut go_on).expect("verifies").problems.len(), 1);
    add(&repository, &store).expect("backs up");
    assert!(repository.verify(&mut go_on).expect("verifies").is_ok());
}

#[test]
fn reading_a_backup_that_is_pruned_meanwhile_finds_no_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, repository, states) = fixture(dir.path(), 3);
    let mut pruned = false;
    let report = repository.verify(&mut |_| {
        if !std::mem::replace(&mut pruned, true) {
            assert_eq!(repository.prune(&Keep::newest(2)).expect("prunes").backups.len(), 1);
        }
        ControlFlow::Continue(())
    });
    let report = report.expect("verifies");
    assert!(report.is_ok(), "{report:?}");
    assert_eq!(files(&dir.path().join("backups/damaged")), Vec::<PathBuf>::new());
    let first = repository.list().expect("lists")[0].id;
    pruned = false;
    let error = repository.restore(At::Id(first), dir.path().join("gone"), &mut |_| {
        if !std::mem::replace(&mut pruned, true) {
            assert_eq!(repository.prune(&Keep::newest(1)).expect("prunes").backups.len(), 1);
        }
        ControlFlow::Continue(())
    });
    let error = error.expect_err("it is gone");
    assert!(matches!(&error, Error::PointGone { why, .. } if why.contains("pruned")), "{error}");
    assert_eq!(restored(&repository, At::Newest, dir.path()).expect("restores"), states[2]);
}

#[test]
fn a_piece_that_is_gone_leaves_no_note() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, repository, _) = fixture(dir.path(), 1);
    let piece = files(&dir.path().join("backups/data")).remove(0);
    fs::remove_file(piece).expect("deletes");
    assert_eq!(repository.verify(&mut go_on).expect("verifies").problems.len(), 1);
    assert_eq!(files(&dir.path().join("backups/damaged")), Vec::<PathBuf>::new());
    add(&repository, &store).expect("backs up");
    assert!(repository.verify(&mut go_on).expect("verifies").is_ok());
}
