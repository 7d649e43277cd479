//! Total sizes of a store's segments.
//!
//! Owns: the sums. Never: asks a segment; each adds its own size and changes.

use std::sync::atomic::{AtomicI64, Ordering};

/// Totals over the segments of a store's newest state, so that the segments need not be asked one by one.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    pub(super) bytes: AtomicI64,
    pub(super) live: AtomicI64,
}

impl Sizes {
    /// Bytes of their files.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed).max(0).unsigned_abs()
    }

    /// Bytes that the record index points at.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live.load(Ordering::Relaxed).max(0).unsigned_abs()
    }
}
