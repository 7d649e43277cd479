//! What a repair found, and what it did.

use std::path::PathBuf;

use crate::id::{RecordId, SetNumber};
use crate::salvage::{Lost, RescuedIndex, SalvageReport};

/// What a repair does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairStep {
    /// Rebuilds index pages in place.
    InPlace,
    /// Reads what there is now.
    Checking,
    /// Makes a new store of what is whole, beside the damaged one.
    Rescuing,
    /// Puts the new store in the place of the damaged one.
    Exchanging,
    /// Gives the damaged store, which is beside the new one by now, the name that it keeps.
    SettingAside,
}

/// How far a repair is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairProgress {
    /// What it does.
    pub step: RepairStep,
    /// Bytes of this step that are done.
    pub bytes: u64,
    /// Bytes of this step in all; zero where it takes but a moment.
    pub bytes_total: u64,
}

/// A new store has taken the place of the damaged one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// The damaged store. Nothing of it was written or deleted, unless it was opened first.
    pub damaged: PathBuf,
    /// It had been opened for writing: pages were to be rebuilt in place, and that was not enough or failed.
    pub was_opened: bool,
    /// What the new one has, and what not.
    pub salvaged: SalvageReport,
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
    /// What is still damaged, and no part of the newest state: snapshots with a name keep the pages and records that they have. Where such a
    /// snapshot is dropped, so is what only it needs.
    pub in_snapshots: Vec<String>,
    /// Where nothing else helped: a new store has taken the place of the damaged one.
    pub set_aside: Option<SetAside>,
    /// Directories that an interrupted repair has left beside the store, by the names that they have now. The damaged store is among them
    /// where the repair had put another one in its place.
    pub left: Vec<PathBuf>,
}

impl RepairReport {
    /// Whether there was nothing to repair.
    pub fn is_nothing(&self) -> bool {
        let is_in_place = self.pages.is_empty() && self.indexes.is_empty() && self.set_aside.is_none();
        is_in_place && self.damaged.is_empty() && self.lost.is_empty() && self.in_snapshots.is_empty()
    }

    /// Whether every record came back, and nothing is in doubt.
    pub fn is_certain(&self) -> bool {
        let is_whole = |page: &RebuiltPage| page.records_expected.is_none_or(|expected| expected <= page.records);
        let is_certain = self.set_aside.as_ref().is_none_or(|aside| aside.salvaged.is_certain());
        is_certain && self.doubts.is_empty() && self.lost.is_empty() && self.pages.iter().all(is_whole)
    }
}
