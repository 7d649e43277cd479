//! Past states that are no longer retained, and copies that cannot be made or opened.

use std::fs;
use std::path::Path;

use crate::support::{Fixture, files_of, tenure, tenure_under};
use crate::table::assert_told;

#[test]
fn state_that_is_not_kept() {
    let fixture = Fixture::new();
    let store = fixture.store();
    for (kind, name, place) in [
        ("snapshot", "nobody", "snapshot \"nobody\""),
        ("snapshot", "4711", "4711"),
        ("mark", "nowhere", "mark \"nowhere\""),
        ("seq", "4711", "commit 4711"),
    ] {
        let at = format!("{kind}:{name}");
        assert_told("state_that_is_not_kept", &tenure(&["export", &store, "--set", "people", "--at", &at]), place);
        let run = tenure(&["rollback", &store, &format!("--{kind}"), name]);
        assert_told("state_that_is_not_kept", &run, place);
    }
    fixture.assert_unchanged();
}

#[test]
fn snapshot_that_is_not_kept() {
    let fixture = Fixture::new();
    let run = tenure(&["snapshot", "drop", &fixture.store(), "nobody"]);
    assert_told("snapshot_that_is_not_kept", &run, "nobody");
    fixture.assert_unchanged();
}

#[test]
fn snapshot_of_a_name_that_is_taken() {
    let fixture = Fixture::new();
    let store = fixture.store();
    tenure(&["snapshot", "save", &store, "monday"]).ok();
    assert_told("snapshot_of_a_name_that_is_taken", &tenure(&["snapshot", "save", &store, "monday"]), "monday");
    fixture.assert_unchanged();
}

#[test]
fn text_that_names_no_state() {
    let fixture = Fixture::new();
    for at in ["monday", "snapshot:", "seq:monday", "commit:3"] {
        let run = tenure(&["export", &fixture.store(), "--set", "people", "--at", at]);
        assert_told("text_that_names_no_state", &run, at);
    }
    fixture.assert_unchanged();
}

#[test]
fn directory_that_is_not_empty() {
    let fixture = Fixture::new();
    let (store, backup, other) = (fixture.store(), fixture.path("backup"), fixture.path("other"));
    tenure(&["backup", &store, &backup]).ok();
    fs::create_dir(&other).expect("made");
    fs::write(Path::new(&other).join("letter.txt"), "Dear Sir").expect("written");
    for taken in [&backup, &other, &store] {
        let before = files_of(Path::new(taken));
        assert_told("directory_that_is_not_empty", &tenure(&["restore", &backup, taken]), taken);
        assert_eq!(files_of(Path::new(taken)), before);
        if *taken != store {
            assert_told("directory_that_is_not_empty", &tenure(&["backup", &store, taken]), taken);
            assert_eq!(files_of(Path::new(taken)), before);
        }
    }
    fixture.assert_unchanged();
}

#[cfg(unix)]
#[test]
fn unfinished_copy() {
    let fixture = Fixture::new();
    let (store, backup, copy) = (fixture.store(), fixture.path("backup"), fixture.path("copy"));
    let large = fixture.write("large", &vec![b'x'; 1_000_000]);
    tenure(&["put", &store, "--set", "large", "--file", &large]).ok();
    tenure(&["backup", &store, &backup]).ok();
    // No file may grow beyond 256 KiB, so the copy of the segment is cut short.
    let run = tenure_under(r#"ulimit -f 512; exec "$@""#, &["restore", &backup, &copy]);
    assert_told("copy_for_which_there_is_no_room", &run, "log-");
    assert!(run.err.contains(&format!("{copy} is unfinished: delete it")), "{}", run.err);
    // A writer takes the lock first.
    let files = || {
        let files = files_of(Path::new(&copy)).into_iter();
        files.filter(|(path, _)| !path.ends_with("lock")).collect::<Vec<_>>()
    };
    let before = files();
    let again = fixture.path("again");
    let commands: [&[&str]; 6] = [
        &["get", &copy, "0.1"],
        &["put", &copy, "--set", "people", "x"],
        &["stat", &copy],
        &["verify", &copy],
        &["restore", &copy, &again],
        &["backup", &copy, &again],
    ];
    for args in commands {
        assert_told("unfinished_copy", &tenure(args), &copy);
        assert!(files() == before, "{args:?} touched it");
    }
    fs::remove_dir_all(&copy).expect("deleted");
    tenure(&["restore", &backup, &copy]).ok();
    tenure(&["verify", &copy]).ok();
    fixture.assert_unchanged();
}

#[cfg(unix)]
#[test]
fn copy_for_which_there_is_no_room() {
    let fixture = Fixture::new();
    let large = fixture.write("large", &vec![b'x'; 1_000_000]);
    let (store, copy) = (fixture.store(), fixture.path("copy"));
    tenure(&["put", &store, "--set", "large", "--file", &large]).ok();
    let run = tenure_under(r#"ulimit -f 512; exec "$@""#, &["restore", &store, &copy]);
    assert_told("copy_for_which_there_is_no_room", &run, "log-");
    fixture.assert_unchanged();
}
