//! How far the log has grown since the last snapshot, and waking the thread that saves the next one.
//!
//! Owns: the count of log bytes that recovery would have to replay, that of changes of key indexes, and the condition variable of the
//! background thread. Never: saves a snapshot.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::engine::Engine;

/// After how many bytes of log the next snapshot is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SnapshotLogBytes {
    pub(crate) least: u64,
    /// As many as the last snapshot wrote bytes of pages, up to this.
    pub(crate) most: u64,
}

impl SnapshotLogBytes {
    pub(crate) fn just(bytes: u64) -> Self {
        Self { least: bytes, most: bytes }
    }
}

/// The growth of the log.
#[derive(Debug)]
pub(crate) struct Growth {
    /// Log bytes that recovery would have to replay.
    replay_bytes: AtomicU64,
    /// Log bytes of changes of key indexes since the store was opened.
    index_log_bytes: AtomicU64,
    snapshot_log_bytes: SnapshotLogBytes,
    /// Log bytes since the last snapshot at which the next one is due.
    due_bytes: AtomicU64,
    /// An opening has replayed much, and left the snapshot to the thread.
    is_asked: AtomicBool,
    /// Notified when a commit has made a snapshot due, and when the thread is to stop.
    grown: Condvar,
    /// Belongs to `grown`.
    grown_lock: Mutex<()>,
}

impl Growth {
    /// Of a log of which recovery has replayed this much.
    pub(crate) fn new(replay_bytes: u64, snapshot_log_bytes: SnapshotLogBytes) -> Self {
        let (replay_bytes, index_log_bytes) = (AtomicU64::new(replay_bytes), AtomicU64::new(0));
        let (is_asked, grown, grown_lock) = (AtomicBool::new(false), Condvar::new(), Mutex::new(()));
        let due_bytes = AtomicU64::new(snapshot_log_bytes.least);
        Self { replay_bytes, index_log_bytes, snapshot_log_bytes, due_bytes, is_asked, grown, grown_lock }
    }

    /// Log bytes that recovery would have to replay.
    pub(crate) fn replay_bytes(&self) -> u64 {
        self.replay_bytes.load(Ordering::Relaxed)
    }

    /// Log bytes of changes of key indexes since the store was opened.
    pub(crate) fn index_log_bytes(&self) -> u64 {
        self.index_log_bytes.load(Ordering::Relaxed)
    }

    /// The log has this much more, of which this much are changes of key indexes.
    #[inline]
    pub(super) fn count(&self, bytes: u64, index_bytes: u64) {
        self.replay_bytes.fetch_add(bytes, Ordering::Relaxed);
        if index_bytes > 0 {
            self.index_log_bytes.fetch_add(index_bytes, Ordering::Relaxed);
        }
    }

    /// A reader has replayed this much.
    pub(crate) fn count_replayed(&self, bytes: u64) {
        self.replay_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The next snapshot is due as soon as there is a thread that saves it.
    pub(crate) fn ask(&self) {
        self.is_asked.store(true, Ordering::Relaxed);
    }

    /// A snapshot covers this much of it.
    pub(crate) fn count_saved(&self, bytes: u64) {
        self.is_asked.store(false, Ordering::Relaxed);
        self.replay_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// That snapshot wrote so many bytes of pages: the next one waits for as much log, as far as it may.
    pub(crate) fn pace(&self, page_bytes: u64) {
        let SnapshotLogBytes { least, most } = self.snapshot_log_bytes;
        self.due_bytes.store(page_bytes.clamp(least, most.max(least)), Ordering::Relaxed);
    }

    /// Takes over the count of a new opening.
    pub(super) fn take_over(&self, next: Self) {
        self.replay_bytes.store(next.replay_bytes.into_inner(), Ordering::Relaxed);
    }

    /// Wakes the thread that waits.
    pub(crate) fn notify(&self) {
        self.grown.notify_all();
    }

    /// Waits to be notified, for this long at most, unless there is no reason to.
    pub(crate) fn wait_unless(&self, has_reason: impl FnOnce() -> bool, time: Duration) {
        let mut guard = self.grown_lock.lock();
        if !has_reason() {
            self.grown.wait_for(&mut guard, time);
        }
    }
}

impl Engine {
    /// Whether the next snapshot is due: the log since the last one is long, many changed pages are on the heap, or an opening asked
    /// for it.
    pub(crate) fn snapshot_is_due(&self) -> bool {
        let replay_bytes = self.growth.replay_bytes();
        replay_bytes > self.growth.due_bytes.load(Ordering::Relaxed)
            || (replay_bytes > 0
                && (self.heap.dirty_bytes() > self.dirty.bytes_max() / 2
                    || self.growth.is_asked.load(Ordering::Relaxed)))
    }
}
