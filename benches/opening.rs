//! Opening a store that was closed, and one whose process ended without closing it.
//!
//! `cargo bench --bench opening`. `docs/benchmarks.md` says what one iteration does. The files are in the operating
//! system's caches.
#![expect(clippy::expect_used, reason = "a program that measures")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use tenure::Options;

use crate::support::files;
use crate::support::records::Loaded;

const RECORDS: usize = 100_000;

fn closed(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let mut loaded = Loaded::new(Options::new(), &path);
    loaded.indexes();
    loaded.load(RECORDS);
    loaded.store.close().expect("closed");

    let mut group = criterion.benchmark_group("opening");
    group.throughput(Throughput::Elements(1));
    group.bench_function("after a close", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut time = Duration::ZERO;
            for _ in 0..iterations {
                let start = Instant::now();
                let store = Options::new().background(false).open(&path).expect("opened");
                time += start.elapsed();
                assert!(store.recovery_report().clean, "there is something to replay");
            }
            time
        });
    });
    group.finish();
}

/// Opens a store; returns the duration, and the bytes of log replayed.
fn recover(files_left: &Path, records: usize) -> (Duration, u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    files::copy(files_left, &path);
    let start = Instant::now();
    let store = Options::new().background(false).open(&path).expect("opened");
    let time = start.elapsed();
    let report = store.recovery_report();
    assert!(!report.clean && store.stats().records == u64::try_from(records).expect("64 bits"), "{report}");
    (time, report.bytes_replayed)
}

fn crashed(criterion: &mut Criterion) {
    let kinds = [
        ("after a crash, synced", false, true),
        ("after a crash, not synced", false, false),
        ("after a crash, synced, two indexes", true, true),
    ];
    for (name, is_indexed, is_synced) in kinds {
        let dir = tempfile::tempdir().expect("a directory");
        let options = Options::new().background(false).snapshot_log_bytes(u64::MAX);
        let mut loaded = Loaded::new(options, &dir.path().join("store"));
        if is_indexed {
            loaded.indexes();
        }
        loaded.load(RECORDS);
        if is_synced {
            loaded.store.sync().expect("synced");
            // The next frame records that the ones before it were durable.
            loaded.store.mark("synced").expect("marked");
        }
        // The store stays open: its files are what a kill at this moment would leave.
        let left = dir.path().join("left");
        files::copy(&dir.path().join("store"), &left);

        let mut group = criterion.benchmark_group("opening");
        group.sample_size(10);
        group.sampling_mode(SamplingMode::Flat);
        group.throughput(Throughput::Bytes(recover(&left, RECORDS).1));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| (0..iterations).map(|_| recover(&left, RECORDS).0).sum());
        });
        group.finish();
    }
}

criterion_group!(benches, closed, crashed);
criterion_main!(benches);
