//! A writer is killed with SIGKILL at random moments, again and again in one store; its parent knows the acknowledged
//! commits.
//!
//! The child announces each commit on a pipe, and reports its acknowledgement. The store is then in the state of the
//! last acknowledged commit or in that of the one attempted after it, whole. The collector runs all the time, and the
//! space at the end is bounded. `TENURE_KILL_ROUNDS` sets the number of rounds.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::Rng;
use tenure::{Durability, Options, RecordId, Store};

const PATH: &str = "TENURE_KILL_PATH";
const SEED: &str = "TENURE_KILL_SEED";
const MODE: &str = "TENURE_KILL_MODE";
const SEGMENT: u64 = 64 << 10;

fn options(mode: &str) -> Options {
    let durability = if mode == "sync" { Durability::Sync } else { Durability::Buffered };
    let options = Options::new().segment_bytes(SEGMENT).snapshot_log_bytes(200 << 10).durability(durability);
    options.space_ratio(1.1)
}

/// The value of record `id` in commit `number`: all records of a commit contain its number.
fn value(number: u64, id: RecordId, len: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend(Rng::new(number ^ id.as_u64()).bytes(len));
    bytes
}

/// The plan of a commit: `T number (+|-)id:len ...`.
#[derive(Debug, Default, Clone)]
struct Attempt {
    number: u64,
    puts: Vec<(RecordId, usize)>,
    deletes: Vec<RecordId>,
}

impl Attempt {
    fn line(&self) -> String {
        let puts = self.puts.iter().map(|(id, len)| format!(" +{id}:{len}"));
        let deletes = self.deletes.iter().map(|id| format!(" -{id}:0"));
        format!("\nT {}{} .\n", self.number, puts.chain(deletes).collect::<String>())
    }

    /// A line that the kill cut short says nothing: its commit was not begun.
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.strip_prefix("T ")?.strip_suffix(" .")?.split(' ').collect();
        let mut attempt = Self { number: words.first()?.parse().ok()?, ..Self::default() };
        for word in &words[1..] {
            let (sign, rest) = word.split_at_checked(1)?;
            let (id, len) = rest.split_once(':')?;
            let id: RecordId = id.parse().ok()?;
            if sign == "+" {
                attempt.puts.push((id, len.parse().ok()?));
            } else {
                attempt.deletes.push(id);
            }
        }
        Some(attempt)
    }
}

/// Named snapshots keep space; the killed writer may have left one.
fn drop_named(store: &Store) {
    for name in store.snapshots().expect("lists").into_iter().filter_map(|snapshot| snapshot.name) {
        store.drop_snapshot(&name).expect("drops");
    }
}

/// The writer, which runs until it is killed.
#[test]
#[ignore = "the other tests of this file run it in a process of its own"]
fn child() {
    let (Ok(path), Ok(seed), Ok(mode)) = (std::env::var(PATH), std::env::var(SEED), std::env::var(MODE)) else {
        return;
    };
    let mut rng = Rng::new(seed.parse().expect("a number"));
    let store = options(&mode).open(path).expect("opens");
    let set = store.record_set("a").expect("a set");
    let mut live: Vec<RecordId> = store.view().scan(&set).map(|record| record.expect("reads").id()).collect();
    drop_named(&store);
    let mut number = store.last_seq().0 << 20;
    let mut out = std::io::stdout().lock();
    loop {
        number += 1;
        let mut attempt = Attempt { number, ..Attempt::default() };
        let mut tx = store.begin().expect("begins");
        for _ in 0..=rng.below(6) {
            let len = match rng.below(60) {
                0 => 60_000 + rng.below(12_000),
                _ => rng.below(600),
            };
            // An insert whose value depends on its ID is an insert and an update.
            match rng.below(if live.len() > 150 { 6 } else { 3 }) {
                0..=1 => {
                    let id = tx.insert(&set, "").expect("inserts");
                    tx.update(id, value(number, id, len)).expect("updates");
                    attempt.puts.push((id, len));
                }
                2 => {
                    let Some(id) = live.get(rng.below(live.len())).copied() else { continue };
                    if attempt.puts.iter().all(|(put, _)| *put != id) {
                        tx.update(id, value(number, id, len)).expect("updates");
                        attempt.puts.push((id, len));
                    }
                }
                _ => {
                    let id = live.swap_remove(rng.below(live.len()));
                    tx.delete(id).expect("deletes");
                    attempt.puts.retain(|(put, _)| *put != id);
                    attempt.deletes.push(id);
                }
            }
        }
        if rng.one_in(20) {
            continue;
        }
        out.write_all(attempt.line().as_bytes()).expect("the parent reads");
        out.flush().expect("the parent reads");
        let durability = if mode == "sync" { Durability::Sync } else { Durability::Buffered };
        tx.commit_with(durability).expect("commits");
        out.write_all(format!("A {number}\n").as_bytes()).expect("the parent reads");
        out.flush().expect("the parent reads");
        live.extend(attempt.puts.iter().map(|(id, _)| *id));
        live.sort_unstable();
        live.dedup();
        match rng.below(150) {
            0..=2 => drop(store.save_snapshot().expect("saves")),
            3 => drop(store.collect(None).expect("collects")),
            4 => drop(store.collect(Some(Duration::from_millis(5))).expect("collects")),
            5 => {
                drop_named(&store);
                store.save_named_snapshot("kept for a while").expect("saves");
            }
            _ => {}
        }
    }
}

