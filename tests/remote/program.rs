//! `tenure remote`, over a directory as a bucket.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure::backing::Files;
use tenure::remote::{Bucket, Remote, RemoteOptions};
use tenure::{Durability, Error, Options, Store};

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
    assert!(!Path::new(&path("hree")).exists());
    let other = format!("file://{}", path("bukcet"));
    assert_eq!(run(&["remote", "takeover", &other, &path("there")]).status.code(), Some(8));
    assert!(!Path::new(&path("there")).exists());
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

/// The files below a directory, with their sizes.
fn files_below(path: &Path) -> Vec<(PathBuf, u64)> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries.map(Result::unwrap) {
        match entry.metadata().unwrap() {
            metadata if metadata.is_dir() => files.extend(files_below(&entry.path())),
            metadata => files.push((entry.path(), metadata.len())),
        }
    }
    files.sort();
    files
}

fn refused(args: &[&str]) -> (Option<i32>, String) {
    let output = run(args);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A writer that is at work in a bucket, which has two records and a snapshot.
fn writer(path: &str, url: &str) -> Store {
    let files = Arc::new(Files::create(Path::new(path)).unwrap());
    let remote = Remote::new(files, Bucket::at(url).unwrap(), RemoteOptions::new().lag(Duration::ZERO));
    let store = Options::new().background(false).open_backing(Arc::new(remote)).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "first")).unwrap();
    store.save_snapshot().unwrap();
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "second")).unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    store
}

fn is_fenced(store: &Store) -> bool {
    let late = store.find_set("notes").map(|set| store.write_with(Durability::Remote, |tx| tx.insert(&set, "late")));
    matches!(late, Some(Err(Error::Fenced { .. })))
}

/// It dies after it has ended the writer's epoch, and before it has begun its own.
#[test]
fn a_takeover_that_died_before_its_epoch_is_no_store_and_is_taken_up_again() {
    for is_elsewhere in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (url, here, there) = (format!("file://{}", path("bucket")), path("here"), path("there"));
        let old = writer(&here, &url);
        // Nothing can be put there.
        let epoch = dir.path().join("bucket/epoch/0000000000000002");
        std::fs::create_dir(&epoch).unwrap();
        let taker = Command::new(env!("CARGO_BIN_EXE_tenure")).args(["remote", "takeover", &url, &there]).spawn();
        let mut taker = taker.unwrap();
        let until = Instant::now() + Duration::from_mins(1);
        while !Bucket::at(&url).unwrap().status().unwrap().unwrap().is_sealed {
            assert!(Instant::now() < until, "no seal");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(100));
        taker.kill().unwrap();
        taker.wait().unwrap();
        std::fs::remove_dir(&epoch).unwrap();
        assert!(is_fenced(&old), "there is a seal");
        drop(old);
        let left = files_below(Path::new(&there));
        for args in [&["get", &there, "0.1"][..], &["put", &there, "--set", "notes", "x"], &["verify", &there]] {
            let (code, told) = refused(args);
            assert_eq!(code, Some(8), "{args:?}: {told}");
        }
        for what in ["init", "gc"] {
            let (code, told) = refused(&["remote", what, &there, &url]);
            assert!(code == Some(8) && told.contains("no store"), "{what}: {told}");
        }
        let now: Vec<_> =
            files_below(Path::new(&there)).into_iter().filter(|(path, _)| !path.ends_with("lock")).collect();
        assert_eq!(now, left.into_iter().filter(|(path, _)| !path.ends_with("lock")).collect::<Vec<_>>());
        let next = if is_elsewhere { path("elsewhere") } else { there };
        ok(&["remote", "takeover", &url, &next]);
        assert_eq!(ok(&["get", &next, "1.1"]), "second\n");
        ok(&["put", &next, "--set", "notes", "third"]);
        ok(&["remote", "init", &next, &url]);
        let (code, told) = refused(&["remote", "init", &here, &url]);
        assert_eq!(code, Some(6), "{told}");
    }
}

/// It dies while it downloads the files.
#[test]
fn a_takeover_that_died_half_way_is_no_store_and_is_taken_up_again() {
    for is_elsewhere in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (url, here, there) = (format!("file://{}", path("bucket")), path("here"), path("there"));
        let old = writer(&here, &url);
        let mut pages: Vec<_> = files_below(Path::new(&here)).into_iter().map(|(path, _)| path).collect();
        pages.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("pages-"));
        let last = Path::new(&there).join(pages.pop().unwrap().file_name().unwrap());
        std::fs::create_dir_all(&last).unwrap();
        let (code, told) = refused(&["remote", "takeover", &url, &there]);
        assert!(code.is_some_and(|code| code != 0), "{told}");
        std::fs::remove_dir(&last).unwrap();
        assert!(is_fenced(&old), "its epoch has begun");
        drop(old);
        for args in
            [&["get", &there, "0.1"][..], &["put", &there, "--set", "notes", "x"], &["scan", &there, "--set", "notes"]]
        {
            let (code, told) = refused(args);
            assert_eq!(code, Some(8), "{args:?}: {told}");
        }
        let next = if is_elsewhere { path("elsewhere") } else { there };
        ok(&["remote", "takeover", &url, &next]);
        assert_eq!(
            (ok(&["get", &next, "0.1"]), ok(&["get", &next, "1.1"])),
            ("first\n".to_owned(), "second\n".to_owned())
        );
        let (code, told) = refused(&["remote", "init", &here, &url]);
        assert_eq!(code, Some(6), "{told}");
    }
}

/// Its first upload was cut off: there is an epoch, and no file.
#[test]
fn a_bucket_without_files_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (url, here, there) = (format!("file://{}", path("bucket")), path("here"), path("there"));
    ok(&["put", &here, "--set", "notes", "first"]);
    ok(&["remote", "init", &here, &url]);
    for kind in ["log", "base", "data"] {
        drop(std::fs::remove_dir_all(dir.path().join("bucket").join(kind)));
    }
    let before = files_below(&dir.path().join("bucket"));
    assert_eq!(before.len(), 1, "the epoch: {before:?}");
    let (code, told) = refused(&["remote", "takeover", &url, &there]);
    assert!(code == Some(8) && told.contains("the bucket is empty"), "{told}");
    assert!(!Path::new(&there).exists(), "nothing was begun here");
    assert_eq!(files_below(&dir.path().join("bucket")), before, "nor there");
    // Who began goes on.
    ok(&["remote", "init", &here, &url]);
    ok(&["remote", "takeover", &url, &there]);
    assert_eq!(ok(&["get", &there, "0.1"]), "first\n");
}
