//! Every byte of every file of a small store is changed, every file is cut at every length, removed, duplicated, or
//! replaced by another store's: the answer is correct or an error, never wrong and never a panic.

mod bar;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tenure::backing::{Backing, Memory};
use tenure::{Durability, Error, Options, RecordId, Store};

use crate::common;
use crate::common::{Contents, Rng};

type Files = BTreeMap<String, Vec<u8>>;

struct Built {
    files: Files,
    contents: Contents,
    marks: BTreeMap<String, u64>,
    dead: Vec<RecordId>,
    last_seq: u64,
}

fn options() -> Options {
    Options::new().background(false).segment_bytes(64 << 10).durability(Durability::Sync)
}

/// A closed store with a page segment, several manifest entries, and a log that was recovered once.
fn build(seed: u64) -> Built {
    let mut rng = Rng::new(seed);
    let mut backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let mut dead = Vec::new();
    for round in 0..3 {
        let store = options().open_backing(Arc::clone(&backing)).expect("opens");
        let sets = ["a", "b"].map(|name| store.record_set(name).expect("a set"));
        let mut ids = Vec::new();
        for number in 0..5 {
            let bytes = rng.bytes(number * 11);
            ids.push(store.write(|tx| tx.insert(&sets[number % 2], &bytes)).expect("inserts"));
        }
        store.write(|tx| tx.update(ids[0], rng.bytes(30))).expect("updates");
        store.write(|tx| tx.delete(ids[1])).expect("deletes");
        dead.push(ids[1]);
        store.mark(&format!("mark {round}")).expect("marks");
        if round == 1 {
            // A crash: the next opening recovers and copies.
            backing = common::memory_of(&common::read_backing(&*backing));
        } else {
            store.close().expect("closes");
        }
    }
    let store = options().read_only(true).open_backing(Arc::clone(&backing)).expect("opens");
    let (contents, marks, last_seq) =
        (common::contents(&store).expect("reads"), common::marks(&store), store.last_seq().0);
    let mut files = common::read_backing(&*backing);
    // It contains nothing that could be damaged.
    files.retain(|name, _| !name.starts_with("reserve-"));
    Built { files, contents, marks, dead, last_seq }
}

/// Reads everything; returns whether every read succeeded, and panics at a wrong answer.
fn check(store: &Store, built: &Built, what: &str) -> bool {
    assert!(store.last_seq().0 >= built.last_seq, "{what}: commit {} is the last", store.last_seq());
    assert_eq!(common::marks(store), built.marks, "{what}");
    let sets: Vec<String> = store.record_sets().iter().map(|set| set.name().to_owned()).collect();
    assert_eq!(sets, built.contents.keys().cloned().collect::<Vec<_>>(), "{what}");
    let mut whole = true;
    let view = store.view();
    for (name, records) in &built.contents {
        let set = store.find_set(name).expect("a set");
        assert_eq!(view.len(&set), u64::try_from(records.len()).expect("64 bits"), "{what}");
        let mut expected = records.iter();
        for record in view.scan(&set) {
            let Ok((id, bytes)) = record.and_then(|record| Ok((record.id(), record.to_vec()?))) else {
                whole = false;
                break;
            };
            assert_eq!(Some((&id, &bytes)), expected.next(), "{what}: a scan of {name}");
        }
        assert!(!whole || expected.next().is_none(), "{what}: a scan of {name} ended early");
        for (id, bytes) in records {
            match store.get(*id).and_then(|record| record.to_vec()) {
                Ok(found) => assert_eq!(&found, bytes, "{what}: {id}"),
                Err(Error::Deleted { .. } | Error::NeverAllocated { .. }) => panic!("{what}: {id} is gone"),
                Err(_) => whole = false,
            }
        }
    }
    for id in &built.dead {
        match store.get(*id) {
            Ok(_) => panic!("{what}: {id} is live"),
            Err(Error::Deleted { .. } | Error::NeverAllocated { .. }) => {}
            Err(_) => whole = false,
        }
    }
    whole
}

