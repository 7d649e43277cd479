//! A set is mirrored into `SQLite` by another process; writer and mirror are killed again and again.
//!
//! Each change is applied once: each update of a record counts up in its value, and `SQLite` counts the changes that it applied.
//! `TENURE_CHANGES_KILLS` is the number of kills.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tenure::{Durability, Error, Options, RecordId, Seq, Store};

use crate::changes::sqlite_mirror::{Failure, Mirror, NAME, position};
use crate::common::{Rng, test_name};

const PATH: &str = "TENURE_CHANGES_PATH";
const SEED: &str = "TENURE_CHANGES_SEED";

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).snapshot_log_bytes(200 << 10).space_ratio(1.2)
}

fn sqlite(dir: &Path) -> Connection {
    let sqlite = Connection::open(dir.join("mirror.sqlite")).expect("opens SQLite");
    sqlite.busy_timeout(Duration::from_secs(30)).expect("a timeout");
    sqlite
}

fn of_parent() -> Option<(PathBuf, Rng)> {
    let (path, seed) = (std::env::var_os(PATH)?, std::env::var(SEED).ok()?);
    Some((path.into(), Rng::new(seed.parse().ok()?)))
}

/// The count at the beginning of a value.
fn count_of(value: &[u8]) -> u64 {
    u64::from_le_bytes(*value.first_chunk().expect("a count"))
}

fn value(count: u64, rng: &mut Rng) -> Vec<u8> {
    let len = if rng.one_in(50) { 10_000 } else { rng.below(400) };
    [&count.to_le_bytes()[..], &rng.bytes(len)].concat()
}

