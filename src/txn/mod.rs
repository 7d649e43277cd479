//! Transactions and views: what a user reads and writes with.
//!
//! Owns: views, records as they are returned, write sets, validation, large values. Never: appends or publishes by
//! itself; the engine's only commit path does.
//! Invariants: 1. A transaction that does not commit leaves nothing but raised reuse counts.
//! 2. A commit is validated against every commit since its first read or write.

mod changes;
mod claimed;
mod commit;
mod compound;
mod entry;
mod fetch;
mod first_read;
mod index;
mod keys_ahead;
mod large;
mod looking_ahead;
mod many;
mod membership;
mod note;
mod options;
mod own_changes;
mod own_counts;
mod own_keys;
mod own_runs;
mod own_scans;
mod own_writes;
mod parts;
mod postponed;
mod ranges;
mod reading;
mod record;
mod replacing;
mod room;
mod savepoints;
mod scanning;
mod scans;
mod set_indexes;
mod staged;
mod token;
mod touched;
mod transaction;
mod transaction_range;
mod undoing;
mod unique;
mod validation;
mod view;
mod watches;

pub(crate) use index::check_key_type;
#[cfg(test)]
pub(crate) use large::CHUNKS_MAX;
#[cfg(test)]
pub(crate) use large::Staged;
#[cfg(test)]
pub(crate) use large::Stager;
pub(crate) use large::{InChunks, TRANSACTION_BYTES_END};
pub(crate) use room::{make_room, pages_of};

pub(crate) use record::from_io;

pub(crate) use commit::make_sure;
pub use compound::Upserted;
pub use entry::IndexEntry;
pub use index::{DistinctKeys, Index, IndexRange};
pub use options::{Durability, Isolation, TransactionOptions};
pub use record::{Lookup, Record, RecordReader};
pub use savepoints::Savepoint;
pub use scanning::{TransactionRecords, TransactionScan};
pub use staged::StagedValue;
pub use token::ResumeToken;
pub use transaction::Transaction;
pub use transaction_range::TransactionRange;
#[cfg(feature = "planted")]
pub use validation::Part;
pub use view::{RecordSet, Scan, View};
