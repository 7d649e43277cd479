//! What large transactions cost others: a commit of one record and a view now and then, beside commits of 500,000 inserts
//! with a key index, beside commits that have read 500,000 records, and a transaction that ends after many commits of others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use tenure::extract::Extractor;
use tenure::{Durability, Index, Options, RecordId, RecordSet, Store};

use crate::common::{BATCH, KEY_BYTES, VALUE_BYTES, figure, median, value, values};

const MANY: usize = 500_000;
/// Large transactions in each round.
const LARGE: usize = 6;
/// Commits of others beside a transaction that has read a range.
const OTHERS: usize = 800_000;
/// Between two small operations.
const PAUSE: Duration = Duration::from_micros(500);

struct Opened {
    store: Store,
    set: RecordSet,
    index: Index,
    small: Vec<RecordId>,
    _dir: tempfile::TempDir,
}

fn opened() -> Opened {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options::new().durability(Durability::Buffered).transaction_bytes_max(250 << 20);
    let store = options.open(dir.path().join("store")).expect("a store");
    let (set, others) = (store.record_set("things").expect("a set"), store.record_set("small").expect("a set"));
    let key = Extractor::new("key", 1, |record, keys| keys.push(&record[..KEY_BYTES]));
    let index = store.index(&set, "key", key).expect("an index");
    let small = store.write(|tx| tx.insert_many(&others, &vec![[1; 100]; BATCH])).expect("inserts");
    Opened { store, set, index, small, _dir: dir }
}

/// The time that 99.9 of 100 operations do not exceed, in milliseconds.
fn slowest(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    let at = times.len().saturating_sub(1) * 999 / 1_000;
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

fn again_and_again(is_done: &AtomicBool, mut work: impl FnMut(usize)) -> f64 {
    let mut times = Vec::new();
    for at in 0.. {
        if is_done.load(Ordering::Relaxed) {
            break;
        }
        let begin = Instant::now();
        work(at);
        times.push(begin.elapsed());
        sleep(PAUSE);
    }
    slowest(times)
}

/// A commit of one record, and a view, beside large transactions.
fn beside(opened: &Opened, large: impl Fn()) -> (f64, f64) {
    let is_done = AtomicBool::new(false);
    let Opened { store, small, .. } = opened;
    scope(|scope| {
        let commits = scope.spawn(|| {
            again_and_again(&is_done, |at| {
                let mut tx = store.begin().expect("begin");
                tx.update(small[at % small.len()], [2; 100]).expect("update");
                tx.commit().expect("commit");
            })
        });
        let views = scope.spawn(|| again_and_again(&is_done, |_| drop(store.view())));
        for _ in 0..LARGE {
            large();
            sleep(Duration::from_millis(100));
        }
        is_done.store(true, Ordering::Relaxed);
        (commits.join().expect("commits"), views.join().expect("views"))
    })
}

fn load(opened: &Opened) -> Vec<RecordId> {
    let mut ids = Vec::new();
    for first in (0..MANY).step_by(BATCH) {
        let part = values(first, MANY);
        ids.extend(opened.store.write(|tx| tx.insert_many(&opened.set, &part)).expect("inserts"));
    }
    ids
}

/// How long a transaction takes to commit that has read a range, and then saw others commit. In milliseconds.
fn after_others() -> f64 {
    let opened = opened();
    let Opened { store, set, index, small, .. } = &opened;
    let mut tx = store.begin().expect("begin");
    let nothing = tx.range(index, [0_u8; KEY_BYTES].as_slice()..[0; KEY_BYTES].as_slice()).expect("a range");
    assert_eq!(nothing.count(), 0);
    let mut bytes = [0; VALUE_BYTES];
    for number in 0..OTHERS as u64 {
        value(number, &mut bytes);
        let mut other = store.begin().expect("begin");
        other.insert(set, bytes).expect("insert");
        other.commit().expect("commit");
    }
    tx.update(small[0], [3; 100]).expect("update");
    let begin = Instant::now();
    tx.commit().expect("no conflict");
    begin.elapsed().as_secs_f64() * 1e3
}

/// Prints the figures.
pub fn measure(rounds: usize) {
    let mut figures = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        let inserting = opened();
        let (commit, view) = beside(&inserting, || {
            let mut all = Vec::with_capacity(MANY);
            for first in (0..MANY).step_by(BATCH) {
                all.extend(values(first, MANY));
            }
            inserting.store.write(|tx| tx.insert_many(&inserting.set, &all)).expect("inserts");
        });
        drop(inserting);
        let reading = opened();
        let ids = load(&reading);
        let (after_reads, _) = beside(&reading, || {
            let mut tx = reading.store.begin().expect("begin");
            for id in &ids {
                drop(tx.get(*id).expect("there"));
            }
            tx.insert(&reading.set, [7; VALUE_BYTES]).expect("insert");
            tx.commit().expect("commit");
        });
        for (all, one) in figures.iter_mut().zip([commit, view, after_reads, after_others()]) {
            all.push(one);
        }
    }
    let [commit, view, after_reads, after_others] = figures.map(median);
    figure("a commit beside commits of 500,000, p99.9", commit, 3.0, false, "ms");
    figure("a view beside commits of 500,000, p99.9", view, 0.1, false, "ms");
    figure("a commit beside commits that read 500,000, p99.9", after_reads, 3.0, false, "ms");
    figure("commit with a range read before 800,000 commits", after_others, 1.0, false, "ms");
}
