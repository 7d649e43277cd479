//! The system's allocator, counting calls and bytes.
//!
//! Owns: the only unsafe code that benchmarks need for counting. Never: allocates by itself.
//! A program that wants the counts makes `Counting` its global allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU64 = AtomicU64::new(0);
static NOW: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

/// Starts or stops counting. Earlier allocations do not count, but freeing them does.
pub fn set_counting(is_counting: bool) {
    IS_COUNTING.store(is_counting, Ordering::Relaxed);
}

/// Calls that returned memory: allocations, and reallocations.
pub fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

/// Bytes currently allocated.
pub fn bytes() -> i64 {
    NOW.load(Ordering::Relaxed)
}

/// Peak of allocated bytes.
pub fn peak_bytes() -> i64 {
    PEAK.load(Ordering::Relaxed)
}

/// Forgets the peaks that there were. Gives the bytes that are allocated now.
pub fn reset_peak() -> i64 {
    let now = bytes();
    PEAK.store(now, Ordering::Relaxed);
    now
}

fn is_counting() -> bool {
    IS_COUNTING.load(Ordering::Relaxed)
}

fn give(bytes: i64) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

fn size(layout: &Layout) -> i64 {
    i64::try_from(layout.size()).unwrap_or(i64::MAX)
}

/// The system's allocator, counting its calls while enabled.
#[derive(Debug)]
pub struct Counting;

#[expect(unsafe_code, reason = "every call is handed on as it came")]
// SAFETY: the system's allocator does all the work; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_counting() {
            give(size(&layout));
            // SAFETY: the caller's promises are those that the system's allocator asks for.
            return unsafe { within_alloc(layout) };
        }
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if is_counting() {
            NOW.fetch_sub(size(&layout), Ordering::Relaxed);
            // SAFETY: as in `alloc`.
            return unsafe { within_dealloc(pointer, layout) };
        }
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_counting() {
            give(size(&layout));
            // SAFETY: as in `alloc`.
            return unsafe { within_alloc_zeroed(layout) };
        }
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        if is_counting() {
            give(i64::try_from(new_bytes).unwrap_or(i64::MAX) - size(&layout));
            // SAFETY: as in `alloc`.
            return unsafe { within_realloc(pointer, layout, new_bytes) };
        }
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(pointer, layout, new_bytes) }
    }
}

// What is counted passes through functions of its own, whose names begin alike: so a profiler can leave the allocator's own
// work out, which depends on all that was allocated before. The black boxes keep the last call from becoming a jump, with which a
// profiler would lose its place.

/// # Safety
/// What the system's allocator asks for.
#[inline(never)]
#[expect(unsafe_code, reason = "handed on as it came")]
unsafe fn within_alloc(layout: Layout) -> *mut u8 {
    // SAFETY: the caller's promises.
    black_box(unsafe { System.alloc(layout) })
}

/// # Safety
/// What the system's allocator asks for.
#[inline(never)]
#[expect(unsafe_code, reason = "handed on as it came")]
unsafe fn within_dealloc(pointer: *mut u8, layout: Layout) {
    // SAFETY: the caller's promises.
    unsafe { System.dealloc(pointer, layout) };
    black_box(pointer);
}

/// # Safety
/// What the system's allocator asks for.
#[inline(never)]
#[expect(unsafe_code, reason = "handed on as it came")]
unsafe fn within_alloc_zeroed(layout: Layout) -> *mut u8 {
    // SAFETY: the caller's promises.
    black_box(unsafe { System.alloc_zeroed(layout) })
}

/// # Safety
/// What the system's allocator asks for.
#[inline(never)]
#[expect(unsafe_code, reason = "handed on as it came")]
unsafe fn within_realloc(pointer: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
    // SAFETY: the caller's promises.
    black_box(unsafe { System.realloc(pointer, layout, new_bytes) })
}
