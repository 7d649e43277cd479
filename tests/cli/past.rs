//! Snapshots, reading the past and rolling back to it, backup and restore.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Fixture, PEOPLE, files_of, tenure};

#[test]
fn snapshots_are_saved_listed_and_dropped() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let list = || tenure(&["snapshot", "list", &store, "--json"]).json_lines();
    let saved = tenure(&["snapshot", "save", &store, "--json"]).json();
    assert!(list().iter().any(|snapshot| snapshot["number"] == saved["number"]), "{saved} {:?}", list());
    assert_eq!((&saved["name"], &saved["kind"]), (&Value::Null, &json!("automatic")));
    let named = tenure(&["snapshot", "save", &store, "monday", "--json"]).json();
    assert_eq!((&named["name"], &named["kind"]), (&json!("monday"), &json!("named")));
    for _ in 0..3 {
        tenure(&["snapshot", "save", &store]).ok();
    }
    let kept = list();
    assert!(kept.iter().any(|snapshot| snapshot["number"] == named["number"]), "{kept:?}");
    assert!(!kept.iter().any(|snapshot| snapshot["number"] == saved["number"]), "{kept:?}");
    let table = tenure(&["snapshot", "list", &store]).ok();
    assert!(table.starts_with("NUMBER") && table.contains("monday"), "{table}");
    assert_eq!(tenure(&["snapshot", "drop", &store, "monday"]).ok(), "snapshot \"monday\" dropped\n");
    assert!(list().iter().all(|snapshot| snapshot["name"] == Value::Null));
    tenure(&["snapshot", "save", &store, "monday"]).ok();
    assert_eq!(tenure(&["snapshot", "drop", &store, "monday", "--json"]).json(), json!({"dropped": "monday"}));
    fixture.assert_unchanged();
}

/// The fixture, a mark and a named snapshot of it, and after that another Ada and one more person.
fn with_a_past() -> (Fixture, String, u64) {
    let fixture = Fixture::new();
    let store = fixture.store();
    let mark = tenure(&["mark", &store, "here", "--json"]).json();
    tenure(&["snapshot", "save", &store, "first"]).ok();
    let ada = fixture.ids("people").remove(0);
    tenure(&["update", &store, &ada, "{\"name\":\"Ada King\",\"age\":36}"]).ok();
    tenure(&["put", &store, "--set", "people", "{\"name\":\"Sofia\",\"age\":41}"]).ok();
    (fixture, ada, mark["seq"].as_u64().expect("a number"))
}

#[test]
fn the_past_can_be_read_by_each_command_that_reads() {
    let (fixture, ada, seq) = with_a_past();
    let store = fixture.store();
    tenure(&["index", "create", &store, "people", "name", "--pointer", "/name", "--unique"]).ok();
    tenure(&["snapshot", "save", &store, "indexed"]).ok();
    tenure(&["update", &store, &ada, "{\"name\":\"Lovelace\"}"]).ok();
    let number = tenure(&["snapshot", "list", &store, "--json"]).json_lines();
    let number = number.iter().find(|snapshot| snapshot["name"] == "first").expect("kept")["number"].to_string();
    let before = fixture.files();
    let points =
        ["snapshot:first".to_owned(), format!("snapshot:{number}"), "mark:here".to_owned(), format!("seq:{seq}")];
    for point in &points {
        let at = |args: &[&str]| tenure(&[args, &["--at", point][..]].concat());
        assert_eq!(at(&["export", &store, "--set", "people"]).ok(), PEOPLE, "{point}");
        assert_eq!(at(&["get", &store, &ada]).ok(), "{\"name\":\"Ada\",\"age\":36}\n", "{point}");
        assert_eq!(at(&["scan", &store, "--set", "people", "--ids-only"]).ok().lines().count(), 3, "{point}");
        assert_eq!(at(&["stat", &store, "--json"]).json()["records"], json!(5), "{point}");
        assert_eq!(at(&["sets", &store, "--json"]).json_lines()[0]["records"], json!(3), "{point}");
    }
    let at = ["--at", "snapshot:indexed"];
    let found = tenure(&[&["find", &store, "people.name", "Ada King", "--ids-only"][..], &at].concat()).ok();
    assert_eq!(found.trim(), ada);
    let tree = tenure(&[&["follow", &store, "Ada King", "--field", "age", "--index", "people.name"][..], &at].concat());
    assert!(tree.ok().contains("Ada King"));
    assert_eq!(tenure(&["find", &store, "people.name", "Ada King"]).code, 3);
    assert_eq!(fixture.files(), before, "reading wrote something");
}

#[test]
fn going_back_leaves_the_state_of_then() {
    for kind in ["snapshot", "number", "mark", "seq"] {
        let (fixture, ada, seq) = with_a_past();
        let store = fixture.store();
        let number = tenure(&["snapshot", "list", &store, "--json"]).json_lines()[0]["number"].to_string();
        let seq = seq.to_string();
        let to = match kind {
            "snapshot" => ["--snapshot", "first"],
            "number" => ["--snapshot", &number],
            "mark" => ["--mark", "here"],
            _ => ["--seq", &seq],
        };
        let last = tenure(&["stat", &store, "--json"]).json()["last_seq"].clone();
        let sofia = fixture.ids("people").pop().expect("an ID");
        let told = tenure(&[&["rollback", &store, "--json"][..], &to].concat()).json();
        assert_eq!((&told["seq_before"], &told["records_before"], &told["records"]), (&last, &json!(6), &json!(5)));
        assert!(told["seq"].as_u64() > last.as_u64(), "no commit number comes back: {told}");
        assert_eq!(tenure(&["get", &store, &ada]).ok(), "{\"name\":\"Ada\",\"age\":36}\n", "{kind}");
        let new = tenure(&["put", &store, "--set", "people", "another"]).ok().trim().to_owned();
        assert_ne!(new, sofia, "no ID comes back");
        assert_eq!(tenure(&["get", &store, &sofia]).code, 3, "{kind}");
        tenure(&["delete", &store, &new]).ok();
        fixture.assert_unchanged();
    }
}

