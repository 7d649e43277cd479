//! What a rescue gave, and what it did not.

use std::fmt;

use crate::id::{RecordId, Seq, SetNumber};

/// How far a rescue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SalvageProgress {
    /// Bytes read so far. Each segment is read twice: to find what is whole, and to copy it.
    pub bytes: u64,
    /// Bytes in all.
    pub bytes_total: u64,
    /// Records copied so far.
    pub records: u64,
}

/// A record that did not come back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// Its slot.
    pub slot: u64,
    /// Its ID; `None` where only the index tells of it, which does not know the whole ID.
    pub id: Option<RecordId>,
    /// The number of its set, where it is known.
    pub set: Option<SetNumber>,
    /// The file in which it lies.
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
    /// Where they begin.
    pub offset: u64,
    /// How many they are.
    pub bytes: u64,
}

/// A set that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RescuedSet {
    /// Its number, as it was.
    pub number: SetNumber,
    /// Its name; made up from the number where no file tells it.
    pub name: String,
    /// Whether the name is its own.
    pub is_named: bool,
    /// Its records.
    pub records: u64,
}

/// What became of a key index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexFate {
    /// It was rebuilt from the records.
    Rebuilt,
    /// Its extractor is code of a program. It is built when that program opens it.
    WaitsForItsProgram,
    /// It could not be built, and is not there.
    Failed(String),
}

/// A key index of a store that was rescued.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RescuedIndex {
    /// The name of its set.
    pub set: String,
    /// Its name.
    pub name: String,
    /// What became of it.
    pub fate: IndexFate,
}

/// What a rescue gave, and what it did not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvageReport {
    /// Record segments that were read, and their bytes.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that came back. A large value is one.
    pub records: u64,
    /// Bytes of records, chunks of large values included, with their headers.
    pub record_bytes: u64,
    /// The highest commit that anything tells of. The new store goes on behind it.
    pub last_seq: Seq,
    /// The commit up to which the record index of the damaged store could be asked what is live; `None` when it could not.
    pub indexed_to: Option<Seq>,
    /// Records of which no index could tell whether they had been deleted. Those that were deleted long enough ago for the collector
    /// to have dropped every trace of it have come back.
    pub maybe_deleted: u64,
    /// Records that came back, and of which nothing tells for certain that they had not been deleted: those that `maybe_deleted`
    /// counts, and those that a deletion names whose bytes are not whole.
    pub doubtful: Vec<RecordId>,
    /// Commits of which something is missing, as runs from the first to the last. What they deleted may be back, and of what they
    /// replaced an older version. Nothing is said of commits before the snapshot whose index could be asked.
    pub missing_commits: Vec<(Seq, Seq)>,
    /// Named snapshots that the damaged store has, as far as its manifest can be read. They are not in the new one.
    pub named_snapshots: Vec<String>,
    /// Marks that it has. They are not in the new one.
    pub marks: Vec<String>,
    /// Records of commits behind the last one that an opening would give: behind damage, or in a tail that a crash left.
    pub behind_the_end: u64,
    /// Records of commits that are not whole: others of the same commit may be missing.
    pub of_broken_commits: Vec<RecordId>,
    /// The sets.
    pub sets: Vec<RescuedSet>,
    /// The key indexes.
    pub indexes: Vec<RescuedIndex>,
    /// Records that did not come back.
    pub lost: Vec<Lost>,
    /// Bytes that could not be read as anything. A record whose only trace lies there is in no list.
    pub unreadable: Vec<Unreadable>,
}

impl SalvageReport {
    /// Whether nothing is missing, as far as anything tells.
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty() && self.unreadable.is_empty()
    }

    /// Whether the records of the new store are for certain those of the damaged one as of its last commit. Bytes that could not be read
    /// are none of a record's then.
    pub fn is_certain(&self) -> bool {
        let is_told = self.indexed_to.is_some() || self.unreadable.is_empty();
        let is_whole = self.missing_commits.is_empty() && self.of_broken_commits.is_empty();
        self.lost.is_empty() && self.doubtful.is_empty() && is_whole && is_told
    }
}
