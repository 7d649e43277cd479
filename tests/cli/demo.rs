//! The demo tells what it measured, and leaves nothing behind unless it is asked to.

use std::path::Path;
use std::process::Command;

use crate::support::PROGRAM;
use crate::support::Run;
use crate::support::tenure;

fn demo(temporary: &Path, more: &[&str]) -> Run {
    let output = Command::new(PROGRAM).arg("demo").args(more).env("TMPDIR", temporary).output();
    Run::of(output.expect("the program starts"))
}

#[test]
fn the_demo_tells_its_steps_and_cleans_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let told = demo(dir.path(), &[]).ok();
    for step in ["Import", "Look up", "Update", "Delete", "Three answers", "Insert", "Snapshot", "Open again", "Scan"] {
        assert!(told.contains(&format!(". {step}")), "no step {step}: {told}");
    }
    for answer in [": live, ", ": deleted, ", ": never allocated, ", "as many as are live"] {
        assert!(told.contains(answer), "no {answer:?}: {told}");
    }
    assert!((30..=50).contains(&told.lines().count()), "{} lines", told.lines().count());
    assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 0, "something is left");
}

#[test]
fn the_demo_in_json_is_one_document() {
    let dir = tempfile::tempdir().expect("a directory");
    let told = demo(dir.path(), &["--json"]).json();
    let steps = told["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 10);
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
