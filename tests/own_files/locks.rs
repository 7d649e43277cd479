//! The file `lock` disappears or is replaced while a writer has the store open.

use std::path::Path;
use std::time::{Duration, Instant};

use tenure::{Durability, Store};

use crate::process::{Other, options, put, values};

type Loss = fn(&Path);
type Call = fn(&Store) -> tenure::Result<()>;

/// Ways in which other programs take the lock away.
const LOSSES: [(&str, Loss); 3] = [
    ("deleted", |path| std::fs::remove_file(path.join("lock")).unwrap()),
    ("renamed", |path| std::fs::rename(path.join("lock"), path.join("lock.old")).unwrap()),
    ("replaced", |path| {
        std::fs::write(path.join("new"), "").unwrap();
        std::fs::rename(path.join("new"), path.join("lock")).unwrap();
    }),
];

fn is_told(answer: &str) -> bool {
    answer.contains("the file `lock`") && answer.contains("another process may be writing to the store")
}

#[test]
fn of_two_writers_without_the_lock_one_acknowledges() {
    for (name, lose) in LOSSES {
        for how in ["", "alone"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("s");
            let mut first = Other::start("writer", &path, how);
            assert_eq!(first.answer(), "open");
            let mut ids = vec![first.tell("put first")];
            lose(&path);
            let second = options().open(&path).unwrap();
            ids.push(put(&second, b"second", Durability::Sync).unwrap().to_string());
            let answer = first.tell("put lost");
            assert!(is_told(&answer), "{name} {how}: {answer}");
            assert!(is_told(&first.tell("buffered lost")), "{name} {how}: it went on");
            assert!(is_told(&first.tell("many 1")), "{name} {how}: it went on");
            ids.push(put(&second, b"third", Durability::Sync).unwrap().to_string());
            let answer = first.tell("close");
            assert!(is_told(&answer), "{name} {how}: {answer}");
            first.end();
            assert!(matches!(Store::open(&path), Err(tenure::Error::Locked { .. })), "the lock of the second one");
            second.close().unwrap();
            assert_eq!(values(&path, &ids), ["first", "second", "third"], "{name} {how}");
        }
    }
}

#[test]
fn a_writer_that_only_buffers_is_told_soon() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut first = Other::start("writer", &path, "");
    assert_eq!(first.answer(), "open");
    drop(first.tell("buffered 1"));
    std::fs::remove_file(path.join("lock")).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while !is_told(&first.tell("buffered 2")) {
        assert!(Instant::now() < until, "it is not told");
        std::thread::sleep(Duration::from_millis(10));
    }
    first.end();
}

#[test]
fn without_the_lock_no_file_comes_or_goes() {
    for (name, lose) in LOSSES {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        // Nothing in the background, so that what is asked for is the first to notice.
        let names = || {
            let names = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.collect();
            names.sort();
            names
        };
        let calls: [(&str, Call); 5] = [
            ("a snapshot", |store| store.save_snapshot().map(drop)),
            ("a name", |store| store.save_named_snapshot("b").map(drop)),
            ("a dropped name", |store| store.drop_snapshot("a")),
            ("a collection", |store| store.collect(None).map(drop)),
            ("a copy", |store| store.backup_to(std::env::temp_dir().join("tenure-never-made")).map(drop)),
        ];
        for (what, call) in calls {
            let store = options().background(false).open(&path).unwrap();
            put(&store, b"1", Durability::Sync).unwrap();
            if store.snapshots().unwrap().iter().all(|snapshot| snapshot.name.is_none()) {
                store.save_named_snapshot("a").unwrap();
            }
            put(&store, b"2", Durability::Buffered).unwrap();
            lose(&path);
            let before = names();
            let error = call(&store).expect_err("writes without a lock").to_string();
            assert!(is_told(&error), "{name}, {what}: {error}");
            assert!(store.close().is_err(), "{name}, {what}: closing says nothing");
            assert_eq!(names(), before, "{name}, {what}");
            drop(std::fs::remove_dir_all(std::env::temp_dir().join("tenure-never-made")));
        }
    }
}

#[test]
fn many_that_open_at_once_while_the_lock_is_deleted_end_with_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    Store::open(&path).unwrap().close().unwrap();
    for _ in 0..30 {
        let acknowledged = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3_u8)
                .map(|number| {
                    let path = &path;
                    scope.spawn(move || {
                        let store = options().background(false).open(path).ok()?;
                        let id = put(&store, &[number], Durability::Sync).ok()?;
                        store.close().ok()?;
                        Some((id.to_string(), String::from_utf8_lossy(&[number]).into_owned()))
                    })
                })
                .collect();
            drop(std::fs::remove_file(path.join("lock")));
            writers.into_iter().filter_map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        });
        let (ids, expected): (Vec<_>, Vec<_>) = acknowledged.into_iter().unzip();
        assert_eq!(values(&path, &ids), expected, "what was acknowledged is there");
    }
}
