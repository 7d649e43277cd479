//! The directory of a repository is renamed, or another takes its place, in the midst of what is done with it.

#![expect(clippy::disallowed_methods, reason = "what is renamed is a directory, by a user")]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use tenure::repository::{AddOptions, At, Keep, Repository};
use tenure::{Error, Store};

use crate::common::{Contents, contents};
use crate::repository::{add, go_on, restored, small};

fn change(store: &Store, round: u64) -> Contents {
    let set = store.record_set("a").expect("a set");
    for value in 0..60_u64 {
        store.write(|tx| tx.insert(&set, (value << 8 | round).to_le_bytes().repeat(100))).expect("commits");
    }
    contents(store).expect("reads")
}

/// All that is below a directory, with lengths.
fn files(path: &Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = path.metadata().expect("a file").len();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

#[test]
fn a_repository_that_is_moved_during_a_backup_ends_it_and_has_all_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let [place, moved] = ["backups", "moved"].map(|name| dir.path().join(name));
    let store = small().open(dir.path().join("store")).expect("opens");
    let repository = Repository::in_directory(&place);
    let first = change(&store, 1);
    add(&repository, &store).expect("backs up");
    // After each of its steps.
    for step in [0, 1, 2, 3, 5, 8, 1_000] {
        let second = change(&store, 2 + step);
        let mut steps = 0;
        let added = repository.add(&store, &AddOptions::new(), &mut |_| {
            if steps == step {
                fs::rename(&place, &moved).expect("moves");
            }
            steps += 1;
            ControlFlow::Continue(())
        });
        if steps <= step {
            added.expect("it was not moved");
            assert_eq!(step, 1_000, "it has more steps");
            break;
        }
        let error = added.expect_err("it is gone");
        assert!(error.to_string().contains("backups"), "after step {step}: {error}");
        assert!(!place.exists(), "after step {step}: nothing is made in its stead");
        let there = Repository::in_directory(&moved);
        assert!(there.verify(&mut go_on).expect("verifies").is_ok(), "after step {step}");
        assert_eq!(restored(&there, At::Id(tenure::repository::BackupId(1)), dir.path()).expect("restores"), first);
        add(&there, &store).expect("backs up");
        assert_eq!(restored(&there, At::Newest, dir.path()).expect("restores"), second);
        fs::rename(&moved, &place).expect("moves back");
    }
    repository.prune(&Keep::newest(1)).expect("prunes");
    assert_eq!(repository.verify(&mut go_on).expect("verifies").unneeded, 0);
}

#[test]
fn another_repository_that_takes_its_place_gets_no_backup() {
    let dir = tempfile::tempdir().expect("a directory");
    let [place, moved, others] = ["backups", "moved", "others"].map(|name| dir.path().join(name));
    let store = small().open(dir.path().join("store")).expect("opens");
    let other = small().open(dir.path().join("other")).expect("opens");
    change(&other, 9);
    add(&Repository::in_directory(&others), &other).expect("backs up");
    let repository = Repository::in_directory(&place);
    change(&store, 0);
    add(&repository, &store).expect("backs up");
    for step in [0, 1, 2, 3, 5, 8, 1_000] {
        change(&store, 1 + step);
        let before: Vec<_> = Repository::in_directory(&others).list().expect("lists");
        let mut steps = 0;
        let added = repository.add(&store, &AddOptions::new(), &mut |_| {
            if steps == step {
                fs::rename(&place, &moved).expect("moves");
                fs::rename(&others, &place).expect("moves");
            }
            steps += 1;
            ControlFlow::Continue(())
        });
        if steps <= step {
            added.expect("it was not moved");
            assert_eq!(step, 1_000, "it has more steps");
            break;
        }
        let error = added.expect_err("it is another's");
        let is_told = matches!(error, Error::Fenced { .. } | Error::BadDestination { .. });
        assert!(is_told, "after step {step}: {error}");
        // What was put there is nobody's, and goes with the next pruning.
        let theirs = Repository::in_directory(&place);
        assert_eq!(theirs.list().expect("lists"), before, "after step {step}");
        theirs.prune(&Keep::newest(9)).expect("prunes");
        let report = theirs.verify(&mut go_on).expect("verifies");
        assert!(report.is_ok() && report.unneeded == 0, "after step {step}: {report:?}");
        fs::rename(&place, &others).expect("moves back");
        fs::rename(&moved, &place).expect("moves back");
        assert!(repository.verify(&mut go_on).expect("verifies").is_ok(), "after step {step}");
    }
    let before = files(&others);
    add(&repository, &store).expect("backs up");
    assert_eq!(files(&others), before);
}
