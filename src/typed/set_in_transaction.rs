//! Typed sets and indexes in a transaction: scans and counts that include its own writes, and calls that read and write
//! at once.
//!
//! Owns: the types of arguments and results. Never: does more than the calls of [`Transaction`], which are validated as
//! without types.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use crate::error::Result;
use crate::txn::{Index, Transaction, TransactionRecords, TransactionScan, Upserted};
use crate::typed::id::{Id, decoded};
use crate::typed::index::TypedIndex;
use crate::typed::key::IndexKey;
use crate::typed::set::TypedSet;
use crate::typed::value::{Value, encoded};

impl<T: Value> TypedSet<T> {
    /// The records of the set as a transaction sees them, its own writes included, in the order of their IDs.
    ///
    /// The scan does not borrow the transaction, which can write during the walk; the scan does not see those writes.
    ///
    /// ```
    /// use tenure::typed::SetDefinition;
    /// const TASKS: SetDefinition<String> = SetDefinition::new("tasks");
    ///
    /// let store = tenure::Store::in_memory()?;
    /// let tasks = store.typed_set(TASKS)?;
    /// store.write(|tx| tasks.insert_many(tx, &["open: a", "done: b"].map(str::to_owned)))?;
    /// let left = store.write(|tx| {
    ///     for task in &tasks.scan_in(tx)? {
    ///         let (id, text) = task?;
    ///         if text.starts_with("done") {
    ///             tasks.delete(tx, id)?;
    ///         }
    ///     }
    ///     tasks.len_in(tx)
    /// })?;
    /// assert_eq!(left, 1);
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Transaction::scan`].
    pub fn scan_in(&self, tx: &mut Transaction) -> Result<TypedTransactionScan<T>> {
        self.scan_range_in(tx, ..)
    }

    /// [`scan_in`](Self::scan_in) for the records between two IDs. Changes outside the range do not conflict.
    ///
    /// # Errors
    /// As [`Transaction::scan`].
    pub fn scan_range_in(
        &self,
        tx: &mut Transaction,
        range: impl RangeBounds<Id<T>>,
    ) -> Result<TypedTransactionScan<T>> {
        let bounds = (range.start_bound().map(|id| id.record_id()), range.end_bound().map(|id| id.record_id()));
        let scan = tx.scan_range(self.record_set(), bounds)?;
        Ok(TypedTransactionScan { scan, of: PhantomData })
    }

    /// The number of records as a transaction sees them, its own writes included. See [`Transaction::len`].
    ///
    /// # Errors
    /// As [`Transaction::len`].
    pub fn len_in(&self, tx: &mut Transaction) -> Result<u64> {
        tx.len(self.record_set())
    }

    /// Whether the set has no records as a transaction sees it.
    ///
    /// # Errors
    /// As [`Transaction::len`].
    pub fn is_empty_in(&self, tx: &mut Transaction) -> Result<bool> {
        tx.is_empty(self.record_set())
    }

    /// Reads a value, lets a function change it, and stores the result.
    ///
    /// ```
    /// use tenure::typed::SetDefinition;
    /// const NOTES: SetDefinition<String> = SetDefinition::new("notes");
    ///
    /// let store = tenure::Store::in_memory()?;
    /// let notes = store.typed_set(NOTES)?;
    /// let id = store.write(|tx| notes.insert(tx, &"milk".to_owned()))?;
    /// store.write(|tx| notes.update_with(tx, id, |note| note.push_str(", bread")))?;
    /// assert_eq!(store.fetch(id)?, "milk, bread");
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`update`](Self::update), and those of [`Transaction::fetch`].
    pub fn update_with(&self, tx: &mut Transaction, id: Id<T>, change: impl FnOnce(&mut T)) -> Result<()> {
        let mut value = tx.fetch(id)?;
        change(&mut value);
        self.update(tx, id, &value)
    }

    /// Stores a value in the record that has its key in a unique index of this set, or in a new record if there is none.
    ///
    /// ```
    /// use tenure::typed::{IndexDefinition, SetDefinition};
    /// const WORDS: SetDefinition<String> = SetDefinition::new("words");
    /// const BY_INITIAL: IndexDefinition<String, &str> = IndexDefinition::unique("initial", 1, |word, put| put(&word[..1]));
    ///
    /// let store = tenure::Store::in_memory()?;
    /// let words = store.typed_set(WORDS)?;
    /// let by_initial = store.typed_index(&words, BY_INITIAL)?;
    /// let new = store.write(|tx| words.upsert(tx, &by_initial, &"apple".to_owned()))?;
    /// let again = store.write(|tx| words.upsert(tx, &by_initial, &"avocado".to_owned()))?;
    /// assert!(new.is_inserted() && !again.is_inserted() && new.id() == again.id());
    /// assert_eq!(store.fetch(new.id())?, "avocado");
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`insert`](Self::insert), [`update`](Self::update) and [`Transaction::upsert`]; `NoSuchIndex` if the index belongs to
    /// another set.
    pub fn upsert<K: IndexKey>(
        &self,
        tx: &mut Transaction,
        index: &TypedIndex<T, K>,
        value: &T,
    ) -> Result<Upserted<Id<T>>> {
        self.by_key(tx, index, value, Transaction::upsert_known)
    }

    /// The record that has the key of a value in a unique index of this set, or a new record with the value if there is none.
    ///
    /// # Errors
    /// As [`upsert`](Self::upsert).
    pub fn insert_or_get<K: IndexKey>(
        &self,
        tx: &mut Transaction,
        index: &TypedIndex<T, K>,
        value: &T,
    ) -> Result<Upserted<Id<T>>> {
        self.by_key(tx, index, value, Transaction::insert_or_get_known)
    }

    fn by_key<K: IndexKey>(
        &self,
        tx: &mut Transaction,
        index: &TypedIndex<T, K>,
        value: &T,
        write: impl FnOnce(&mut Transaction, &Index, &[u8], Option<&dyn Any>) -> Result<Upserted>,
    ) -> Result<Upserted<Id<T>>> {
        let (bytes, known) = encoded(value)?;
        tx.check_index_of(self.record_set(), index.index())?;
        write(tx, index.index(), &bytes, Some(&known)).map(|upserted| upserted.map(Id::from))
    }
}

