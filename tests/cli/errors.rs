//! Invalid inputs and arguments: each is reported with its position, and the store stays as it was.

use crate::support::{Fixture, tenure, tenure_with};
use crate::table::assert_told;

/// Imports `bytes` from a file of this name; the set is `more`.
fn import(fixture: &Fixture, name: &str, bytes: &[u8], more: &[&str]) -> crate::support::Run {
    let (store, file) = (fixture.store(), fixture.write(name, bytes));
    tenure(&[&["import", &store, &file, "--set", "more"][..], more].concat())
}

#[test]
fn missing_input_file() {
    let fixture = Fixture::new();
    let (store, missing) = (fixture.store(), fixture.path("missing.jsonl"));
    assert_told("missing_input_file", &tenure(&["import", &store, &missing, "--set", "people"]), &missing);
    assert_told("missing_input_file", &tenure(&["put", &store, "--set", "notes", "--file", &missing]), &missing);
    let new = fixture.path("new");
    assert_eq!(tenure(&["import", &new, &missing, "--set", "people"]).code, 5);
    assert!(!std::path::Path::new(&new).exists(), "a store was made for nothing");
    fixture.assert_unchanged();
}

#[test]
fn unknown_format() {
    let fixture = Fixture::new();
    assert_told("unknown_format", &import(&fixture, "people.txt", b"{}\n", &[]), "people.txt");
    fixture.assert_unchanged();
}

#[test]
fn invalid_json() {
    let fixture = Fixture::new();
    let run = import(&fixture, "bad.jsonl", b"{\"a\":1}\n{\"a\":2}\n{\"a\":}\n{\"a\":4}\n", &[]);
    assert_told("invalid_json", &run, "bad.jsonl, line 3, column 6");
    assert!(run.err.contains("2 records before that line stored"), "{}", run.err);
    assert_eq!(tenure(&["export", &fixture.store(), "--set", "more"]).ok(), "{\"a\":1}\n{\"a\":2}\n");
    fixture.assert_unchanged();
}

#[test]
fn invalid_utf8() {
    let fixture = Fixture::new();
    let run = import(&fixture, "bad.jsonl", b"{\"a\":\"ok\"}\n{\"a\":\"\xc3\x28\"}\n", &[]);
    assert_told("invalid_utf8", &run, "bad.jsonl, line 2, column 7");
    let run = import(&fixture, "bad.csv", b"a,b\n1,2\n1,\xff\n", &[]);
    assert_told("invalid_utf8", &run, "bad.csv, line 3, field 2 (b)");
    fixture.assert_unchanged();
}

#[test]
fn empty_file() {
    let fixture = Fixture::new();
    for name in ["empty.jsonl", "empty.csv", "empty.jsonl.gz"] {
        let run = import(&fixture, name, b"", &[]);
        assert_told("empty_file", &run, name);
        assert!(String::from_utf8_lossy(&run.out).starts_with("imported 0 records"));
    }
    let run = import(&fixture, "short.jsonl", b"1\n2\n", &["--from-line", "3"]);
    assert!(run.err.ends_with("short.jsonl has no rows from line 3 on\n"), "{}", run.err);
    fixture.assert_unchanged();
}

#[test]
fn csv_with_ragged_rows() {
    let fixture = Fixture::new();
    let run = import(&fixture, "bad.csv", b"a,b\n1,2\n\n1,2,3\n", &[]);
    assert_told("csv_with_ragged_rows", &run, "bad.csv, line 4, field 3");
    let run = import(&fixture, "bad.csv", b"a,b\r\n1\r\n", &[]);
    assert_told("csv_with_ragged_rows", &run, "bad.csv, line 2, field 2");
    fixture.assert_unchanged();
}

#[test]
fn csv_with_an_open_quote() {
    let fixture = Fixture::new();
    let run = import(&fixture, "bad.csv", b"a,b\n1,2\n3,\"4\n5,6\n", &["--on-error", "skip"]);
    assert_told("csv_with_an_open_quote", &run, "bad.csv, line 3");
    fixture.assert_unchanged();
}

#[test]
fn csv_with_a_name_twice() {
    let fixture = Fixture::new();
    assert_told(
        "csv_with_a_name_twice",
        &import(&fixture, "bad.csv", b"a,b,a\n1,2,3\n", &[]),
        "bad.csv, line 1, field 3",
    );
    fixture.assert_unchanged();
}

