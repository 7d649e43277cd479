//! States of a bucket that hold no store, and buckets that are not there.

use std::path::Path;

use crate::support::{Fixture, tenure};

/// The fixture's store, uploaded; and the URL.
fn uploaded() -> (Fixture, String) {
    let fixture = Fixture::new();
    let url = format!("file://{}", fixture.path("bucket"));
    tenure(&["remote", "init", &fixture.store(), &url]).ok();
    (fixture, url)
}

#[test]
fn a_state_without_a_store_is_not_copied() {
    let (fixture, url) = uploaded();
    let copy = fixture.path("copy");
    for (at, code, words) in [
        ("1-0", 8, "state 1-0"),
        ("0-0", 3, "0-0"),
        ("0-7", 3, "epochs 1 to 1"),
        ("7-0", 3, "epochs 1 to 1"),
        ("7-1", 3, "epochs 1 to 1"),
        ("1-999", 3, "1-999"),
    ] {
        let run = tenure(&["remote", "open", &url, &copy, "--at", at]);
        assert_eq!(run.code, code, "{at}: {}", run.err);
        assert!(run.err.contains(words), "{at}: {}", run.err);
        assert!(!Path::new(&copy).exists(), "{at}");
    }
    // A directory that was there stays.
    std::fs::create_dir(&copy).unwrap();
    assert_eq!(tenure(&["remote", "open", &url, &copy, "--at", "1-0"]).code, 8);
    assert_eq!(std::fs::read_dir(&copy).unwrap().count(), 0);
    tenure(&["remote", "open", &url, &copy, "--at", "1-1"]).ok();
    assert_eq!(tenure(&["export", &copy, "--set", "notes", "--with-ids"]).ok(), fixture.export("notes"));
}

/// An `init` that was cut off leaves an epoch, and no file.
#[test]
fn the_newest_state_of_an_upload_that_was_cut_off_is_not_copied() {
    let (fixture, url) = uploaded();
    for kind in ["log", "base", "data"] {
        drop(std::fs::remove_dir_all(fixture.path(&format!("bucket/{kind}"))));
    }
    let copy = fixture.path("copy");
    let run = tenure(&["remote", "open", &url, &copy]);
    assert!(run.code == 8 && run.err.contains("no manifest"), "{}: {}", run.code, run.err);
    assert!(!Path::new(&copy).exists());
}

#[test]
fn a_state_does_not_need_what_comes_after_it() {
    let (fixture, url) = uploaded();
    let log = fixture.path("bucket/log/0000000000000001");
    let mut objects: Vec<_> = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()).collect();
    objects.sort();
    // The last one is the end of the epoch.
    let last = objects.len();
    assert!(last > 1, "{objects:?}");
    std::fs::write(&objects[last - 1], "damaged").unwrap();
    let open = |copy: &str, number: usize| {
        tenure(&["remote", "open", &url, &fixture.path(copy), "--at", &format!("1-{number}")])
    };
    open("before", last - 1).ok();
    let exported = |copy: &str| tenure(&["export", &fixture.path(copy), "--set", "notes", "--with-ids"]).ok();
    assert_eq!(exported("before"), fixture.export("notes"));
    assert_eq!(open("damaged", last).code, 4);
    assert_eq!(open("later", last + 1).code, 3);
    // Objects of epochs say nothing about it either.
    std::fs::remove_dir_all(fixture.path("bucket/epoch")).unwrap();
    open("without", last - 1).ok();
    assert_eq!(exported("without"), fixture.export("notes"));
    for kind in ["log", "base"] {
        drop(std::fs::remove_dir_all(fixture.path(&format!("bucket/{kind}"))));
    }
    let run = open("nothing", last - 1);
    assert!(run.code == 8 && run.err.contains("the bucket is empty"), "{}: {}", run.code, run.err);
}

#[test]
fn commands_that_read_make_no_bucket() {
    let (fixture, _) = uploaded();
    let typo = fixture.path("bukcet");
    let url = format!("file://{typo}");
    let (copy, one) = (fixture.path("copy"), "1".to_owned());
    for args in [
        &["remote", "status", &url][..],
        &["remote", "open", &url, &copy],
        &["remote", "open", &url, &copy, "--at", "1-0"],
        &["remote", "takeover", &url, &copy],
        &["get", &url, "0.1"],
        &["scan", &url, "--set", "notes"],
        &["verify", &url],
        &["watch", &url, "--for", "1s"],
        &["backup", "list", &url],
        &["backup", "verify", &url],
        &["backup", "prune", &url, "--keep", &one],
        &["restore", &url, &copy],
    ] {
        let run = tenure(args);
        assert_eq!(run.code, 8, "{args:?}: {}", run.err);
        assert!(run.err.contains("bukcet"), "{args:?}: {}", run.err);
        assert!(!Path::new(&typo).exists(), "{args:?}");
        assert!(!Path::new(&copy).exists(), "{args:?}");
    }
    // Those that write make it.
    tenure(&["backup", "--incremental", &fixture.store(), &url]).ok();
    tenure(&["backup", "verify", &url]).ok();
}
