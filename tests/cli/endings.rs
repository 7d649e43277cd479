//! Failures outside the store, or after a durable change: they are distinguished from failures that changed nothing.

use std::path::Path;

use rustix::process::Signal;

use crate::interrupt::interrupted;
use crate::support::{Fixture, PEOPLE, Run, skip, tenure, tenure_under};
use crate::table::assert_told;

/// Runs the program with file size limited to 2 KiB: a commit fits, and so does the patch of a page, but no page of a snapshot that is
/// written for the first time.
fn where_no_page_fits(args: &[&str]) -> Run {
    tenure_under(r#"ulimit -f 4; exec "$@""#, args)
}

fn out(run: &Run) -> String {
    String::from_utf8(run.out.clone()).expect("text")
}

#[test]
fn closing_that_fails() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let told = |run: &Run, what: &str| {
        assert_told(
            "closing_that_fails",
            run,
            &format!("error: {what}, but the store could not be closed: no room to "),
        );
        assert!(run.err.contains("free space on the device"), "{}", run.err);
        tenure(&["verify", &store]).ok();
    };
    let run = where_no_page_fits(&["put", &store, "--set", "first", "one"]);
    let id = out(&run).trim().to_owned();
    told(&run, &format!("record {id} is stored"));
    assert_eq!(tenure(&["get", &store, &id]).ok(), "one\n");

    let run = where_no_page_fits(&["update", &store, &id, "two", "--json"]);
    let seq = serde_json::from_slice::<serde_json::Value>(&run.out).expect("JSON")["seq"].clone();
    told(&run, &format!("version {seq} of record {id} is stored"));
    assert_eq!(tenure(&["get", &store, &id]).ok(), "two\n");

    let run = where_no_page_fits(&["delete", &store, &id]);
    told(&run, "the deletion of 1 record is stored");
    assert_eq!(out(&run), "deleted 1 record\n");
    assert_eq!(tenure(&["get", &store, &id]).code, 3);

    // A commit that changes a page, so that a snapshot has one to save.
    let people = fixture.path("people.jsonl");
    let run = where_no_page_fits(&["import", &store, &people, "--set", "new"]);
    told(&run, "every row is stored (3 records)");
    assert!(out(&run).starts_with("imported 3 records"), "{}", out(&run));
    assert_eq!(tenure(&["export", &store, "--set", "new"]).ok(), PEOPLE);
    fixture.assert_unchanged();
}

#[test]
fn result_that_cannot_be_printed() {
    if !Path::new("/dev/full").exists() {
        return skip("result_that_cannot_be_printed: there is no /dev/full here");
    }
    let fixture = Fixture::new();
    let (store, people) = (fixture.store(), fixture.path("people.jsonl"));
    let full = |args: &[&str]| tenure_under(r#"exec "$@" >/dev/full"#, args);
    let told = |run: &Run, what: &str| {
        assert_told("result_that_cannot_be_printed", run, &format!("error: {what}, but no room to write stdout: "));
    };
    let run = full(&["put", &store, "--set", "more", "one"]);
    let ids = fixture.ids("more");
    told(&run, &format!("record {} is stored", ids[0]));
    told(&full(&["delete", &store, &ids[0]]), "the deletion of 1 record is stored");
    told(&full(&["import", &store, &people, "--set", "new"]), "every row is stored (3 records)");
    assert_eq!(tenure(&["export", &store, "--set", "new"]).ok(), PEOPLE);
    fixture.assert_unchanged();
}

#[test]
fn ids_that_cannot_be_written() {
    if !Path::new("/dev/full").exists() {
        return skip("ids_that_cannot_be_written: there is no /dev/full here");
    }
    let fixture = Fixture::new();
    let (store, people) = (fixture.store(), fixture.path("people.jsonl"));
    let run = tenure(&["import", &store, &people, "--set", "new", "--batch", "2", "--ids", "/dev/full"]);
    assert_told("ids_that_cannot_be_written", &run, "/dev/full");
    assert!(run.err.ends_with("resume with --from-line 3\n"), "{}", run.err);
    tenure(&["import", &store, &people, "--set", "new", "--from-line", "3"]).ok();
    assert_eq!(tenure(&["export", &store, "--set", "new"]).ok(), PEOPLE);
    fixture.assert_unchanged();
}

#[test]
fn closed_stdin() {
    let fixture = Fixture::new();
    let (store, new) = (fixture.store(), fixture.path("new"));
    let id = fixture.ids("notes").remove(0);
    let commands: [&[&str]; 3] =
        [&["import", &new, "-", "--set", "a"], &["put", &new, "--set", "a", "-"], &["update", &store, &id, "-"]];
    for args in commands {
        assert_told("closed_stdin", &tenure_under(r#"exec "$@" <&-"#, args), "stdin");
        assert!(!Path::new(&new).exists(), "{args:?} made a store");
    }
    // Open for writing only is equivalent to closed.
    assert_told("closed_stdin", &tenure_under(r#"exec "$@" 0>/dev/null"#, commands[0]), "stdin");
    // An empty one is no error.
    let run = tenure(&["import", &store, "-", "--set", "a"]);
    assert_eq!((run.code, run.err.as_str()), (0, "note: stdin has no rows\n"));
    fixture.assert_unchanged();
}

#[test]
fn closed_stdout() {
    let fixture = Fixture::new();
    let (store, new, people) = (fixture.store(), fixture.path("new"), fixture.path("people.jsonl"));
    let commands: [&[&str]; 22] = [
        &["export", &store, "--set", "people"],
        &["get", &store, "0.1"],
        &["scan", &store, "--set", "people"],
        &["sets", &store],
        &["stat", &store],
        &["log", &store],
        &["verify", &store],
        &["mark", &store, "--list"],
        &["import", &new, &people, "--set", "a"],
        &["put", &new, "--set", "a", "x"],
        &["update", &store, "0.1", "x"],
        &["delete", &store, "0.1"],
        &["mark", &store, "here"],
        &["snapshot", "save", &store],
        &["snapshot", "drop", &store, "monday"],
        &["map", &store],
        &["collect", &store],
        &["rollback", &store, "--seq", "1"],
        &["backup", &store, &new],
        &["restore", &store, &new],
        &["demo", "--store", &new],
        &["--help"],
    ];
    let before = fixture.files();
    for args in commands {
        assert_told("closed_stdout", &tenure_under(r#"exec "$@" >&-"#, args), "stdout");
        assert!(!Path::new(&new).exists(), "{args:?} made a store");
        assert_eq!(fixture.files(), before, "{args:?} changed the store");
    }
    // Open for reading only is equivalent to closed, and /dev/null is a valid destination in any mode.
    assert_told("closed_stdout", &tenure_under(r#"exec "$@" 1</dev/null"#, &["sets", &store]), "stdout");
    for script in [r#"exec "$@" >/dev/null"#, r#"exec "$@" 0<>/dev/null 1<>/dev/null"#] {
        tenure_under(script, &["sets", &store]).ok();
    }
    // A result that goes elsewhere needs no stdout.
    let file = fixture.path("out.jsonl");
    assert_eq!(tenure_under(r#"exec "$@" >&-"#, &["export", &store, "--set", "people", "-o", &file]).code, 0);
    assert_eq!(std::fs::read_to_string(file).expect("written"), PEOPLE);
    fixture.assert_unchanged();
}

#[test]
fn interrupted_import() {
    let fixture = Fixture::new();
    let run = interrupted(&fixture, "jsonl", "100", Signal::INT);
    assert_told("interrupted_import", &run, "stdin, line 1001, ");
    fixture.assert_unchanged();
}
