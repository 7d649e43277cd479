//! The error type: what was wrong, where, what was expected, and what to do.
//!
//! Owns: every error that the public API returns. Never: decides policy; a caller chooses whether to go on.

mod conflict;

use std::{fmt, io};

use rustix::io::Errno;

use crate::id::{RecordId, Seq};
use crate::key_bytes::Key;

pub use conflict::{Conflict, Contended};

/// A result of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is damaged, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corruption {
    /// The file, as the backing store names it.
    pub file: String,
    /// Bytes from the beginning of the file.
    pub offset: u64,
    /// What was being read.
    pub what: String,
    /// What had to be there.
    pub expected: String,
    /// What was there.
    pub got: String,
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, what, expected, got } = self;
        write!(f, "{what} in {file} at byte {offset}: expected {expected}, got {got}")
    }
}

/// Everything that can go wrong.
///
/// ```
/// let store = tenure::Store::in_memory()?;
/// let error = store.get("9.1".parse().unwrap()).unwrap_err();
/// assert!(!error.is_corruption());
/// println!("{error}; {}", error.advice());
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The backing store failed.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        file: String,
        /// What the backing store said.
        source: io::Error,
    },
    /// There is no room; nothing of the commit remains and the store stays readable.
    #[error("no room to {action} {file}: {source}")]
    NoSpace {
        /// What was being done.
        action: &'static str,
        /// The file.
        file: String,
        /// What the backing store said.
        source: io::Error,
    },
    /// Bytes are not what was written.
    #[error("damaged: {0}")]
    Corrupt(Box<Corruption>),
    /// The store uses something that this version does not know. It is not damaged.
    #[error("{file} has {what} {got}; this version reads {supported}")]
    Unsupported {
        /// The file.
        file: String,
        /// What is not known.
        what: &'static str,
        /// Its value.
        got: String,
        /// What would be read.
        supported: String,
    },
    /// There is no store at this place.
    #[error("{path} is not a Tenure store: {why}")]
    NotAStore {
        /// The place.
        path: String,
        /// What is missing or in the way.
        why: String,
    },
    /// There is a store where a new one was to be made.
    #[error("{path} holds a store already")]
    Exists {
        /// The place.
        path: String,
    },
    /// A copy cannot go to this place.
    #[error("no copy can be made in {path}: {why}")]
    BadDestination {
        /// The place.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Another process, or another handle of this one, has the store open for writing.
    #[error("{path} is open for writing elsewhere")]
    Locked {
        /// The place.
        path: String,
    },
    /// The record was deleted.
    #[error("record {id} was deleted")]
    Deleted {
        /// The ID that was asked for.
        id: RecordId,
    },
    /// The ID was never given to a record.
    #[error("record {id} does not exist: this ID was never given")]
    NeverAllocated {
        /// The ID that was asked for.
        id: RecordId,
    },
    /// The record belongs to another set.
    #[error("record {id} is not in set {expected:?} but in {got:?}")]
    WrongSet {
        /// The ID that was asked for.
        id: RecordId,
        /// The set that was named.
        expected: String,
        /// The set that holds the record.
        got: String,
    },
    /// The record set was got from another store.
    #[error("record set {set:?} belongs to another store")]
    OtherStore {
        /// The set's name.
        set: String,
    },
    /// There is no record set of this name.
    #[error("there is no record set {name:?}")]
    NoSuchSet {
        /// The name.
        name: String,
    },
    /// A name that cannot be used.
    #[error("{name:?} cannot be a {what}: {why}")]
    BadName {
        /// What it was to name.
        what: &'static str,
        /// The name.
        name: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// `update_if` met another version.
    #[error("record {id} has version {got}, not {expected}")]
    VersionMismatch {
        /// The record.
        id: RecordId,
        /// The version that the caller knew.
        expected: Seq,
        /// The version that is there.
        got: Seq,
    },
    /// Another transaction committed first; the transaction is gone and can be tried again.
    #[error("{0}")]
    Conflict(Box<Conflict>),
    /// [`Store::write`](crate::Store::write) gave up: each of its attempts met another transaction that committed first.
    #[error("gave up after {attempts} attempts; the last one: {last}")]
    TooManyConflicts {
        /// How often the closure ran.
        attempts: u32,
        /// What the last attempt met.
        last: Box<Conflict>,
    },
    /// A unique index has the key already, in what the transaction sees or in what others have committed meanwhile.
    #[error("unique index {index:?} of set {set:?} has key {key} already: record {id}")]
    UniqueViolation {
        /// The set.
        set: String,
        /// The index.
        index: String,
        /// The key.
        key: Key,
        /// The record that has it.
        id: RecordId,
    },
    /// An index that has to be unique for a call is not.
    #[error("index {index:?} is not unique")]
    NotUnique {
        /// The index.
        index: String,
    },
    /// A staged value cannot become the value of this record.
    #[error("the staged value cannot be stored: {why}")]
    StagedValue {
        /// What is in the way.
        why: &'static str,
    },
    /// A record of a set was to be written without the extractor of one of the set's indexes.
    #[error("set {set:?} has index {index:?}, whose extractor {extractor:?} version {version} is not there")]
    NoExtractor {
        /// The set.
        set: String,
        /// The index.
        index: String,
        /// The extractor's name.
        extractor: String,
        /// Its version.
        version: u32,
    },
    /// The keys of a record cannot be told, so that no index could have them: nothing was written, and no index was made.
    #[error("index {index:?} of set {set:?}: the keys of {} cannot be told: {why}", shown_record(*record))]
    KeysUnknown {
        /// The set.
        set: String,
        /// The index.
        index: String,
        /// The record; `None` for one that was to be inserted.
        record: Option<RecordId>,
        /// What the extractor says.
        why: String,
    },
    /// An index has keys of another type.
    #[error("index {index:?} has keys of type {got}, not {expected}")]
    WrongKeyType {
        /// The index.
        index: String,
        /// The type that was asked for.
        expected: String,
        /// The type that the index has.
        got: String,
    },
    /// A node of a key index is damaged, or was when the index was last used. The records are not concerned.
    #[error("index {index:?} of set {set:?} is damaged: {damage}")]
    DamagedIndex {
        /// The set.
        set: String,
        /// The index.
        index: String,
        /// What is damaged, and where.
        damage: Box<Corruption>,
    },
    /// There is no such index, or it is not complete yet, or this handle has stopped in the middle of changing it.
    #[error("index {index:?} {why}")]
    NoSuchIndex {
        /// The index.
        index: String,
        /// What is the matter with it.
        why: &'static str,
    },
    /// A range of an index and a view are not of the same commit.
    #[error("a range of index {index:?} is of commit {expected}, and the view of {got}")]
    OtherView {
        /// The index.
        index: String,
        /// The commit that the range is of.
        expected: Seq,
        /// The commit that the view is of.
        got: Seq,
    },
    /// A token of a client is not one of this index.
    #[error("not a token of this index: {why}")]
    BadToken {
        /// What is the matter with it.
        why: &'static str,
    },
    /// The savepoint was rolled back over, or belongs to another transaction.
    #[error("the savepoint is gone")]
    NoSuchSavepoint,
    /// Something is larger than its limit; nothing was written.
    #[error("{what} of {bytes} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A key would be longer than a key may be.
    #[error("a key of {bytes} bytes is over the limit of {limit} bytes")]
    KeyTooLong {
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A key has more tuples in each other than a key may have.
    #[error("a key with more than {limit} tuples in each other")]
    KeyTooDeep {
        /// The limit.
        limit: u64,
    },
    /// Bytes are not the encoding of a key.
    #[error("not a key: at byte {offset} expected {expected}, got {got}")]
    BadKey {
        /// Bytes from the beginning of the key.
        offset: u64,
        /// What had to be there.
        expected: String,
        /// What was there.
        got: String,
    },
    /// Text does not describe a key, or a part of one.
    #[error("{text:?} is not a {what}: {why}")]
    BadKeyText {
        /// The text, cut after 64 characters.
        text: String,
        /// What it was to be.
        what: &'static str,
        /// The rule that it breaks.
        why: String,
    },
    /// A value of the program cannot become a record, or a record is no such value.
    #[error("not a {what}: {why}")]
    BadValue {
        /// The type of the value.
        what: &'static str,
        /// What its encoding says.
        why: String,
    },
    /// There is no way back to a state: what it needs was given back, or never was.
    #[error("cannot go back to {point}: {why}")]
    PointGone {
        /// The state that was asked for.
        point: String,
        /// What is missing.
        why: String,
    },
    /// An option has a value that cannot work.
    #[error("option {option} cannot be {got}: {why}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// Its value.
        got: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// The commit was appended but could not be made durable: reopen to learn whether it is there.
    #[error("commit {seq} may or may not be durable: {reason}")]
    Indeterminate {
        /// The commit.
        seq: Seq,
        /// What failed.
        reason: String,
    },
    /// An earlier failure ended this handle.
    #[error("the store stopped after a failure: {reason}")]
    Poisoned {
        /// The failure.
        reason: String,
    },
    /// This handle was closed, or a clone of it. Views that were taken before go on.
    #[error("the store was closed")]
    Closed,
    /// The store was opened by a process from which this one was forked. It alone writes; reads go on here.
    #[error("the store is that of process {owner}, which has opened it; this process was forked from it")]
    OtherProcess {
        /// The process that opened it.
        owner: u32,
    },
    /// The store was opened for reading.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// The slots or another numbered thing are used up.
    #[error("no {what} is left: the limit is {limit}")]
    Exhausted {
        /// What is used up.
        what: &'static str,
        /// How many there can be.
        limit: u64,
    },
    /// The source that a value was to be read from failed.
    #[error("the source of a value failed: {source}")]
    Source {
        /// What it said.
        source: io::Error,
    },
}

impl Error {
    /// A failed call of the backing store.
    pub(crate) fn io(action: &'static str, file: impl Into<String>, source: io::Error) -> Self {
        let file = file.into();
        if is_no_space(&source) { Self::NoSpace { action, file, source } } else { Self::Io { action, file, source } }
    }

    /// Damage.
    pub(crate) fn corrupt(
        file: impl Into<String>,
        offset: u64,
        what: impl Into<String>,
        expected: impl fmt::Display,
        got: impl fmt::Display,
    ) -> Self {
        Self::Corrupt(Box::new(Corruption {
            file: file.into(),
            offset,
            what: what.into(),
            expected: expected.to_string(),
            got: got.to_string(),
        }))
    }

    /// Another transaction committed first.
    pub(crate) fn conflict(on: Contended, read_at: Seq, with: Seq) -> Self {
        Self::Conflict(Box::new(Conflict { on, read_at, with }))
    }

    /// The same error with the set whose unique index has a key twice.
    pub(crate) fn of_set(self, set: &str) -> Self {
        match self {
            Self::UniqueViolation { set: unnamed, index, key, id } if unnamed.is_empty() => {
                Self::UniqueViolation { set: set.to_owned(), index, key, id }
            }
            other => other,
        }
    }

    /// The same error with the key index in which the damage is.
    pub(crate) fn in_index(self, set: &str, index: &str) -> Self {
        match self {
            Self::Corrupt(damage) => Self::DamagedIndex { set: set.to_owned(), index: index.to_owned(), damage },
            Self::UniqueViolation { set: unnamed, index, key, id } if unnamed.is_empty() => {
                Self::UniqueViolation { set: set.to_owned(), index, key, id }
            }
            other => other,
        }
    }

    /// The same error with the set and the index whose keys cannot be told.
    pub(crate) fn of_index(self, of_set: &str, of_index: &str) -> Self {
        match self {
            Self::KeysUnknown { record, why, .. } => {
                Self::KeysUnknown { set: of_set.to_owned(), index: of_index.to_owned(), record, why }
            }
            other => other,
        }
    }

    /// The same error with the record whose keys cannot be told.
    pub(crate) fn of_record(self, id: RecordId) -> Self {
        match self {
            Self::KeysUnknown { set, index, why, .. } => Self::KeysUnknown { set, index, record: Some(id), why },
            other => other,
        }
    }

    /// A value of type `T` that cannot become a record, or a record that is no `T`: for those who implement
    /// [`Value`](crate::typed::Value).
    pub fn bad_value<T>(why: impl fmt::Display) -> Self {
        Self::BadValue { what: std::any::type_name::<T>(), why: why.to_string() }
    }

    /// Text that is no key.
    pub(crate) fn bad_key_text(text: &str, what: &'static str, why: impl Into<String>) -> Self {
        Self::BadKeyText { text: text.chars().take(64).collect(), what, why: why.into() }
    }

    /// Whether bytes on the medium are damaged.
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Corrupt(_) | Self::DamagedIndex { .. })
    }

    /// Whether the same transaction, run again, may succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }

    /// Whether the record that was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Deleted { .. } | Self::NeverAllocated { .. } | Self::NoSuchSet { .. })
    }

    /// Whether the process, or the machine, has as many files open as it may: a file was not opened, and nothing was written.
    pub(crate) fn is_out_of_files(&self) -> bool {
        match self {
            Self::Io { action: "append to" | "write to" | "sync", .. } => false,
            Self::Io { source, .. } => is_out_of_descriptors(source),
            _ => false,
        }
    }

    /// What to do about it, in one sentence.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Io { .. } if self.is_out_of_files() => {
                "close other files, or raise the limit on open files (`ulimit -n`), and try again: this handle goes on"
            }
            Self::Io { .. } => "check the path, its permissions and the device, then open the store again",
            Self::NoSpace { .. } => "free space on the device; nothing of the commit remains and the store can be read",
            Self::Corrupt(_) => {
                "keep a copy of the files, run `tenure verify`, and restore from a backup what it lists; `tenure repair` rebuilds index pages, or puts a new store of what is whole in the place of the damaged one, which it keeps"
            }
            Self::Unsupported { .. } => "open the store with a version of Tenure that knows this format",
            Self::NotAStore { .. } => "check the path, or create a store there",
            Self::Exists { .. } => "open it, or choose another path",
            Self::BadDestination { .. } => "name a directory outside of the store",
            Self::Locked { .. } => "close the other writer, or open the store for reading only",
            Self::Deleted { .. } | Self::NeverAllocated { .. } => {
                "check the ID; IDs of deleted records never come back"
            }
            Self::OtherView { .. } => "fetch the records of a range from the view that the range was taken of",
            Self::BadToken { .. } => {
                "begin with the first page; give a token back as it was, to the index that it is of"
            }
            Self::NoSuchSavepoint => "roll back to a savepoint of this transaction that still stands",
            Self::UniqueViolation { .. } => "use another key, or change the record that has it",
            Self::NoExtractor { .. } => {
                "open the index with its extractor before writing to the set, or drop the index"
            }
            Self::KeysUnknown { .. } => {
                "write the record as its indexes expect it, or drop the index that cannot read it; a typed index passes over such records if its definition says `skip_unreadable`"
            }
            Self::WrongKeyType { .. } => {
                "open the index with the type that its keys have, or raise the version of its definition: then it is made anew"
            }
            Self::DamagedIndex { .. } => "rebuild the index: `tenure index rebuild`, or `Store::rebuild_index`",
            Self::NoSuchIndex { .. } => "make the index, or wait until it is built",
            Self::OtherStore { .. } => "get the set from the store that is written to or read",
            Self::WrongSet { .. } => "name the set that holds the record",
            Self::NoSuchSet { .. } => "list the sets with `tenure sets`, or create it",
            Self::BadName { .. } => "choose another name",
            Self::VersionMismatch { .. } => "read the record again and decide anew",
            Self::Conflict(_) => "run the transaction again; `Store::write` does so by itself",
            Self::TooManyConflicts { .. } => {
                "read less in the transaction, make it shorter, choose `Isolation::Snapshot` where that is enough, or let one thread write what all of them change"
            }
            Self::NotUnique { .. } => "name a unique index, or make this one unique",
            Self::StagedValue { .. } => {
                "stage the value again; each staged value becomes one record of the store that it was staged in"
            }
            Self::TooLarge { .. } => "split it, or raise the limit in the options where there is one",
            Self::KeyTooLong { .. } => "take a part of the value as the key, or a hash of it",
            Self::KeyTooDeep { .. } => "put what the inner tuples hold beside each other",
            Self::BadKey { .. } => "check where the bytes come from; docs/keys.md describes the encoding",
            Self::BadKeyText { .. } => "see docs/keys.md for how keys are written",
            Self::BadValue { .. } => {
                "check that the record was written as this type, by a version that writes the same form"
            }
            Self::PointGone { .. } => "list the saved snapshots and marks, and choose one that is still kept",
            Self::BadOption { .. } => "see the option's documentation for its range",
            Self::Indeterminate { .. } => "open the store again and look whether the commit is there",
            Self::Poisoned { .. } => "close this handle and open the store again: recovery decides what is there",
            Self::Closed => "open the store again",
            Self::OtherProcess { .. } => {
                "write in the process that has opened the store, or open the store in this one after that has closed it"
            }
            Self::ReadOnly => "open the store for writing",
            Self::Exhausted { what, .. } => advice_when_exhausted(what),
            Self::Source { .. } => "nothing of the value remains; mend the source and try again",
        }
    }
}

