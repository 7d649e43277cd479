//! Refused operations and queries of indexes: each is reported with its position, and the store stays as it was.

use tenure::Store;
use tenure::extract::Extractor;

use crate::support::{Fixture, tenure};
use crate::table::assert_told;

/// The set `people` has a unique index of names and one of ages.
fn with_indexes() -> Fixture {
    let fixture = Fixture::new();
    let store = fixture.store();
    tenure(&["index", "create", &store, "people", "name", "--pointer", "/name", "--unique"]).ok();
    tenure(&["index", "create", &store, "people", "age", "--pointer", "/age", "--type", "integer"]).ok();
    fixture
}

/// The set `people` has an index that a program maintains with its own extractor: the lengths of records.
fn with_code() -> Fixture {
    let fixture = Fixture::new();
    let store = Store::open(fixture.store()).expect("opened");
    let set = store.find_set("people").expect("a set");
    let length = Extractor::new("length", 3, |record, keys| keys.push(&record.len()));
    store.index(&set, "length", length).expect("made");
    store.close().expect("closed");
    fixture
}

#[test]
fn set_with_an_index_of_a_program() {
    let fixture = with_code();
    let store = fixture.store();
    for args in [
        &["put", &store, "--set", "people", "{}"][..],
        &["import", &store, &fixture.path("people.jsonl"), "--set", "people"],
        &["index", "verify", &store],
    ] {
        assert_told("set_with_an_index_of_a_program", &tenure(args), "\"length\" version 3");
    }
    fixture.assert_unchanged();
    // It can be queried, and dropped.
    assert_eq!(tenure(&["find", &store, "people.length", "24"]).ok(), "{\"name\":\"Emmy\",\"age\":53}\n");
    assert_eq!(tenure(&["find", &store, "people.length", "--prefix", "25", "--count"]).ok(), "1\n");
    tenure(&["index", "drop", &store, "people.length"]).ok();
    tenure(&["put", &store, "--set", "people", "{}"]).ok();
}

#[test]
fn index_of_a_program_made_anew() {
    let fixture = with_code();
    let run = tenure(&["index", "rebuild", &fixture.store(), "people.length"]);
    assert_told("index_of_a_program_made_anew", &run, "length, version 3");
    assert_eq!(tenure(&["find", &fixture.store(), "people.length", "--count"]).ok(), "3\n", "it is still there");
    fixture.assert_unchanged();
}

#[test]
fn key_twice_in_an_import() {
    let fixture = with_indexes();
    let ids = fixture.ids("people");
    let rows = "{\"name\":\"Alan\"}\n{\"name\":\"Mary\"}\n{\"name\":\"Grace\"}\n{\"name\":\"Rosa\"}\n";
    let file = fixture.write("more.jsonl", rows.as_bytes());
    let run = tenure(&["import", &fixture.store(), &file, "--set", "people"]);
    let place = format!("more.jsonl, line 3, unique index \"name\" already has key \"Grace\": record {}", ids[1]);
    assert_told("key_twice_in_an_import", &run, &place);
    assert!(run.err.contains("2 records before that line stored"), "{}", run.err);
    let names = tenure(&["find", &fixture.store(), "people.name", "--count"]).ok();
    assert_eq!(names, "5\n", "the rows above the line are stored, and none behind it");
    tenure(&["index", "verify", &fixture.store()]).ok();
}

#[test]
fn key_twice_in_one_input() {
    let fixture = Fixture::new();
    let rows = "{\"name\":\"Alan\"}\n\n{\"name\":\"Mary\"}\n{\"name\":\"Alan\",\"n\":2}\n";
    let file = fixture.write("more.jsonl", rows.as_bytes());
    let run = tenure(&["import", &fixture.store(), &file, "--set", "more", "--unique", "name"]);
    let first = &fixture.ids("more")[0];
    let place = format!("line 4, unique index \"name\" already has key \"Alan\": record {first}, from line 1");
    assert_told("key_twice_in_one_input", &run, &place);
    assert_eq!(
        tenure(&["export", &fixture.store(), "--set", "more"]).ok(),
        "{\"name\":\"Alan\"}\n{\"name\":\"Mary\"}\n"
    );
    fixture.assert_unchanged();
}

#[test]
fn key_too_long_in_an_import() {
    let fixture = with_indexes();
    let rows = format!("{{\"name\":\"Alan\"}}\n{{\"name\":\"{}\"}}\n", "x".repeat(2000));
    let file = fixture.write("more.jsonl", rows.as_bytes());
    let run = tenure(&["import", &fixture.store(), &file, "--set", "people"]);
    assert_told("key_too_long_in_an_import", &run, "more.jsonl, line 2");
    assert_eq!(tenure(&["find", &fixture.store(), "people.name", "--count"]).ok(), "4\n");
}

#[test]
fn key_that_another_record_has() {
    let fixture = with_indexes();
    let ids = fixture.ids("people");
    let run = tenure(&["put", &fixture.store(), "--set", "people", "{\"name\":\"Ada\"}"]);
    assert_told(
        "key_that_another_record_has",
        &run,
        &format!("\"name\" of set \"people\" already has key \"Ada\": record {}", ids[0]),
    );
    let run = tenure(&["update", &fixture.store(), &ids[1], "{\"name\":\"Emmy\"}"]);
    assert_told(
        "key_that_another_record_has",
        &run,
        &format!("\"name\" of set \"people\" already has key \"Emmy\": record {}", ids[2]),
    );
    fixture.assert_unchanged();
}

