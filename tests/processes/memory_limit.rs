//! A process limited to a third of its store's size in memory loads the store, reads it, is killed, and recovers.
//!
//! The limit is on data (`ulimit -d`): the heap and all other private writable memory. Maps of files do not count.
//! Linux only: other systems count differently, or not at all.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tenure::extract::Extractor;
use tenure::{Durability, Index, Options, RecordSet, Store};

use crate::common;
use crate::common::Rng;

const PATH: &str = "TENURE_MEMORY_PATH";
const WORK: &str = "TENURE_MEMORY_WORK";

const LIMIT_BYTES: u64 = 16 << 20;
const RECORDS: usize = 60_000;
const RECORD_BYTES: usize = 840;
const KEY_BYTES: usize = 16;
const BATCH: usize = 50;
/// Keys of an index that is built when all records are there.
const WIDE_KEY_BYTES: usize = 300;

fn record(number: usize) -> Vec<u8> {
    Rng::new(u64::try_from(number).expect("64 bits")).bytes(RECORD_BYTES)
}

fn open(path: &str) -> (Store, RecordSet, Index) {
    let options = Options::new().durability(Durability::Buffered).segment_bytes(4 << 20).dirty_bytes_max(2 << 20);
    let store = options.open(path).expect("opens");
    let set = store.record_set("a").expect("a set");
    let key = Extractor::new("key", 1, |record, keys| keys.push(&record[..KEY_BYTES]));
    let index = store.unique_index(&set, "key", key).expect("an index");
    (store, set, index)
}

fn load(path: &str) -> Store {
    let (store, set, index) = open(path);
    for first in (0..RECORDS).step_by(BATCH) {
        let records: Vec<_> = (first..first + BATCH).map(record).collect();
        let insert =
            |tx: &mut tenure::Transaction| records.iter().try_for_each(|bytes| tx.insert(&set, bytes).map(drop));
        store.write(insert).expect("commits");
    }
    read(&store, &set, &index);
    store
}

/// All records, by scan, in the order of the index, and by key.
fn read(store: &Store, set: &RecordSet, index: &Index) {
    let view = store.view();
    let mut bytes = 0;
    for record in view.scan(set) {
        bytes += record.expect("reads").to_vec().expect("reads").len();
    }
    assert_eq!(bytes, RECORDS * RECORD_BYTES);
    let mut before = None;
    let mut entries = 0;
    for entry in index.all(&view).expect("a range") {
        let entry = entry.expect("an entry");
        let found = view.get(entry.id).expect("a record").to_vec().expect("reads");
        assert_eq!(tenure::key::Key::new(&found[..KEY_BYTES]).expect("a key"), entry.key);
        assert!(before < Some(entry.key.clone()), "entries ascend");
        before = Some(entry.key);
        entries += 1;
    }
    assert_eq!(entries, RECORDS);
    let mut rng = Rng::new(77);
    for _ in 0..2000 {
        let expected = record(rng.below(RECORDS));
        let found = index.fetch(&view, &expected[..KEY_BYTES]).expect("reads").expect("there");
        assert_eq!(found.to_vec().expect("reads"), expected);
    }
}

/// An index whose keys alone are more than the limit.
fn build(store: &Store, set: &RecordSet) {
    const { assert!((RECORDS * WIDE_KEY_BYTES) as u64 > LIMIT_BYTES) };
    let wide = Extractor::new("wide", 1, |record, keys| keys.push(&record[KEY_BYTES..KEY_BYTES + WIDE_KEY_BYTES]));
    let index = store.index(set, "wide", wide).expect("an index");
    let view = store.view();
    let mut before = None;
    for entry in index.all(&view).expect("a range") {
        let entry = entry.expect("an entry");
        assert!(before < Some(entry.key.clone()), "entries ascend");
        before = Some(entry.key);
    }
    assert_eq!(index.len(&view).expect("a count"), RECORDS as u64);
}

/// The role of a process under the limit, from the environment.
#[test]
#[ignore = "the other test of this file runs it in a process of its own"]
fn child() {
    let (Ok(path), Ok(work)) = (std::env::var(PATH), std::env::var(WORK)) else { return };
    // One that is to be killed stays open.
    let mut open_store = None;
    match work.as_str() {
        "load" => open_store = Some(load(&path)),
        "recover" => {
            let (store, set, index) = open(&path);
            assert!(!store.recovery_report().clean);
            read(&store, &set, &index);
            build(&store, &set);
            store.close().expect("closes");
        }
        _ => {
            let all: Vec<Vec<u8>> = (0..RECORDS).map(record).collect();
            assert_eq!(all.len(), RECORDS);
        }
    }
    println!("\ndone");
    std::io::stdout().flush().expect("the parent reads");
    if open_store.is_some() {
        std::thread::sleep(std::time::Duration::from_mins(1));
    }
}

fn start(path: &Path, work: &str) -> Child {
    let program = std::env::current_exe().expect("a path");
    // The allocator uses a single arena, so that a thread costs only the memory it uses.
    Command::new("sh")
        .args(["-c", "ulimit -d \"$1\" && shift && exec \"$@\"", "sh", &(LIMIT_BYTES / 1024).to_string()])
        .arg(program)
        .args(["--exact", &common::test_name(module_path!(), "child"), "--ignored", "--nocapture", "--test-threads=1"])
        .env(PATH, path)
        .env(WORK, work)
        .env("MALLOC_ARENA_MAX", "1")
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child")
}

/// Whether the child completed its work. It is then killed.
fn comes_to_its_end(mut child: Child) -> Result<(), String> {
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let done = lines.map_while(Result::ok).any(|line| line == "done");
    child.kill().expect("killed");
    let output = child.wait_with_output().expect("ends");
    if done { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn a_store_of_three_times_the_memory_loads_reads_and_recovers() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    comes_to_its_end(start(&path, "load")).expect("loads and reads");
    let files = std::fs::read_dir(&path).expect("a directory");
    let bytes: u64 = files.map(|file| file.expect("a file").metadata().expect("its size").len()).sum();
    assert!(bytes > 3 * LIMIT_BYTES, "{bytes} bytes");
    comes_to_its_end(start(&path, "recover")).expect("recovers and reads");
    assert!(comes_to_its_end(start(&path, "hold")).is_err(), "the limit is there: the records alone do not fit");
}
