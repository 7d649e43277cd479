//! Exports as CSV: values verbatim, for every record that an import accepted.

use crate::support::{Fixture, tenure};

/// What an export as CSV gives of records that were imported as JSON Lines.
fn csv(lines: &str, more: &[&str]) -> String {
    let fixture = Fixture::new();
    let file = fixture.write("rows.jsonl", lines.as_bytes());
    tenure(&["import", &fixture.store(), &file, "--set", "rows"]).ok();
    tenure(&[&["export", &fixture.store(), "--set", "rows", "--format", "csv"][..], more].concat()).ok()
}

#[test]
fn numbers_keep_every_digit() {
    let numbers =
        ["18446744073709551616", "1e-400", "1e400", "1.50", "-0", "1E5", "0.1000000000000000055511151231257827"];
    for number in numbers {
        assert_eq!(csv(&format!("{{\"n\":{number}}}\n"), &[]), format!("n\n{number}\n"));
        assert_eq!(csv(&format!("{{\"n\":[{number}]}}\n"), &[]), format!("n\n[{number}]\n"), "inside");
    }
}

#[test]
fn the_columns_are_the_members_of_all_records() {
    let lines = "{\"a\":1}\n{\"b\":\"x\",\"a\":null}\n{}\n{\"c\":{\"d\": 1.0},\"a\":true}\n";
    assert_eq!(csv(lines, &[]), "a,b,c\n1,,\n,x,\n,,\ntrue,,\"{\"\"d\"\": 1.0}\"\n");
    assert_eq!(
        csv(lines, &["--null", "NULL"]),
        "a,b,c\n1,NULL,NULL\nNULL,x,NULL\nNULL,NULL,NULL\ntrue,NULL,\"{\"\"d\"\": 1.0}\"\n"
    );
    assert_eq!(csv("{\"a\":1,\"b\":2,\"a\":3}\n", &[]), "a,b\n3,2\n", "the last one of a name counts");
}

#[test]
fn every_record_that_an_import_took_has_a_row() {
    // Values that are no objects, half of a pair of surrogates, and more in each other than a parser of values takes.
    assert_eq!(csv("7\n\"x,y\"\n[1, 2]\nnull\n{\"a\":1}\n", &[]), "value,a\n7,\n\"x,y\",\n\"[1, 2]\",\n,\n,1\n");
    assert_eq!(csv("{\"a\":\"\\ud800\"}\n", &[]), "a\n\"\"\"\\ud800\"\"\"\n");
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(csv(&format!("{{\"a\":{deep}}}\n"), &[]), format!("a\n{deep}\n"));
}

#[test]
fn what_came_as_csv_goes_out_as_it_came() {
    let fixture = Fixture::new();
    let text = "name,size,note\na,1.50,\"x, \"\"y\"\"\"\nb,18446744073709551616,\nc,1e-400,\"two\nlines\"\n";
    let file = fixture.write("rows.csv", text.as_bytes());
    tenure(&["import", &fixture.store(), &file, "--set", "rows"]).ok();
    let store = fixture.store();
    assert_eq!(tenure(&["export", &store, "--set", "rows", "--format", "csv"]).ok(), text);
    let ids = fixture.ids("rows");
    let with_ids = tenure(&["export", &store, "--set", "rows", "--format", "csv", "--with-ids"]).ok();
    assert!(
        with_ids.starts_with("id,seq,name,size,note\n") && with_ids.contains(&format!("\n{},", ids[1])),
        "{with_ids}"
    );
}

#[test]
fn names_that_would_stand_twice_are_errors() {
    let fixture = Fixture::new();
    let file = fixture.write("rows.jsonl", b"{\"id\":1}\n{\"value\":2}\n3\n");
    tenure(&["import", &fixture.store(), &file, "--set", "rows"]).ok();
    let export = ["export", &fixture.store(), "--set", "rows", "--format", "csv"];
    let run = tenure(&export);
    assert_eq!(run.code, 5);
    assert!(run.err.contains("it needs the column \"value\""), "{}", run.err);
    let run = tenure(&[&export[..], &["--with-ids"]].concat());
    assert!(run.code == 5 && run.err.contains("\"id\" has the name of a --with-ids column"), "{}", run.err);
}
