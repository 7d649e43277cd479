//! Imports: formats, compressed input, bad rows, continuing after an error.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::support::{Fixture, PEOPLE, tenure, tenure_with};

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("packed");
    encoder.finish().expect("packed")
}

fn exported(fixture: &Fixture) -> String {
    tenure(&["export", &fixture.store(), "--set", "new"]).ok()
}

#[test]
fn files_and_stdin_plain_and_packed() {
    for (name, bytes) in [
        ("a.jsonl", PEOPLE.as_bytes().to_vec()),
        ("a.NDJSON", PEOPLE.replace('\n', "\r\n").into_bytes()),
        ("a.jsonl.gz", packed(PEOPLE)),
        // Compressed in two members, without the file extension.
        ("a.jsonl", [packed("{\"name\":\"Ada\",\"age\":36}\n"), packed(PEOPLE.split_once('\n').unwrap().1)].concat()),
        ("a.jsonl", [b"\xef\xbb\xbf", PEOPLE.as_bytes()].concat()),
    ] {
        let fixture = Fixture::new();
        let file = fixture.write(name, &bytes);
        tenure(&["import", &fixture.store(), &file, "--set", "new"]).ok();
        assert_eq!(exported(&fixture), PEOPLE, "{name}");
        tenure_with(&["import", &fixture.store(), "-", "--set", "stdin"], &bytes).ok();
        assert_eq!(tenure(&["export", &fixture.store(), "--set", "stdin"]).ok(), PEOPLE, "{name} on stdin");
    }
}

#[test]
fn csv_rows_become_objects_of_strings() {
    let fixture = Fixture::new();
    let text = "name,motto\r\nAda,\"poetical, \"\"science\"\"\"\r\nGrace,\"it is easier\nto ask\"\r\n";
    for (name, bytes) in [("a.csv", text.as_bytes().to_vec()), ("b.csv.gz", packed(text))] {
        let file = fixture.write(name, &bytes);
        let told = tenure(&["import", &fixture.store(), &file, "--set", name, "--json"]).json();
        let ids = fixture.ids(name);
        let bytes = exported_bytes(&fixture, name);
        let expected = json!({"records": 2, "bytes": bytes, "skipped": 0, "first_id": ids[0], "last_id": ids[1]});
        assert_eq!(told, expected);
        let rows = tenure(&["export", &fixture.store(), "--set", name]).json_lines();
        let expected = [
            json!({"name": "Ada", "motto": "poetical, \"science\""}),
            json!({"name": "Grace", "motto": "it is easier\nto ask"}),
        ];
        assert_eq!(rows, expected);
    }
}

#[test]
fn a_second_member_with_a_mark_and_names_of_its_own_gives_no_row_of_names() {
    let fixture = Fixture::new();
    let file = |numbers: &str| packed(&format!("\u{feff}n,m\n{numbers}\n"));
    let two = fixture.write("two.csv.gz", &[file("1,2"), file("3,4")].concat());
    let stopped = tenure(&["import", &fixture.store(), &two, "--set", "new"]);
    assert_eq!(stopped.code, 5);
    assert!(stopped.err.contains("two.csv.gz, line 3, field 1: a byte order mark inside the input"), "{}", stopped.err);
    assert_eq!(exported(&fixture), "{\"n\":\"1\",\"m\":\"2\"}\n");
    let run = tenure(&["import", &fixture.store(), &two, "--set", "new", "--from-line", "3", "--on-error", "skip"]);
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(exported(&fixture), "{\"n\":\"1\",\"m\":\"2\"}\n{\"n\":\"3\",\"m\":\"4\"}\n");
}

/// Bytes of the records of a set, all of which are JSON on one line.
fn exported_bytes(fixture: &Fixture, set: &str) -> usize {
    tenure(&["export", &fixture.store(), "--set", set]).ok().lines().map(str::len).sum()
}

