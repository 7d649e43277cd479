//! Each command does what its help says, as text and in JSON.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Fixture, PEOPLE, PROGRAM, tenure, tenure_with};

#[test]
fn help_shows_examples_for_each_command() {
    let help = tenure(&["--help"]).ok();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> =
        listed.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect();
    assert_eq!(names.len(), 32 + usize::from(cfg!(feature = "remote")), "{names:?}");
    for name in names {
        let help = tenure(&[name, "--help"]).ok();
        assert!(help.contains("Examples:") && help.contains(&format!("tenure {name}")), "{help}");
        let documented = include_str!("../../docs/cli.md").contains(&format!("## {name}"));
        assert!(documented, "docs/cli.md has no section for {name}");
    }
}

#[test]
fn the_exit_codes_of_the_help_are_those_of_the_document() {
    let help = tenure(&["--help"]).ok();
    let codes = help.lines().skip_while(|line| *line != "Exit codes:").skip(1).take_while(|line| !line.is_empty());
    let document = include_str!("../../docs/cli.md");
    for line in codes {
        let (code, meaning) = line.trim().split_once("  ").expect("a code and its meaning");
        assert!(document.contains(&format!("| {code} | {meaning}")), "docs/cli.md lacks {code} {meaning}");
    }
}

#[test]
fn put_get_update_delete() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let put = tenure(&["put", &store, "--set", "notes", "one", "--json"]).json();
    let id = put["id"].as_str().expect("an ID").to_owned();
    assert_eq!(tenure(&["get", &store, &id]).ok(), "one\n");
    assert_eq!(tenure(&["get", &store, &id, "--raw"]).ok(), "one");
    let shown = tenure(&["get", &store, &id, "--json", "--set", "notes"]).json();
    let expected = json!({"id": id, "seq": put["seq"], "state": "live", "set": "notes", "bytes": 3, "text": "one"});
    assert_eq!(shown, expected);

    let seq = put["seq"].to_string();
    let updated = tenure(&["update", &store, &id, "two", "--if-seq", &seq, "--json"]).json();
    assert!(updated["seq"].as_u64() > put["seq"].as_u64(), "{updated}");
    assert_eq!(tenure(&["get", &store, &id]).ok(), "two\n");
    tenure_with(&["update", &store, &id, "-"], b"three").ok();
    let file = fixture.write("four", b"four");
    tenure(&["update", &store, &id, "--file", &file]).ok();
    let out = fixture.path("out");
    assert_eq!(tenure(&["get", &store, &id, "--raw", "--output", &out]).ok(), "");
    assert_eq!(fs::read(out).expect("written"), b"four");

    assert_eq!(tenure(&["delete", &store, &id]).ok(), "deleted 1 record\n");
    let gone = tenure(&["get", &store, &id, "9999.1", "--json"]);
    let lines = [json!({"id": id, "state": "deleted"}), json!({"id": "9999.1", "state": "never allocated"})];
    assert_eq!(String::from_utf8(gone.out).expect("text"), format!("{}\n{}\n", lines[0], lines[1]));
    assert_eq!(gone.code, 3);
    fixture.assert_unchanged();
}

#[test]
fn a_file_that_would_be_emptied_for_a_missing_record_is_kept() {
    let fixture = Fixture::new();
    let kept = fixture.write("kept", b"precious");
    assert_eq!(tenure(&["get", &fixture.store(), "9999.1", "-o", &kept]).code, 3);
    assert_eq!(fs::read(kept).expect("there"), b"precious");
}

