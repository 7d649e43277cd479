//! A follower beside a writer in another process that changes, collects, saves, builds, closes and opens all the time. Every state must be
//! that of a commit, and no read may fail. `TENURE_FOLLOW_READS` sets the number of reads.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tenure::{Durability, Options, Store};

use crate::common::test_name;
use crate::following::ledger::{Reader, Writer, options};
use crate::following::{LONG, amount};

const PATH: &str = "TENURE_FOLLOW_PATH";
const SEED: &str = "TENURE_FOLLOW_SEED";

/// The writer, which runs until it is killed.
#[test]
fn writer_process() {
    let Ok(path) = std::env::var(PATH) else { return };
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let mut round = seed;
    loop {
        round += 1;
        let durability = if round.is_multiple_of(2) { Durability::Sync } else { Durability::Buffered };
        let store = options().durability(durability).open(&path).unwrap();
        let mut writer = Writer::new(store, round);
        for number in 0..3_000 {
            writer.commit().unwrap();
            if number % 97 == 0 {
                writer.event().unwrap();
            }
        }
        writer.into_store().close().unwrap();
    }
}

fn begin(path: &Path, seed: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([&test_name(module_path!(), "writer_process"), "--exact", "--nocapture"])
        .env(PATH, path)
        .env(SEED, seed.to_string());
    command.stdout(Stdio::null()).spawn().unwrap()
}

/// Ends the writer, also if the test panics.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        drop(self.0.wait());
    }
}

#[test]
fn every_state_beside_a_churning_writer_is_that_of_a_commit() {
    let wanted = amount("TENURE_FOLLOW_READS", 60_000);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("followed.tenure");
    Writer::new(options().open(&path).unwrap(), 0).into_store().close().unwrap();
    let follower = Options::new().follow_interval(Some(Duration::from_millis(10))).follow(&path).unwrap();
    let reader = Reader::new(&follower).unwrap();
    let (mut reads, mut states, mut kills, mut seed) = (0, 0, 0, 1);
    let mut writer = Killed(begin(&path, seed));
    let mut last = follower.last_seq();
    let mut held = Vec::new();
    let (mut next_kill, began) = (wanted / 4, Instant::now());
    while reads < wanted {
        let view = follower.view();
        assert!(view.seq() >= last, "{} after {last}", view.seq());
        if view.seq() == last {
            follower.wait_for(last.next(), Duration::from_secs(10)).unwrap();
        }
        last = view.seq();
        reads += reader.check(&view).unwrap();
        states += 1;
        // Older states stay what they were.
        held.push(view);
        if held.len() > 8 {
            reads += reader.check(&held.swap_remove(states % 8)).unwrap();
        }
        if reads > next_kill {
            drop(writer);
            seed += 1000;
            kills += 1;
            next_kill += wanted / 4;
            writer = Killed(begin(&path, seed));
        }
    }
    drop(writer);
    // A fresh opening sees the same.
    let fresh = Options::new().read_only(true).open(&path).unwrap();
    assert!(follower.wait_for(fresh.last_seq(), LONG).unwrap(), "{:?}", follower.progress());
    reader.check(&follower.view()).unwrap();
    assert_eq!(follower.stats().records, fresh.stats().records);
    let progress = follower.progress();
    println!("{reads} reads of {states} states in {:?}, {kills} kills, {progress:?}", began.elapsed());
    assert_eq!(progress.error, None);
    assert!(progress.advances > 10 && progress.advances > progress.reloads, "{progress:?}");
    // The writer is gone: it can be taken over.
    let store: Store = follower.promote(&options(), LONG).unwrap();
    Writer::new(store, 99).commit().unwrap();
}
