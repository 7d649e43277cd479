//! The report of a repair.

use std::fmt;
use std::path::PathBuf;

use crate::id::{RecordId, SetNumber};
use crate::salvage::{Lost, RescuedIndex, SalvageReport};

/// A step of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairStep {
    /// Rebuilds index pages in place.
    InPlace,
    /// Verifies the current state.
    Checking,
    /// Creates a new store from everything intact, beside the damaged one.
    Rescuing,
    /// Puts the new store in place of the damaged one.
    Exchanging,
    /// Renames the damaged store, which is now beside the new one, to the name that it keeps.
    SettingAside,
}

/// Progress of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairProgress {
    /// The current step.
    pub step: RepairStep,
    /// Bytes of this step done so far.
    pub bytes: u64,
    /// Total bytes of this step; zero if it takes only a moment.
    pub bytes_total: u64,
}

/// A new store has replaced the damaged one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// The damaged store. Nothing in it was written or deleted, unless it was opened first.
    pub damaged: PathBuf,
    /// Whether it had been opened for writing: pages were to be rebuilt in place, and that was not enough or failed.
    pub was_opened: bool,
    /// What the new store has, and what it lacks.
    pub salvaged: SalvageReport,
}

/// A rebuilt leaf page.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RebuiltPage {
    /// Its number: its slots start at 512 times this.
    pub page: u64,
    /// The set that its slots belong to; `None` if that is unknown and the page has no record.
    pub set: Option<SetNumber>,
    /// Records that it has now.
    pub records: u64,
    /// Records that it had, if known.
    pub records_expected: Option<u64>,
    /// What was damaged.
    pub damage: String,
}

/// A restored record that may have been deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Doubt {
    /// The record.
    pub id: RecordId,
    /// Its file.
    pub file: String,
    /// Its offset in bytes.
    pub offset: u64,
    /// Why it is uncertain.
    pub why: String,
}

/// The result of a repair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// What was damaged when the store was opened.
    pub damaged: Vec<String>,
    /// Rebuilt leaf pages.
    pub pages: Vec<RebuiltPage>,
    /// Damaged key indexes, and their outcome.
    pub indexes: Vec<RescuedIndex>,
    /// Restored records that may have been deleted.
    pub doubts: Vec<Doubt>,
    /// Lost records: the index pointed at them, but their bytes are gone.
    pub lost: Vec<Lost>,
    /// Remaining damage outside the newest state: named snapshots keep their pages and records. Dropping such a
    /// snapshot also drops what only it needs.
    pub in_snapshots: Vec<String>,
    /// Set if a new store has replaced the damaged one, because nothing else helped.
    pub set_aside: Option<SetAside>,
    /// Directories that an interrupted repair left beside the store, under their current names. They include the
    /// damaged store if the repair had already replaced it.
    pub left: Vec<PathBuf>,
}

impl RepairReport {
    /// Whether there was nothing to repair.
    pub fn is_nothing(&self) -> bool {
        let is_in_place = self.pages.is_empty() && self.indexes.is_empty() && self.set_aside.is_none();
        is_in_place && self.damaged.is_empty() && self.lost.is_empty() && self.in_snapshots.is_empty()
    }

    /// Whether every record was recovered and nothing is in doubt.
    pub fn is_certain(&self) -> bool {
        let is_whole = |page: &RebuiltPage| page.records_expected.is_none_or(|expected| expected <= page.records);
        let is_certain = self.set_aside.as_ref().is_none_or(|aside| aside.salvaged.is_certain());
        is_certain && self.doubts.is_empty() && self.lost.is_empty() && self.pages.iter().all(is_whole)
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} in {} at byte {}: {}", self.id, self.file, self.offset, self.why)
    }
}

/// Several lines: the damage, its replacement, and everything lost or in doubt.
impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nothing() {
            return f.write_str("nothing to repair");
        }
        for damage in &self.damaged {
            writeln!(f, "found: {damage}")?;
        }
        writeln!(f, "pages rebuilt: {}", self.pages.len())?;
        for RescuedIndex { set, name, fate, .. } in &self.indexes {
            writeln!(f, "index {name:?} of set {set:?}: {fate}")?;
        }
        if let Some(SetAside { damaged, salvaged, .. }) = &self.set_aside {
            let kept = damaged.display();
            writeln!(f, "replaced: by a new store with {} records; the damaged one is {kept}", salvaged.records)?;
        }
        for lost in &self.lost {
            writeln!(f, "lost: {lost}")?;
        }
        for doubt in &self.doubts {
            writeln!(f, "may have been deleted: {doubt}")?;
        }
        for damage in &self.in_snapshots {
            writeln!(f, "needed only by named snapshots: {damage}")?;
        }
        f.write_str(if self.is_certain() { "every record was recovered" } else { "not every record is certain" })
    }
}
