//! `tenure changes`, beside a store that is open for writing.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tenure::{Options, Result, Store};

use crate::support::{Fixture, PROGRAM, tenure};

fn parts(lines: &[Value]) -> Vec<(u64, &str, &str)> {
    lines
        .iter()
        .map(|line| {
            let (kind, set) = (line["kind"].as_str().expect("a kind"), line["set"].as_str().expect("a set"));
            (line["seq"].as_u64().expect("a number"), kind, set)
        })
        .collect()
}

#[test]
fn changes_are_listed_followed_and_limited() {
    let fixture = Fixture::new();
    let path = fixture.path("fresh");
    let store = Store::open(&path).expect("opens");
    let (a, b) = (store.record_set("a").expect("a set"), store.record_set("b").expect("a set"));
    let mut tx = store.begin().expect("begins");
    let id = tx.insert(&a, "{\"n\":\n1}").expect("inserts");
    tx.insert(&b, "text").expect("inserts");
    tx.note("why").expect("a note");
    let first = tx.commit().expect("commits");
    store.write(|tx| tx.update(id, [255, 0])).expect("updates");
    let large = store.write(|tx| tx.insert(&b, vec![b'x'; 100_000])).expect("inserts");
    let last = store.last_seq();
    let lines = tenure(&["changes", &path, "--json", "--follow", "--limit", "5"]).json_lines();
    let kinds: Vec<&str> = parts(&lines).iter().map(|line| line.1).collect();
    assert_eq!(kinds, ["create set", "create set", "insert", "insert", "update", "insert"], "{lines:?}");
    assert_eq!((&lines[2]["value"], &lines[2]["note"]), (&json!({"n": 1}), &json!("why")));
    assert_eq!((&lines[2]["id"], &lines[2]["seq"]), (&json!(id.to_string()), &json!(first.0)));
    assert_eq!((&lines[3]["text"], &lines[4]["hex"]), (&json!("text"), &json!("ff00")));
    assert_eq!(lines[5]["text"].as_str().map(str::len), Some(100_000));
    let since = first.0.to_string();
    let of_a = tenure(&["changes", &path, "--since", &since, "--set", "a", "--json"]).json_lines();
    assert_eq!(parts(&of_a).iter().map(|line| (line.1, line.2)).collect::<Vec<_>>(), [("update", "a")]);
    let text = tenure(&["changes", &path, "--limit", "3"]).ok();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("create set  a") && text.contains(&format!("insert      a {id}")), "{text}");

    // A program that writes, and one that follows.
    let mut command = Command::new(PROGRAM);
    let last = last.0.to_string();
    command.args(["changes", &path, "--since", &last, "--follow", "--json", "--limit", "2"]);
    let mut follower = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().expect("the program starts");
    let mut lines = BufReader::new(follower.stdout.take().expect("a pipe")).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().expect("a line").expect("reads")).expect("JSON");
    store.write(|tx| tx.delete(id)).expect("deletes");
    assert_eq!(next()["kind"], json!("delete"));
    store.write(|tx| tx.update(large, vec![b'y'; 100_000])).expect("updates");
    let line = next();
    assert_eq!((&line["kind"], &line["text"].as_str().map(str::len)), (&json!("update"), &Some(100_000)));
    assert!(follower.wait().expect("ends").success());
    fixture.assert_unchanged();
}

