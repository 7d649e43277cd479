//! Writing with buffered commits: appends, a load with indexes, updates.
//!
//! `cargo bench --bench writes`. `docs/benchmarks.md` says what one iteration does. The store is opened with its
//! defaults, so snapshots are saved and space is collected meanwhile.
#![expect(clippy::expect_used, reason = "a program that measures")]

mod support;

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use tenure::Options;

use crate::support::records::{
    BATCH, KEY_BYTES, Loaded, Numbers, VALUE_BYTES, commit, to_u64, value, value_of, values,
};

const RECORDS: usize = 100_000;
/// Records appended to a store before a new one replaces it.
const APPENDED_MAX: usize = 500_000;
/// Records per transaction of updates.
const UPDATES: usize = 100;

fn new() -> (TempDir, Loaded) {
    let dir = tempfile::tempdir().expect("a directory");
    let loaded = Loaded::new(Options::new(), &dir.path().join("store"));
    (dir, loaded)
}

fn appends(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("writes");
    group.throughput(Throughput::Bytes(to_u64(BATCH * VALUE_BYTES)));
    group.bench_function("append, a batch of 1,000", |bencher| {
        let batch = values(0, BATCH);
        let mut place = new();
        bencher.iter_custom(|iterations| {
            let mut time = Duration::ZERO;
            for _ in 0..iterations {
                if place.1.ids.len() >= APPENDED_MAX {
                    place = new();
                }
                let start = Instant::now();
                place.1.insert(&batch);
                time += start.elapsed();
            }
            time
        });
    });

    group.sample_size(10);
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(to_u64(RECORDS)));
    let batches: Vec<_> = (0..RECORDS).step_by(BATCH).map(|first| values(first, RECORDS)).collect();
    for (name, is_indexed) in [("load of 100,000", false), ("load of 100,000 with two indexes", true)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut time = Duration::ZERO;
                for _ in 0..iterations {
                    let (dir, mut loaded) = new();
                    if is_indexed {
                        loaded.indexes();
                    }
                    let start = Instant::now();
                    for batch in &batches {
                        loaded.insert(batch);
                    }
                    time += start.elapsed();
                    // Closing and deleting do not count.
                    drop((loaded, dir));
                }
                time
            });
        });
    }
    group.finish();
}

fn updates(criterion: &mut Criterion) {
    let (_dir, mut loaded) = new();
    loaded.indexes();
    loaded.load(RECORDS);
    let mut group = criterion.benchmark_group("writes");
    group.throughput(Throughput::Elements(to_u64(UPDATES)));
    let mut numbers = Numbers(1);
    // By the number of the record: its key is that of its value.
    let mut keys: Vec<u64> = (0..to_u64(RECORDS)).collect();
    let mut fresh = to_u64(RECORDS);
    for (name, is_key_changed) in [("update of 100, same keys", false), ("update of 100, both keys new", true)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut time = Duration::ZERO;
                for _ in 0..iterations {
                    let batch: Vec<_> = (0..UPDATES)
                        .map(|_| {
                            let number = numbers.below(RECORDS);
                            if is_key_changed {
                                keys[number] = fresh;
                                fresh += 1;
                            }
                            let mut bytes = value_of(0);
                            value(keys[number], &mut bytes[..KEY_BYTES + 8]);
                            value(numbers.next(), &mut bytes[KEY_BYTES + 8..]);
                            (loaded.ids[number], bytes)
                        })
                        .collect();
                    let start = Instant::now();
                    let mut tx = loaded.begin();
                    for (id, bytes) in &batch {
                        tx.update(*id, bytes).expect("updated");
                    }
                    commit(tx);
                    time += start.elapsed();
                }
                time
            });
        });
    }
    group.finish();
}

criterion_group!(benches, appends, updates);
criterion_main!(benches);