#[test]
fn the_summary_tells_records_and_ids() {
    let fixture = Fixture::new();
    let file = fixture.path("people.jsonl");
    let told = tenure(&["import", &fixture.store(), &file, "--set", "new"]).ok();
    let ids = fixture.ids("new");
    let begin = format!("imported 3 records, 72 B, IDs {} to {}; ", ids[0], ids[2]);
    assert!(told.starts_with(&begin) && told.contains("records/s"), "{told}");
}

#[test]
fn numbers_and_escapes_are_stored_as_they_stand() {
    let fixture = Fixture::new();
    let lines = "123456789012345678901234567890\n1.10e400\n\"\\u0041\\ud800\"\n{\"b\":1,\"a\":2,\"b\":3}\nnull\n";
    let file = fixture.write("a.jsonl", lines.as_bytes());
    tenure(&["import", &fixture.store(), &file, "--set", "new"]).ok();
    assert_eq!(exported(&fixture), lines);
}

#[test]
fn bad_rows_are_skipped_told_and_counted() {
    let fixture = Fixture::new();
    let lines: String =
        (1..=60).map(|line| if line % 2 == 0 { "nonsense\n".to_owned() } else { format!("{line}\n") }).collect();
    let file = fixture.write("a.jsonl", lines.as_bytes());
    let args = ["import", &fixture.store(), &file, "--set", "new", "--on-error", "skip", "--json", "--batch", "7"];
    let run = tenure(&args);
    assert_eq!(run.code, 0);
    assert!(run.err.contains("a.jsonl, line 2, column 2: not JSON: expected ident\n"), "{}", run.err);
    assert_eq!(run.err.lines().count(), 21, "20 are told, and that there are more: {}", run.err);
    let told: serde_json::Value = serde_json::from_slice(&run.out).expect("JSON");
    assert_eq!((&told["records"], &told["skipped"]), (&json!(30), &json!(30)));
    let odd = (1..=60).step_by(2).map(|line| format!("{line}\n")).collect::<Vec<_>>().concat();
    assert_eq!(exported(&fixture), odd);
}

#[test]
fn an_import_goes_on_from_the_line_that_was_named() {
    for (name, head) in [("a.jsonl", ""), ("a.csv", "n\n")] {
        let fixture = Fixture::new();
        let row =
            |number: u32| if head.is_empty() { format!("{{\"n\":\"{number}\"}}\n") } else { format!("{number}\n") };
        let rows: String = (0..100).map(row).collect();
        let bad = if head.is_empty() { "{\n" } else { "7,7\n" };
        let file = fixture.write(name, format!("{head}{}", rows.replacen(&row(77), bad, 1)).as_bytes());
        let ids = fixture.path("ids");
        let import = |from: &str| {
            let store = fixture.store();
            tenure(&["import", &store, &file, "--set", "new", "--batch", "10", "--ids", &ids, "--from-line", from])
        };
        let stopped = import("1");
        assert_eq!(stopped.code, 5);
        let from = stopped.err.split("--from-line ").nth(1).expect("a line").trim().to_owned();
        assert_eq!(from, (78 + head.lines().count()).to_string());
        fs::write(&file, format!("{head}{rows}")).expect("mended");
        import(&from).ok();
        let all = (0..100).map(|number| format!("{{\"n\":\"{number}\"}}\n")).collect::<Vec<_>>().concat();
        assert_eq!(exported(&fixture), all);
        let lines = fs::read_to_string(ids).expect("written");
        let first = 1 + head.lines().count();
        let expected = (first..).zip(fixture.ids("new")).map(|(line, id)| format!("{line}\t{id}\n"));
        assert_eq!(lines, expected.collect::<String>());
    }
}

#[test]
fn rows_larger_than_a_transaction_are_stored() {
    let fixture = Fixture::new();
    let lines = format!("1\n\"{}\"\n2\n\"{}\"\n", "x".repeat(3_000_000), "y".repeat(40_000));
    let file = fixture.write("a.jsonl", lines.as_bytes());
    for limit in ["64KiB", "64MiB"] {
        let (store, set) = (fixture.store(), format!("at {limit}"));
        tenure(&["import", &store, &file, "--set", &set, "--transaction-bytes-max", limit]).ok();
        assert_eq!(tenure(&["export", &store, "--set", &set]).ok(), lines, "{limit}");
    }
}

