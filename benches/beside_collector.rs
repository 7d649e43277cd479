//! The collector's cost for other threads: durable commits and reads with and without it at work, alternating in one
//! run.
//!
//! `cargo bench --bench beside_collector` prints medians over the rounds; `-- --records N --rounds R` changes the setting. One
//! round overwrites the store until it takes three times its live bytes, then times commits of one record each, which are
//! synced, and reads of one record each: first with the collector paused, then while it works that off.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program that measures and prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use tenure::{Durability, FileKind, Options, RecordId, RecordSet, Store};

const VALUE_BYTES: usize = 200;
const BATCH: usize = 1000;
const COMMITS: usize = 1500;
const READS: usize = 400_000;

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end).expect("64 bits")).expect("64 bits")
    }
}

fn space(store: &Store) -> (u64, u64) {
    let stats = store.stats();
    let records = stats.segments.iter().filter(|segment| segment.kind == FileKind::Records);
    records.fold((0, 0), |(bytes, live), segment| (bytes + segment.bytes, live + segment.live_bytes))
}

fn overwrite(store: &Store, ids: &[RecordId], numbers: &mut Numbers) {
    while space(store).0 < space(store).1 * 3 {
        for _ in 0..20 {
            let mut tx = store.begin().expect("begins");
            for _ in 0..BATCH {
                tx.update(ids[numbers.below(ids.len())], [2; VALUE_BYTES]).expect("updates");
            }
            tx.commit_with(Durability::Buffered).expect("commits");
        }
    }
    store.save_snapshot().expect("saves");
    store.save_snapshot().expect("saves");
}

/// Microseconds of the 50th and 99th percentile.
fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1e6;
    (at(50), at(99))
}

fn commits(store: &Store, set: &RecordSet) -> (f64, f64) {
    let mut times = Vec::with_capacity(COMMITS);
    for _ in 0..COMMITS {
        let start = Instant::now();
        let mut tx = store.begin().expect("begins");
        tx.insert(set, [3; VALUE_BYTES]).expect("inserts");
        tx.commit_with(Durability::Sync).expect("commits");
        times.push(start.elapsed());
    }
    percentiles(times)
}

/// Nanoseconds per read.
fn reads(store: &Store, ids: &[RecordId], numbers: &mut Numbers) -> f64 {
    let start = Instant::now();
    for _ in 0..READS {
        black_box(store.get(ids[numbers.below(ids.len())]).expect("there").len());
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(u32::try_from(READS).expect("32 bits"))
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    let (mut records, mut rounds) = (300_000, 5);
    let args: Vec<String> = std::env::args().collect();
    for pair in args.windows(2) {
        match pair[0].as_str() {
            "--records" => records = pair[1].parse().expect("a number"),
            "--rounds" => rounds = pair[1].parse().expect("a number"),
            _ => {}
        }
    }
    let dir = tempfile::tempdir().expect("a directory");
    let store = Options::new().segment_bytes(4 << 20).open(dir.path().join("store")).expect("a store");
    store.set_collecting(false);
    let set = store.record_set("things").expect("a set");
    let mut ids: Vec<RecordId> = Vec::new();
    while ids.len() < records {
        let mut tx = store.begin().expect("begins");
        ids.extend((0..BATCH).map(|_| tx.insert(&set, [1; VALUE_BYTES]).expect("inserts")));
        tx.commit_with(Durability::Buffered).expect("commits");
    }
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut all: [Vec<f64>; 6] = Default::default();
    for round in 0..rounds {
        for what in 0..2 {
            overwrite(&store, &ids, &mut numbers);
            for collecting in [false, true] {
                let before = store.stats().collected;
                store.set_collecting(collecting);
                if what == 0 {
                    let (half, most) = commits(&store, &set);
                    all[usize::from(collecting)].push(half);
                    all[2 + usize::from(collecting)].push(most);
                } else {
                    all[4 + usize::from(collecting)].push(reads(&store, &ids, &mut numbers));
                }
                let victims = store.stats().collected.victims - before.victims;
                assert!((victims > 0) == collecting, "round {round}: {victims} victims");
                store.set_collecting(false);
            }
        }
    }
    let [half, half_beside, most, most_beside, read, read_beside] = all.map(median);
    println!("| | alone | beside the collector | ratio |");
    println!("|---|---|---|---|");
    println!("| durable commit, median, us | {half:.0} | {half_beside:.0} | {:.2} |", half_beside / half);
    println!("| durable commit, 99th percentile, us | {most:.0} | {most_beside:.0} | {:.2} |", most_beside / most);
    println!("| read, ns | {read:.0} | {read_beside:.0} | {:.2} |", read_beside / read);
}
