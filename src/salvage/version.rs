//! One version of a record, as found in a log.
//!
//! Owns: its place, and which of two versions is newer. Never: reads.

use crate::id::{RecordId, Seq};

/// Where a version of a record is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) id: RecordId,
    pub(crate) seq: Seq,
    /// Which of the source's segments.
    pub(crate) log: u32,
    pub(crate) generation: u8,
    pub(crate) is_head: bool,
    pub(crate) is_chunk: bool,
    /// Whether its commit is complete.
    pub(crate) is_whole: bool,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Version {
    /// Newer versions compare higher, as does the later of two copies of one version.
    pub(crate) fn rank(&self) -> (Seq, bool, u8, u32) {
        (self.seq, self.is_whole, self.generation, self.log)
    }
}