#[test]
fn every_durability_stores_the_same() {
    for durability in ["sync", "buffered"] {
        let fixture = Fixture::new();
        let file = fixture.path("people.jsonl");
        tenure(&["import", &fixture.store(), &file, "--set", "new", "--durability", durability, "--batch", "1"]).ok();
        assert_eq!(exported(&fixture), PEOPLE);
    }
}

#[test]
fn tables_have_delimiters_columns_types_and_null() {
    let fixture = Fixture::new();
    let store = fixture.path("tables");
    let rows = |set: &str| tenure(&["export", &store, "--set", set]).ok();
    let csv = fixture.write(
        "a.csv",
        b"name,n,score,ok,more\nAda,18446744073709551616,1.50,true,\"{\"\"a\"\":1}\"\nBob,,1e-400,false,[]\n",
    );
    let types = "n:integer,score:float,ok:bool,more:json";
    tenure(&["import", &store, &csv, "--set", "csv", "--types", types, "--null", ""]).ok();
    let expected = "{\"name\":\"Ada\",\"n\":18446744073709551616,\"score\":1.50,\"ok\":true,\"more\":{\"a\":1}}\n\
                    {\"name\":\"Bob\",\"n\":null,\"score\":1e-400,\"ok\":false,\"more\":[]}\n";
    assert_eq!(rows("csv"), expected);
    let tsv = fixture.write("b.tsv", b"1\ta,b\n2\tNULL\n");
    tenure(&["import", &store, &tsv, "--set", "tsv", "--columns", "n,text", "--types", "n:integer", "--null", "NULL"])
        .ok();
    assert_eq!(rows("tsv"), "{\"n\":1,\"text\":\"a,b\"}\n{\"n\":2,\"text\":null}\n");
    let semi = fixture.write("c.csv", b"n;text\n1;\"x;y\"\n");
    tenure(&["import", &store, &semi, "--set", "semi", "--delimiter", ";"]).ok();
    assert_eq!(rows("semi"), "{\"n\":\"1\",\"text\":\"x;y\"}\n");
    let tab = fixture.write("d.txt", b"n\ttext\n1\tx\n");
    tenure(&["import", &store, &tab, "--set", "tab", "--format", "csv", "--delimiter", "tab"]).ok();
    assert_eq!(rows("tab"), "{\"n\":\"1\",\"text\":\"x\"}\n");
    // A field of the wrong type is reported with its line and position.
    let run = tenure(&["import", &store, &csv, "--set", "bad", "--types", "n:integer"]);
    assert_eq!(run.code, 5);
    assert!(run.err.contains("line 3, field 2 (n): \"\" is not an integer; --null '' treats"), "{}", run.err);
    let run = tenure(&["import", &store, &csv, "--set", "bad", "--types", "none:integer"]);
    assert!(run.code == 5 && run.err.contains("--types names column \"none\""), "{}", run.err);
    for args in [["--types", "n:number"], ["--types", "n"], ["--delimiter", "ab"], ["--columns", "a,a"]] {
        assert_eq!(tenure(&[&["import", &store, &csv, "--set", "x"][..], &args].concat()).code, 2, "{args:?}");
    }
    let lines = fixture.write("e.jsonl", b"1\n");
    let run = tenure(&["import", &store, &lines, "--set", "x", "--null", ""]);
    assert!(run.code == 2 && run.err.contains("are for tables"), "{}", run.err);
}

#[test]
fn a_typed_column_gives_the_keys_of_a_typed_index() {
    let fixture = Fixture::new();
    let store = fixture.path("typed");
    let csv = fixture.write("a.csv", b"name,age\nAda,36\nBob,7\n");
    let import = ["import", &store, &csv, "--set", "people", "--types", "age:integer", "--index", "age:integer"];
    tenure(&import).ok();
    let found = tenure(&["find", &store, "people.age", "36", "--json"]).ok();
    assert!(found.contains("\"Ada\""), "{found}");
}

