//! Indexes that get no key from any row report it; indexes that both a program and the command line maintain.

use serde::{Deserialize, Serialize};
use tenure::Store;
use tenure::typed::{IndexDefinition, Json, SetDefinition};

use crate::support::{Fixture, tenure};

/// What an import says on stderr.
fn told(file: &str, rows: &str, index: &str) -> String {
    let fixture = Fixture::new();
    let file = fixture.write(file, rows.as_bytes());
    let run = tenure(&["import", &fixture.store(), &file, "--set", "rows", "--index", index]);
    assert_eq!(run.code, 0, "{}", run.err);
    run.err
}

#[test]
fn an_import_warns_of_an_index_that_gets_no_key() {
    let csv = "name,size\na,7\nb,9\n";
    let warning = told("rows.csv", csv, "size:integer");
    assert!(warning.starts_with("warning: index \"size\" of set \"rows\" got no key from any row of "), "{warning}");
    assert!(
        warning.contains("the values at /size are strings, but its keys have type integer; CSV fields"),
        "{warning}"
    );
    let warning = told("rows.csv", csv, "sise");
    assert!(warning.contains("none of the records examined has a value at /sise"), "{warning}");
    let nested = "{\"a\":{\"b\":\"x\"},\"tags\":[\"y\"],\"n\":1}\n";
    let warning = told("rows.jsonl", nested, "a.b");
    assert!(warning.contains("no record has a member named \"a.b\"; /a/b is a member inside another one"), "{warning}");
    let warning = told("rows.jsonl", nested, "tags");
    assert!(warning.contains("/tags/* takes each of their elements"), "{warning}");
    let warning = told("rows.jsonl", nested, "n");
    assert!(warning.contains("the values at /n are numbers, but its keys have type string"), "{warning}");
    for (file, rows, index) in [
        ("rows.csv", csv, "size"),
        ("rows.jsonl", nested, "/a/b"),
        ("rows.jsonl", nested, "tags[]"),
        ("e.jsonl", "", "x"),
    ] {
        let warning = told(file, rows, index);
        assert!(!warning.contains("warning"), "{warning}");
    }
}

#[test]
fn an_index_that_is_made_over_records_warns_too() {
    let fixture = Fixture::new();
    let create = ["index", "create", &fixture.store(), "people", "age", "--pointer", "/age"];
    let run = tenure(&create);
    let warning =
        "warning: index \"age\" of set \"people\" got no key from any of 3 records: the values at /age are numbers";
    assert!(run.code == 0 && run.err.starts_with(warning), "{}", run.err);
    let found =
        tenure(&["index", "create", &fixture.store(), "people", "years", "--pointer", "/age", "--type", "integer"]);
    found.ok();
}

#[derive(Serialize, Deserialize)]
struct Person {
    name: String,
    age: u32,
}

const PEOPLE: SetDefinition<Json<Person>> = SetDefinition::new("people");
const BY_NAME: IndexDefinition<Json<Person>, &str> = IndexDefinition::unique_from_line("name", "json:/name:string");
const BY_AGE: IndexDefinition<Json<Person>, u32> = IndexDefinition::from_line("age", "json:/age:integer");

#[test]
fn the_command_line_keeps_the_typed_indexes_that_a_program_declares_by_a_line() {
    let fixture = Fixture::new();
    let path = fixture.store();
    {
        let store = Store::open(&path).expect("opened");
        let people = store.typed_set(PEOPLE).expect("a set");
        store.typed_index(&people, BY_NAME).expect("an index");
        store.typed_index(&people, BY_AGE).expect("an index");
        store.close().expect("closed");
    }
    let id = tenure(&["put", &path, "--set", "people", "{\"name\":\"Alan\",\"age\":41}"]).ok().trim().to_owned();
    let twice = tenure(&["put", &path, "--set", "people", "{\"name\":\"Alan\",\"age\":1}"]);
    assert!(twice.code == 5 && twice.err.contains("Alan"), "{}", twice.err);
    assert_eq!(tenure(&["find", &path, "people.age", "41", "--ids-only"]).ok().trim(), id);
    tenure(&["index", "verify", &path]).ok();
    let store = Store::open(&path).expect("opened");
    let people = store.typed_set(PEOPLE).expect("a set");
    let by_name = store.typed_index(&people, BY_NAME).expect("an index");
    let alan = by_name.get(&store.view(), "Alan").expect("read").expect("found");
    assert_eq!(alan.to_string(), id);
    store.write(|tx| people.delete(tx, alan)).expect("deleted");
    store.close().expect("closed");
    assert_eq!(tenure(&["find", &path, "people.age", "41", "--ids-only"]).code, 3);
}
