//! Typed indexes declared by a line of text: any program maintains them.

use serde::{Deserialize, Serialize};
use tenure::extract::Extractor;
use tenure::key::Timestamp;
use tenure::typed::{IndexDefinition, Json, SetDefinition};
use tenure::{Error, Options, Store};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Issue {
    title: String,
    number: u64,
    opened: Timestamp,
    labels: Vec<String>,
}

const ISSUES: SetDefinition<Json<Issue>> = SetDefinition::new("issues");
const BY_NUMBER: IndexDefinition<Json<Issue>, u64> =
    IndexDefinition::unique_from_line("number", "json:/number:integer");
const BY_LABEL: IndexDefinition<Json<Issue>, &str> =
    IndexDefinition::from_line("labels", "json:/labels/*:string:lower");
const BY_TIME: IndexDefinition<Json<Issue>, Timestamp> = IndexDefinition::from_line("opened", "json:/opened:timestamp");

fn issue(number: u64, label: &str) -> Json<Issue> {
    let opened = Timestamp::from_micros(1_000_000 * i64::try_from(number).unwrap());
    Json(Issue { title: format!("issue {number}"), number, opened, labels: vec![label.to_owned(), "All".to_owned()] })
}

#[test]
fn who_does_not_know_the_type_keeps_a_typed_index_that_a_line_declares() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("issues");
    let first = {
        let store = Store::open(&path).unwrap();
        let issues = store.typed_set(ISSUES).unwrap();
        store.typed_index(&issues, BY_NUMBER).unwrap();
        store.typed_index(&issues, BY_LABEL).unwrap();
        store.write(|tx| issues.insert(tx, &issue(1, "Bug"))).unwrap()
    };
    // A program without these definitions, as the command line is.
    let store = Options::new().open(&path).unwrap();
    let set = store.record_set("issues").unwrap();
    let text = r#"{"title":"second","number":2,"opened":"2026-01-31T12:00:00Z","labels":["BUG"]}"#;
    let second = store.write(|tx| tx.insert(&set, text)).unwrap();
    let twice = store.write(|tx| tx.insert(&set, text));
    assert!(matches!(twice, Err(Error::UniqueViolation { .. })), "{twice:?}");
    drop(store);
    // And the program with them: the index is the same one, and has both.
    let store = Store::open(&path).unwrap();
    let issues = store.typed_set(ISSUES).unwrap();
    let set = issues.record_set();
    let number = store.find_index(set, "number").unwrap().number();
    let by_number = store.typed_index(&issues, BY_NUMBER).unwrap();
    let by_label = store.typed_index(&issues, BY_LABEL).unwrap();
    assert_eq!(by_number.index().number(), number, "it was not made anew");
    let view = store.view();
    assert_eq!(by_number.get(&view, 2).unwrap(), Some(second.into()));
    let found: Vec<_> = by_label.find(&view, "bug").unwrap().map(Result::unwrap).collect();
    assert_eq!(found, [first, second.into()]);
    let labels: Vec<_> = by_label.all(&view).unwrap().distinct_keys().map(|found| found.unwrap().0).collect();
    assert_eq!(labels, ["all", "bug"]);
    for index in [by_number.index(), by_label.index()] {
        assert_eq!(store.verify_index(index).unwrap(), [""; 0]);
    }
}

#[test]
fn a_line_that_does_not_give_keys_of_the_type_is_refused() {
    const WORD: IndexDefinition<Json<Issue>, u64> = IndexDefinition::from_line("a", "json:/number:string");
    const NO_LINE: IndexDefinition<Json<Issue>, u64> = IndexDefinition::from_line("b", "number");
    const TUPLE: IndexDefinition<Json<Issue>, (u64, u64)> = IndexDefinition::from_line("c", "json:/number:integer");
    let store = Store::in_memory().unwrap();
    let issues = store.typed_set(ISSUES).unwrap();
    let refused = |error: Error, with: &str| {
        assert!(matches!(&error, Error::BadKeyText { .. }) && error.to_string().contains(with), "{error}");
    };
    refused(store.typed_index(&issues, WORD).unwrap_err(), "integer");
    refused(store.typed_index(&issues, NO_LINE).unwrap_err(), "json:/");
    refused(store.typed_index(&issues, TUPLE).unwrap_err(), "(integer, integer)");
    assert_eq!(store.indexes(issues.record_set()), [], "and nothing was made");
}

#[test]
fn an_index_by_code_becomes_one_by_a_line_under_its_name() {
    const BY_CODE: IndexDefinition<Json<Issue>, Timestamp> =
        IndexDefinition::new("opened", 1, |issue, put| put(issue.opened));
    let store = Store::in_memory().unwrap();
    let issues = store.typed_set(ISSUES).unwrap();
    store.typed_index(&issues, BY_CODE).unwrap();
    let ids = store.write(|tx| issues.insert_many(tx, &[issue(3, "x"), issue(1, "y"), issue(2, "z")])).unwrap();
    let by_time = store.typed_index(&issues, BY_TIME).unwrap();
    let found: Vec<_> = by_time.all(&store.view()).unwrap().map(Result::unwrap).collect();
    assert_eq!(found, [ids[1], ids[2], ids[0]]);
    let untyped = Extractor::json("json:/opened:timestamp".parse().unwrap());
    let same = store.index(issues.record_set(), "opened", untyped).unwrap();
    assert_eq!(same.number(), by_time.index().number(), "what the line says is all that it is");
}
