//! Statistics of the basic operations: `cargo bench --bench basics`.
//!
//! One iteration is one batch of 1,000 inserts, one `get`, one scan, or taking a view and dropping it, as the names say. All in a temporary directory,
//! with commits that are buffered.

#![expect(clippy::expect_used, reason = "a program that measures")]

use criterion::BatchSize;
use criterion::Criterion;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;
use tenure::Durability;
use tenure::Options;
use tenure::RecordId;
use tenure::RecordSet;
use tenure::Store;

const VALUE_BYTES: usize = 200;
const RECORDS: usize = 100_000;
const BATCH: usize = 1_000;

fn open(path: &std::path::Path) -> (Store, RecordSet) {
    let store = Options::new().durability(Durability::Buffered).open(path).expect("a store");
    let set = store.record_set("things").expect("a set");
    (store, set)
}

fn insert(store: &Store, set: &RecordSet, count: usize) -> Vec<RecordId> {
    let value = [7; VALUE_BYTES];
    store.write(|tx| (0..count).map(|_| tx.insert(set, value)).collect()).expect("inserted")
}

fn basics(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, set) = open(&dir.path().join("a"));
    let ids: Vec<RecordId> = (0..RECORDS / BATCH).flat_map(|_| insert(&store, &set, BATCH)).collect();
    let records = |count: usize| Throughput::Elements(u64::try_from(count).expect("64 bits"));

    let mut group = criterion.benchmark_group("records of 200 bytes");
    group.sample_size(20);
    group.throughput(records(1));
    let mut next = 1_usize;
    group.bench_function("get, one-shot", |bencher| {
        bencher.iter_batched(
            || {
                next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ids[(next >> 20) % ids.len()]
            },
            |id| store.get(id).map(|record| record.len()).expect("there"),
            BatchSize::SmallInput,
        );
    });
    let view = store.view();
    group.throughput(records(RECORDS));
    group.bench_function("scan of 100,000", |bencher| {
        bencher.iter(|| view.scan(&set).map(|record| record.expect("reads").len()).sum::<u64>());
    });
    drop(view);
    // Nothing is committed in between, and one view is held, as is usual where views are taken often.
    group.throughput(records(1));
    let held = store.view();
    group.bench_function("view", |bencher| bencher.iter(|| store.view()));
    drop(held);
    group.throughput(records(BATCH));
    let (other, things) = open(&dir.path().join("b"));
    group.bench_function("insert 1,000", |bencher| bencher.iter(|| insert(&other, &things, BATCH)));
    group.bench_function("update 1,000", |bencher| {
        let some = &ids[..BATCH];
        bencher.iter(|| {
            store.write(|tx| some.iter().try_for_each(|id| tx.update(*id, [9; VALUE_BYTES]))).expect("updated");
        });
    });
    group.finish();
}

criterion_group!(benches, basics);
criterion_main!(benches);
