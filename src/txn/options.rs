//! How a transaction is validated and acknowledged.
//!
//! Owns: the options and their defaults. Never: validates or syncs; the commit does.

/// When a commit is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Once it is durable: it survives a power cut.
    #[default]
    Sync,
    /// Once the operating system has it: it survives a crash of the process, but not of the machine.
    Buffered,
    /// Once it is durable, and the bucket that the store is shipped to has it: it survives the loss of the machine. Only for stores
    /// in a backing that ships, such as `remote::Remote`; others fail with `BadOption`.
    Remote,
}

/// What a transaction is validated against when it commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Everything it read or replaced, including index ranges and scans: as if transactions ran one after another.
    #[default]
    Serializable,
    /// Only what it replaced or deleted: the first to commit wins. Cheaper for transactions that read much; allows
    /// write skew.
    Snapshot,
}

/// How a transaction runs. Converts from a [`Durability`] or an [`Isolation`] alone.
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
    /// The defaults: serializable, acknowledged as [`Options::durability`](crate::Options::durability) says, unique
    /// keys checked in each statement.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the transaction is validated against. Default: `Serializable`.
    #[must_use]
    pub fn isolation(self, isolation: Isolation) -> Self {
        Self { isolation, ..self }
    }

    /// When the commit is acknowledged. Default: as the options of the store say.
    #[must_use]
    pub fn durability(self, durability: Durability) -> Self {
        Self { durability: Some(durability), ..self }
    }

    /// Checks keys of unique indexes when the transaction commits instead of in each statement. Keys can then move
    /// between records in any order, but a violation aborts the whole transaction. Default: `false`.
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