#[test]
fn byte_order_mark_inside() {
    let fixture = Fixture::new();
    let mark = "\u{feff}";
    for (name, bytes, place) in [
        ("a.csv", format!("{mark}a,b\n1,2\n{mark}a,b\n3,4\n"), "a.csv, line 3, field 1"),
        ("a.csv", format!("a,b\n1,2\n{mark}\"a\",b\n3,4\n"), "a.csv, line 3, field 1"),
        ("a.jsonl", format!("{mark}1\n2\n{mark}3\n4\n"), "a.jsonl, line 3, column 1"),
    ] {
        assert_told("byte_order_mark_inside", &import(&fixture, name, bytes.as_bytes(), &[]), place);
    }
    fixture.assert_unchanged();
}

#[test]
fn line_too_long() {
    let fixture = Fixture::new();
    let long = format!("{{\"a\":1}}\n{{\"a\":\"{}\"}}\n{{\"a\":3}}\n", "x".repeat(5000));
    let run = import(&fixture, "long.jsonl", long.as_bytes(), &["--line-bytes-max", "4KiB"]);
    assert_told("line_too_long", &run, "long.jsonl, line 2, column 4097");
    assert_eq!(tenure(&["export", &fixture.store(), "--set", "more"]).ok(), "{\"a\":1}\n");
    fixture.assert_unchanged();
}

#[test]
fn csv_row_too_long() {
    let fixture = Fixture::new();
    for long in ["x".repeat(5000), format!("\"{}", "x".repeat(5000)), ",".repeat(2000)] {
        let text = format!("a,b\n1,2\n{long}\n3,4\n");
        let run = import(&fixture, "long.csv", text.as_bytes(), &["--line-bytes-max", "4KiB"]);
        assert_told("csv_row_too_long", &run, "long.csv, line 3, the row ");
        let run = import(&fixture, "long.csv", format!("{long}\n").as_bytes(), &["--line-bytes-max", "4KiB"]);
        assert_told("csv_row_too_long", &run, "long.csv, line 1, the row ");
    }
    fixture.assert_unchanged();
}

#[test]
fn line_without_an_end() {
    let fixture = Fixture::new();
    let store = fixture.store();
    for more in [&["--on-error", "skip"][..], &["--from-line", "2"]] {
        let args = [&["import", &store, "/dev/zero", "--set", "more", "--format", "jsonl"][..], more].concat();
        assert_told("line_without_an_end", &tenure(&args), "/dev/zero, line 1, ");
    }
    fixture.assert_unchanged();
}

#[test]
fn damaged_gzip() {
    let fixture = Fixture::new();
    assert_told("damaged_gzip", &import(&fixture, "bad.jsonl.gz", b"this was never packed", &[]), "bad.jsonl.gz");
    fixture.assert_unchanged();
}

#[test]
fn value_over_the_limit() {
    let fixture = Fixture::new();
    let value = "x".repeat(10_000);
    let limit = ["--transaction-bytes-max", "4KiB"];
    let id = &fixture.ids("notes")[0];
    let store = fixture.store();
    let told = |run| assert_told("value_over_the_limit", &run, "limit of 4096 bytes");
    told(tenure(&[&["put", &store, "--set", "notes", &value][..], &limit].concat()));
    told(tenure_with(&[&["put", &store, "--set", "notes", "-"][..], &limit].concat(), value.as_bytes()));
    told(tenure(&[&["update", &store, id, &value][..], &limit].concat()));
    let line = format!("1\n\"{value}\"\n3\n");
    let run = import(&fixture, "a.jsonl", line.as_bytes(), &limit);
    assert!(run.err.contains("then resume with --from-line 2\n"), "{}", run.err);
    told(run);
    assert_eq!(tenure(&["export", &store, "--set", "more"]).ok(), "1\n");
    fixture.assert_unchanged();
}

#[test]
fn limit_out_of_range() {
    let fixture = Fixture::new();
    let args = ["put", &fixture.store(), "--set", "notes", "x", "--transaction-bytes-max", "1"];
    assert_told("limit_out_of_range", &tenure(&args), "transaction_bytes_max");
    fixture.assert_unchanged();
}

#[test]
fn set_without_a_name() {
    let fixture = Fixture::new();
    assert_told("set_without_a_name", &tenure(&["put", &fixture.store(), "--set", "", "x"]), "record set");
    // An invalid name creates no store.
    let (new, people, long) = (fixture.path("new"), fixture.path("people.jsonl"), "x".repeat(256));
    for name in ["", "a\tb", &long] {
        for run in [tenure(&["put", &new, "--set", name, "x"]), tenure(&["import", &new, &people, "--set", name])] {
            assert_told("set_without_a_name", &run, "record set");
            assert!(!std::path::Path::new(&new).exists(), "a store was made for the set {name:?}");
        }
    }
    fixture.assert_unchanged();
}

