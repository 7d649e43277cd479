//! The error type: what was wrong, where, what was expected, and what to do.
//!
//! Owns: every error that the public API returns. Never: decides policy; the caller chooses whether to continue.

mod conflict;
mod shown;

use std::{fmt, io};

use rustix::io::Errno;

use crate::error::shown::{article, shown_origin, shown_record};
use crate::id::{RecordId, Seq};
use crate::key_bytes::Key;

pub use conflict::{Conflict, Contended};
pub use shown::KeyOrigin;

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
    /// What should have been there.
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

/// Any error of the store.
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
        /// The operation that failed.
        action: &'static str,
        /// The file or directory.
        file: String,
        /// The error of the backing store.
        source: io::Error,
    },
    /// There is no space left; nothing of the commit remains and the store stays readable.
    #[error("no room to {action} {file}: {source}")]
    NoSpace {
        /// The operation that failed.
        action: &'static str,
        /// The file.
        file: String,
        /// The error of the backing store.
        source: io::Error,
    },
    /// Bytes differ from what was written.
    #[error("damaged: {0}")]
    Corrupt(Box<Corruption>),
    /// The store uses something that this version does not support. It is not damaged.
    #[error("{file} has {what} {got}; this version reads {supported}")]
    Unsupported {
        /// The file.
        file: String,
        /// What is not supported.
        what: &'static str,
        /// Its value.
        got: String,
        /// What this version supports.
        supported: String,
    },
    /// There is no store at this place.
    #[error("{path} is not a Tenure store: {why}")]
    NotAStore {
        /// The path or location.
        path: String,
        /// What is missing or in the way.
        why: String,
    },
    /// A store already exists where a new one was to be created.
    #[error("{path} already holds a store")]
    Exists {
        /// The path or location.
        path: String,
    },
    /// A copy cannot be written to this place.
    #[error("cannot copy to {path}: {why}")]
    BadDestination {
        /// The path or location.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Another process, or another handle of this one, has the store open for writing.
    #[error("{path} is open for writing elsewhere")]
    Locked {
        /// The path or location.
        path: String,
    },
    /// Another writer has taken over. This handle acknowledges nothing more.
    #[error("{location} was taken over by another writer: {by}")]
    Fenced {
        /// The place.
        location: String,
        /// What shows it.
        by: String,
    },
    /// The record was deleted.
    #[error("record {id} was deleted")]
    Deleted {
        /// The ID that was asked for.
        id: RecordId,
    },
    /// The ID was never assigned to a record.
    #[error("record {id} does not exist: this ID was never assigned")]
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
    /// The record set handle belongs to another store.
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
        /// What the name was for.
        what: &'static str,
        /// The name.
        name: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// `update_if` found another version.
    #[error("record {id} has version {got}, not {expected}")]
    VersionMismatch {
        /// The record.
        id: RecordId,
        /// The expected version.
        expected: Seq,
        /// The current version.
        got: Seq,
    },
    /// Another transaction committed first; this transaction was aborted and can be retried.
    #[error("{0}")]
    Conflict(Box<Conflict>),
    /// [`Store::write`](crate::Store::write) gave up: each attempt conflicted with a transaction that committed first.
    #[error("gave up after {attempts} attempts; the last one: {last}")]
    TooManyConflicts {
        /// How often the closure ran.
        attempts: u32,
        /// The conflict of the last attempt.
        last: Box<Conflict>,
    },
    /// A unique index already has the key, in the state that the transaction sees or through a concurrent commit.
    #[error("unique index {index:?} of set {set:?} already has key {key}: record {id}")]
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
    /// The call requires a unique index, and this one is not.
    #[error("index {index:?} is not unique")]
    NotUnique {
        /// The index.
        index: String,
    },
    /// A staged value cannot become the value of a record.
    #[error("the staged value cannot be stored: {why}")]
    StagedValue {
        /// The reason.
        why: &'static str,
    },
    /// A write to a set without the extractor of one of the set's indexes.
    #[error("set {set:?} has index {index:?}, whose extractor {extractor:?} version {version} is not registered")]
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
    /// The keys of a record cannot be determined, so it cannot be indexed: nothing was written, and no index was
    /// created.
    #[error("index {index:?} of set {set:?}: the keys of {} cannot be determined: {why}", shown_record(*record))]
    KeysUnknown {
        /// The set.
        set: String,
        /// The index.
        index: String,
        /// The record; `None` for one that was being inserted.
        record: Option<RecordId>,
        /// The extractor's message.
        why: String,
    },
    /// An index has keys of another type.
    #[error("index {index:?} has keys of type {got}, not {expected}")]
    WrongKeyType {
        /// The index.
        index: String,
        /// The type that the caller uses.
        expected: String,
        /// The type of the index.
        got: String,
    },
    /// A node of a key index is damaged, or was when the index was last used. The records are not affected.
    #[error("index {index:?} of set {set:?} is damaged: {damage}")]
    DamagedIndex {
        /// The set.
        set: String,
        /// The index.
        index: String,
        /// What is damaged, and where.
        damage: Box<Corruption>,
    },
    /// The index does not exist, is not complete yet, or was being changed when this handle stopped.
    #[error("index {index:?} {why}")]
    NoSuchIndex {
        /// The index.
        index: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The range of an index and the view are from different commits.
    #[error("the range of index {index:?} is from commit {expected}, but the view is from commit {got}")]
    OtherView {
        /// The index.
        index: String,
        /// The commit of the range.
        expected: Seq,
        /// The commit of the view.
        got: Seq,
    },
    /// A client's token does not belong to this index.
    #[error("not a token of this index: {why}")]
    BadToken {
        /// What is wrong with it.
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
    /// A key exceeds the maximum length.
    #[error("{}a key of {bytes} bytes is over the limit of {limit} bytes", shown_origin(of.as_deref()))]
    KeyTooLong {
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
        /// Its origin, if it is the key of a record in an index.
        of: Option<Box<KeyOrigin>>,
    },
    /// A key nests tuples too deeply.
    #[error("a key nests tuples more than {limit} deep")]
    KeyTooDeep {
        /// The limit.
        limit: u64,
    },
    /// Bytes are not the encoding of a key.
    #[error("not a key: at byte {offset} expected {expected}, got {got}")]
    BadKey {
        /// Bytes from the beginning of the key.
        offset: u64,
        /// What should have been there.
        expected: String,
        /// What was there.
        got: String,
    },
    /// Text does not describe a key, or a part of one.
    #[error("{text:?} is not {} {what}: {why}", article(what))]
    BadKeyText {
        /// The text, cut after 64 characters.
        text: String,
        /// What it should have been.
        what: &'static str,
        /// The rule that it breaks.
        why: String,
    },
    /// A value cannot be encoded as a record, or a record does not decode as the value's type.
    #[error("not a {what}: {why}")]
    BadValue {
        /// The type of the value.
        what: &'static str,
        /// The message of its encoding.
        why: String,
    },
    /// A past state cannot be reached: what it needs was reclaimed, or never existed.
    #[error("cannot reach {point}: {why}")]
    PointGone {
        /// The state that was asked for.
        point: String,
        /// What is missing.
        why: String,
    },
    /// The log no longer has the changes after this commit: what it had was collected.
    #[error("the changes after commit {since} are gone; the log goes on after commit {oldest}")]
    Gone {
        /// The commit after which changes were asked for.
        since: Seq,
        /// The commit after which the log goes on. Farther on changes may be gone again.
        oldest: Seq,
    },
    /// After this commit the store was rolled back: what it contains now does not follow from the changes before.
    #[error("the store was rolled back after commit {since}; its changes go on after commit {resumed}")]
    RolledBack {
        /// The last commit before the rollback.
        since: Seq,
        /// The commit that the rollback counts as.
        resumed: Seq,
    },
    /// There is no consumer of this name.
    #[error("there is no consumer {name:?}")]
    NoSuchConsumer {
        /// Its name.
        name: String,
    },
    /// The consumer was so far behind that the store keeps nothing for it any more.
    #[error(
        "consumer {name:?} was dropped: it had acknowledged commit {since}, and the log kept for it exceeded the limit"
    )]
    ConsumerDropped {
        /// Its name.
        name: String,
        /// What it had acknowledged.
        since: Seq,
    },
    /// An option has an invalid value.
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
    /// An earlier failure stopped this handle.
    #[error("the store stopped after a failure: {reason}")]
    Poisoned {
        /// The failure.
        reason: String,
    },
    /// This handle or a clone of it was closed. Existing views stay valid.
    #[error("the store was closed")]
    Closed,
    /// The store was opened by a process from which this one was forked. Only that process can write; reads work in
    /// both.
    #[error("the store was opened by process {owner}, from which this process was forked")]
    OtherProcess {
        /// The process that opened it.
        owner: u32,
    },
    /// The store was opened read-only.
    #[error("the store is open read-only")]
    ReadOnly,
    /// No more slots, or other numbered things, are left.
    #[error("no {what} is left: the limit is {limit}")]
    Exhausted {
        /// What is used up.
        what: &'static str,
        /// The maximum number.
        limit: u64,
    },
    /// Reading a value from its source failed.
    #[error("cannot read the source of a value: {source}")]
    Source {
        /// The error of the source.
        source: io::Error,
    },
}