type Model = BTreeMap<RecordId, (u64, usize)>;

fn applied(mut model: Model, attempt: &Attempt) -> Model {
    for id in &attempt.deletes {
        model.remove(id);
    }
    for (id, len) in &attempt.puts {
        model.insert(*id, (attempt.number, *len));
    }
    model
}

/// The content of the store, each value checked against the commit that it names.
fn found(store: &Store) -> Model {
    let contents = common::contents(store).expect("reads");
    let mut model = Model::new();
    for (id, bytes) in contents.get("a").into_iter().flatten() {
        let number = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
        assert!(*bytes == value(number, *id, bytes.len() - 8), "{id} of commit {number} is torn");
        model.insert(*id, (number, bytes.len() - 8));
    }
    model
}

#[derive(Default)]
struct Oracle {
    model: Model,
    ever: BTreeSet<RecordId>,
    acknowledged: u64,
    attempted: u64,
}

impl Oracle {
    /// Reads what the child says until `delay` has passed since its first acknowledged commit, or since its start when
    /// the opening is to be hit, kills it, and reads the rest. Gives the attempt that was not acknowledged.
    fn round(&mut self, path: &Path, mode: &str, seed: u64, delay: Duration, while_opening: bool) -> Option<Attempt> {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
            .env(PATH, path)
            .env(SEED, seed.to_string())
            .env(MODE, mode)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        // The pipe is emptied by a thread of its own, so that the child never waits for this one.
        let (first_ack, receive) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let (mut all, mut line) = (Vec::new(), String::new());
            while lines.read_line(&mut line).expect("a pipe") > 0 {
                if line.starts_with("A ") && line.ends_with('\n') {
                    // Only the first has a receiver.
                    first_ack.send(()).unwrap_or_default();
                }
                all.push(std::mem::take(&mut line));
            }
            all
        });
        if !while_opening && receive.recv_timeout(Duration::from_secs(20)).is_err() {
            child.kill().expect("killed");
            let output = child.wait_with_output().expect("ends");
            panic!("the child did nothing: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(delay);
        child.kill().expect("killed");
        let output = child.wait_with_output().expect("ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "the child failed by itself: {said}");
        let mut pending: Option<Attempt> = None;
        for line in reader.join().expect("read") {
            let Some(line) = line.strip_suffix('\n') else { continue };
            if let Some(attempt) = Attempt::parse(line) {
                assert!(pending.is_none(), "an attempt before the last was acknowledged");
                for (id, _) in attempt.puts.iter().filter(|(id, _)| !self.model.contains_key(id)) {
                    assert!(self.ever.insert(*id), "{id} was handed out twice");
                }
                self.attempted += 1;
                pending = Some(attempt);
            } else if let Some(number) = line.strip_prefix("A ") {
                let attempt = pending.take().expect("an attempt");
                assert_eq!(number, attempt.number.to_string());
                self.model = applied(std::mem::take(&mut self.model), &attempt);
                self.acknowledged += 1;
            }
        }
        pending
    }

    fn check(&mut self, store: &Store, pending: Option<&Attempt>) {
        let found = found(store);
        if found != self.model {
            let attempt =
                pending.unwrap_or_else(|| panic!("neither lost nor torn: {}", difference(&found, &self.model)));
            let after = applied(self.model.clone(), attempt);
            assert!(found == after, "{attempt:?}: {}", difference(&found, &after));
            self.model = after;
        }
        for id in self.ever.iter().filter(|id| !self.model.contains_key(id)) {
            assert!(common::is_dead(store, *id), "{id} is live");
        }
    }
}

fn difference(found: &Model, expected: &Model) -> String {
    let missing: Vec<_> = expected.iter().filter(|(id, value)| found.get(id) != Some(value)).take(5).collect();
    let surplus: Vec<_> = found.iter().filter(|(id, value)| expected.get(id) != Some(value)).take(5).collect();
    format!("expected {missing:?}, found {surplus:?}")
}

fn rounds() -> u64 {
    std::env::var("TENURE_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20)
}

fn kill_again_and_again(mode: &str, seed: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let mut rng = Rng::new(seed);
    let mut oracle = Oracle::default();
    let mut collected = 0;
    for round in 0..rounds() {
        // One round in five hits the recovery of the one before it.
        let while_opening = round % 5 == 4;
        let limit = if while_opening { 15 } else { 60 };
        let delay = Duration::from_micros(u64::try_from(1_000 + rng.below(limit * 1_000)).expect("64 bits"));
        let pending = oracle.round(&path, mode, rng.number(), delay, while_opening);
        // A reader first: it writes nothing, so the next opening finds the state that the kill left.
        let reader = Options::new().read_only(true).open(&path).expect("opens for reading");
        oracle.check(&reader, pending.as_ref());
        collected += u64::from(reader.stats().segments.iter().any(|segment| segment.generation > 0));
        drop(reader);
        let report = tenure::verify::verify(&path, &mut |_| {}).expect("verifies");
        assert!(report.is_ok(), "round {round}: {:?}", report.problems);
        if rng.one_in(3) {
            let store = options(mode).open(&path).expect("opens");
            oracle.check(&store, None);
            common::assert_no_strays_in(&store, &path, "opened after a kill");
            store.close().expect("closes");
            common::assert_no_strays_closed(&path, "closed after a kill");
        }
    }
    let (acknowledged, attempted) = (oracle.acknowledged, oracle.attempted);
    assert!(acknowledged >= rounds() / 2, "only {acknowledged} commits");
    assert!(collected >= rounds() / 4, "only {collected} rounds left what was moved");
    let store = options(mode).open(&path).expect("opens");
    drop_named(&store);
    store.collect(None).expect("collects");
    oracle.check(&store, None);
    is_reclaimed(&store, &path);
    common::assert_no_strays_in(&store, &path, "collected");
    store.close().expect("closes");
    common::assert_no_strays_closed(&path, "collected and closed");
    let report = tenure::verify::verify(&path, &mut |_| {}).expect("verifies");
    assert!(report.is_ok(), "collected: {:?}", report.problems);
    writeln!(std::io::stderr(), "{mode}: {} rounds, {acknowledged} of {attempted} commits", rounds()).expect("written");
}

/// Whether record segments take about as much space as what lives in them, by the store's account and on the disk. What a
/// thread of the store looked at while `collect` ended goes a moment later.
fn is_reclaimed(store: &Store, path: &Path) {
    let end = Instant::now() + Duration::from_secs(30);
    while !store.stats().retired.is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    let stats = store.stats();
    let records = stats.segments.iter().filter(|segment| segment.kind == tenure::FileKind::Records);
    let (bytes, live) = records.fold((0, 0), |(bytes, live), each| (bytes + each.bytes, live + each.live_bytes));
    let cap = live * 12 / 10 + 4 * SEGMENT;
    assert!(bytes <= cap, "{bytes} bytes of records where {live} live");
    let files = std::fs::read_dir(path).expect("lists").map(|entry| entry.expect("an entry"));
    let logs = files.filter(|entry| entry.file_name().to_string_lossy().starts_with("log-"));
    let on_disk: u64 = logs.map(|entry| entry.metadata().expect("its size").len()).sum();
    assert!(on_disk <= cap + 2 * SEGMENT, "{on_disk} bytes of files where {live} live: {:?}", stats.retired);
    assert!(stats.retired.is_empty(), "{:?}", stats.retired);
}

#[test]
fn a_killed_writer_of_synced_commits_loses_none() {
    kill_again_and_again("sync", 31);
}

#[test]
fn a_killed_writer_of_buffered_commits_loses_none() {
    kill_again_and_again("buffered", 32);
}
