//! Statistics: what a store holds and what it costs.

use std::time::Duration;
use std::time::SystemTime;

use crate::gc::Collected;
use crate::id::IndexNumber;
use crate::id::Seq;

pub use crate::format::manifest::SnapshotKind;
pub use crate::format::segment::FileKind;

/// Records of one set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetStats {
    /// Its name.
    pub name: String,
    /// Records.
    pub records: u64,
    /// Bytes that they take in the log, with headers; chunks of large values are counted apart.
    pub bytes: u64,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentStats {
    /// The file.
    pub file: String,
    /// What it holds.
    pub kind: FileKind,
    /// Its generation; 0 for page segments.
    pub generation: u8,
    /// Its size in bytes.
    pub bytes: u64,
    /// Bytes in it that are still reachable.
    pub live_bytes: u64,
}

/// One view, and what it keeps: what its state has and the newest state has not.
///
/// The figures compare the view's state with the newest one. A view of the newest commit keeps nothing. Views of one commit
/// share a state, and older states share what they have in common: each of them then shows it, and all have to go before the
/// space is free. What a saved snapshot refers to stays in the files when the view goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewStats {
    /// The last commit that it sees.
    pub seq: Seq,
    /// How long it has existed.
    pub age: Duration,
    /// Bytes on the heap: changed pages of the record index and nodes of key indexes that the newest state has replaced,
    /// with what the allocator adds. The directory of index pages is not counted, nor are inner nodes that were
    /// read from pages.
    pub heap_bytes: u64,
    /// Bytes of records in the log, with headers and chunks, that the newest state has replaced, deleted or moved.
    pub log_bytes: u64,
    /// Bytes of index pages and nodes in page segments that the newest state does not read any more.
    pub page_bytes: u64,
}

/// What a store holds and costs, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records of all sets.
    pub records: u64,
    /// Bytes of all records in the log, with headers and chunks.
    pub record_bytes: u64,
    /// By set.
    pub sets: Vec<SetStats>,
    /// Chunks of large values, and their bytes.
    pub chunks: SetStats,
    /// What the collector has done since the store was opened.
    pub collected: Collected,
    /// Files of segments that are emptied, and that a view, a named snapshot or a mark still keeps: name, bytes.
    pub retired: Vec<(String, u64)>,
    /// By segment.
    pub segments: Vec<SegmentStats>,
    /// The last commit.
    pub last_seq: Seq,
    /// The last commit that is on the medium for certain.
    pub durable_seq: Seq,
    /// The timeline: it rises with each recovery.
    pub timeline: u64,
    /// Index pages that no snapshot holds yet.
    pub dirty_pages: u64,
    /// Of these, nodes of key indexes.
    pub dirty_nodes: u64,
    /// Their bytes on the heap, with those of pages that a snapshot is being saved of; see `Options::dirty_bytes_max`.
    pub dirty_bytes: u64,
    /// Bytes of the directory of index pages on the heap.
    pub directory_bytes: u64,
    /// Bytes of heap that the index takes: dirty pages and directory.
    pub heap_bytes: u64,
    /// Views that exist.
    pub views: Vec<ViewStats>,
    /// Why this handle writes nothing more, if it has stopped after a failure: every call that writes fails with
    /// [`Error::Poisoned`](crate::Error::Poisoned) and this reason.
    pub stopped: Option<String>,
    /// Log bytes that recovery would have to replay.
    pub log_bytes_since_snapshot: u64,
    /// Log bytes appended since the store was opened.
    pub log_bytes_appended: u64,
    /// Of these, bytes of changes of key indexes.
    pub index_log_bytes_appended: u64,
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
    /// Pages that were written for it; zero when it was only listed.
    pub pages_written: u64,
    /// Bytes that were written for it; zero when it was only listed.
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
    /// Whether a key has one record at most.
    pub unique: bool,
    /// The name of its extractor.
    pub extractor: String,
    /// The extractor's version.
    pub version: u32,
    /// The extractor itself, where it can be written down.
    pub spec: String,
    /// Whether it is complete.
    pub ready: bool,
    /// Its entries.
    pub entries: u64,
}
