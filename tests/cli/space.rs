//! Collecting, compacting, and the map; the output of `stat` and `verify` on space.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::support::{Fixture, Run, files_of, tenure};

/// Adds a set of 4000 records in several segments, and deletes three of four. Returns the remaining IDs.
fn mostly_dead(fixture: &Fixture) -> Vec<String> {
    let store = fixture.store();
    let row = |number: u32| format!("{{\"number\":{number},\"text\":\"{}\"}}\n", "x".repeat(200));
    for part in 0..4 {
        let lines = (part * 1000..(part + 1) * 1000).map(row).collect::<Vec<_>>().concat();
        let file = fixture.write("many.jsonl", lines.as_bytes());
        tenure(&["import", &store, &file, "--set", "many"]).ok();
    }
    let (mut live, mut dead) = (Vec::new(), Vec::new());
    for (at, id) in fixture.ids("many").into_iter().enumerate() {
        if at % 4 == 0 { live.push(id) } else { dead.push(id) }
    }
    let mut args = vec!["delete", &store];
    args.extend(dead.iter().map(String::as_str));
    tenure(&args).ok();
    live
}

fn bytes_of(store: &str) -> u64 {
    let files = files_of(Path::new(store)).into_iter();
    // As the program reports it: without the reserve.
    let is_reserve = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("reserve-"));
    files.filter(|(path, _)| !is_reserve(path)).map(|(_, bytes)| u64::try_from(bytes.len()).unwrap()).sum()
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[test]
fn collecting_gives_dead_space_back() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let live = mostly_dead(&fixture);
    let (before, export) = (bytes_of(&store), fixture.export("many"));
    let told = tenure(&["collect", &store, "--json"]).json();
    let after = bytes_of(&store);
    assert!(after < before / 2, "{before} -> {after}: {told}");
    assert_eq!(number(&told, "bytes_after"), after, "{told}");
    assert!(number(&told, "bytes_before") >= before - before / 10, "{before}: {told}");
    assert!(number(&told, "segments_emptied") >= 4 && number(&told, "files_deleted") >= 4, "{told}");
    assert!(number(&told, "records_moved") >= 1000 && number(&told, "bytes_copied") > 200_000, "{told}");
    assert_eq!(number(&told, "rounds"), 1, "{told}");
    assert!(number(&told, "other_bytes") < before / 10, "nothing keeps what was emptied: {told}");
    assert_eq!(fixture.ids("many"), live, "IDs stay");
    assert_eq!(fixture.export("many"), export, "values and versions stay");
    fixture.assert_unchanged();
}

#[test]
fn a_budget_ends_a_collection_and_keeps_the_store_whole() {
    let fixture = Fixture::new();
    let store = fixture.store();
    mostly_dead(&fixture);
    let export = fixture.export("many");
    let told = tenure(&["collect", &store, "--budget", "0ms", "--json"]).json();
    assert_eq!((number(&told, "records_moved"), number(&told, "segments_emptied")), (0, 0), "{told}");
    let told = tenure(&["collect", &store, "--budget", "1m"]).ok();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("before: ") && lines[1].starts_with("after:  "), "{told}");
    assert!(lines[1].contains(" reclaimed in ") && lines[2].contains(" moved, "), "{told}");
    assert_eq!(fixture.export("many"), export);
    fixture.assert_unchanged();
}

#[test]
fn compacting_leaves_nothing_to_gain() {
    let fixture = Fixture::new();
    let store = fixture.store();
    mostly_dead(&fixture);
    let export = fixture.export("many");
    let told = tenure(&["compact", &store, "--json"]).json();
    assert!(number(&told, "bytes_after") < number(&told, "bytes_before") / 2 && number(&told, "rounds") >= 2, "{told}");
    let again = tenure(&["compact", &store, "--json"]).json();
    assert_eq!(number(&again, "records_moved"), 0, "{told} {again}");
    assert_eq!(fixture.export("many"), export);
    let stat = tenure(&["stat", &store, "--json"]).json();
    let records = segments(&stat).into_iter().filter(|segment| segment["kind"] == "records");
    let (bytes, live) =
        records.fold((0, 0), |sum, each| (sum.0 + number(&each, "bytes"), sum.1 + number(&each, "live_bytes")));
    assert!(live * 100 > bytes * 95, "{live} of {bytes} live");
    fixture.assert_unchanged();
}