#[test]
fn unknown_argument() {
    let fixture = Fixture::new();
    assert_told("unknown_argument", &tenure(&["scan", &fixture.store(), "--sett", "people"]), "--sett");
    fixture.assert_unchanged();
}

#[test]
fn text_that_is_no_id() {
    let fixture = Fixture::new();
    assert_told("text_that_is_no_id", &tenure(&["get", &fixture.store(), "12"]), "12");
    fixture.assert_unchanged();
}

#[test]
fn options_of_a_table_for_lines() {
    let fixture = Fixture::new();
    let (store, file) = (fixture.store(), fixture.path("people.jsonl"));
    let run = tenure(&["import", &store, &file, "--set", "people", "--types", "age:integer"]);
    assert_told("options_of_a_table_for_lines", &run, "--types");
    fixture.assert_unchanged();
}

#[test]
fn stale_id() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let id = tenure(&["put", &store, "--set", "gone", "x"]).ok().trim().to_owned();
    tenure(&["delete", &store, &id]).ok();
    tenure(&["put", &store, "--set", "gone", "another"]).ok();
    for args in [vec!["get", &store, &id], vec!["update", &store, &id, "y"], vec!["delete", &store, &id]] {
        assert_told("stale_id", &tenure(&args), &id);
    }
    assert_eq!(tenure(&["export", &store, "--set", "gone"]).ok(), "{\"text\":\"another\"}\n");
    fixture.assert_unchanged();
}

#[test]
fn id_never_allocated() {
    let fixture = Fixture::new();
    let store = fixture.store();
    for args in
        [vec!["get", &store, "999999.1"], vec!["update", &store, "999999.1", "y"], vec!["delete", &store, "999999.1"]]
    {
        assert_told("id_never_allocated", &tenure(&args), "999999.1");
    }
    fixture.assert_unchanged();
}

#[test]
fn several_ids_missing() {
    let fixture = Fixture::new();
    let (store, ids) = (fixture.store(), fixture.ids("people"));
    let run = tenure(&["get", &store, "777777.1", &ids[1], "999999.1"]);
    assert_told("several_ids_missing", &run, "777777.1");
    assert_eq!(run.out, b"{\"name\":\"Grace\",\"age\":85}\n", "what is there is printed");
    let one_missing = tenure(&["delete", &store, &ids[0], "999999.1"]);
    assert_eq!(one_missing.code, 3);
    fixture.assert_unchanged();
}

#[test]
fn id_of_another_set() {
    let fixture = Fixture::new();
    let id = &fixture.ids("people")[0];
    assert_told("id_of_another_set", &tenure(&["get", &fixture.store(), id, "--set", "notes"]), id);
    fixture.assert_unchanged();
}

#[test]
fn no_such_set() {
    let fixture = Fixture::new();
    for command in ["scan", "export"] {
        assert_told("no_such_set", &tenure(&[command, &fixture.store(), "--set", "nobody"]), "nobody");
    }
    fixture.assert_unchanged();
}

#[test]
fn version_mismatch() {
    let fixture = Fixture::new();
    let (store, id) = (fixture.store(), fixture.ids("people").remove(0));
    let told = |run| assert_told("version_mismatch", &run, &id);
    told(tenure(&["update", &store, &id, "x", "--if-seq", "4711"]));
    told(tenure_with(&["update", &store, &id, "-", "--if-seq", "4711"], b"x"));
    fixture.assert_unchanged();
}

#[test]
fn record_that_is_no_row() {
    let fixture = Fixture::new();
    let id = &fixture.ids("notes")[0];
    let run = tenure(&["export", &fixture.store(), "--set", "notes", "--format", "csv"]);
    assert_told("record_that_is_no_row", &run, id);
    fixture.assert_unchanged();
}

#[test]
fn output_that_cannot_be_written() {
    let fixture = Fixture::new();
    let output = fixture.path("no/such/directory/out.jsonl");
    let run = tenure(&["export", &fixture.store(), "--set", "people", "-o", &output]);
    assert_told("output_that_cannot_be_written", &run, &output);
    fixture.assert_unchanged();
}

#[test]
fn demo_in_a_directory_that_is_taken() {
    let fixture = Fixture::new();
    let run = tenure(&["demo", "--store", &fixture.store()]);
    assert_told("demo_in_a_directory_that_is_taken", &run, &fixture.store());
    fixture.assert_unchanged();
}

#[test]
fn demo_with_too_few_rows() {
    let fixture = Fixture::new();
    let run = tenure(&["demo", "--data", &fixture.path("people.jsonl")]);
    assert_told("demo_with_too_few_rows", &run, "people.jsonl");
    fixture.assert_unchanged();
}
