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

#[test]
fn a_name_that_is_mistyped_shuts_nothing_out_and_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (url, here) = (format!("file://{}", path("bucket")), path("here"));
    ok(&["put", &here, "--set", "notes", "first"]);
    ok(&["remote", "init", &here, &url]);
    std::fs::create_dir(path("empty")).unwrap();
    for name in ["hree", "empty"] {
        for what in ["init", "gc"] {
            let refused = run(&["remote", what, &path(name), &url]);
            assert_eq!(refused.status.code(), Some(8), "{}", String::from_utf8_lossy(&refused.stderr));
        }
    }
    assert!(!std::path::Path::new(&path("hree")).exists());
    let other = format!("file://{}", path("bukcet"));
    assert_eq!(run(&["remote", "takeover", &other, &path("there")]).status.code(), Some(8));
    assert!(!std::path::Path::new(&path("there")).exists());
    for what in ["init", "gc", "takeover", "open"] {
        let swapped = match what {
            "takeover" | "open" => run(&["remote", what, &url, "s3://AKIA:se/cret@bucket/x"]),
            _ => run(&["remote", what, "s3://AKIA:se/cret@bucket/x", &here]),
        };
        let told = String::from_utf8_lossy(&swapped.stderr).into_owned();
        assert!(swapped.status.code() == Some(2) && !told.contains("cret"), "{what}: {told}");
    }
    ok(&["put", &here, "--set", "notes", "second"]);
    ok(&["remote", "init", &here, &url]);
}

#[test]
fn commands_that_read_take_a_url_and_those_that_write_refuse_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (url, here) = (format!("file://{}", path("bucket")), path("here"));
    ok(&["put", &here, "--set", "notes", "first"]);
    ok(&["put", &here, "--set", "notes", "second"]);
    ok(&["mark", &here, "then"]);
    ok(&["remote", "init", &here, &url]);
    for args in [
        &["get", "0.1"][..],
        &["scan", "--set", "notes"],
        &["sets"],
        &["export", "--set", "notes"],
        &["map"],
        &["log"],
        &["snapshot list"],
        &["mark", "--list"],
        &["index list"],
        &["get", "0.1", "--at", "mark:then"],
    ] {
        let mut words: Vec<&str> = args[0].split(' ').collect();
        let at = words.len();
        words.extend(&args[1..]);
        let with = |store: &str| {
            let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            words.insert(at, store.to_owned());
            ok(&words.iter().map(String::as_str).collect::<Vec<_>>())
        };
        assert_eq!(with(&url), with(&here), "{words:?}");
    }
    assert!(ok(&["verify", &url]).contains("record") && ok(&["stat", &url]).contains("record"));
    assert!(ok(&["dump", &url, &path("dump")]).contains("2 records"));
    let watched: serde_json::Value = serde_json::from_str(&ok(&["watch", &url, "--until", "2", "--json"])).unwrap();
    assert_eq!(watched["records"], 2);
    for args in [
        &["put", "URL", "--set", "notes", "x"][..],
        &["update", "URL", "0.1", "x"],
        &["delete", "URL", "0.1"],
        &["collect", "URL"],
        &["compact", "URL"],
        &["mark", "URL", "x"],
        &["snapshot", "save", "URL", "x"],
        &["rollback", "URL", "--mark", "then"],
        &["repair", "URL"],
        &["salvage", "URL", "new"],
        &["restore", "backup", "URL"],
        &["load", "dump", "URL"],
        &["import", "URL", "rows.jsonl", "--set", "notes"],
    ] {
        let secret = "s3://key:secret@bucket/x";
        for url in [url.as_str(), secret] {
            let args: Vec<&str> = args.iter().map(|arg| if *arg == "URL" { url } else { arg }).collect();
            let refused =
                Command::new(env!("CARGO_BIN_EXE_tenure")).args(&args).current_dir(dir.path()).output().unwrap();
            let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(2), "{args:?}: {errors}");
            assert!(!errors.contains("secret"), "{args:?}: {errors}");
            assert!(errors.contains("takeover"), "{args:?}: {errors}");
        }
    }
}
