//! How much room page files take, compared with what lives in them, when few changed pages may be on the heap. In
//! memory: it is about sizes, and each of thousands of snapshots would be synced.

use std::sync::Arc;

use tenure::backing::Memory;
use tenure::extract::Extractor;
use tenure::{Durability, FileKind, Options, Store};

const RECORDS: u64 = 200_000;
const ROUNDS: u64 = 8;
const BATCH: u64 = 100;

/// Bytes of page files, and of the pages in them that the newest snapshot refers to.
fn sizes(store: &Store) -> (u64, u64) {
    let segments = store.stats().segments;
    let pages = segments.iter().filter(|segment| segment.kind == FileKind::Pages);
    pages.fold((0, 0), |(bytes, live), segment| (bytes + segment.bytes, live + segment.live_bytes))
}

/// Prints the ratio after each quarter of the records was updated at random, keys included.
pub(crate) fn measure(dirty_bytes_max: u64) {
    let options = Options::new().durability(Durability::Buffered).dirty_bytes_max(dirty_bytes_max);
    let store = options.open_backing(Arc::new(Memory::new())).expect("opens");
    let set = store.record_set("records").expect("a set");
    let key = Extractor::new("key", 1, |record, keys| keys.push(&record[..8]));
    store.index(&set, "key", key).expect("an index");
    let mut number = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        number
    };
    let mut value = || {
        let mut bytes = [7; 100];
        bytes[..8].copy_from_slice(&next().to_be_bytes());
        bytes
    };
    let mut ids = Vec::new();
    while (ids.len() as u64) < RECORDS {
        let values: Vec<_> = (0..BATCH).map(|_| value()).collect();
        ids.append(&mut store.write(|tx| tx.insert_many(&set, &values)).expect("inserts"));
    }
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        for _ in 0..RECORDS / 4 / BATCH {
            let changes: Vec<_> = (0..BATCH).map(|_| (next_place(&value(), ids.len()), value())).collect();
            store
                .write(|tx| changes.iter().try_for_each(|(place, bytes)| tx.update(ids[*place], bytes)))
                .expect("updates");
        }
        let (bytes, live) = sizes(&store);
        ratios.push(format!("{:.2}", ratio(bytes, live)));
    }
    let (bytes, live) = sizes(&store);
    let mib = dirty_bytes_max >> 20;
    println!(
        "page files, {mib} MiB of changed pages: {} MiB, of which {} MiB live; ratios {}",
        bytes >> 20,
        live >> 20,
        ratios.join(", ")
    );
    store.close().expect("closes");
}

fn next_place(bytes: &[u8], count: usize) -> usize {
    let number = u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"));
    usize::try_from(number % count as u64).expect("64 bits")
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn ratio(bytes: u64, live: u64) -> f64 {
    bytes as f64 / live.max(1) as f64
}
