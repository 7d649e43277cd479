//! Tenure is an embedded record store: each record is a byte string with an ID that it keeps for life.
//!
//! Records are appended to a log. A compact radix tree, the record index, maps each ID to the location of its newest
//! version; its dirty pages are written only when a snapshot is saved. After a crash the log is replayed from the last
//! snapshot.
//!
//! ```
//! use tenure::{Lookup, Store};
//!
//! let dir = tempfile::tempdir().unwrap();
//! let store = Store::open(dir.path().join("things.tenure"))?;
//! let people = store.record_set("people")?;
//!
//! // An ID is assigned once. Store it anywhere, including inside other records.
//! let ada = store.write(|tx| tx.insert(&people, "Ada Lovelace"))?;
//! store.write(|tx| tx.update(ada, "Ada King"))?;
//! assert_eq!(store.get(ada)?.as_slice(), Some(&b"Ada King"[..]));
//!
//! // A view is one consistent state for as long as you hold it.
//! let before = store.view();
//! store.write(|tx| tx.delete(ada))?;
//! assert_eq!(before.len(&people), 1);
//!
//! // A deleted ID never refers to another record.
//! assert!(matches!(store.lookup(ada)?, Lookup::Deleted));
//! # Ok::<(), tenure::Error>(())
//! ```
//!
//! # With your own types
//!
//! A [`typed::Value`] defines how a type is encoded; with the feature `json`, [`typed::Json`] stores any serde type.
//! Set and index definitions are constants, and an [`Id<T>`](typed::Id) is a reference that can be a field of another
//! record.
//!
//! ```
//! use tenure::Store;
//! use tenure::typed::{IndexDefinition, SetDefinition};
//!
//! const NOTES: SetDefinition<String> = SetDefinition::new("notes");
//! const BY_FIRST_WORD: IndexDefinition<String, &str> =
//!     IndexDefinition::new("first word", 1, |note, put| note.split(' ').take(1).for_each(put));
//!
//! let store = Store::in_memory()?;
//! let notes = store.typed_set(NOTES)?;
//! let by_first_word = store.typed_index(&notes, BY_FIRST_WORD)?;
//! let id = store.write(|tx| notes.insert(tx, &"buy milk".to_owned()))?;
//! assert_eq!(by_first_word.fetch(&store.view(), "buy")?, Some((id, "buy milk".to_owned())));
//! # Ok::<(), tenure::Error>(())
//! ```
//!
//! # Where to look
//!
//! | you want to | look at |
//! |---|---|
//! | open a store and tune it | [`Store`], [`Options`] |
//! | read one consistent state | [`View`], [`Record`], [`Scan`] |
//! | write | [`Store::write`], [`Transaction`], [`TransactionOptions`] |
//! | use your own types | [`typed`], [`typed::TypedSet`], [`typed::IndexDefinition`], [`typed::TypedIndex`] |
//! | change a type whose records exist | [`typed::Migrate`], [`Store::migrate_set`] |
//! | find records by key, without types | [`extract`] and [`Store::index`], [`Index`], [`key`] |
//! | read a result page by page | [`ResumeToken`], [`typed::TypedRange`] |
//! | store values larger than 64 KiB | [`Store::stage`], [`RecordReader`] |
//! | save a state and roll back to it | [`Store::save_named_snapshot`], [`Store::mark`], [`Store::roll_back_to`], [`Point`] |
//! | learn what has changed, commit by commit | [`Store::changes`], [`Consumer`] |
//! | read beside a writing process | [`Store::follow`], or [`Options::read_only`] and [`Store::refresh`] |
//! | move to another version or machine | [`dump`], [`Store::dump`] |
//! | back up, verify, repair, salvage | [`backup`], [`repository`], [`verify`], [`repair`], [`salvage`] |
//! | see what the store contains and how much space it uses | [`Stats`], [`inspect`] |
//! | store it somewhere other than in files | [`backing`] |
//!
//! # Features
//!
//! All features are off by default.
//!
//! | feature | what it adds |
//! |---|---|
//! | `serde` | [`RecordId`], [`typed::Id`] and [`key::Timestamp`] implement serde's `Serialize` and `Deserialize` |
//! | `json` | values stored as JSON, and key extractors described by a line of text |
//! | `cli` | the command `tenure` |
//! | `remote` | a bucket of an object store that is always a valid store |
//!
//! Cargo unifies features: every user of a crate in a program gets the features that any of them turns on. `json` turns
//! on `float_roundtrip` of `serde_json`, because a stored float must read back as the same float; float parsing in the
//! whole program becomes exact, and somewhat slower. `json` turns on nothing else in `serde_json`; in particular, maps
//! keep the order they have without it. The feature `cli`, which a library user does not need, also turns on
//! `preserve_order` and `raw_value`.
//!
//! `docs/guide` explains each task with examples, and what each error means. `docs/ARCHITECTURE.md` describes the layers and a record's path through them, `docs/recovery.md` the state after a
//! crash, and `docs/limits.md` the limits.

