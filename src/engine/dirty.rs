//! Heap space for changed index pages: how much there may be, and how much commits in progress have reserved.
//!
//! Owns: the limit, and the sum of what is reserved. Never: counts the pages that are changed, which the heap does, or waits.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::Engine;

/// One in so many bytes of the limit is kept for snapshots, which move pages out of nearly empty segments.
const MOVES_PART: u64 = 8;

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

    /// What snapshots may bring to the heap in any case.
    pub(crate) fn moves_max(&self) -> u64 {
        self.bytes_max / MOVES_PART
    }

    /// The same, beside what is changed: a snapshot that failed leaves on the heap what it moved.
    pub(crate) fn moves_left(&self, changed: u64) -> u64 {
        self.moves_max().saturating_sub(changed.saturating_sub(self.commits_max()))
    }

    /// The rest.
    pub(crate) fn commits_max(&self) -> u64 {
        self.bytes_max - self.moves_max()
    }

    /// Space for pages of this size, if it is available beside what is changed.
    fn take(&self, changed: impl Fn() -> u64, bytes: u64) -> Option<Room<'_>> {
        // Reserved before it is counted: who reads what is changed first misses a commit that is applied, and returns its
        // space, in between.
        let room = self.take_anyway(bytes);
        let awaited = self.awaited.load(Ordering::Acquire);
        (awaited.saturating_add(changed()) <= self.commits_max()).then_some(room)
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
        self.dirty.take(|| self.heap.dirty_bytes(), bytes)
    }
}