impl<T: Value, K: IndexKey> TypedIndex<T, K> {
    /// Deletes every record with a key in a range, and returns their number.
    ///
    /// # Errors
    /// As [`Transaction::delete_range`].
    pub fn delete_range<'k>(&self, tx: &mut Transaction, range: impl RangeBounds<K::Given<'k>>) -> Result<u64> {
        tx.delete_range(self.index(), range)
    }
}

/// The records of a set as a transaction saw them; see [`TypedSet::scan_in`].
///
/// Iterate by reference: `for record in &scan`. A record that does not decode as a `T` is an item with an error; the
/// iteration continues after it.
pub struct TypedTransactionScan<T> {
    scan: TransactionScan,
    of: PhantomData<fn() -> T>,
}

impl<T: Value> TypedTransactionScan<T> {
    /// The records, in the order of their IDs.
    pub fn iter(&self) -> TypedTransactionRecords<'_, T> {
        TypedTransactionRecords { records: self.scan.iter(), of: PhantomData }
    }
}

impl<'s, T: Value> IntoIterator for &'s TypedTransactionScan<T> {
    type Item = Result<(Id<T>, T)>;
    type IntoIter = TypedTransactionRecords<'s, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> fmt::Debug for TypedTransactionScan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedTransactionScan").field(&self.scan).finish()
    }
}

/// Iterates over the records of a [`TypedTransactionScan`].
pub struct TypedTransactionRecords<'s, T> {
    records: TransactionRecords<'s>,
    of: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for TypedTransactionRecords<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedTransactionRecords").field(&self.records).finish()
    }
}

impl<T: Value> Iterator for TypedTransactionRecords<'_, T> {
    type Item = Result<(Id<T>, T)>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.next()?;
        Some(record.and_then(|record| Ok((Id::from(record.id()), decoded(&record)?))))
    }
}
