//! Reading records by ID: one by one, through a view, many at once, from cold files, and all of a set.
//!
//! `cargo bench --bench reads`. Every byte of a record is read. `docs/benchmarks.md` says what one iteration does.
#![expect(clippy::expect_used, reason = "a program that measures")]

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use tenure::{Options, Record, Result};

use crate::support::files;
use crate::support::records::{Loaded, to_u64, words};

const RECORDS: usize = 100_000;
/// Records of the store that is read from cold files: there must be far more pages than reads.
const COLD_RECORDS: usize = 1_000_000;
const ASKED: usize = 1 << 16;
/// Gets per view, or per call.
const MANY: usize = 100;

fn read(record: Result<Record<'_>>) -> u64 {
    words(record.expect("there").as_slice().expect("small"))
}

fn hot(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut loaded = Loaded::new(Options::new(), &dir.path().join("store"));
    loaded.load(RECORDS);
    let Loaded { store, set, .. } = &loaded;
    let asked = loaded.asked(ASKED);
    let mut group = criterion.benchmark_group("reads");

    group.throughput(Throughput::Elements(1));
    let mut ids = asked.iter().cycle();
    group.bench_function("get, one-shot", |bencher| {
        bencher.iter(|| read(store.get(*ids.next().expect("without end"))));
    });
    // Nothing is committed in between, and one view is held, as is usual if views are taken often.
    let held = store.view();
    group.bench_function("view", |bencher| bencher.iter(|| store.view()));
    drop(held);

    group.throughput(Throughput::Elements(to_u64(MANY)));
    let mut some = asked.chunks_exact(MANY).cycle();
    group.bench_function("get, 100 through one view", |bencher| {
        bencher.iter(|| {
            let view = store.view();
            let ids = some.next().expect("without end");
            ids.iter().fold(0_u64, |sum, id| sum.wrapping_add(read(view.get(*id))))
        });
    });
    group.bench_function("get_many of 100", |bencher| {
        bencher.iter(|| {
            let view = store.view();
            let found = view.get_many(some.next().expect("without end"));
            found.into_iter().fold(0_u64, |sum, record| sum.wrapping_add(read(record)))
        });
    });

    group.throughput(Throughput::Elements(to_u64(RECORDS)));
    group.sample_size(20);
    group.bench_function("scan of 100,000", |bencher| {
        let view = store.view();
        bencher.iter(|| view.scan(set).fold(0_u64, |sum, record| sum.wrapping_add(read(record))));
    });
    group.finish();
}

fn cold(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let mut loaded = Loaded::new(Options::new(), &path);
    loaded.load(COLD_RECORDS);
    let asked = loaded.asked(ASKED);
    loaded.store.close().expect("closed");
    let mut some = asked.chunks_exact(MANY).cycle();

    let mut group = criterion.benchmark_group("reads");
    group.sample_size(10);
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(to_u64(MANY)));
    group.bench_function("get, cold, 100 one-shot", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut time = Duration::ZERO;
            for _ in 0..iterations {
                files::drop_caches(&path);
                let store = Options::new().background(false).open(&path).expect("opened");
                let ids = some.next().expect("without end");
                let start = Instant::now();
                black_box(ids.iter().fold(0_u64, |sum, id| sum.wrapping_add(read(store.get(*id)))));
                time += start.elapsed();
            }
            time
        });
    });
    group.finish();
}

criterion_group!(benches, hot, cold);
criterion_main!(benches);
