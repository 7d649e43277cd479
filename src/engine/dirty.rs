//! Heap space for changed index pages: how much there may be, and how much commits in progress have reserved.
//!
//! Owns: the limit, and the sum of what is reserved. Never: counts the pages that are changed, which the heap does, or waits.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::Engine;

/// The limit, and what is reserved.
#[derive(Debug)]
pub(crate) struct DirtyBudget {
    /// Maximum heap bytes of changed index pages.
    bytes_max: u64,
    /// Bytes of pages that commits in progress may change.
    awaited: AtomicU64,
}

impl DirtyBudget {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, awaited: AtomicU64::new(0) }
    }

    /// Maximum heap bytes of changed index pages.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Space for pages of this size, if it is available beside what is changed.
    fn take(&self, changed: u64, bytes: u64) -> Option<Room<'_>> {
        let limit = self.bytes_max.saturating_sub(changed);
        let more = |awaited: u64| awaited.checked_add(bytes).filter(|awaited| *awaited <= limit);
        let taken = self.awaited.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.ok().map(|_| Room { budget: self, bytes })
    }

    /// Space, available or not.
    pub(crate) fn take_anyway(&self, bytes: u64) -> Room<'_> {
        self.awaited.fetch_add(bytes, Ordering::AcqRel);
        Room { budget: self, bytes }
    }
}

/// Heap space for the changes of a commit, reserved until it is dropped. After that the actual changes count.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    budget: &'a DirtyBudget,
    bytes: u64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.budget.awaited.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Engine {
    /// Heap space for pages of this size, if available.
    pub(crate) fn take_room(&self, bytes: u64) -> Option<Room<'_>> {
        self.dirty.take(self.heap.dirty_bytes(), bytes)
    }
}