pub mod backing;
pub mod backup;
mod catalogue;
mod changes;
mod commit_lock;
pub mod dump;
mod engine;
mod error;
pub mod extract;
#[doc(hidden)]
pub mod format;
mod gc;
mod heap;
mod history;
mod id;
mod import;
mod indexing;
pub mod inspect;
pub mod key;
mod key_bytes;
mod key_index;
mod log;
mod manifest;
mod options;
mod pages;
mod pins;
#[cfg(feature = "planted")]
#[doc(hidden)]
pub mod planted;
#[cfg(not(feature = "planted"))]
mod planted;
mod record_index;
mod recovery;
#[cfg(feature = "remote")]
pub mod remote;
pub mod repair;
pub mod repository;
mod reserve;
pub mod salvage;
mod shared;
mod snapshot;
mod stats;
mod store;
mod sync;
mod txn;
pub mod typed;
pub mod verify;

pub use backup::{BackupOptions, BackupProgress, BackupReport};
pub use changes::{Change, ChangeKind, ChangeValue, Changes, Commit, CommitChanges, Consumer};
pub use error::{Conflict, Contended, Corruption, Error, KeyOrigin, Result};
pub use gc::Collected;
pub use id::{IndexNumber, ParseIdError, RecordId, SegmentSeq, Seq, SetNumber};
pub use options::Options;
pub use recovery::{CutReport, LogEnd, Point, RecoveryReport};
pub use stats::{
    ConsumerStats, FileKind, FileNeed, FileRole, IndexInfo, Mark, RemoteStats, SegmentStats, SetStats, SnapshotInfo,
    SnapshotKind, Stats, StoreFile, ViewStats,
};
pub use store::{Follower, FollowerStats, Store};
#[cfg(feature = "planted")]
#[doc(hidden)]
pub use txn::Part;
pub use txn::{
    DistinctKeys, Durability, Index, IndexEntry, IndexRange, Isolation, Lookup, Record, RecordReader, RecordSet,
    ResumeToken, Savepoint, Scan, StagedValue, Transaction, TransactionOptions, TransactionRange, TransactionRecords,
    TransactionScan, Upserted, View,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

#[cfg(doctest)]
#[doc = include_str!("../docs/backing.md")]
struct BackingDoctests;

#[cfg(doctest)]
#[doc = include_str!("../docs/changes.md")]
struct ChangesDoctests;

#[cfg(all(doctest, feature = "remote"))]
#[doc = include_str!("../docs/remote.md")]
struct RemoteDoctests;

#[cfg(doctest)]
#[doc = include_str!("../docs/following.md")]
struct FollowingDoctests;

#[cfg(doctest)]
#[doc = include_str!("../docs/repository.md")]
struct RepositoryDoctests;

#[cfg(doctest)]
#[doc = include_str!("../docs/indexes.md")]
struct IndexesDoctests;

#[cfg(all(doctest, feature = "json"))]
mod guide_doctests {
    #[doc = include_str!("../docs/guide/first-store.md")]
    struct FirstStore;
    #[doc = include_str!("../docs/guide/graph.md")]
    struct Graph;
    #[doc = include_str!("../docs/guide/indexes.md")]
    struct Indexes;
    #[doc = include_str!("../docs/guide/transactions.md")]
    struct Transactions;
    #[doc = include_str!("../docs/guide/threads.md")]
    struct Threads;
    #[doc = include_str!("../docs/guide/backup.md")]
    struct Backup;
    #[doc = include_str!("../docs/guide/tuning.md")]
    struct Tuning;
    #[doc = include_str!("../docs/guide/schema-change.md")]
    struct SchemaChange;
    #[doc = include_str!("../docs/guide/trouble.md")]
    struct Trouble;
    #[doc = include_str!("../docs/guide/errors.md")]
    struct Errors;
}