fn shown_record(record: Option<RecordId>) -> String {
    record.map_or_else(|| "a new record".to_owned(), |id| format!("record {id}"))
}

/// How one comes away from a limit; docs/limits.md tells more.
fn advice_when_exhausted(what: &str) -> &'static str {
    match what {
        "slot" => "delete records: their slots are used again; or put what is new into another store",
        "room for named snapshots in the manifest" => "drop named snapshots",
        "room for reservations in the manifest" | "room in the manifest" => {
            "drop the oldest named snapshots: they keep what was reserved since"
        }
        "room for a snapshot in the manifest" => {
            "run `tenure compact`, so that a snapshot lists fewer segments, and end large values that are being written"
        }
        "room in the catalogue" => {
            "drop key indexes, use the names of marks again, end large values that are being written, or divide the sets \
             among several stores"
        }
        "place for a segment" => "run `tenure compact`: it copies what lives into fewer segments",
        _ => "all can still be read: export the records, and import them into a new store",
    }
}

/// Whether a failure of the backing store means that no file can be opened.
pub(crate) fn is_out_of_descriptors(source: &io::Error) -> bool {
    matches!(Errno::from_io_error(source), Some(Errno::MFILE | Errno::NFILE))
}

/// Whether a failure of the backing store means that there is no room.
pub(crate) fn is_no_space(source: &io::Error) -> bool {
    matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
