//! Repositories of backups that cannot be used.

use std::fs;

use crate::backups::people;
use crate::support::{Fixture, tenure};
use crate::table::assert_told;

/// Damages the piece that has the log, and returns its name.
fn damage(place: &str) -> String {
    let data = fs::read_dir(format!("{place}/data")).expect("lists").map(|entry| entry.expect("an entry").path());
    let piece = data.into_iter().find(|path| path.to_string_lossy().contains("log-")).expect("a piece");
    let mut bytes = fs::read(&piece).expect("reads");
    bytes[200] ^= 1;
    fs::write(&piece, bytes).expect("writes");
    piece.file_name().expect("a name").to_string_lossy().into_owned()
}

#[test]
fn damaged_repository() {
    let fixture = Fixture::new();
    let (store, place) = (fixture.store(), fixture.path("backups"));
    tenure(&["backup", "--incremental", &store, &place]).ok();
    let piece = damage(&place);
    assert_told("damaged_repository", &tenure(&["backup", "verify", &place]), &piece);
    // The next backup does not need it, or has written it anew.
    tenure(&["backup", "--incremental", &store, &place]).ok();
    tenure(&["restore", &place, &fixture.path("newest")]).ok();
    assert_eq!(people(&fixture.path("newest")), people(&store));
}

#[test]
fn damaged_backup() {
    let fixture = Fixture::new();
    let (store, place, restored) = (fixture.store(), fixture.path("backups"), fixture.path("restored"));
    tenure(&["backup", "--incremental", &store, &place]).ok();
    let piece = damage(&place);
    let run = tenure(&["restore", &place, &restored]);
    assert_told("damaged_backup", &run, &piece);
    assert!(run.err.contains(&format!("{restored} is unfinished: delete it")), "{}", run.err);
}

#[test]
fn damaged_list_of_a_backup() {
    let fixture = Fixture::new();
    let (store, place) = (fixture.store(), fixture.path("backups"));
    for _ in 0..3 {
        tenure(&["backup", "--incremental", &store, &place]).ok();
    }
    fs::write(format!("{place}/backups/000000000002"), "tenure backup 1\n").expect("writes");
    let run = tenure(&["backup", "list", &place]);
    assert_told("damaged_list_of_a_backup", &run, "backups/000000000002");
    let shown = String::from_utf8(run.out).expect("text");
    assert!(shown.contains("b1") && shown.contains("b3") && !shown.contains("b2"), "{shown}");
    let json = tenure(&["backup", "list", &place, "--json"]);
    assert_eq!((json.code, json.out.split(|byte| *byte == b'\n').count()), (4, 3), "{json:?}");
    fs::write(format!("{place}/backups/000000000001"), "").expect("writes");
    let both = tenure(&["backup", "list", &place]);
    assert!(both.code == 4 && both.err.contains("000000000001") && both.err.contains("000000000002"), "{both:?}");
}

#[test]
fn backup_that_is_not_kept() {
    let fixture = Fixture::new();
    let (store, place, restored) = (fixture.store(), fixture.path("backups"), fixture.path("restored"));
    tenure(&["backup", "--incremental", &store, &place]).ok();
    for at in ["b9", "4711"] {
        assert_told("backup_that_is_not_kept", &tenure(&["restore", &place, &restored, "--at", at]), at);
    }
}

#[test]
fn restored_into_the_repository() {
    let fixture = Fixture::new();
    let (store, place) = (fixture.store(), fixture.path("backups"));
    tenure(&["backup", "--incremental", &store, &place]).ok();
    let inside = format!("{place}/restored");
    assert_told("restored_into_the_repository", &tenure(&["restore", &place, &inside]), &inside);
    assert!(tenure(&["backup", "verify", &place]).ok().contains("no problem found"));
}

#[test]
fn repository_in_a_directory_that_is_taken() {
    let fixture = Fixture::new();
    let (store, other) = (fixture.store(), fixture.path("other"));
    fs::create_dir(&other).expect("made");
    fs::write(format!("{other}/letter.txt"), "Dear Sir").expect("written");
    for taken in [&store, &other] {
        let run = tenure(&["backup", "--incremental", &store, taken]);
        assert_told("repository_in_a_directory_that_is_taken", &run, taken);
    }
    assert_eq!(fs::read_dir(&other).expect("lists").count(), 1);
    fixture.assert_unchanged();
}

#[test]
fn what_is_no_repository() {
    let fixture = Fixture::new();
    let (store, none) = (fixture.store(), fixture.path("none"));
    for verb in ["list", "verify"] {
        assert_told("what_is_no_repository", &tenure(&["backup", verb, &none]), &none);
    }
    let run = tenure(&["backup", "--incremental", "--copy", &store, &none]);
    assert_eq!(run.code, 2, "{run:?}");
    assert_eq!(tenure(&["backup", &store]).code, 2);
    fixture.assert_unchanged();
}
