//! How large the segments of a store are together.
//!
//! Owns: the sums. Never: asks a segment; each adds what it has, and what comes and goes.

use std::sync::atomic::{AtomicI64, Ordering};

/// What the segments of a store's newest state hold together, so that nobody has to ask them all.
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

    /// Bytes that are reachable from the record index.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live.load(Ordering::Relaxed).max(0).unsigned_abs()
    }
}
