//! What a repair found, and what it did.

use crate::id::RecordId;
use crate::id::SetNumber;
use crate::salvage::Lost;
use crate::salvage::RescuedIndex;

/// How far a repair is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairProgress {
    /// Bytes of record segments read so far.
    pub bytes: u64,
    /// Bytes in all.
    pub bytes_total: u64,
}

/// A leaf page that was rebuilt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RebuiltPage {
    /// Its number: it has slots from 512 times this on.
    pub page: u64,
    /// The set that its slots belong to; `None` where nothing tells it, and no record lies there.
    pub set: Option<SetNumber>,
    /// Records that it has now.
    pub records: u64,
    /// Records that it had, where that is known.
    pub records_expected: Option<u64>,
    /// What was damaged.
    pub damage: String,
}

/// A record of which nothing tells for certain that it had not been deleted. It is there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Doubt {
    /// The record.
    pub id: RecordId,
    /// The file in which it lies.
    pub file: String,
    /// Its offset in bytes.
    pub offset: u64,
    /// Why it is not certain.
    pub why: String,
}

/// What a repair found, and what it did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// What was damaged when the store was opened.
    pub damaged: Vec<String>,
    /// Leaf pages that were rebuilt.
    pub pages: Vec<RebuiltPage>,
    /// Key indexes that were damaged, and what became of them.
    pub indexes: Vec<RescuedIndex>,
    /// Records that are there, and may have been deleted.
    pub doubts: Vec<Doubt>,
    /// Records that are gone: the index led to them, and their bytes are not there.
    pub lost: Vec<Lost>,
}

impl RepairReport {
    /// Whether there was nothing to repair.
    pub fn is_nothing(&self) -> bool {
        self.damaged.is_empty() && self.pages.is_empty() && self.indexes.is_empty() && self.lost.is_empty()
    }

    /// Whether every record came back, and nothing is in doubt.
    pub fn is_certain(&self) -> bool {
        let is_whole = |page: &RebuiltPage| page.records_expected.is_none_or(|expected| expected <= page.records);
        self.doubts.is_empty() && self.lost.is_empty() && self.pages.iter().all(is_whole)
    }
}
