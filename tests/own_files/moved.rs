//! The path no longer leads to the directory: the process has changed its working directory, or the directory was
//! renamed.

use std::collections::BTreeMap;
use std::path::Path;

use tenure::{Durability, Store};

use crate::process::{Other, many, options, put, say, values};

/// Opens `one/s`, and changes to `two`, which also contains an `s`.
pub fn open_by_a_relative_path_and_leave(path: &Path) {
    std::env::set_current_dir(path.join("one")).expect("goes there");
    let store = options().open("s").expect("opens");
    let first = put(&store, b"before", Durability::Sync).expect("commits");
    std::env::set_current_dir(path.join("two")).expect("goes there");
    many(&store, 400).expect("goes on in its own files");
    // Its own directory is recognised by identity: by path it would be the other one.
    for inside in [path.join("one/s/copy"), "../one/s/copy".into(), "../one/s".into()] {
        let refused = store.backup_to(&inside).map(drop);
        assert!(refused.is_err(), "{}", inside.display());
        assert!(!inside.join("unfinished").exists() && !path.join("one/s/copy").exists(), "{refused:?}");
    }
    // A copy stays in its directory, too.
    let mut is_away = false;
    let report = store.backup_with("../two-copy", &mut |_| {
        if !is_away {
            std::env::set_current_dir(path.join("one")).expect("goes there");
            is_away = true;
        }
    });
    assert!(is_away && report.expect("a copy").files > 0);
    std::env::set_current_dir(path.join("two")).expect("goes there");
    let point = tenure::Point::Seq(store.save_snapshot().expect("saves").seq);
    let store = store.roll_back_to(&point).expect("stays where it is");
    let last = put(&store, b"after", Durability::Sync).expect("commits");
    store.close().expect("closes");
    say(&format!("{first} {last}"));
}

fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(path).expect("a directory");
    let entries = entries.map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).expect("reads")))
        .collect()
}

#[test]
fn a_relative_path_leads_to_the_same_store_after_a_change_of_directory() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        let store = options().open(dir.path().join(name).join("s")).unwrap();
        many(&store, 20).unwrap();
        store.close().unwrap();
    }
    let [one, two] = ["one/s", "two/s"].map(|name| dir.path().join(name));
    let before = contents(&two);
    let mut process = Other::start("relative", dir.path(), "");
    let ids: Vec<String> = process.answer().split(' ').map(str::to_owned).collect();
    process.end();
    assert!(before == contents(&two), "another store was written to");
    assert_eq!(values(&one, &ids), ["before", "after"]);
    assert_eq!(values(&dir.path().join("two-copy"), &ids[..1]), ["before"]);
    let copies = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(copies, 3, "one, two, and the copy");
}

/// The directory of a running writer is renamed, and a copy is restored in its place.
fn restore_beside_a_forgotten_writer(is_old_first: bool) {
    let dir = tempfile::tempdir().unwrap();
    let [path, copy, aside] = ["s", "copy", "aside"].map(|name| dir.path().join(name));
    let store = options().open(&path).unwrap();
    let kept = put(&store, b"kept", Durability::Sync).unwrap().to_string();
    store.backup_to(&copy).unwrap();
    store.close().unwrap();
    let mut old = Other::start("writer", &path, "");
    assert_eq!(old.answer(), "open");
    let mut of_old = vec![kept.clone(), old.tell("put old 1")];
    std::fs::rename(&path, &aside).unwrap();
    tenure::backup::restore(&copy, &path, &mut |_| {}).unwrap();
    let mut new = Other::start("writer", &path, "");
    assert_eq!(new.answer(), "open");
    let mut of_new = vec![kept, new.tell("put new 1")];
    for round in 0..4 {
        let is_old = (round % 2 == 0) == is_old_first;
        let (process, ids, name) = if is_old { (&mut old, &mut of_old, "old") } else { (&mut new, &mut of_new, "new") };
        assert_eq!(process.tell("many 150"), "done");
        ids.push(process.tell(&format!("put {name} {}", ids.len())));
    }
    let (first, last) = if is_old_first { (&mut old, &mut new) } else { (&mut new, &mut old) };
    assert_eq!([first.tell("close"), last.tell("close")], ["closed", "closed"]);
    old.end();
    new.end();
    assert_eq!(values(&aside, &of_old), ["kept", "old 1", "old 2", "old 3"]);
    assert_eq!(values(&path, &of_new), ["kept", "new 1", "new 2", "new 3"]);
}

#[test]
fn a_moved_store_goes_on_beside_the_one_that_took_its_place() {
    restore_beside_a_forgotten_writer(true);
    restore_beside_a_forgotten_writer(false);
}

#[test]
fn a_store_that_is_moved_and_moved_back_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let [path, aside] = ["s", "aside"].map(|name| dir.path().join(name));
    let store = options().open(&path).unwrap();
    let mut ids = vec![put(&store, b"1", Durability::Sync).unwrap().to_string()];
    std::fs::rename(&path, &aside).unwrap();
    many(&store, 150).unwrap();
    ids.push(put(&store, b"2", Durability::Sync).unwrap().to_string());
    assert!(matches!(Store::open(&aside), Err(tenure::Error::Locked { .. })));
    std::fs::rename(&aside, &path).unwrap();
    ids.push(put(&store, b"3", Durability::Sync).unwrap().to_string());
    store.close().unwrap();
    assert_eq!(values(&path, &ids), ["1", "2", "3"]);
}
