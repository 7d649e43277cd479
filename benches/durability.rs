//! Durable on return: durable commits by one thread and by several, and saved snapshots.
//!
//! `cargo bench --bench durability`. `docs/benchmarks.md` says what one iteration does. The device decides: a temporary
//! directory in memory (`TMPDIR`) shows what the rest costs.
#![expect(clippy::expect_used, reason = "a program that measures")]

mod support;

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use tenure::{Durability, Options};

use crate::support::records::{Loaded, Numbers, commit, value_of};

const RECORDS: usize = 100_000;
/// Records changed since the previous snapshot.
const CHANGED: usize = 1000;

/// From the start of the first commit to the end of the last, with all threads taking from one count.
fn commits(loaded: &Loaded, threads: usize, count: u64) -> Duration {
    let (left, barrier) = (AtomicU64::new(count), Barrier::new(threads + 1));
    let value = value_of(1);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                barrier.wait();
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    let mut tx = loaded.begin();
                    tx.insert(&loaded.set, value).expect("inserted");
                    tx.commit_with(Durability::Sync).expect("durable");
                }
                barrier.wait();
            });
        }
        barrier.wait();
        let start = Instant::now();
        barrier.wait();
        start.elapsed()
    })
}

fn durable_commits(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let loaded = Loaded::new(Options::new(), &dir.path().join("store"));
    let mut group = criterion.benchmark_group("durability");
    group.sample_size(20);
    group.throughput(Throughput::Elements(1));
    for threads in [1, 2, 8] {
        group.bench_function(format!("durable commit, threads: {threads}"), |bencher| {
            bencher.iter_custom(|iterations| commits(&loaded, threads, iterations));
        });
    }
    group.finish();
}

fn snapshots(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut loaded = Loaded::new(Options::new().background(false), &dir.path().join("store"));
    loaded.indexes();
    loaded.load(RECORDS);
    let mut numbers = Numbers(5);
    let mut change = || {
        let mut tx = loaded.begin();
        for _ in 0..CHANGED {
            // The same record twice in a batch is no error; its keys stay.
            let number = numbers.below(RECORDS);
            tx.update(loaded.ids[number], value_of(number)).expect("updated");
        }
        commit(tx);
    };
    loaded.store.save_snapshot().expect("saved");
    change();
    let bytes = loaded.store.save_snapshot().expect("saved").bytes_written;

    let mut group = criterion.benchmark_group("durability");
    group.sample_size(20);
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("saved snapshot after 1,000 updates", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut time = Duration::ZERO;
            for _ in 0..iterations {
                change();
                let start = Instant::now();
                loaded.store.save_snapshot().expect("saved");
                time += start.elapsed();
            }
            time
        });
    });
    group.finish();
}

criterion_group!(benches, durable_commits, snapshots);
criterion_main!(benches);
