//! The heap while many random keys are loaded, by an allocator that counts.

use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::alloc::System;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tenure::Durability;
use tenure::Options;
use tenure::extract::Extractor;

use crate::common::BATCH;
use crate::common::KEY_BYTES;
use crate::common::Numbers;
use crate::common::figure;
use crate::common::rate;

/// Bytes of a record: its key and a little more.
const RECORD_BYTES: usize = KEY_BYTES + 16;

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static NOW: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

fn count(bytes: i64) {
    if IS_COUNTING.load(Ordering::Relaxed) {
        let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if bytes > 0 {
            PEAK.fetch_max(now, Ordering::Relaxed);
        }
    }
}

fn size(layout: &Layout) -> i64 {
    i64::try_from(layout.size()).unwrap_or(i64::MAX)
}

/// The system's allocator, counting bytes that were asked for while this is wanted.
pub(crate) struct Counting;

#[expect(unsafe_code, reason = "every call is handed on as it came")]
// SAFETY: the system's allocator does all the work; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(&layout));
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-size(&layout));
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(size(&layout));
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        count(i64::try_from(new_bytes).unwrap_or(i64::MAX) - size(&layout));
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(pointer, layout, new_bytes) }
    }
}

fn mib(bytes: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}

/// Loads random keys into a unique index.
pub(crate) fn measure(keys: usize) {
    IS_COUNTING.store(true, Ordering::Relaxed);
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
        tx.commit(Durability::Buffered).expect("commit");
        if first % (keys / 10).max(1) < BATCH {
            let stats = store.stats();
            let disk: u64 = stats.segments.iter().map(|segment| segment.bytes).sum();
            most_dirty = most_dirty.max(stats.dirty_bytes);
            println!(
                "{} keys in {:.0?}: heap {:.1} MiB, peak {:.1} MiB, dirty {} MiB, files {} MiB",
                first + BATCH,
                start.elapsed(),
                mib(NOW.load(Ordering::Relaxed)),
                mib(PEAK.load(Ordering::Relaxed)),
                stats.dirty_bytes >> 20,
                disk >> 20,
            );
        }
    }
    println!("load of {keys} random keys: {:.0}/s", rate(keys, start.elapsed()));
    figure("peak heap", mib(PEAK.load(Ordering::Relaxed)), 320.0, false, "MiB");
    store.save_snapshot().expect("saved");
    figure("heap after the next snapshot", mib(NOW.load(Ordering::Relaxed)), 64.0, false, "MiB");
    IS_COUNTING.store(false, Ordering::Relaxed);
}