#[test]
fn large_values_are_streamed_in_and_out() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let bytes: Vec<u8> =
        (0..3_000_001_u32).map(|number| u8::try_from(number.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    let file = fixture.write("large", &bytes);
    let id = tenure(&["put", &store, "--set", "large", "--file", &file]).ok().trim().to_owned();
    assert_eq!(tenure(&["get", &store, &id, "--raw"]).out, bytes);
    let shown = tenure(&["get", &store, &id, "--json"]).json();
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    assert_eq!((shown["bytes"].as_u64(), shown["hex"].as_str()), (Some(3_000_001), Some(hex.as_str())));

    // A large value of multi-line JSON stays JSON, on one line; large text is a string.
    let list = format!("[\n{}0\n]", "\"é€😀\",\r\n".repeat(20_000));
    let id = tenure_with(&["put", &store, "--set", "lists", "-"], list.as_bytes()).ok().trim().to_owned();
    assert_eq!(tenure(&["get", &store, &id, "--json"]).json()["value"].as_array().map(Vec::len), Some(20_001));
    let text = "é€😀 ".repeat(20_000);
    let id = tenure_with(&["put", &store, "--set", "texts", "-"], text.as_bytes()).ok().trim().to_owned();
    assert_eq!(tenure(&["get", &store, &id, "--json"]).json()["text"], json!(text));
    let exported = tenure(&["export", &store, "--set", "texts"]).json();
    assert_eq!(exported, json!({ "text": text }));
    assert!(tenure(&["scan", &store, "--set", "texts"]).ok().contains('…'));
}

#[test]
fn export_gives_back_what_was_imported() {
    let fixture = Fixture::new();
    let store = fixture.store();
    assert_eq!(tenure(&["export", &store, "--set", "people"]).ok(), PEOPLE);
    assert_eq!(
        tenure(&["export", &store, "--set", "notes"]).ok(),
        "{\"text\":\"remember the milk\"}\n{\"hex\":\"ff00fe\"}\n"
    );
    let with_ids = tenure(&["export", &store, "--set", "people", "--with-ids"]).json_lines();
    let ids = fixture.ids("people");
    assert_eq!((&with_ids[2]["id"], &with_ids[2]["value"]), (&json!(ids[2]), &json!({"name": "Emmy", "age": 53})));
    assert_eq!(
        tenure(&["export", &store, "--set", "people", "--format", "csv"]).ok(),
        "name,age\nAda,36\nGrace,85\nEmmy,53\n"
    );

    let out = fixture.path("out.jsonl");
    let told = tenure(&["export", &store, "--set", "people", "-o", &out, "--json"]).json();
    assert_eq!(told, json!({ "records": 3, "file": out }));
    assert_eq!(fs::read_to_string(out).expect("written"), PEOPLE);
}

#[test]
fn scan_begins_and_ends_where_it_is_told() {
    let fixture = Fixture::new();
    let (store, ids) = (fixture.store(), fixture.ids("people"));
    let some = tenure(&["scan", &store, "--set", "people", "--from", &ids[1], "--limit", "1", "--json"]).json();
    let expected = json!({"id": ids[1], "seq": some["seq"], "bytes": 25, "value": {"name": "Grace", "age": 85}});
    assert_eq!(some, expected);
    let table = tenure(&["scan", &store, "--set", "people"]).ok();
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.contains("{\"name\":\"Emmy\",\"age\":53}"), "{table}");
    assert_eq!(tenure(&["scan", &store, "--set", "people", "--limit", "0"]).ok(), "");
}

#[test]
fn sets_and_figures() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let sets = tenure(&["sets", &store, "--json"]).json_lines();
    let counts: Vec<(&Value, &Value)> = sets.iter().map(|set| (&set["name"], &set["records"])).collect();
    assert_eq!(counts, [(&json!("people"), &json!(3)), (&json!("notes"), &json!(2))]);
    assert!(tenure(&["sets", &store]).ok().contains("people"));
    let stat = tenure(&["stat", &store, "--json"]).json();
    assert_eq!(stat["records"], json!(5));
    assert!(stat["segments"].as_array().is_some_and(|segments| !segments.is_empty()), "{stat}");
    assert_eq!(stat["last_seq"], stat["durable_seq"]);
    let table = tenure(&["stat", &store]).ok();
    assert!(table.contains("KiB") && table.contains("people") && table.contains("opened in"), "{table}");
}

#[test]
fn chunks_of_large_values_are_counted_apart_and_said_to_be() {
    let fixture = Fixture::new();
    let store = fixture.store();
    assert!(!tenure(&["sets", &store]).ok().contains("chunk"));
    let file = fixture.write("large", &vec![b'x'; 1_000_000]);
    tenure(&["put", &store, "--set", "large", "--file", &file]).ok();
    let sets = tenure(&["sets", &store, "--json"]).json_lines();
    let large = sets.iter().find(|set| set["name"] == "large").expect("the set");
    assert!(large["bytes"].as_u64().is_some_and(|bytes| bytes < 1000), "{large}");
    let table = tenure(&["sets", &store]).ok();
    let last = table.lines().last().expect("a line");
    assert!(last.starts_with("large values: 16 chunks, ") && last.ends_with(", in no set"), "{table}");
    let stat = tenure(&["stat", &store, "--json"]).json();
    assert_eq!(stat["chunks"]["records"], json!(16));
    let in_sets: u64 = sets.iter().filter_map(|set| set["bytes"].as_u64()).sum();
    assert_eq!(stat["record_bytes"].as_u64(), stat["chunks"]["bytes"].as_u64().map(|chunks| chunks + in_sets));
    assert!(stat["chunks"]["bytes"].as_u64() >= Some(1_000_000), "{stat}");
    let help = tenure(&["sets", "--help"]).ok();
    assert!(help.contains("belong to no set"), "{help}");
}

#[test]
fn a_segment_that_is_begun_is_listed_as_unfinished() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let begun = std::path::Path::new(&store).join("log-000000000999.seg");
    fs::write(begun, [0; 60]).expect("written");
    let frames = tenure(&["log", &store, "--json"]).json_lines();
    let last = frames.last().expect("a line");
    assert_eq!((&last["kind"], &last["file"]), (&json!("unfinished"), &json!("log-000000000999.seg")));
    assert!(frames.iter().all(|frame| frame["kind"] != "damage"), "{frames:?}");
    assert!(tenure(&["log", &store]).ok().contains("unfinished"));
}

#[test]
fn marks_are_set_and_listed() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let mark = tenure(&["mark", &store, "before", "--json"]).json();
    assert_eq!(tenure(&["mark", &store, "--list", "--json"]).json(), mark);
    assert!(tenure(&["mark", &store, "--list"]).ok().contains("before"));
    fixture.assert_unchanged();
}

