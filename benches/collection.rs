//! Reclaiming dead space: `Store::collect` on a store whose records were overwritten at random.
//!
//! `cargo bench --bench collection`. `docs/benchmarks.md` says what one iteration does. `--bench turnover` measures
//! what updates cost in the long run, `--bench beside_collector` what commits and reads suffer meanwhile.
#![expect(clippy::expect_used, reason = "a program that measures")]

mod support;

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use tenure::Options;

use crate::support::records::{BATCH, Loaded, Numbers, commit, to_u64, value_of};

const RECORDS: usize = 100_000;

fn overwrite(loaded: &Loaded, numbers: &mut Numbers) {
    for _ in 0..RECORDS / BATCH {
        let mut tx = loaded.begin();
        for _ in 0..BATCH {
            let number = numbers.below(RECORDS);
            tx.update(loaded.ids[number], value_of(number)).expect("updated");
        }
        commit(tx);
    }
    loaded.store.save_snapshot().expect("saved");
}

fn collection(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options::new().background(false).collector(false).segment_bytes(1 << 20);
    let mut loaded = Loaded::new(options, &dir.path().join("store"));
    loaded.load(RECORDS);
    let mut numbers = Numbers(9);
    // The first rounds find other segments than later ones.
    for _ in 0..2 {
        overwrite(&loaded, &mut numbers);
        loaded.store.collect(None).expect("collected");
    }

    let mut group = criterion.benchmark_group("collection");
    group.sample_size(10);
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(to_u64(RECORDS)));
    group.bench_function("after 100,000 updates", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut time = Duration::ZERO;
            for _ in 0..iterations {
                overwrite(&loaded, &mut numbers);
                let start = Instant::now();
                let collected = loaded.store.collect(None).expect("collected");
                time += start.elapsed();
                assert!(collected.bytes_deleted > 0, "nothing was collected");
            }
            time
        });
    });
    group.finish();
}

criterion_group!(benches, collection);
criterion_main!(benches);