/// Opens for reading, and on request for writing as well. Returns whether every read succeeded.
fn open_and_check(files: &Files, built: &Built, write: bool, what: &str) -> bool {
    let backing = common::memory_of(files);
    let mut whole = match options().read_only(true).open_backing(Arc::clone(&backing)) {
        Ok(store) => check(&store, built, what),
        Err(error) => {
            assert!(!matches!(error, Error::Io { .. }), "{what}: damage is no failure of a device: {error}");
            false
        }
    };
    let mut expected = files.clone();
    expected.remove("lock");
    assert_eq!(common::read_backing(&*backing), expected, "{what}: a reader wrote");
    if let Ok(report) = tenure::verify::verify_backing(&backing, &mut |_| {}) {
        assert!(whole || !report.is_ok(), "{what}: not all can be read, and verification says nothing");
    }
    if write && let Ok(store) = options().open_backing(Arc::clone(&backing)) {
        whole &= check(&store, built, what);
        let set = store.record_set("a").expect("a set");
        let new = store.write(|tx| tx.insert(&set, "new"));
        let closed = store.close();
        if let (Ok(id), Ok(())) = (new, closed) {
            assert!(!built.dead.contains(&id) && !built.contents["a"].contains_key(&id), "{what}: {id} again");
            let again = options().open_backing(backing).unwrap_or_else(|error| panic!("{what}: closed, then {error}"));
            assert_eq!(again.get(id).expect("live").as_slice(), Some(&b"new"[..]), "{what}");
        }
    }
    whole
}

#[test]
fn a_changed_byte_anywhere_gives_the_right_answer_or_an_error() {
    let built = build(41);
    assert!(built.files.keys().any(|name| name.starts_with("pages-")), "{:?}", built.files.keys());
    let mut seen = 0;
    for (name, bytes) in built.files.iter().filter(|(name, _)| *name != "lock") {
        let mut files = built.files.clone();
        for at in 0..bytes.len() {
            for pattern in [1 << (at % 8), 0xff] {
                files.get_mut(name).expect("the file")[at] = bytes[at] ^ pattern;
                let what = format!("{name} byte {at} of {} by {pattern:#x}", bytes.len());
                seen += u32::from(!open_and_check(&files, &built, pattern == 0xff && at % 3 == 0, &what));
            }
            files.get_mut(name).expect("the file")[at] = bytes[at];
        }
    }
    assert!(seen > 100, "only {seen} changes made a difference");
}

#[test]
fn a_file_cut_at_any_length_gives_the_right_answer_or_an_error() {
    let built = build(42);
    for (name, bytes) in built.files.iter().filter(|(name, _)| *name != "lock") {
        let mut files = built.files.clone();
        for len in (0..bytes.len()).rev() {
            files.get_mut(name).expect("the file").truncate(len);
            open_and_check(&files, &built, len % 3 == 0, &format!("{name} cut at {len} of {}", bytes.len()));
        }
    }
}

/// Files of a store that was not closed, with commits that were written ahead before and after each of its snapshots.
fn with_large_commits() -> Files {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = options().open_backing(Arc::clone(&backing)).expect("opens");
    let set = store.record_set("a").expect("a set");
    for round in 0..6 {
        let id = store.write(|tx| tx.insert(&set, "small")).expect("inserts");
        store.write(|tx| tx.insert_many(&set, &vec![vec![round; 1_000]; 80])).expect("inserts");
        store.write(|tx| tx.update(id, "changed")).expect("updates");
        if round % 2 == 1 && round < 4 {
            store.save_snapshot().expect("saves");
        }
    }
    common::read_backing(&*backing)
}

#[test]
fn a_cut_file_of_a_large_commit_is_no_failure_of_the_device() {
    let whole = with_large_commits();
    let large = whole.iter().filter(|(name, bytes)| name.starts_with("log-") && bytes.len() > 80_000);
    assert!(large.count() >= 6, "{:?}", whole.keys());
    // The newest snapshot cannot be used: the log is replayed from the one before it.
    let mut older = whole.clone();
    let pages = older.keys().rfind(|name| name.starts_with("pages-")).expect("pages").clone();
    let written = older.get_mut(&pages).expect("the file");
    written.truncate(written.len() - 1);
    for (snapshot, files) in [("newest", whole), ("older", older)] {
        let (mut refused, mut opened) = (0, 0);
        for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("log-")) {
            let (begin, end) = (bytes.len().min(300), bytes.len().saturating_sub(20));
            for len in (0..begin).step_by(3).chain((begin..end).step_by(8_191)).chain(end..bytes.len()) {
                let mut cut = files.clone();
                cut.get_mut(name).expect("the file").truncate(len);
                let what = format!("{snapshot} snapshot, {name} cut at {len} of {}", bytes.len());
                for read_only in [true, false] {
                    match options().read_only(read_only).open_backing(common::memory_of(&cut)) {
                        Ok(store) => {
                            opened += 1;
                            check_large(&store, &what);
                        }
                        Err(error) => {
                            refused += 1;
                            assert!(error.is_corruption(), "{what}: {error}");
                        }
                    }
                }
            }
        }
        assert!(refused > 100 && opened > 100, "{snapshot} snapshot: {refused} refused, {opened} opened");
    }
}

