//! `tenure remote`, over a directory as a bucket.

use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tenure")).args(args).output().expect("runs")
}

fn ok(args: &[&str]) -> String {
    let output = run(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_store_is_uploaded_shown_copied_taken_over_and_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let url = format!("file://{}", path("bucket"));
    let (here, copy, there) = (path("here"), path("copy"), path("there"));
    ok(&["put", &here, "--set", "notes", "first"]);
    let shown = ok(&["remote", "init", &here, &url]);
    assert!(shown.contains("state 1-") && shown.contains("no writer"), "{shown}");
    assert!(ok(&["remote", "open", &url, &copy]).contains("copied to"));
    assert_eq!(ok(&["get", &copy, "0.1"]), ok(&["get", &here, "0.1"]));
    ok(&["put", &here, "--set", "notes", "second"]);
    ok(&["remote", "init", &here, &url]);
    let early = path("early");
    ok(&["remote", "open", &url, &early, "--at", "1-1"]);
    assert_eq!(run(&["get", &early, "1.1"]).status.code(), Some(3), "it was written later");
    ok(&["remote", "takeover", &url, &there]);
    assert_eq!(ok(&["get", &there, "1.1"]), ok(&["get", &here, "1.1"]));
    let refused = run(&["remote", "init", &here, &url]);
    assert_eq!(refused.status.code(), Some(6), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(ok(&["remote", "gc", &there, &url]).contains("0 objects"));
    let status: serde_json::Value = serde_json::from_str(&ok(&["remote", "status", &url, "--json"])).unwrap();
    assert_eq!(status["sealed"], true);
    assert_eq!(run(&["remote", "status", &format!("file://{}", path("empty"))]).status.code(), Some(8));
    let secret = run(&["remote", "status", "s3://key:secret@bucket/x"]);
    assert!(!String::from_utf8_lossy(&secret.stderr).contains("secret@"));
}
