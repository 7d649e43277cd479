//! Typed indexes as a transaction sees them, its own writes included.
//!
//! Owns: the same lookups as for a view. Never: does more than the untyped transaction ranges: everything looked up
//! counts as read, and is validated when the transaction commits.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use crate::error::Result;
use crate::txn::{Transaction, TransactionRange};
use crate::typed::id::Id;
use crate::typed::index::TypedIndex;
use crate::typed::key::{IndexKey, ReadKey};
use crate::typed::range::typed;
use crate::typed::value::Value;

#[expect(
    clippy::needless_pass_by_value,
    reason = "keys are mostly references or numbers, which are written as they are"
)]
impl<T: Value, K: IndexKey> TypedIndex<T, K> {
    /// The record with a key as a transaction sees it; if several have it, the one with the lowest ID.
    pub fn get_in(&self, tx: &mut Transaction, key: K::Given<'_>) -> Result<Option<Id<T>>> {
        Ok(tx.find(self.index(), &key)?.map(Id::from))
    }

    /// The record with a key, and its value.
    pub fn fetch_in(&self, tx: &mut Transaction, key: K::Given<'_>) -> Result<Option<(Id<T>, T)>> {
        match self.get_in(tx, key)? {
            Some(id) => tx.fetch(id).map(|value| Some((id, value))),
            None => Ok(None),
        }
    }

    /// The records with a key, by ascending ID.
    pub fn find_in(&self, tx: &mut Transaction, key: K::Given<'_>) -> Result<TypedTransactionRange<T, K>> {
        tx.range::<K::Given<'_>>(self.index(), &key..=&key).map(TypedTransactionRange::new)
    }

    /// The records between two keys, by ascending key.
    pub fn range_in<'k>(
        &self,
        tx: &mut Transaction,
        range: impl RangeBounds<K::Given<'k>>,
    ) -> Result<TypedTransactionRange<T, K>> {
        tx.range(self.index(), range).map(TypedTransactionRange::new)
    }

    /// All records with a key, by ascending key; a record with several keys appears once for each.
    pub fn all_in(&self, tx: &mut Transaction) -> Result<TypedTransactionRange<T, K>> {
        self.range_in(tx, ..)
    }

    /// The number of entries between two keys. Walks over them, since own writes are among them.
    pub fn count_in<'k>(&self, tx: &mut Transaction, range: impl RangeBounds<K::Given<'k>>) -> Result<u64> {
        let mut count = 0;
        for entry in tx.range(self.index(), range)? {
            entry?;
            count += 1;
        }
        Ok(count)
    }

    /// The record with the lowest key.
    pub fn first_in(&self, tx: &mut Transaction) -> Result<Option<Id<T>>> {
        self.all_in(tx)?.next().transpose()
    }

    /// The record with the highest key.
    pub fn last_in(&self, tx: &mut Transaction) -> Result<Option<Id<T>>> {
        self.all_in(tx)?.next_back().transpose()
    }
}

/// Iterates over the records that an index finds as a transaction sees them, from either end. Ends after an error.
pub struct TypedTransactionRange<T, K> {
    range: TransactionRange,
    of: PhantomData<fn() -> (T, K)>,
}

impl<T, K: IndexKey> TypedTransactionRange<T, K> {
    pub(super) fn new(range: TransactionRange) -> Self {
        Self { range, of: PhantomData }
    }

    /// Moves forward to a key, or to the first one after it, like [`TransactionRange::seek`].
    ///
    /// # Errors
    /// As [`TransactionRange::seek`].
    #[expect(clippy::needless_pass_by_value, reason = "as everywhere here")]
    pub fn seek(&mut self, key: K::Given<'_>) -> Result<()> {
        self.range.seek(&key)
    }

    /// The records with their keys.
    pub fn entries(self) -> TypedTransactionEntries<T, K>
    where
        K: ReadKey,
    {
        TypedTransactionEntries { range: self.range, of: PhantomData }
    }
}

impl<T, K> fmt::Debug for TypedTransactionRange<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedTransactionRange").field(&self.range).finish()
    }
}

impl<T, K> Iterator for TypedTransactionRange<T, K> {
    type Item = Result<Id<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.range.next().map(|entry| entry.map(|entry| Id::from(entry.id)))
    }
}

impl<T, K> DoubleEndedIterator for TypedTransactionRange<T, K> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.range.next_back().map(|entry| entry.map(|entry| Id::from(entry.id)))
    }
}

/// Iterates over the records that an index finds as a transaction sees them, with their keys. Ends after an error.
pub struct TypedTransactionEntries<T, K> {
    range: TransactionRange,
    of: PhantomData<fn() -> (T, K)>,
}

impl<T, K> fmt::Debug for TypedTransactionEntries<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedTransactionEntries").field(&self.range).finish()
    }
}

impl<T, K: ReadKey> Iterator for TypedTransactionEntries<T, K> {
    type Item = Result<(K::Read, Id<T>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.range.next().map(|entry| entry.and_then(|entry| typed::<T, K>(&entry)))
    }
}

impl<T, K: ReadKey> DoubleEndedIterator for TypedTransactionEntries<T, K> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.range.next_back().map(|entry| entry.and_then(|entry| typed::<T, K>(&entry)))
    }
}