#[test]
fn the_elements_of_an_array_become_records() {
    let fixture = Fixture::new();
    let store = fixture.path("arrays");
    let json = fixture.write("a.json", b"[{\"a\": [1,2]},\n 2, {\"b\":\n\"]\"}, nothing, 5]");
    let run = tenure(&["import", &store, &json, "--set", "a"]);
    assert_eq!(run.code, 5);
    assert!(run.err.contains(", element 4, column ") && run.err.contains("resume with --from-line 4"), "{}", run.err);
    assert_eq!(tenure(&["export", &store, "--set", "a"]).ok(), "{\"a\": [1,2]}\n2\n{\"b\": \"]\"}\n");
    let run = tenure(&["import", &store, &json, "--set", "a", "--from-line", "4", "--on-error", "skip"]);
    assert!(run.code == 0 && run.err.contains("skipped: ") && run.err.contains("element 4"), "{}", run.err);
    assert_eq!(tenure(&["export", &store, "--set", "a"]).ok().lines().last(), Some("5"));
    let run = tenure_with(&["import", &store, "-", "--set", "b", "--format", "json"], b"{}");
    assert!(run.code == 5 && run.err.contains("is not a JSON array"), "{}", run.err);
}

#[test]
fn what_an_export_with_ids_gives_becomes_a_store_with_the_same_ids() {
    let fixture = Fixture::new();
    let (store, new) = (fixture.store(), fixture.path("new"));
    let large = fixture.write("large", &vec![b'x'; 100_000]);
    let odd = fixture.write("odd", b"\xff\0");
    tenure(&["put", &store, "--set", "people", "--file", &large]).ok();
    tenure(&["put", &store, "--set", "people", "--file", &odd]).ok();
    let gone = fixture.ids("people")[0].clone();
    tenure(&["delete", &store, &gone]).ok();
    let rows = tenure(&["export", &store, "--set", "people", "--with-ids"]).ok();
    let file = fixture.write("rows.jsonl", rows.as_bytes());
    let told = tenure(&["import", &new, &file, "--set", "people", "--with-ids", "--index", "name", "--json"]).json();
    assert_eq!(told["records"].as_u64(), Some(4), "{told}");
    assert_eq!(tenure(&["export", &new, "--set", "people", "--with-ids"]).ok(), rows);
    tenure(&["verify", &new]).ok();
    assert_eq!(tenure(&["find", &new, "people.name", "Grace", "--count"]).ok(), "1\n");
    // No ID is handed out that an export does not report.
    let run = tenure(&["get", &new, &gone]);
    assert!(run.code == 3 && run.err.contains("was deleted"), "{}", run.err);
    let next = tenure(&["put", &new, "--set", "people", "next"]).ok();
    assert!(!rows.contains(&format!("\"{}\"", next.trim())) && next.trim() != gone, "{next}");
    let again = tenure(&["import", &new, &file, "--set", "people", "--with-ids"]);
    assert!(again.code == 1 && again.err.contains("is not empty"), "{}", again.err);
    let none = fixture.path("none");
    for (rows, said) in [
        ("{\"id\":\"1.1\",\"value\":1}\n{\"id\":\"1.2\",\"value\":1}\n", "line 2, ID 1.2 comes after 1.1"),
        ("{\"id\":\"1.1\"}\n", "line 1, the member \"value\" is missing"),
        ("{\"id\":\"x\",\"value\":1}\n", "line 1, \"x\" is not a record ID"),
    ] {
        let file = fixture.write("bad.jsonl", rows.as_bytes());
        let run = tenure(&["import", &none, &file, "--set", "a", "--with-ids"]);
        assert!(run.code == 5 && run.err.contains(said), "{}", run.err);
        assert!(!std::path::Path::new(&none).exists(), "a store was made for nothing");
    }
    assert_eq!(tenure(&["import", &none, "-", "--set", "a", "--with-ids"]).code, 2);
}
