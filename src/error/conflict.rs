//! What two transactions contended for.
//!
//! Owns: naming it for programs and users. Never: decides that there is a conflict; validation does.

use std::fmt;
use std::ops::Bound;

use crate::id::{RecordId, Seq};
use crate::key_bytes::Key;

/// What two transactions contended for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Contended {
    /// A record that was read, replaced or deleted.
    Record(RecordId),
    /// A range of keys of an index.
    Range {
        /// The set of the index.
        set: String,
        /// The index.
        index: String,
        /// The start of the range. Overlapping ranges are reported as one.
        from: Bound<Key>,
        /// The end of the range.
        to: Bound<Key>,
    },
    /// The records of a set, through a scan.
    Scan {
        /// The set.
        set: String,
    },
    /// The number of records in a set.
    Len {
        /// The set.
        set: String,
    },
    /// The indexes of a set.
    Indexes {
        /// The set.
        set: String,
    },
}

impl fmt::Display for Contended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(id) => write!(f, "record {id}"),
            Self::Range { set, index, from, to } => {
                write!(f, "index {index:?} of set {set:?}, ")?;
                match (from, to) {
                    (Bound::Included(from), Bound::Included(to)) if from == to => return write!(f, "key {from}"),
                    (Bound::Unbounded, Bound::Unbounded) => return f.write_str("all keys"),
                    (Bound::Included(from), _) => write!(f, "keys from {from}")?,
                    (Bound::Excluded(from), _) => write!(f, "keys after {from}")?,
                    (Bound::Unbounded, _) => f.write_str("keys from the first")?,
                }
                match to {
                    Bound::Included(to) => write!(f, " to {to}"),
                    Bound::Excluded(to) => write!(f, " up to but excluding {to}"),
                    Bound::Unbounded => f.write_str(" to the last"),
                }
            }
            Self::Scan { set } => write!(f, "a scan of set {set:?}"),
            Self::Len { set } => write!(f, "the number of records of set {set:?}"),
            Self::Indexes { set } => write!(f, "the indexes of set {set:?}"),
        }
    }
}

/// Another transaction committed first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// What both contended for.
    pub on: Contended,
    /// The last commit that the transaction has seen.
    pub read_at: Seq,
    /// The commit that came first, if known; otherwise the last commit.
    pub with: Seq,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { on, read_at, with } = self;
        write!(f, "conflict on {on}: read as of commit {read_at}, changed since by commit {with}")
    }
}
