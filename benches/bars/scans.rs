//! Scans of a set in a transaction compared with scans of a view, alternating.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tenure::{Durability, Options, Record};

use crate::common::{median, rate};

fn walk<'r>(records: impl Iterator<Item = tenure::Result<Record<'r>>>) -> (usize, u64) {
    records.fold((0, 0), |(count, sum), record| {
        let record = record.expect("reads");
        let first = record.as_slice().and_then(|bytes| bytes.first().copied()).unwrap_or_default();
        (count + 1, sum + u64::from(black_box(first)))
    })
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begin = Instant::now();
    let result = work();
    (begin.elapsed(), result)
}

/// Prints the time per record in each kind of scan, and their ratio.
pub fn measure(count: usize, rounds: usize) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Options::new().durability(Durability::Buffered).open(dir.path().join("store")).expect("opens");
    let set = store.record_set("records").expect("a set");
    let values = vec![[7; 100]; 10_000.min(count)];
    let mut ids = Vec::new();
    while ids.len() < count {
        ids.append(&mut store.write(|tx| tx.insert_many(&set, &values)).expect("inserts"));
    }
    let mut nanos = [const { Vec::new() }; 3];
    // The first round reads every record for the first time, which verifies checksums.
    for round in 0..=rounds {
        let view = store.view();
        let plain = timed(|| walk(view.scan(&set)));
        let mut tx = store.begin().expect("begins");
        let in_transaction = timed(|| walk(tx.scan(&set).expect("scans").iter()));
        for id in ids.iter().step_by(ids.len() / 1_000) {
            tx.update(*id, [9; 100]).expect("updates");
        }
        let with_own = timed(|| walk(tx.scan(&set).expect("scans").iter()));
        assert_eq!((plain.1.0, in_transaction.1, with_own.1.0), (ids.len(), plain.1, ids.len()));
        for (nanos, (time, _)) in nanos.iter_mut().zip([plain, in_transaction, with_own]) {
            if round > 0 {
                nanos.push(1e9 / rate(ids.len(), time));
            }
        }
    }
    let [plain, in_transaction, with_own] = nanos.map(median);
    println!("scan of a view: {plain:.1} ns a record");
    println!("scan in a transaction: {in_transaction:.1} ns, ratio {:.2}", in_transaction / plain);
    println!("scan in a transaction with 1,000 own writes: {with_own:.1} ns, ratio {:.2}", with_own / plain);
}