fn segments(stat: &Value) -> Vec<Value> {
    stat["segments"].as_array().expect("segments").clone()
}

#[test]
fn what_a_named_snapshot_keeps_is_told_and_goes_with_it() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let dead = fixture.ids("people");
    tenure(&["snapshot", "save", &store, "kept"]).ok();
    mostly_dead(&fixture);
    let full = bytes_of(&store);
    tenure(&["snapshot", "save", &store, "later"]).ok();
    let told = tenure(&["collect", &store, "--json"]).json();
    let names = |list: &Value| -> BTreeSet<String> {
        list.as_array().expect("a list").iter().map(|file| file["file"].as_str().expect("a name").to_owned()).collect()
    };
    let logs = |names: &BTreeSet<String>| names.iter().filter(|name| name.starts_with("log-")).count();
    let others = names(&told["other_segments"]);
    assert!(logs(&others) >= 4 && number(&told, "other_bytes") > full / 2, "{told}");
    let stat = tenure(&["stat", &store, "--json"]).json();
    assert!(logs(&names(&stat["other_segments"])) >= logs(&others), "{stat}");
    assert!(tenure(&["stat", &store]).ok().contains("OTHER SEGMENT"));
    assert!(tenure(&["collect", &store]).ok().contains("kept for named snapshots and marks"));
    for name in ["kept", "later"] {
        tenure(&["snapshot", "drop", &store, name]).ok();
    }
    let told = tenure(&["collect", &store, "--json"]).json();
    assert!(number(&told, "other_bytes") < full / 10, "{told}");
    assert!(bytes_of(&store) < full / 2, "{full} -> {}", bytes_of(&store));
    assert_eq!(fixture.ids("people"), dead);
    fixture.assert_unchanged();
}

#[test]
fn the_map_shows_every_segment_of_the_figures() {
    let fixture = Fixture::new();
    let store = fixture.store();
    mostly_dead(&fixture);
    let told = tenure(&["map", &store]).ok();
    assert!(told.contains("generation 0, the log: ") && told.contains("index pages: "), "{told}");
    assert!(told.contains("░") && told.contains("live: [ ] 0 %"), "{told}");
    assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
    let cells: usize = told.lines().filter(|line| line.starts_with(" [")).map(|line| line.chars().count() - 3).sum();
    let listed = tenure(&["map", &store, "--json"]).json_lines();
    assert_eq!(cells, listed.len(), "{told}");
    let mut stat = segments(&tenure(&["stat", &store, "--json"]).json());
    let mut sorted = listed.clone();
    for list in [&mut stat, &mut sorted] {
        list.sort_by_key(|segment| segment["file"].to_string());
    }
    let shown = |segment: &Value| ["file", "kind", "bytes", "live_bytes"].map(|name| segment[name].clone());
    assert_eq!(sorted.iter().map(shown).collect::<Vec<_>>(), stat.iter().map(shown).collect::<Vec<_>>());
    tenure(&["collect", &store]).ok();
    assert!(tenure(&["map", &store]).ok().contains("generation 1: 1 segment, "));
}

#[test]
fn verify_and_stat_tell_what_lives() {
    let fixture = Fixture::new();
    let store = fixture.store();
    mostly_dead(&fixture);
    let report = tenure(&["verify", &store, "--json"]).json();
    let stat = tenure(&["stat", &store, "--json"]).json();
    let sum = |name: &str| -> u64 {
        segments(&stat).iter().filter(|each| each["kind"] == "records").map(|each| number(each, name)).sum()
    };
    assert_eq!((number(&report, "live_bytes"), number(&report, "segment_bytes")), (sum("live_bytes"), sum("bytes")));
    assert_eq!(number(&report, "live_bytes"), number(&report, "bytes"));
    assert_eq!(number(&stat, "bytes"), bytes_of(&store));
    let told = tenure(&["verify", &store]).ok();
    assert!(told.starts_with("live bytes: ") && told.contains(" record segments\n"), "{told}");
    let told = tenure(&["stat", &store]).ok();
    assert!(told.contains("bytes of all files") && told.contains("segments collected since opening"), "{told}");
}

#[test]
fn a_time_that_is_none_is_refused() {
    let run: Run = tenure(&["collect", "anywhere", "--budget", "soon"]);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("\"soon\" is not a time: write it like 500ms, 2s or 3m"), "{}", run.err);
}
