//! The report of a salvage.

use std::fmt;

use crate::id::{RecordId, Seq, SetNumber};

/// Progress of a salvage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SalvageProgress {
    /// Bytes read so far. Each segment is read twice: to find what is intact, and to copy it.
    pub bytes: u64,
    /// Total bytes.
    pub bytes_total: u64,
    /// Records copied so far.
    pub records: u64,
}

/// A record that was not recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// Its slot.
    pub slot: u64,
    /// Its ID; `None` if only the index refers to it, which does not have the whole ID.
    pub id: Option<RecordId>,
    /// The number of its set, if known.
    pub set: Option<SetNumber>,
    /// Its file.
    pub file: String,
    /// Its offset in bytes.
    pub offset: u64,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "record {id}")?,
            None => write!(f, "the record in slot {}", self.slot)?,
        }
        write!(f, " in {} at byte {}: {}", self.file, self.offset, self.why)
    }
}

/// Bytes that could not be read as anything.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// The file.
    pub file: String,
    /// Their offset.
    pub offset: u64,
    /// Their number.
    pub bytes: u64,
}

/// A recovered set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RescuedSet {
    /// Its original number.
    pub number: SetNumber,
    /// Its name, generated from the number if it is lost.
    pub name: String,
    /// Whether the name is the original one.
    pub is_named: bool,
    /// Its records.
    pub records: u64,
}

/// The outcome of a key index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexFate {
    /// It was rebuilt from the records.
    Rebuilt,
    /// Its extractor is a program's own code. It is built when that program opens it.
    WaitsForItsProgram,
    /// It could not be built, and does not exist.
    Failed(String),
}

impl fmt::Display for IndexFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rebuilt => f.write_str("rebuilt"),
            Self::WaitsForItsProgram => f.write_str("to be built by the program that has its code"),
            Self::Failed(why) => write!(f, "not built: {why}"),
        }
    }
}

/// A key index of a salvaged store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RescuedIndex {
    /// The name of its set.
    pub set: String,
    /// Its name.
    pub name: String,
    /// The outcome.
    pub fate: IndexFate,
}

/// The result of a salvage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvageReport {
    /// Record segments read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records recovered. A large value is one.
    pub records: u64,
    /// Bytes of records, headers and chunks of large values included.
    pub record_bytes: u64,
    /// The highest commit for which there is evidence. The new store continues after it.
    pub last_seq: Seq,
    /// The commit up to which the damaged store's record index could tell what is live; `None` if it could not be read.
    pub indexed_to: Option<Seq>,
    /// Records for which no index could tell whether they had been deleted. Records deleted so long ago that the
    /// collector has dropped every trace of the deletion have come back.
    pub maybe_deleted: u64,
    /// Recovered records that may have been deleted: those counted by `maybe_deleted`, and those named in a deletion
    /// that is not intact.
    pub doubtful: Vec<RecordId>,
    /// Commits that are partly missing, as ranges. Records that they deleted may be back, and records that they
    /// replaced may have an older version. Does not cover commits before the snapshot whose index could be read.
    pub missing_commits: Vec<(Seq, Seq)>,
    /// Named snapshots of the damaged store, as far as its manifest can be read. The new store does not have them.
    pub named_snapshots: Vec<String>,
    /// Marks of the damaged store. The new store does not have them.
    pub marks: Vec<String>,
    /// Records of commits after the last one that an opening would recover: after damage, or in a tail that a crash
    /// left.
    pub behind_the_end: u64,
    /// Records of incomplete commits: other records of the same commit may be missing.
    pub of_broken_commits: Vec<RecordId>,
    /// The sets.
    pub sets: Vec<RescuedSet>,
    /// The key indexes.
    pub indexes: Vec<RescuedIndex>,
    /// Records that were not recovered.
    pub lost: Vec<Lost>,
    /// Bytes that could not be read as anything. A record whose only trace is there is in no list.
    pub unreadable: Vec<Unreadable>,
}

impl SalvageReport {
    /// Whether nothing is missing, as far as can be told.
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty() && self.unreadable.is_empty()
    }

    /// Whether the new store is certain to have exactly the records of the damaged one as of its last commit.
    /// Unreadable bytes then belong to no record.
    pub fn is_certain(&self) -> bool {
        let is_told = self.indexed_to.is_some() || self.unreadable.is_empty();
        let is_whole = self.missing_commits.is_empty() && self.of_broken_commits.is_empty();
        self.lost.is_empty() && self.doubtful.is_empty() && is_whole && is_told
    }
}
