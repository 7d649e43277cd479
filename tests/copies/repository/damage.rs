//! Damage in a repository: it is named, never restored, refuses pruning where it hides what is needed, and is backed up anew.

use std::fs;
use std::path::{Path, PathBuf};

use tenure::repository::{At, Keep, Repository};
use tenure::{Error, Store};

use crate::repository::{add, go_on, restored, small};

fn files(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(path).expect("lists").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn fixture(dir: &Path) -> (Store, Repository) {
    let store = small().open(dir.join("store")).expect("opens");
    let set = store.record_set("a").expect("a set");
    for value in 0..300_u64 {
        store.write(|tx| tx.insert(&set, value.to_le_bytes().repeat(60))).expect("commits");
    }
    let repository = Repository::in_directory(dir.join("backups"));
    add(&repository, &store).expect("backs up");
    store.write(|tx| tx.insert(&set, "later")).expect("commits");
    add(&repository, &store).expect("backs up");
    (store, repository)
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(path, bytes).expect("writes");
}

#[test]
fn each_damaged_piece_is_named_and_backed_up_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, repository) = fixture(dir.path());
    let state = crate::common::contents(&store).expect("reads");
    let data = dir.path().join("backups/data");
    let mut healed = 0;
    for piece in files(&data) {
        let name = piece.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        for harm in 0..3 {
            match harm {
                0 => flip(&piece),
                1 => fs::write(&piece, &fs::read(&piece).expect("reads")[1..]).expect("writes"),
                _ => fs::remove_file(&piece).expect("deletes"),
            }
            let report = repository.verify(&mut go_on).expect("verifies");
            assert_eq!(report.problems.len(), 1, "{name}: {report:?}");
            let problem = &report.problems[0];
            assert!(problem.object.ends_with(&name) && problem.corrupt && !problem.backups.is_empty(), "{problem:?}");
            for id in &problem.backups {
                let error = restored(&repository, At::Id(*id), dir.path()).expect_err("refuses");
                assert!(error.is_corruption() && error.to_string().contains(&name), "{error}");
                assert!(small().open(dir.path().join("restored")).is_err(), "it stays unfinished");
                fs::remove_dir_all(dir.path().join("restored")).expect("deletes");
            }
            // Manifests of earlier backups are not in the store any more.
            if name.starts_with("manifest-") {
                fs::remove_dir_all(dir.path().join("backups")).expect("deletes");
                add(&repository, &store).expect("backs up");
                break;
            }
            let added = add(&repository, &store).expect("backs up");
            let report = repository.verify(&mut go_on).expect("verifies");
            assert!(report.is_ok(), "{name}: {report:?}");
            assert_eq!(files(&dir.path().join("backups/damaged")), Vec::<PathBuf>::new());
            assert_eq!(restored(&repository, At::Id(added.id), dir.path()).expect("restores"), state);
            healed += 1;
        }
        if !data.join(&name).exists() {
            break;
        }
    }
    assert!(healed >= 6, "{healed}");
}

#[test]
fn nothing_is_pruned_while_a_list_is_damaged() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, repository) = fixture(dir.path());
    let list = dir.path().join("backups/backups/000000000001");
    flip(&list);
    let before = files(&dir.path().join("backups/data"));
    let error = repository.prune(&Keep::newest(1)).expect_err("refuses");
    assert!(error.is_corruption() && error.to_string().contains("000000000001"), "{error}");
    assert_eq!(files(&dir.path().join("backups/data")), before);
    let report = repository.verify(&mut go_on).expect("verifies");
    assert_eq!(report.problems.iter().map(|problem| &*problem.object).collect::<Vec<_>>(), ["backups/000000000001"]);
    assert!(repository.list().is_err());
    // The others are not affected, and backups go on.
    let added = add(&repository, &store).expect("backs up");
    let state = crate::common::contents(&store).expect("reads");
    for at in [At::Newest, At::Id(added.id)] {
        assert_eq!(restored(&repository, at, dir.path()).expect("restores"), state);
    }
    fs::remove_file(list).expect("gives it up");
    repository.prune(&Keep::newest(1)).expect("prunes");
    assert!(repository.verify(&mut go_on).expect("verifies").is_ok());
}

#[test]
fn a_damaged_store_is_not_backed_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, repository) = fixture(dir.path());
    store.close().expect("closes");
    let log = files(&dir.path().join("store"))
        .into_iter()
        .find(|file| file.extension().is_some_and(|ending| ending == "seg") && file.to_string_lossy().contains("log-"));
    flip(&log.expect("a log segment"));
    let before = repository.list().expect("lists");
    if let Ok(store) = small().open(dir.path().join("store")) {
        let error = add(&repository, &store).expect_err("refuses");
        assert!(matches!(error, Error::Corrupt(_)), "{error}");
    }
    assert_eq!(repository.list().expect("lists"), before);
}

fn move_to(from: &Path, to: &Path) {
    let moved = std::process::Command::new("mv").args([from, to]).status().expect("starts");
    assert!(moved.success());
}

#[test]
fn a_repository_that_vanishes_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, repository) = fixture(dir.path());
    let (there, away) = (dir.path().join("backups"), dir.path().join("away"));
    let set = store.record_set("a").expect("a set");
    store.write(|tx| tx.insert(&set, "more")).expect("commits");
    let mut steps = 0;
    let error = repository.add(&store, &tenure::repository::AddOptions::new(), &mut |_| {
        steps += 1;
        if steps == 1 {
            move_to(&there, &away);
        }
        std::ops::ControlFlow::Continue(())
    });
    let error = error.expect_err("it is gone");
    assert!(matches!(&error, Error::Io { file, .. } if file.contains("backups")), "{error}");
    assert!(!there.exists(), "nothing was made in its place");
    move_to(&away, &there);
    add(&repository, &store).expect("backs up");
    assert!(repository.verify(&mut go_on).expect("verifies").is_ok());
}

#[test]
fn a_backup_that_lacks_pieces_takes_the_place_of_none_that_has_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, repository) = fixture(dir.path());
    let data = dir.path().join("backups/data");
    let before = files(&data);
    let set = store.record_set("a").expect("a set");
    store.write(|tx| tx.insert(&set, "the last one")).expect("commits");
    add(&repository, &store).expect("backs up");
    let own = files(&data).into_iter().find(|piece| !before.contains(piece)).expect("a piece of its own");
    fs::remove_file(&own).expect("deletes");
    let ids = || repository.list().expect("lists").iter().map(|info| info.id.0).collect::<Vec<_>>();
    repository.prune(&Keep::newest(1)).expect("prunes");
    assert_eq!(ids(), [2, 3]);
    restored(&repository, At::Id(tenure::repository::BackupId(2)), dir.path()).expect("restores");
    // Once there is another, it goes.
    add(&repository, &store).expect("backs up");
    repository.prune(&Keep::newest(1)).expect("prunes");
    assert_eq!(ids(), [4]);
    assert!(repository.verify(&mut go_on).expect("verifies").is_ok());
}
