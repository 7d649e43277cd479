//! Statistics: what a store holds and what it costs.

use std::time::{Duration, SystemTime};

use crate::gc::Collected;
use crate::id::{IndexNumber, Seq};

pub use crate::format::manifest::SnapshotKind;
pub use crate::format::segment::FileKind;

/// Records of one set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetStats {
    /// Its name.
    pub name: String,
    /// Records.
    pub records: u64,
    /// Their bytes in the log, headers included. Chunks of large values are counted separately.
    pub bytes: u64,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentStats {
    /// The file.
    pub file: String,
    /// Its contents.
    pub kind: FileKind,
    /// Its generation; 0 for page segments.
    pub generation: u8,
    /// Its size in bytes.
    pub bytes: u64,
    /// Bytes in it that are still live.
    pub live_bytes: u64,
}

/// One view, and what it retains: what its state contains and the newest state does not.
///
/// The figures compare the view's state with the newest one. A view of the newest commit retains nothing. Views of the same commit
/// share a state, and older states share what they have in common: each of them then reports it, and all must be dropped before
/// the space is reclaimed. Bytes that a saved snapshot refers to stay in the files when the view is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewStats {
    /// The last commit that it sees.
    pub seq: Seq,
    /// How long it has existed.
    pub age: Duration,
    /// Heap bytes: dirty pages of the record index and nodes of key indexes that the newest state has replaced,
    /// allocator overhead included. The directory of index pages is not counted, nor are inner nodes that were
    /// read from pages.
    pub heap_bytes: u64,
    /// Bytes of records in the log, headers and chunks included, that the newest state has replaced, deleted or moved.
    pub log_bytes: u64,
    /// Bytes of index pages and nodes in page segments that the newest state no longer reads.
    pub page_bytes: u64,
}

/// The contents and cost of a store at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records of all sets.
    pub records: u64,
    /// Bytes of all records in the log, headers and chunks included.
    pub record_bytes: u64,
    /// By set.
    pub sets: Vec<SetStats>,
    /// Chunks of large values, and their bytes.
    pub chunks: SetStats,
    /// What the collector has done since the store was opened.
    pub collected: Collected,
    /// Named consumers of the changes.
    pub consumers: Vec<ConsumerStats>,
    /// Emptied segment files that a view, a named snapshot, a mark or a consumer still retains: name, bytes.
    pub retired: Vec<(String, u64)>,
    /// By segment.
    pub segments: Vec<SegmentStats>,
    /// The last commit.
    pub last_seq: Seq,
    /// The last commit that is known to be durable.
    pub durable_seq: Seq,
    /// The timeline; each recovery that cuts the log increments it.
    pub timeline: u64,
    /// Dirty index pages: no snapshot has saved them yet.
    pub dirty_pages: u64,
    /// How many of these are nodes of key indexes.
    pub dirty_nodes: u64,
    /// Their bytes on the heap, including pages that a snapshot is saving right now; see `Options::dirty_bytes_max`.
    pub dirty_bytes: u64,
    /// Bytes of the directory of index pages on the heap.
    pub directory_bytes: u64,
    /// Heap bytes of the index: dirty pages and directory.
    pub heap_bytes: u64,
    /// Open views.
    pub views: Vec<ViewStats>,
    /// Why this handle writes nothing more, if it does not: every call that writes fails with
    /// [`Error::Poisoned`](crate::Error::Poisoned) and this reason, or with [`Error::Closed`](crate::Error::Closed).
    pub stopped: Option<String>,
    /// How often [`Store::write`](crate::Store::write) has retried a closure after a conflict since the store was opened.
    pub retries: u64,
    /// Log bytes that recovery would have to replay.
    pub log_bytes_since_snapshot: u64,
    /// Log bytes appended since the store was opened.
    pub log_bytes_appended: u64,
    /// Of these, bytes of changes of key indexes.
    pub index_log_bytes_appended: u64,
    /// How far the store's bucket is behind, if it is open for writing in a backing that ships to one.
    pub remote: Option<RemoteStats>,
}

/// A named consumer of the changes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// Its name.
    pub name: String,
    /// The last commit that it has acknowledged.
    pub seq: Seq,
    /// Bytes of log segments that are kept only for consumers that have come no further than this one. Those that hold records of
    /// the newest state as well do not count: they would be there without it.
    pub kept_bytes: u64,
    /// It was too far behind: nothing is kept for it any more.
    pub is_dropped: bool,
}

/// How far the bucket that a store is shipped to is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteStats {
    /// The last commit that it is known to have.
    pub seq: Seq,
    /// Bytes that it lacks.
    pub backlog_bytes: u64,
    /// How long the oldest change that it lacks has waited.
    pub lag: Duration,
    /// Creates, syncs and deletes of files that it lacks.
    pub backlog_events: u64,
    /// Why it is behind, if the last attempt failed.
    pub error: Option<String>,
}

/// The contents of a store's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FileRole {
    /// A segment of records: the log, or what the collector has copied.
    Records,
    /// A segment of index pages.
    Pages,
    /// The manifest.
    Manifest,
    /// Space reserved for a full disk.
    Reserve,
    /// Empty: it carries the writer's lock.
    Lock,
}

/// Why a store keeps a file; if there are several reasons, the first of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FileNeed {
    /// The current state of the store: its newest state, and the log from which that is recovered.
    Newest,
    /// Other retained snapshots.
    Snapshot,
    /// A mark that can be rolled back to.
    Mark,
    /// A consumer of the changes that has not acknowledged them.
    Consumer,
    /// A running view, transaction or read, or nothing any more: the collector deletes the file in time, at the latest
    /// when the store is closed.
    Reader,
    /// Work in progress: a prepared segment, the collector's copies, an index that is being built.
    Work,
}

/// A file of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreFile {
    /// Its name within the store's directory.
    pub name: String,
    /// Its contents.
    pub role: FileRole,
    /// Why it is kept.
    pub need: FileNeed,
    /// Its length in bytes, including preallocated space.
    pub bytes: u64,
}

/// A saved snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its number.
    pub number: u64,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Why it was saved.
    pub kind: SnapshotKind,
    /// The last commit in it.
    pub seq: Seq,
    /// When it was saved.
    pub time: SystemTime,
    /// Pages written for it; zero when it was listed.
    pub pages_written: u64,
    /// Bytes written for it; zero when it was listed.
    pub bytes_written: u64,
}

/// A named light snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its name.
    pub name: String,
    /// The commit it names.
    pub seq: Seq,
}

/// A key index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexInfo {
    /// Its name within the set.
    pub name: String,
    /// Its number.
    pub number: IndexNumber,
    /// Whether each key has at most one record.
    pub unique: bool,
    /// The name of its extractor.
    pub extractor: String,
    /// The extractor's version.
    pub version: u32,
    /// The extractor as a line of text, if it has that form.
    pub spec: String,
    /// The type of the keys, from [`IndexKey::key_type`](crate::typed::IndexKey::key_type) or the line; empty if it is unknown.
    pub key_type: String,
    /// Whether it is complete.
    pub ready: bool,
    /// Its entries.
    pub entries: u64,
}
