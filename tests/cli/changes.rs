//! `tenure changes` of a store that was closed.

use serde_json::{Value, json};
use tenure::Store;

use crate::support::{Fixture, tenure};

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
    store.write(|tx| tx.insert(&b, vec![b'x'; 100_000])).expect("inserts");
    // What the log itself says to be durable: a close says it of everything.
    store.close().expect("closes");
    let lines = tenure(&["changes", &path, "--json"]).json_lines();
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

    fixture.assert_unchanged();
}
