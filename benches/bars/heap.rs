//! The heap while many random keys are loaded, measured by a counting allocator.

use std::time::Instant;

use tenure::extract::Extractor;
use tenure::{Durability, Options};

use crate::common::{BATCH, KEY_BYTES, Numbers, figure, rate};
use crate::support::allocator;

/// Bytes of a record: its key and a little more.
const RECORD_BYTES: usize = KEY_BYTES + 16;

fn mib(bytes: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}

/// Loads random keys into a unique index.
pub(crate) fn measure(keys: usize) {
    allocator::set_counting(true);
    let dir = tempfile::tempdir().expect("a directory");
    let store = Options::new().durability(Durability::Buffered).open(dir.path().join("store")).expect("a store");
    let set = store.record_set("things").expect("a set");
    let key = Extractor::new("key", 1, |record, keys| keys.push(&record[..KEY_BYTES]));
    store.unique_index(&set, "key", key).expect("a unique index");
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    let (start, mut bytes) = (Instant::now(), [0; RECORD_BYTES]);
    let mut most_dirty = 0;
    for first in (0..keys).step_by(BATCH) {
        let mut tx = store.begin().expect("begin");
        for _ in first..(first + BATCH).min(keys) {
            for part in bytes.chunks_exact_mut(8) {
                part.copy_from_slice(&numbers.next().to_le_bytes());
            }
            tx.insert(&set, bytes).expect("insert");
        }
        tx.commit_with(Durability::Buffered).expect("commit");
        if first % (keys / 10).max(1) < BATCH {
            let stats = store.stats();
            let disk: u64 = stats.segments.iter().map(|segment| segment.bytes).sum();
            most_dirty = most_dirty.max(stats.dirty_bytes);
            println!(
                "{} keys in {:.0?}: heap {:.1} MiB, peak {:.1} MiB, dirty {} MiB, files {} MiB",
                first + BATCH,
                start.elapsed(),
                mib(allocator::bytes()),
                mib(allocator::peak_bytes()),
                stats.dirty_bytes >> 20,
                disk >> 20,
            );
        }
    }
    println!("load of {keys} random keys: {:.0}/s", rate(keys, start.elapsed()));
    figure("peak heap", mib(allocator::peak_bytes()), 320.0, false, "MiB");
    store.save_snapshot().expect("saved");
    figure("heap after the next snapshot", mib(allocator::bytes()), 64.0, false, "MiB");
    allocator::set_counting(false);
}