/// The writer, which runs until it is killed.
#[test]
#[ignore = "the other test of this file runs it in a process of its own"]
fn writer() {
    let Some((dir, mut rng)) = of_parent() else { return };
    let store = options().open(dir.join("store")).expect("opens");
    let set = store.record_set("mirrored").expect("a set");
    let other = store.record_set("other").expect("a set");
    let mut live: Vec<RecordId> = store.view().scan(&set).map(|record| record.expect("reads").id()).collect();
    let mirror = sqlite(&dir);
    for number in 1_u64.. {
        let durability = if rng.one_in(4) { Durability::Sync } else { Durability::Buffered };
        let mut tx = store.begin().expect("begins");
        let mut changed = Vec::new();
        for _ in 0..rng.below(6) {
            match rng.below(if live.len() > 200 { 5 } else { 3 }) {
                0 => {
                    let id = tx.insert(&set, value(1, &mut rng)).expect("inserts");
                    // An update of it in the same transaction would be no change of its own.
                    changed.push(id);
                    live.push(id);
                }
                1 => drop(tx.insert(&other, rng.bytes(200)).expect("inserts")),
                2 if !live.is_empty() => {
                    let id = live[rng.below(live.len())];
                    if !changed.contains(&id) {
                        changed.push(id);
                        let count = count_of(&tx.get(id).expect("reads").to_vec().expect("reads"));
                        tx.update(id, value(count + 1, &mut rng)).expect("updates");
                    }
                }
                _ if !live.is_empty() => {
                    let id = live.swap_remove(rng.below(live.len()));
                    tx.delete(id).expect("deletes");
                }
                _ => {}
            }
        }
        if rng.one_in(100) {
            // As large as several segments.
            let values: Vec<Vec<u8>> = (0..150).map(|_| [&1_u64.to_le_bytes()[..], &[7; 900]].concat()).collect();
            live.extend(tx.insert_many(&set, &values).expect("inserts"));
        }
        tx.commit_with(durability).expect("commits");
        if number % 16 == 0
            && let Ok(Some(seq)) = position(&mirror)
        {
            store.consumer(NAME).expect("a consumer").acknowledge(seq).expect("acknowledges");
        }
        if number % 64 == 0 {
            // Others get the processor.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The mirror, which runs until it is killed.
#[test]
#[ignore = "the other test of this file runs it in a process of its own"]
fn mirror() {
    let Some((dir, _)) = of_parent() else { return };
    let store = Options::new().read_only(true).open(dir.join("store")).expect("opens");
    let set = store.find_set("mirrored").expect("the set");
    let mut mirror = Mirror::beside(&store, &set, sqlite(&dir)).expect("opens the mirror");
    loop {
        mirror.step(Duration::from_secs(1)).expect("mirrors");
    }
}

fn start(name: &str, dir: &Path, seed: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", &test_name(module_path!(), name), "--ignored", "--nocapture", "--test-threads", "1"]);
    command.env(PATH, dir).env(SEED, seed.to_string()).stdout(Stdio::null()).stdin(Stdio::null());
    command.spawn().expect("starts")
}

/// Kills a process, which must not have ended by itself.
fn kill(mut child: Child, what: &str) {
    if let Some(status) = child.try_wait().expect("waits") {
        panic!("the {what} ended by itself: {status}");
    }
    child.kill().expect("kills");
    child.wait().expect("waits");
}

#[test]
fn each_change_reaches_sqlite_once_however_often_either_side_is_killed() {
    let kills = std::env::var("TENURE_CHANGES_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(10);
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let store = options().open(dir.join("store")).expect("opens");
    store.record_set("mirrored").expect("a set");
    store.add_consumer(NAME, Seq::ZERO).expect("a consumer");
    store.close().expect("closes");
    let mut rng = Rng::new(17);
    let mut sides = ["writer", "mirror"].map(|name| Some(start(name, dir, 0)));
    let mut killed = 0_u64;
    while killed < kills {
        std::thread::sleep(Duration::from_millis(50 + u64::try_from(rng.below(200)).expect("64 bits")));
        let which = rng.below(3);
        for (index, name) in ["writer", "mirror"].into_iter().enumerate() {
            if which == index || which == 2 {
                kill(sides[index].take().expect("runs"), name);
                killed += 1;
                sides[index] = Some(start(name, dir, 1 + killed));
            }
        }
    }
    for (side, name) in sides.iter_mut().zip(["writer", "mirror"]) {
        kill(side.take().expect("runs"), name);
    }
    compare(dir);
}

/// Mirrors what is left, and compares.
fn compare(dir: &Path) {
    let store: Store = options().open(dir.join("store")).expect("opens");
    store.sync().expect("syncs");
    let set = store.find_set("mirrored").expect("the set");
    let before = store.consumer(NAME).expect("a consumer").position().expect("a position");
    let mut mirror = match Mirror::open(&store, &set, sqlite(dir)) {
        Ok(mirror) => mirror,
        Err(Failure::Store(Error::Gone { since, oldest })) => {
            panic!("gone after {since}, {before} acknowledged, oldest {oldest}")
        }
        Err(failure) => panic!("{failure:?}"),
    };
    let until = Instant::now() + Duration::from_mins(1);
    while mirror.step(Duration::from_millis(1)).expect("mirrors") > 0 {
        assert!(Instant::now() < until, "it does not end");
    }
    let sqlite = sqlite(dir);
    let mut select = sqlite.prepare("SELECT id, value, seq, changes FROM records ORDER BY id").expect("prepares");
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
    let rows: Vec<(i64, Vec<u8>, i64, i64)> = rows.expect("selects").map(|row| row.expect("a row")).collect();
    let view = store.view();
    let mut records: Vec<(i64, Vec<u8>, i64, i64)> = view
        .scan(&set)
        .map(|record| {
            let record = record.expect("reads");
            let (number, value) = (|number| i64::try_from(number).expect("63 bits"), record.to_vec().expect("reads"));
            (number(record.id().as_u64()), value.clone(), number(record.seq().0), number(count_of(&value)))
        })
        .collect();
    records.sort();
    assert!(!records.is_empty() && rows == records, "{} rows, {} records", rows.len(), records.len());
}