/// Each record that can be read is one that was written.
fn check_large(store: &Store, what: &str) {
    let Some(set) = store.find_set("a") else { return };
    for record in store.view().scan(&set).flatten() {
        let Ok(bytes) = record.to_vec() else { continue };
        let is_large = bytes.len() == 1_000 && bytes.iter().all(|byte| *byte == bytes[0] && *byte < 6);
        assert!(is_large || bytes == b"small" || bytes == b"changed", "{what}: {} has {bytes:?}", record.id());
    }
}

#[test]
fn a_file_that_is_missing_gives_the_right_answer_or_an_error() {
    let built = build(43);
    for name in built.files.keys().filter(|name| *name != "lock") {
        let mut files = built.files.clone();
        files.remove(name);
        open_and_check(&files, &built, true, &format!("{name} missing"));
    }
}

#[test]
fn a_file_under_another_number_or_of_another_store_gives_the_right_answer_or_an_error() {
    let (built, other) = (build(44), build(45));
    for (name, bytes) in built.files.iter().filter(|(name, _)| *name != "lock") {
        let (kind, rest) = name.split_once('-').expect("a number");
        let (number, end) = rest.split_once('.').expect("an end");
        let number: u64 = number.parse().expect("a number");
        for target in [0, number.saturating_sub(1), number + 1, number + 2, 99, 999_999_999_999] {
            let copy = format!("{kind}-{target:012}.{end}");
            for bytes in [Some(bytes), other.files.get(name)].into_iter().flatten() {
                let mut files = built.files.clone();
                files.insert(copy.clone(), bytes.clone());
                if files != built.files {
                    open_and_check(&files, &built, true, &format!("{copy} is a copy of {name} here or elsewhere"));
                }
            }
        }
        for foreign in other.files.values() {
            let mut files = built.files.clone();
            files.insert(name.clone(), foreign.clone());
            open_and_check(&files, &built, true, &format!("{name} is another store's"));
        }
    }
}

#[test]
fn junk_links_and_pipes_in_the_directory_are_left_alone() {
    let built = build(46);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    common::write_dir(&path, &built.files);
    let junk =
        ["notes.txt", "log-1.seg", "log-0000000000001.seg", "manifest-000000000001.man.old", "pages-00000000000x.seg"];
    for name in junk {
        std::fs::write(path.join(name), name).expect("a new file");
    }
    let target = dir.path().join("target");
    std::fs::write(&target, "target").expect("a new file");
    std::os::unix::fs::symlink(&target, path.join("link")).expect("a link");
    std::fs::create_dir(path.join("directory")).expect("a directory");
    make_pipe(&path.join("pipe"));
    for _ in 0..3 {
        let store = options().open(&path).expect("opens");
        assert!(check(&store, &built, "with junk"));
        store.save_snapshot().expect("saves");
        store.close().expect("closes");
        assert!(tenure::verify::verify(&path, &mut |_| {}).expect("verifies").is_ok());
    }
    for name in junk {
        assert_eq!(std::fs::read(path.join(name)).expect("still there"), name.as_bytes());
    }
    assert_eq!(std::fs::read_link(path.join("link")).expect("still a link"), target);
    assert_eq!(std::fs::read(&target).expect("still there"), b"target");
    assert!(path.join("directory").is_dir() && path.join("pipe").exists());
}

/// A pipe, a link or a directory with the name of a segment must not be waited on, followed or deleted.
#[test]
fn links_and_pipes_under_the_names_of_segments_are_not_followed() {
    let built = build(47);
    let names = ["log-000000000090.seg", "pages-000000000091.seg", "manifest-000000000092.man"];
    for name in names {
        for kind in ["pipe", "link", "directory"] {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("store");
            common::write_dir(&path, &built.files);
            let target = dir.path().join("target");
            std::fs::write(&target, "target").expect("a new file");
            match kind {
                "pipe" => make_pipe(&path.join(name)),
                "link" => std::os::unix::fs::symlink(&target, path.join(name)).expect("a link"),
                _ => std::fs::create_dir(path.join(name)).expect("a directory"),
            }
            let (opening, receive) = std::sync::mpsc::channel();
            let opened = path.clone();
            std::thread::spawn(move || opening.send(options().open(opened)));
            let result = receive
                .recv_timeout(Duration::from_secs(10))
                .unwrap_or_else(|_| panic!("{name}: a {kind} was waited on"));
            if let Ok(store) = result {
                assert!(check(&store, &built, &format!("{name} is a {kind}")));
            }
            let metadata = std::fs::symlink_metadata(path.join(name)).expect("still there");
            assert!(!metadata.is_file(), "{name}: the {kind} was replaced");
            assert_eq!(std::fs::read(&target).expect("still there"), b"target");
        }
    }
}

fn make_pipe(path: &Path) {
    let status = Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
    assert!(status.success());
}
