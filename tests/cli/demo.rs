//! The demo reports its measurements, and leaves nothing behind unless told to.

use std::path::Path;
use std::process::Command;

use crate::support::{PROGRAM, Run, tenure};

fn demo(temporary: &Path, more: &[&str]) -> Run {
    let output = Command::new(PROGRAM).arg("demo").args(more).env("TMPDIR", temporary).output();
    Run::of(output.expect("the program starts"))
}

#[test]
fn the_demo_tells_its_steps_and_cleans_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let told = demo(dir.path(), &[]).ok();
    for step in [
        "Import",
        "Index",
        "Ask the indexes",
        "Look up",
        "Update",
        "Delete",
        "Three answers",
        "Insert",
        "Rewrite",
        "Collect",
        "Go back",
        "Snapshot",
        "Open again",
        "Scan",
        "Check the indexes",
        "Back up",
    ] {
        assert!(told.contains(&format!(". {step}")), "no step {step}: {told}");
    }
    for answer in [
        ": live, ",
        ": deleted, ",
        ": never allocated, ",
        "as many as are live",
        "consistent with the records",
        "back at",
        "as in the store",
    ] {
        assert!(told.contains(answer), "no {answer:?}: {told}");
    }
    assert!((60..=90).contains(&told.lines().count()), "{} lines", told.lines().count());
    assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 0, "something is left");
}

#[test]
fn the_demo_in_json_is_one_document() {
    let dir = tempfile::tempdir().expect("a directory");
    let told = demo(dir.path(), &["--json", "--keep"]).json();
    let kept: Vec<_> =
        std::fs::read_dir(dir.path()).expect("there").map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    tenure(&["verify", kept[0].to_str().expect("text")]).ok();
    let steps = told["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 17);
    assert!(steps.iter().all(|step| step["facts"].as_array().is_some_and(|facts| !facts.is_empty())), "{told}");
}

#[test]
fn the_demo_leaves_a_whole_store_where_it_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("demo.tenure");
    let store = store.to_str().expect("a path of text");
    demo(dir.path(), &["--store", store]).ok();
    tenure(&["verify", store]).ok();
    let last = tenure(&["export", store, "--set", "packages"]).ok();
    assert!(last.contains("tenure-demo") && last.contains("+demo1"), "the changes are not there");
}

#[test]
fn the_demo_answers_what_the_data_say() {
    let text = include_str!("../data/packages.jsonl");
    let records: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let depends = |record: &serde_json::Value| -> Vec<String> {
        let names = record["depends"].as_array().expect("an array").iter();
        names.map(|name| name.as_str().expect("a name").to_owned()).collect()
    };
    let dependents =
        |name: &str| records.iter().filter(|record| depends(record).iter().any(|other| other == name)).count();
    let dir = tempfile::tempdir().expect("a directory");
    let told = demo(dir.path(), &[]).ok();
    assert!(told.contains("packages.depends: 25,912 entries"), "{told}");
    let asked = |question: &str| {
        let line = told
            .lines()
            .find(|line| line.trim_start().starts_with(question))
            .unwrap_or_else(|| panic!("no {question}: {told}"));
        let (name, answer) = line.split_once(question).expect("there").1.split_once('?').expect("a question");
        let name = name.trim().trim_end_matches(" need").to_owned();
        (name, answer.trim().split(' ').next().expect("a number").replace(',', "").parse::<usize>().expect("a number"))
    };
    let (name, count) = asked("who depends on ");
    assert_eq!((name.as_str(), count), ("libc6", dependents("libc6")));
    let (name, count) = asked("what does ");
    let record = records.iter().find(|record| record["name"] == name.as_str()).expect("a record");
    assert_eq!(count, depends(record).len());
    let by_name: std::collections::BTreeMap<&str, &serde_json::Value> =
        records.iter().map(|record| (record["name"].as_str().expect("a name"), record)).collect();
    let (mut known, mut waiting) = (std::collections::BTreeSet::from([name.clone()]), vec![name]);
    while let Some(name) = waiting.pop() {
        let next = depends(by_name[name.as_str()]).into_iter().filter(|name| by_name.contains_key(name.as_str()));
        waiting.extend(next.filter(|name| known.insert(name.clone())));
    }
    assert!(told.contains(&format!("{} packages in all", known.len() - 1)), "{told}");
}
