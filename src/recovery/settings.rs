//! How to open a store, and what its directory has besides the files of the store.
//!
//! Never: opens anything.

use crate::catalogue::Lineage;
use crate::engine::SnapshotLogBytes;

/// How to open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) check_pages: bool,
    /// Whether to accept an index without a directory, and records without a file.
    pub(crate) repairs: bool,
    pub(crate) check_every_read: bool,
    pub(crate) segment_bytes: u64,
    pub(crate) transaction_bytes_max: u64,
    pub(crate) old_values: bool,
    pub(crate) snapshot_log_bytes: SnapshotLogBytes,
    pub(crate) dirty_bytes_max: u64,
    /// Whether there will be a thread that saves snapshots.
    pub(crate) has_background: bool,
    pub(crate) lineage: Lineage,
}

/// The file that carries the writer's lock.
pub(crate) const LOCK: &str = "lock";