#[test]
fn changes_that_are_not_there_are_an_error() {
    let fixture = Fixture::new();
    // The log before a collection.
    let path = fixture.path("collected");
    let store = Options::new().background(false).segment_bytes(64 << 10).open(&path).expect("opens");
    let set = store.record_set("a").expect("a set");
    for _ in 0..20 {
        let ids = store.write(|tx| (0..50).map(|_| tx.insert(&set, [7; 1000])).collect::<Result<Vec<_>>>());
        let ids = ids.expect("inserts");
        store.write(|tx| ids.iter().try_for_each(|id| tx.delete(*id).map(drop))).expect("deletes");
    }
    store.save_snapshot().expect("saves");
    store.save_snapshot().expect("saves");
    store.collect(None).expect("collects");
    store.close().expect("closes");
    let run = tenure(&["changes", &path, "--since", "1"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.err.contains("the changes after commit 1 are gone; the log goes on after commit"), "{}", run.err);
    tenure(&["changes", &path]).ok();
    tenure(&["changes", &fixture.store()]).ok();
    fixture.assert_unchanged();
}

#[test]
fn gaps_in_the_log_are_passed_unless_a_beginning_is_named() {
    let fixture = Fixture::new();
    let path = fixture.path("gaps");
    let store = Options::new().background(false).segment_bytes(64 << 10).open(&path).expect("opens");
    let set = store.record_set("a").expect("a set");
    // A segment that stays, because all of it is live, and others that are emptied.
    store.write(|tx| tx.insert_many(&set, &vec![[7; 1000]; 60])).expect("inserts");
    for _ in 0..20 {
        let ids = store.write(|tx| tx.insert_many(&set, &vec![[8; 1000]; 50])).expect("inserts");
        store.write(|tx| ids.iter().try_for_each(|id| tx.delete(*id).map(drop))).expect("deletes");
    }
    store.save_snapshot().expect("saves");
    store.save_snapshot().expect("saves");
    store.collect(None).expect("collects");
    let last = store.write(|tx| tx.insert(&set, "last")).expect("inserts").to_string();
    store.close().expect("closes");
    let run = tenure(&["changes", &path, "--json"]);
    assert!(run.code == 0 && run.err.starts_with("note: the changes after commit "), "{run:?}");
    let lines: Vec<Value> =
        run.out.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert!(lines.is_sorted_by_key(|line| line["seq"].as_u64()), "{lines:?}");
    assert_eq!(lines.first().map(|line| &line["kind"]), Some(&json!("create set")));
    assert_eq!(lines.last().map(|line| &line["id"]), Some(&json!(last)));
    // What is to be complete is an error before anything is kept for it.
    for args in [&["changes", &path, "--since", "1"][..], &["consumer", "add", &path, "late", "--since", "1"]] {
        let run = tenure(args);
        assert!(run.code == 3 && run.err.contains("are gone; the log goes on after commit"), "{args:?} {run:?}");
    }
    assert_eq!(tenure(&["consumer", "list", &path, "--json"]).ok(), "");
    fixture.assert_unchanged();
}

#[test]
fn consumers_are_added_listed_acknowledged_and_removed() {
    let fixture = Fixture::new();
    let path = fixture.path("consumed");
    let store = Options::new().background(false).old_values(true).open(&path).expect("opens");
    let set = store.record_set("a").expect("a set");
    let id = store.write(|tx| tx.insert(&set, "old")).expect("inserts");
    store.close().expect("closes");
    let added = tenure(&["consumer", "add", &path, "mirror", "--json"]).json();
    let seq = added["seq"].as_u64().expect("a number");
    assert_eq!(added, json!({"name": "mirror", "seq": seq}));
    assert!(tenure(&["consumer", "add", &path, "mirror"]).code != 0);
    let store = Options::new().background(false).old_values(true).open(&path).expect("opens");
    store.write(|tx| tx.update(id, "new")).expect("updates");
    store.write(|tx| tx.delete(id)).expect("deletes");
    store.close().expect("closes");
    let lines = tenure(&["changes", &path, "--consumer", "mirror", "--json", "--old"]).json_lines();
    let seen: Vec<_> = lines.iter().map(|line| (line["text"].as_str(), &line["old"])).collect();
    assert_eq!(seen, [(Some("new"), &json!({"text": "old"})), (None, &json!({"text": "new"}))]);
    let listed = tenure(&["consumer", "list", &path, "--json"]).json();
    assert_eq!((&listed["name"], &listed["seq"], &listed["dropped"]), (&json!("mirror"), &json!(seq), &json!(false)));
    assert!(listed["kept_bytes"].is_u64(), "{listed}");
    let acknowledged = tenure(&["consumer", "acknowledge", &path, "mirror", "--json"]).json();
    assert!(acknowledged["seq"].as_u64() > Some(seq + 1), "{acknowledged}");
    // An earlier one changes nothing.
    assert_eq!(tenure(&["consumer", "acknowledge", &path, "mirror", "1", "--json"]).json(), acknowledged);
    assert_eq!(tenure(&["changes", &path, "--consumer", "mirror", "--json"]).ok(), "");
    assert!(tenure(&["consumer", "list", &path]).ok().contains("mirror"));
    assert!(tenure(&["consumer", "remove", &path, "mirror"]).ok().contains("removed"));
    assert_eq!(tenure(&["consumer", "list", &path, "--json"]).ok(), "");
    for args in [&["consumer", "remove", &path, "mirror"][..], &["changes", &path, "--consumer", "mirror"]] {
        assert_eq!(tenure(args).code, 3, "{args:?}");
    }
    fixture.assert_unchanged();
}
