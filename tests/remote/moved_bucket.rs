//! The directory of a bucket in a file system is moved away beside its writer, and comes back.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure::backing::Memory;
use tenure::remote::Bucket;
use tenure::{Durability, Options, Store};

use crate::{contents, open, quick};

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_mins(1), "not yet: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn error_of(store: &Store) -> String {
    let begin = Instant::now();
    loop {
        if let Some(error) = store.stats().remote.and_then(|remote| remote.error) {
            return error;
        }
        assert!(begin.elapsed() < Duration::from_mins(1), "the writer says nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// With another directory in its place, or none.
#[expect(clippy::disallowed_methods, reason = "the test is about a directory that is moved")]
fn moved(with_another: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (home, away) = (dir.path().join("bucket"), dir.path().join("away"));
    let bucket = Bucket::at(&format!("file://{}", home.display())).unwrap();
    // A base for each log object, so that the writer also reads.
    let store = open(&Memory::new(), &bucket, quick().base_every(1)).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "before")).unwrap();
    // What begins before the directory goes may end after that: nothing is under way any more.
    until("a base is there", || {
        let is_whole = |name: &str| !name.contains('#');
        fs::read_dir(home.join("base")).is_ok_and(|mut entries| {
            entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(is_whole)))
        })
    });
    fs::rename(&home, &away).unwrap();
    if with_another {
        fs::create_dir(&home).unwrap();
    }
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.write_with(Durability::Remote, |tx| tx.insert(&notes, "meanwhile")));
        let error = error_of(&store);
        assert!(error.contains("directory of the bucket"), "{error}");
        let is_acknowledged = waiting.is_finished();
        let is_empty = fs::read_dir(&home).map_or(!with_another, |mut entries| entries.next().is_none());
        if with_another {
            fs::remove_dir_all(&home).unwrap();
        }
        // First of all, or the commit waits for ever.
        fs::rename(&away, &home).unwrap();
        waiting.join().unwrap().unwrap();
        assert!(is_empty && !is_acknowledged, "something was put there, or acknowledged from elsewhere");
    });
    let reader = Options::new().read_only(true).open_backing(Arc::new(bucket.view(None).unwrap())).unwrap();
    assert_eq!(contents(&reader), contents(&store));
    assert_eq!(contents(&reader).len(), 2);
    store.close().unwrap();
}

#[test]
fn nothing_is_acknowledged_while_the_directory_of_the_bucket_is_away() {
    moved(false);
}

#[test]
fn nothing_is_put_into_another_directory_in_its_place() {
    moved(true);
}
