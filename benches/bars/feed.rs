//! Reading the change feed compared with a scan of the same records, alternating.

use std::time::Instant;

use tenure::{ChangeValue, Durability, Options, Seq, Store};

use crate::common::{BATCH, median, rate, value, words};
use crate::support::allocator;

/// Bytes of a value, and records of a commit.
const SIZES: [(usize, usize); 5] = [(100, BATCH), (200, 1), (200, 10), (200, 100), (1_000, BATCH)];
/// Records of the largest commit.
const LARGE: usize = 500_000;

fn scan(store: &Store) -> (usize, u64) {
    let view = store.view();
    let set = store.find_set("records").expect("a set");
    view.scan(&set).fold((0, 0), |(count, sum), record| {
        let record = record.expect("reads");
        (count + 1, sum ^ words(record.as_slice().expect("a small record")))
    })
}

fn feed(store: &Store) -> (usize, u64) {
    let mut changes = store.changes(Seq::ZERO).expect("changes");
    let (mut count, mut sum) = (0, 0);
    while let Some(commit) = changes.try_next().expect("a commit") {
        for change in commit.changes() {
            let change = change.expect("a change");
            if let ChangeValue::Bytes(value) = change.value().expect("reads") {
                count += 1;
                sum ^= words(&value);
            }
        }
    }
    (count, sum)
}

/// Prints the most heap that reading a feed takes: of many commits, and of one as large.
fn peaks() {
    for batch in [1, LARGE] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("store");
        let options = Options::new().durability(Durability::Buffered).collector(false).transaction_bytes_max(200 << 20);
        let store = options.open(&path).expect("opens");
        let set = store.record_set("records").expect("a set");
        store.add_consumer("feed", Seq::ZERO).expect("a consumer");
        let values = vec![[7; 100]; batch];
        let commits = LARGE / batch;
        for _ in 0..commits {
            store.write(|tx| tx.insert_many(&set, &values)).expect("inserts");
        }
        drop(values);
        store.close().expect("closes");
        let store = options.read_only(true).open(&path).expect("opens");
        let before = allocator::reset_peak();
        let read = feed(&store).0;
        let peak = allocator::peak_bytes() - before;
        println!("heap at most, {commits} commits of {batch} records, {read} read: {} KiB", peak >> 10);
    }
}

/// Prints the rates of both, in a store that was just opened, where every record is read for the first time, and after that.
pub fn measure(count: usize, rounds: usize) {
    for (bytes, batch) in SIZES {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("store");
        let options = Options::new().durability(Durability::Buffered).collector(false);
        let store = options.open(&path).expect("opens");
        let set = store.record_set("records").expect("a set");
        store.add_consumer("feed", Seq::ZERO).expect("a consumer");
        let count = count.min((1 << 30) / bytes) / batch * batch;
        for first in (0..count).step_by(batch) {
            let values = (first..first + batch).map(|number| {
                let mut bytes = vec![0; bytes];
                value(number as u64, &mut bytes);
                bytes
            });
            let values: Vec<Vec<u8>> = values.collect();
            store.write(|tx| tx.insert_many(&set, &values)).expect("inserts");
        }
        store.close().expect("closes");
        let mut rates = [const { Vec::new() }; 4];
        for round in 0..rounds {
            for work in [round % 2, (round + 1) % 2] {
                let store = options.open(&path).expect("opens");
                let mut results = Vec::new();
                for again in [0, 2] {
                    let begin = Instant::now();
                    results.push(if work == 0 { scan(&store) } else { feed(&store) });
                    rates[work + again].push(rate(count, begin.elapsed()));
                }
                assert!(results.iter().all(|result| result.0 == count), "{results:?}");
                store.close().expect("closes");
            }
        }
        let [first_scan, first_feed, scan, feed] = rates.map(median);
        println!("{count} records of {bytes} bytes, {batch} a commit:");
        println!("  first scan {first_scan:.0}/s, first feed {first_feed:.0}/s, ratio {:.2}", first_feed / first_scan);
        println!("  scan again {scan:.0}/s, feed again {feed:.0}/s, ratio {:.2}", feed / scan);
    }
    peaks();
}