#[test]
fn the_log_is_listed_frame_by_frame() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let frames = tenure(&["log", &store, "--json", "--records"]).json_lines();
    let commits: Vec<&Value> = frames.iter().filter(|frame| frame["kind"] == "commit").collect();
    let seqs: Vec<u64> = commits.iter().filter_map(|frame| frame["seq"].as_u64()).collect();
    let dense: Vec<u64> = (1..).take(seqs.len()).collect();
    assert_eq!(seqs, dense, "commits are dense");
    assert!(commits.iter().any(|frame| frame["records"] == json!(3)), "the import is one commit: {frames:?}");
    let place = format!("{}:{}", frames[2]["file"].as_str().unwrap(), frames[2]["offset"]);
    let some = tenure(&["log", &store, "--json", "--records", "--from-offset", &place, "--limit", "2"]).json_lines();
    assert_eq!(some, frames[2..4]);
    assert!(tenure(&["log", &store]).ok().contains(&place));
    // A file that is gone: the listing begins with the next one.
    assert_eq!(
        tenure(&["log", &store, "--json", "--records", "--from-offset", "log-000000000000.seg:9"]).json_lines(),
        frames
    );
}

#[test]
fn verify_finds_nothing_wrong() {
    let fixture = Fixture::new();
    let report = tenure(&["verify", &fixture.store(), "--json"]).json();
    assert_eq!((report["ok"].as_bool(), &report["problems"]), (Some(true), &json!([])));
    assert!(report["files"].as_u64() > Some(2), "{report}");
    assert!(tenure(&["verify", &fixture.store()]).ok().contains("no problem found"));
}

#[test]
fn reading_writes_not_a_byte() {
    let fixture = Fixture::new();
    let (store, before) = (fixture.store(), fixture.files());
    let reading: [&[&str]; 10] = [
        &["export", &store, "--set", "people"],
        &["get", &store, "0.1"],
        &["scan", &store, "--set", "people"],
        &["sets", &store],
        &["stat", &store],
        &["map", &store],
        &["snapshot", "list", &store],
        &["mark", &store, "--list"],
        &["log", &store],
        &["verify", &store],
    ];
    for args in reading {
        tenure(args);
        assert_eq!(fixture.files(), before, "{args:?}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let fixture = Fixture::new();
    let lines = "{\"text\":\"a line of some length, so that the pipe is full soon\"}\n".repeat(20_000);
    let many = fixture.write("many.jsonl", lines.as_bytes());
    tenure(&["import", &fixture.store(), &many, "--set", "many"]).ok();
    let mut command = Command::new(PROGRAM);
    let command = command.args(["export", &fixture.store(), "--set", "many"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut first = [0; 10];
    child.stdout.take().expect("a pipe").read_exact(&mut first).expect("read");
    let ended = child.wait_with_output().expect("the program ends");
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn errors_are_json_where_the_output_is() {
    let fixture = Fixture::new();
    let store = fixture.store();
    for (args, code, kind, said) in [
        (vec!["get", &store, "9.1", "--json"], 3, "not found", "record 9.1 does not exist: this ID was never assigned"),
        (vec!["--json", "sets", "nothing"], 8, "not a store", "nothing is not a Tenure store: it does not exist"),
        (vec!["get", &store, "0.1", "--raw", "--json"], 2, "usage", "--raw and --json cannot be combined"),
        (vec!["get", &store, "zero", "--json"], 2, "usage", "is not a record ID"),
        (vec!["get", "--json", "--no-such"], 2, "usage", "unexpected argument '--no-such' found"),
    ] {
        let run = tenure(&args);
        assert_eq!(run.code, code, "{}", run.err);
        assert_eq!(run.err.lines().count(), 1, "{}", run.err);
        let told: Value = serde_json::from_str(&run.err).expect("JSON");
        assert_eq!((&told["code"], &told["kind"]), (&json!(code), &json!(kind)), "{told}");
        assert!(told["error"].as_str().expect("text").contains(said), "{told}");
        assert!(!told["help"].as_str().expect("text").is_empty(), "{told}");
    }
    fixture.assert_unchanged();
}

#[test]
fn watch_shows_states_until_a_commit_or_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("s").display().to_string();
    tenure(&["put", &store, "--set", "notes", "first"]).ok();
    assert!(tenure(&["watch", &store, "--until", "1"]).ok().contains("1 record"));
    let lines = tenure(&["watch", &store, "--for", "50ms", "--interval", "10ms", "--json"]).ok();
    let line: Value = serde_json::from_str(lines.trim()).expect("one line");
    assert_eq!((&line["records"], &line["reloads"]), (&json!(1), &json!(0)));
    let late = tenure(&["watch", &store, "--until", "999", "--for", "20ms"]);
    assert!(late.code == 1 && late.err.contains("did not come in time"), "{}", late.err);
    assert_eq!(tenure(&["watch", &store, "--interval", "1ms", "--for", "20ms"]).code, 2);
}
