//! How a transaction is validated and acknowledged.
//!
//! Owns: the choices, their defaults. Never: validates or syncs; the commit does.

/// When a commit is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// When it is on the medium: it survives a power cut.
    #[default]
    Sync,
    /// When the operating system has it: it survives the process, not the machine.
    Buffered,
}

/// Against what a transaction is validated when it commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Everything that it read or replaced, ranges of indexes and scans included: as if transactions ran one after the other.
    #[default]
    Serializable,
    /// What it replaced or deleted only: the first to commit wins. Cheaper where much is read; allows write skew.
    Snapshot,
}

/// How a transaction runs. A [`Durability`] or an [`Isolation`] alone can stand for it.
///
/// ```
/// use tenure::{Durability, Isolation, Store, TransactionOptions};
///
/// let store = Store::in_memory()?;
/// let notes = store.record_set("notes")?;
/// let options = TransactionOptions::new().isolation(Isolation::Snapshot).durability(Durability::Buffered);
/// let mut tx = store.begin_with(options)?;
/// let id = tx.insert(&notes, "first")?;
/// tx.commit()?;
///
/// let ((), seq) = store.write_with(Durability::Buffered, |tx| tx.update(id, "second"))?;
/// assert!(store.view().seq() >= seq);
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TransactionOptions {
    pub(crate) isolation: Isolation,
    pub(crate) durability: Option<Durability>,
    pub(crate) defers_unique: bool,
}

impl TransactionOptions {
    /// The defaults: serializable, acknowledged as [`Options::durability`](crate::Options::durability) says, unique keys compared
    /// in each statement.
    pub fn new() -> Self {
        Self::default()
    }

    /// Against what the transaction is validated. Default: `Serializable`.
    #[must_use]
    pub fn isolation(self, isolation: Isolation) -> Self {
        Self { isolation, ..self }
    }

    /// When its commit is acknowledged. Default: what the options of the store say.
    #[must_use]
    pub fn durability(self, durability: Durability) -> Self {
        Self { durability: Some(durability), ..self }
    }

    /// Whether keys of unique indexes are compared when the transaction commits, and not in each statement. Default: `false`. With
    /// it keys can pass from record to record in any order; a violation then ends the whole transaction.
    #[must_use]
    pub fn defer_unique(self, defers_unique: bool) -> Self {
        Self { defers_unique, ..self }
    }
}

impl From<Durability> for TransactionOptions {
    fn from(durability: Durability) -> Self {
        Self::new().durability(durability)
    }
}

impl From<Isolation> for TransactionOptions {
    fn from(isolation: Isolation) -> Self {
        Self::new().isolation(isolation)
    }
}
