//! Records that are read and then changed: in one transaction, in one closure, and with a view of their own, beside a one-shot read and a blind
//! update; alternating.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tenure::{Durability, Options, RecordId, Store};

use crate::common::{Numbers, VALUE_BYTES, median};

/// Changes of each kind, one after the other, before the next kind has its turn.
const TURN: usize = 2_000;
const TURNS: usize = 25;

fn loaded(store: &Store, count: usize) -> Vec<RecordId> {
    let set = store.record_set("records").expect("a set");
    let values = vec![[7; VALUE_BYTES]; 10_000.min(count)];
    let mut ids = Vec::new();
    while ids.len() < count {
        ids.append(&mut store.write(|tx| tx.insert_many(&set, &values)).expect("inserts"));
    }
    // The first read of a record compares its checksum.
    for id in &ids {
        drop(black_box(store.get(*id).expect("there")));
    }
    ids
}

fn first(bytes: Option<&[u8]>) -> u8 {
    bytes.and_then(|bytes| bytes.first().copied()).expect("small")
}

/// The value that takes the place of one that begins so.
fn next(first: u8) -> [u8; VALUE_BYTES] {
    [first.wrapping_add(1); VALUE_BYTES]
}

fn blindly(store: &Store, id: RecordId) {
    let value = next(first(store.get(id).expect("there").as_slice()));
    let mut tx = store.begin().expect("begins");
    tx.update(id, value).expect("updates");
    tx.commit().expect("commits");
}

fn in_one_transaction(store: &Store, id: RecordId) {
    let mut tx = store.begin().expect("begins");
    let value = next(first(tx.get(id).expect("there").as_slice()));
    tx.update(id, value).expect("updates");
    tx.commit().expect("commits");
}

fn in_one_closure(store: &Store, id: RecordId) {
    let changed = store.write(|tx| {
        let value = next(first(tx.get(id)?.as_slice()));
        tx.update(id, value)
    });
    changed.expect("commits");
}

fn with_a_view(store: &Store, id: RecordId) {
    let value = next(first(store.view().get(id).expect("there").as_slice()));
    let mut tx = store.begin().expect("begins");
    tx.update(id, value).expect("updates");
    tx.commit().expect("commits");
}

/// Prints the time of each kind, and how they compare.
pub fn measure(count: usize, rounds: usize) {
    let kinds: [fn(&Store, RecordId); 4] = [blindly, in_one_transaction, in_one_closure, with_a_view];
    let mut micros = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Options::new().durability(Durability::Buffered).open(dir.path().join("store")).expect("opens");
        let ids = loaded(&store, count);
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let mut place = || usize::try_from(numbers.next() % ids.len() as u64).expect("64 bits");
        let mut times = [Duration::ZERO; 4];
        for turn in 0..=TURNS {
            for (time, kind) in times.iter_mut().zip(kinds) {
                let begin = Instant::now();
                for _ in 0..TURN {
                    kind(&store, ids[place()]);
                }
                if turn > 0 {
                    *time += begin.elapsed();
                }
            }
        }
        let each = f64::from(u32::try_from(TURN * TURNS).expect("few"));
        for (micros, time) in micros.iter_mut().zip(times) {
            micros.push(1e6 * time.as_secs_f64() / each);
        }
        store.close().expect("closed");
    }
    let [blind, transaction, closure, view] = micros.map(median);
    println!("one-shot get and blind update: {blind:.2} µs");
    println!("get and update in one transaction: {transaction:.2} µs, ratio {:.2}", transaction / blind);
    println!("get and update in one closure: {closure:.2} µs, ratio {:.2}", closure / blind);
    println!("get in a view of its own, then update: {view:.2} µs, ratio {:.2}", view / blind);
}