impl Error {
    /// An error of the backing store.
    pub(crate) fn io(action: &'static str, file: impl Into<String>, source: io::Error) -> Self {
        // What a backing says about another writer is more than the call in which it was found.
        if let Some(Self::Fenced { location, by }) = source.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Self::Fenced { location: location.clone(), by: by.clone() };
        }
        if let Some(Self::PointGone { point, why }) = source.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Self::PointGone { point: point.clone(), why: why.clone() };
        }
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

    /// Adds the name of the set whose unique index has a duplicate key.
    pub(crate) fn of_set(self, set: &str) -> Self {
        match self {
            Self::UniqueViolation { set: unnamed, index, key, id } if unnamed.is_empty() => {
                Self::UniqueViolation { set: set.to_owned(), index, key, id }
            }
            other => other,
        }
    }

    /// Adds the name of the damaged key index.
    pub(crate) fn in_index(self, set: &str, index: &str) -> Self {
        match self {
            Self::Corrupt(damage) => Self::DamagedIndex { set: set.to_owned(), index: index.to_owned(), damage },
            Self::UniqueViolation { set: unnamed, index, key, id } if unnamed.is_empty() => {
                Self::UniqueViolation { set: set.to_owned(), index, key, id }
            }
            other => other,
        }
    }

    /// Adds the set and the index whose keys cannot be determined.
    pub(crate) fn of_index(self, of_set: &str, of_index: &str) -> Self {
        match self {
            Self::KeysUnknown { record, why, .. } => {
                Self::KeysUnknown { set: of_set.to_owned(), index: of_index.to_owned(), record, why }
            }
            Self::KeyTooLong { bytes, limit, of } => {
                let record = of.and_then(|of| of.record);
                let of = KeyOrigin { set: of_set.to_owned(), index: of_index.to_owned(), record };
                Self::KeyTooLong { bytes, limit, of: Some(Box::new(of)) }
            }
            other => other,
        }
    }

    /// Adds the record whose keys cannot be determined.
    pub(crate) fn of_record(self, id: RecordId) -> Self {
        match self {
            Self::KeysUnknown { set, index, why, .. } => Self::KeysUnknown { set, index, record: Some(id), why },
            Self::KeyTooLong { bytes, limit, of } => {
                let of = KeyOrigin { record: Some(id), ..of.map_or_else(KeyOrigin::default, |of| *of) };
                Self::KeyTooLong { bytes, limit, of: Some(Box::new(of)) }
            }
            other => other,
        }
    }

    /// A value that cannot be encoded, or a record that does not decode as `T`: for implementations of
    /// [`Value`](crate::typed::Value).
    pub fn bad_value<T>(why: impl fmt::Display) -> Self {
        Self::BadValue { what: std::any::type_name::<T>(), why: why.to_string() }
    }

    /// Text that is not a key.
    pub(crate) fn bad_key_text(text: &str, what: &'static str, why: impl Into<String>) -> Self {
        Self::BadKeyText { text: text.chars().take(64).collect(), what, why: why.into() }
    }

    /// Whether the error reports damage to stored bytes.
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Corrupt(_) | Self::DamagedIndex { .. })
    }

    /// Whether the same transaction may succeed if it runs again.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }

    /// Whether the record or set asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Deleted { .. } | Self::NeverAllocated { .. } | Self::NoSuchSet { .. })
    }

    /// Whether the process or the machine has reached its limit of open files: a file was not opened, and nothing was
    /// written.
    pub(crate) fn is_out_of_files(&self) -> bool {
        match self {
            Self::Io { action: "append to" | "write to" | "sync", .. } => false,
            Self::Io { source, .. } => is_out_of_descriptors(source),
            _ => false,
        }
    }

    /// What to do about the error, in one sentence.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Io { .. } if self.is_out_of_files() => {
                "close other files, or raise the limit on open files (`ulimit -n`), and try again; this handle stays usable"
            }
            Self::Io { action: "create", source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                "move away what has this name, which is not a file of the store, then open the store again"
            }
            Self::Io { .. } => "check the path, its permissions and the device, then open the store again",
            Self::NoSpace { .. } => {
                "free space on the device; nothing of the commit remains and the store stays readable"
            }
            Self::Corrupt(_) => {
                "copy the files, run `tenure verify`, and restore what it lists from a backup; `tenure repair` rebuilds index pages, or replaces the store with a new one of everything intact and keeps the damaged one"
            }
            Self::Unsupported { .. } => {
                "open the store with a version of Tenure that supports this format; to move it to this version, dump it there (tenure dump) and load the dump here (tenure load)"
            }
            Self::NotAStore { .. } => "check the path, or create a store there",
            Self::Exists { .. } => "open it, or choose another path",
            Self::BadDestination { .. } => "name a directory outside the store",
            Self::Locked { .. } => "close the other writer, or open the store read-only",
            Self::Fenced { .. } => {
                "commits that were not uploaded are only in this local directory: move it away if you miss them; then open the \
                 bucket with an empty one"
            }
            Self::Deleted { .. } | Self::NeverAllocated { .. } => {
                "check the ID; IDs of deleted records are never reused"
            }
            Self::OtherView { .. } => "fetch the records of a range from the view that the range was created from",
            Self::BadToken { .. } => {
                "start at the first page; pass a token back unchanged, to the index that issued it"
            }
            Self::NoSuchSavepoint => "roll back to a savepoint of this transaction that still exists",
            Self::UniqueViolation { .. } => "use another key, or change the record that has it",
            Self::NoExtractor { .. } => {
                "open the index with its extractor before writing to the set, or drop the index"
            }
            Self::KeysUnknown { .. } => {
                "write the record as its indexes expect it, or drop the index that cannot read it; a typed index skips such records if its definition says `skip_unreadable`"
            }
            Self::WrongKeyType { .. } => {
                "open the index with its own key type, or raise the version of its definition to rebuild it"
            }
            Self::DamagedIndex { .. } => "rebuild the index: `tenure index rebuild`, or `Store::rebuild_index`",
            Self::NoSuchIndex { .. } => "create the index, or wait until it is built",
            Self::OtherStore { .. } => "use a set handle of the same store",
            Self::WrongSet { .. } => "name the set that holds the record",
            Self::NoSuchSet { .. } => "list the sets with `tenure sets`, or create it",
            Self::BadName { .. } => "choose another name",
            Self::VersionMismatch { .. } => "read the record again and decide again",
            Self::Conflict(_) => "run the transaction again; `Store::write` does so automatically",
            Self::TooManyConflicts { .. } => {
                "read less in the transaction, make it shorter, choose `Isolation::Snapshot` where that is enough, or let a single thread make the contended changes"
            }
            Self::NotUnique { .. } => "name a unique index, or make this one unique",
            Self::StagedValue { .. } => {
                "stage the value again; each staged value becomes one record of the store that it was staged in"
            }
            Self::TooLarge { .. } => "split it, or raise the limit if there is an option for it",
            Self::KeyTooLong { .. } => "take a part of the value as the key, or a hash of it",
            Self::KeyTooDeep { .. } => "flatten the inner tuples",
            Self::BadKey { .. } => "check where the bytes come from; docs/keys.md describes the encoding",
            Self::BadKeyText { .. } => "see docs/keys.md for how keys are written",
            Self::BadValue { .. } => {
                "check that the record was written as this type, by a version that writes the same form"
            }
            Self::PointGone { .. } => "choose a snapshot or mark that is still kept, or look at the newest state again",
            Self::BadOption { .. } => "see the option's documentation for its range",
            Self::Indeterminate { .. } => "open the store again and check whether the commit is there",
            Self::Poisoned { .. } => {
                "close this handle and open the store again: recovery determines which commits are there"
            }
            Self::Closed => "open the store again",
            Self::OtherProcess { .. } => {
                "write in the process that opened the store, or open it in this process once that one has closed it"
            }
            Self::ReadOnly => "open the store for writing",
            Self::Exhausted { what, .. } => advice_when_exhausted(what),
            _ => self.advice_on_changes(),
        }
    }

    /// The same for errors of the change feed, and of what is read from a stream.
    fn advice_on_changes(&self) -> &'static str {
        match self {
            Self::Gone { .. } | Self::RolledBack { .. } => {
                "copy what you need from a view, then read the changes since the commit of that view"
            }
            Self::NoSuchConsumer { .. } => {
                "add it with `Store::add_consumer`, or on the command line with `tenure consumer add`"
            }
            Self::ConsumerDropped { .. } => {
                "remove the consumer, copy what it needs from a view, and add it again since the commit of that view"
            }
            _ => "fix the source and try again; nothing of the value remains",
        }
    }
}

/// How to get away from a limit; docs/limits.md has details.
fn advice_when_exhausted(what: &str) -> &'static str {
    match what {
        "slot" => "delete records, whose slots are then reused, or put new records into another store",
        "room for named snapshots in the manifest" => "drop named snapshots",
        "room for reservations in the manifest" | "room in the manifest" => {
            "drop the oldest named snapshots: they retain the reservations made since"
        }
        "room for a snapshot in the manifest" => {
            "run `tenure compact`, so that a snapshot lists fewer segments, and finish large values that are being written"
        }
        "room in the catalogue" => {
            "drop key indexes, reuse names of marks, finish large values that are being written, or divide the sets \
             among several stores"
        }
        "place for a segment" => "run `tenure compact`: it copies live records into fewer segments",
        _ => "everything can still be read: export the records and import them into a new store",
    }
}

/// Whether an error of the backing store means that no more files can be opened.
pub(crate) fn is_out_of_descriptors(source: &io::Error) -> bool {
    matches!(Errno::from_io_error(source), Some(Errno::MFILE | Errno::NFILE))
}

/// Whether an error of the backing store means that there is no space left.
pub(crate) fn is_no_space(source: &io::Error) -> bool {
    matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
