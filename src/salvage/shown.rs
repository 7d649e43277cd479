//! The result of a salvage as text.
//!
//! Owns: the lines. Never: decides what is in doubt.

use std::fmt;

use crate::salvage::report::{RescuedIndex, RescuedSet, SalvageReport, Unreadable};

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of {} at byte {}", self.bytes, self.file, self.offset)
    }
}

impl SalvageReport {
    fn doubts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for lost in &self.lost {
            writeln!(f, "lost: {lost}")?;
        }
        for bad in &self.unreadable {
            writeln!(f, "unreadable: {bad}")?;
        }
        for (first, last) in &self.missing_commits {
            let of = if first == last { format!("commit {first}") } else { format!("commits {first} to {last}") };
            writeln!(f, "missing: part of {of}; records deleted or replaced there may be back")?;
        }
        for id in &self.of_broken_commits {
            writeln!(f, "of an incomplete commit: record {id}")?;
        }
        for id in &self.doubtful {
            writeln!(f, "may have been deleted: record {id}")?;
        }
        match self.indexed_to {
            Some(seq) => writeln!(f, "the index could be read up to commit {seq}")?,
            None => writeln!(f, "no index could be read: deleted records may be back")?,
        }
        if self.maybe_deleted > 0 {
            writeln!(f, "records for which no index could tell whether they were deleted: {}", self.maybe_deleted)?;
        }
        if self.behind_the_end > 0 {
            writeln!(f, "records after the last commit that an opening would recover: {}", self.behind_the_end)?;
        }
        Ok(())
    }
}

/// Several lines: what was recovered, everything lost or in doubt, and the verdict.
impl fmt::Display for SalvageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, record_bytes, files, last_seq, .. } = self;
        writeln!(f, "recovered: {records} records, {record_bytes} bytes, from {files} files, up to commit {last_seq}")?;
        for RescuedSet { name, is_named, records, .. } in &self.sets {
            let unknown = if *is_named { "" } else { ", whose name is unknown" };
            writeln!(f, "set {name:?}{unknown}: {records} records")?;
        }
        for RescuedIndex { set, name, fate } in &self.indexes {
            writeln!(f, "index {name:?} of set {set:?}: {fate}")?;
        }
        self.doubts(f)?;
        for name in &self.named_snapshots {
            writeln!(f, "not in the new store: snapshot {name:?}")?;
        }
        for name in &self.marks {
            writeln!(f, "not in the new store: mark {name:?}")?;
        }
        f.write_str(match (self.is_certain(), self.is_complete()) {
            (true, _) => "every record was recovered",
            (false, true) => "nothing is missing as far as can be told, but not every record is certain",
            (false, false) => "not every record was recovered",
        })
    }
}