#[test]
fn unique_index_over_a_key_that_stands_twice() {
    let fixture = Fixture::new();
    let id = tenure(&["put", &fixture.store(), "--set", "people", "{\"name\":\"Ada\",\"age\":7}"]).ok();
    let run = tenure(&["index", "create", &fixture.store(), "people", "name", "--pointer", "/name", "--unique"]);
    let place = format!("records {} and {} have key \"Ada\"", fixture.ids("people")[0], id.trim());
    assert_told("unique_index_over_a_key_that_stands_twice", &run, &place);
    assert_eq!(tenure(&["index", "list", &fixture.store(), "--json"]).ok(), "", "nothing of it remains");
}

#[test]
fn another_index_of_the_name() {
    let fixture = with_indexes();
    let store = fixture.store();
    for more in [&["--pointer", "/nickname", "--unique"][..], &["--pointer", "/name"]] {
        let args = [&["index", "create", &store, "people", "name"][..], more].concat();
        assert_told("another_index_of_the_name", &tenure(&args), "json:/name:string, unique");
    }
    let args = ["import", &fixture.store(), &fixture.path("people.jsonl"), "--set", "people", "--index", "name"];
    assert_told("another_index_of_the_name", &tenure(&args), "json:/name:string, unique");
    fixture.assert_unchanged();
}

#[test]
fn two_indexes_of_one_name() {
    let fixture = Fixture::new();
    let (new, people) = (fixture.path("new"), fixture.path("people.jsonl"));
    let run = tenure(&["import", &new, &people, "--set", "people", "--unique", "name", "--index", "/name"]);
    assert_told("two_indexes_of_one_name", &run, "\"name\"");
    assert!(!std::path::Path::new(&new).exists(), "a store was made for nothing");
}

#[test]
fn field_that_is_none() {
    let fixture = Fixture::new();
    let (store, people) = (fixture.store(), fixture.path("people.jsonl"));
    let run = tenure(&["import", &store, &people, "--set", "people", "--index", "/name/~2"]);
    assert_told("field_that_is_none", &run, "/name/~2");
    fixture.assert_unchanged();
}

#[test]
fn pointer_that_is_none() {
    let fixture = Fixture::new();
    let run = tenure(&["index", "create", &fixture.store(), "people", "name", "--pointer", "/name/~2"]);
    assert_told("pointer_that_is_none", &run, "/name/~2");
    fixture.assert_unchanged();
}

#[test]
fn no_such_index() {
    let fixture = with_indexes();
    let store = fixture.store();
    for args in [
        &["find", &store, "people.nobody", "x"][..],
        &["find", &store, "nobody.name", "x"],
        &["index", "drop", &store, "people.nobody"],
        &["index", "rebuild", &store, "people.nobody"],
        &["index", "verify", &store, "people.nobody"],
        &["follow", &store, "x", "--field", "a", "--index", "nobody.name"],
    ] {
        assert_told("no_such_index", &tenure(args), "nobody");
    }
    fixture.assert_unchanged();
}

#[test]
fn text_that_names_no_index() {
    let fixture = with_indexes();
    assert_told("text_that_names_no_index", &tenure(&["find", &fixture.store(), "people", "x"]), "people");
    fixture.assert_unchanged();
}

#[test]
fn key_without_a_record() {
    let fixture = with_indexes();
    assert_told("key_without_a_record", &tenure(&["find", &fixture.store(), "people.name", "Zoe"]), "Zoe");
    fixture.assert_unchanged();
}

#[test]
fn walk_from_a_key_without_a_record() {
    let fixture = with_indexes();
    let args = ["follow", &fixture.store(), "Zoe", "--field", "friends", "--index", "people.name"];
    assert_told("walk_from_a_key_without_a_record", &tenure(&args), "Zoe");
    fixture.assert_unchanged();
}

#[test]
fn walk_from_a_key_without_an_index() {
    let fixture = with_indexes();
    assert_told(
        "walk_from_a_key_without_an_index",
        &tenure(&["follow", &fixture.store(), "Ada", "--field", "x"]),
        "Ada",
    );
    fixture.assert_unchanged();
}

#[test]
fn key_of_another_type() {
    let fixture = with_indexes();
    let store = fixture.store();
    for more in [&["old"][..], &["--from", "old"], &["--to", "old"]] {
        let run = tenure(&[&["find", &store, "people.age"][..], more].concat());
        assert_told("key_of_another_type", &run, "\"old\" is not an integer");
    }
    fixture.assert_unchanged();
}

#[test]
fn prefix_of_what_is_no_string() {
    let fixture = with_indexes();
    let run = tenure(&["find", &fixture.store(), "people.age", "--prefix", "3"]);
    assert_told("prefix_of_what_is_no_string", &run, "integer");
    fixture.assert_unchanged();
}

#[test]
fn range_that_ends_before_it_begins() {
    let fixture = with_indexes();
    let run = tenure(&["find", &fixture.store(), "people.name", "--from", "M", "--to", "A"]);
    assert_told("range_that_ends_before_it_begins", &run, "\"M\"");
    fixture.assert_unchanged();
}
