//! Finding records by key: single keys of a unique index, ranges of a hundred entries, with and without their records.
//!
//! `cargo bench --bench key_indexes`. `docs/benchmarks.md` says what one iteration does.
#![expect(clippy::expect_used, reason = "a program that measures")]

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tenure::Options;

use crate::support::records::{
    KEY_BYTES, Loaded, RANGE, SECTIONS, key_of, questions, section, to_u64, value_of, words,
};

const RECORDS: usize = 100_000;
const ASKED: usize = 1 << 16;

fn key_indexes(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut loaded = Loaded::new(Options::new(), &dir.path().join("store"));
    let (unique, by_section) = loaded.indexes();
    loaded.load(RECORDS);
    let view = loaded.store.view();
    let keys: Vec<[u8; KEY_BYTES]> = questions(ASKED, RECORDS).map(key_of).collect();
    let mut keys = keys.iter().cycle();
    // On average a hundred records have each section. A range that starts at the last one would find too few.
    let first = |number: usize| section(&value_of(number)) % (SECTIONS - 10);
    let sections: Vec<u32> = questions(ASKED, RECORDS).map(first).collect();
    let mut sections = sections.iter().cycle();
    let mut group = criterion.benchmark_group("key indexes");

    group.throughput(Throughput::Elements(1));
    group.bench_function("unique key to ID", |bencher| {
        bencher.iter(|| unique.get(&view, &keys.next().expect("without end")[..]).expect("read").expect("there"));
    });
    group.bench_function("unique key to record", |bencher| {
        bencher.iter(|| {
            let key = &keys.next().expect("without end")[..];
            let record = unique.fetch(&view, key).expect("read").expect("there");
            words(record.as_slice().expect("small"))
        });
    });

    group.throughput(Throughput::Elements(to_u64(RANGE)));
    group.bench_function("range of 100 entries", |bencher| {
        bencher.iter(|| {
            let range = by_section.range(&view, *sections.next().expect("without end")..).expect("a range");
            range.take(RANGE).fold(0_u64, |sum, entry| sum.wrapping_add(entry.expect("read").id.slot()))
        });
    });
    group.bench_function("range of 100 records", |bencher| {
        bencher.iter(|| {
            let range = by_section.range(&view, *sections.next().expect("without end")..).expect("a range");
            let records = range.records(&view).take(RANGE);
            records.fold(0_u64, |sum, record| sum.wrapping_add(words(record.expect("read").as_slice().expect("small"))))
        });
    });
    group.finish();
}

criterion_group!(benches, key_indexes);
criterion_main!(benches);