#[test]
fn a_named_snapshot_of_before_is_a_way_back_from_going_back() {
    let (fixture, ada, _) = with_a_past();
    let store = fixture.store();
    tenure(&["snapshot", "save", &store, "now"]).ok();
    let told = tenure(&["rollback", &store, "--snapshot", "first"]).ok();
    assert!(told.starts_with("back at snapshot \"first\": 5 records, before 6; "), "{told}");
    tenure(&["rollback", &store, "--snapshot", "now"]).ok();
    assert_eq!(tenure(&["get", &store, &ada]).ok(), "{\"name\":\"Ada King\",\"age\":36}\n");
    assert_eq!(fixture.ids("people").len(), 4);
    tenure(&["verify", &store]).ok();
}

#[test]
fn a_backup_is_a_store_and_becomes_one() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let (backup, restored, other) = (fixture.path("backup"), fixture.path("restored"), fixture.path("other"));
    let made = tenure(&["backup", &store, &backup, "--json"]).json();
    assert_eq!((&made["records"], &made["directory"]), (&json!(5), &json!(backup)), "{made}");
    let apart = tenure(&["backup", "--copy", &store, &fixture.path("apart"), "--json"]).json();
    assert_eq!((&apart["linked"], &apart["files"]), (&json!(0), &made["files"]), "{apart}");
    let copied = files_of(Path::new(&backup));
    // Changes to the store do not affect its copy.
    tenure(&["delete", &store, &fixture.ids("people")[0]]).ok();
    tenure(&["put", &store, "--set", "notes", "later"]).ok();
    tenure(&["compact", &store]).ok();
    assert_eq!(files_of(Path::new(&backup)), copied, "the copy changed");
    tenure(&["verify", &backup]).ok();
    assert_eq!(tenure(&["export", &backup, "--set", "people"]).ok(), PEOPLE);
    let told = tenure(&["restore", &backup, &restored]).ok();
    assert!(told.starts_with("commit ") && told.contains("5 records and ") && !told.contains("hard link"), "{told}");
    assert_eq!(files_of(Path::new(&backup)), copied, "restoring changed the copy");
    tenure(&["put", &restored, "--set", "people", "one more"]).ok();
    tenure(&["verify", &restored]).ok();
    assert_eq!(tenure(&["export", &backup, "--set", "people"]).ok(), PEOPLE);
    // A closed store can be copied, too; an empty directory counts as absent.
    fs::create_dir(&other).expect("made");
    let made = tenure(&["restore", &restored, &other, "--json"]).json();
    assert_eq!((&made["linked"], &made["records"]), (&json!(0), &json!(6)), "{made}");
    tenure(&["verify", &other]).ok();
}

#[test]
fn a_backup_tells_of_its_hard_links() {
    let fixture = Fixture::new();
    let told = tenure(&["backup", &fixture.store(), &fixture.path("backup")]).ok();
    let is_linked = fs::hard_link(fixture.path("people.jsonl"), fixture.path("link")).is_ok();
    assert_eq!(told.contains("hard link"), is_linked, "{told}");
    fixture.assert_unchanged();
}

#[test]
fn verify_reads_the_kept_snapshots_unless_told_otherwise() {
    let fixture = Fixture::new();
    let store = fixture.store();
    tenure(&["snapshot", "save", &store, "monday"]).ok();
    let all = tenure(&["verify", &store, "--json"]).json();
    assert!(all["snapshots"].as_u64() >= Some(1), "{all}");
    let newest = tenure(&["verify", &store, "--newest", "--json"]).json();
    assert_eq!((&newest["snapshots"], &newest["ok"]), (&json!(0), &json!(true)), "{newest}");
}

#[test]
fn a_mark_is_dropped_and_its_name_is_free_again() {
    let fixture = Fixture::new();
    let store = fixture.store();
    tenure(&["mark", &store, "here"]).ok();
    tenure(&["mark", &store, "there"]).ok();
    assert_eq!(tenure(&["mark", &store, "here", "--drop"]).ok(), "dropped mark \"here\"\n");
    let names = || -> Vec<Value> {
        tenure(&["mark", &store, "--list", "--json"]).json_lines().iter().map(|mark| mark["name"].clone()).collect()
    };
    assert_eq!(names(), [json!("there")]);
    assert_eq!(tenure(&["mark", &store, "here", "--drop"]).code, 3, "it is dropped already");
    tenure(&["mark", &store, "here"]).ok();
    assert_eq!(tenure(&["mark", &store, "there", "--drop", "--json"]).json(), json!({"dropped": "there"}));
    assert_eq!(names(), [json!("here")]);
    assert_eq!(tenure(&["mark", &store, "there", "--list", "--drop"]).code, 2, "one or the other");
}
