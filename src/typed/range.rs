//! Iterating over the results of an index, with typed keys and records.
//!
//! Owns: records by key in either direction, with their keys or values; the position of a walk as a token. Never: reads
//! a record to get its key.

use std::fmt;
use std::marker::PhantomData;

use crate::error::{Error, Result};
use crate::txn::{DistinctKeys, IndexEntry, IndexRange, ResumeToken, View};
use crate::typed::id::{Id, decoded};
use crate::typed::key::{IndexKey, ReadKey};
use crate::typed::value::Value;

/// Iterates over the records that an index finds, from either end. Ends after an error.
///
/// [`entries`](Self::entries) adds the keys, [`values`](Self::values) the values;
/// [`distinct_keys`](Self::distinct_keys) returns each key once.
///
/// # Pages
///
/// [`token`](Self::token) returns the position of the walk as text for a client. [`resume`](Self::resume) continues
/// after it, even in the middle of a key with many records:
///
/// ```
/// use tenure::ResumeToken;
/// use tenure::typed::{IndexDefinition, SetDefinition};
/// const WORDS: SetDefinition<String> = SetDefinition::new("words");
/// const BY_LENGTH: IndexDefinition<String, usize> = IndexDefinition::new("length", 1, |word, put| put(word.len()));
///
/// let store = tenure::Store::in_memory()?;
/// let words = store.typed_set(WORDS)?;
/// let by_length = store.typed_index(&words, BY_LENGTH)?;
/// store.write(|tx| words.insert_many(tx, &["time", "once", "upon", "this"].map(str::to_owned)))?;
///
/// let (mut pages, mut token) = (Vec::new(), None::<String>);
/// loop {
///     let view = store.view();
///     let mut range = by_length.find(&view, 4)?;
///     if let Some(text) = &token {
///         range.resume(&text.parse()?)?;
///     }
///     let page: Vec<_> = range.by_ref().take(3).collect::<Result<_, _>>()?;
///     pages.push(page.len());
///     token = range.token().map(|token| token.to_string());
///     if range.left() == 0 {
///         break;
///     }
/// }
/// assert_eq!(pages, [3, 1]);
/// # Ok::<(), tenure::Error>(())
/// ```
pub struct TypedRange<T, K> {
    range: IndexRange,
    /// The last entries returned, from each end.
    front: Option<IndexEntry>,
    back: Option<IndexEntry>,
    of: PhantomData<fn() -> (T, K)>,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "keys are mostly references or numbers, which are written as they are"
)]
impl<T: Value, K: IndexKey> TypedRange<T, K> {
    pub(super) fn new(range: IndexRange) -> Self {
        Self { range, front: None, back: None, of: PhantomData }
    }

    /// The number of records left, in constant time.
    pub fn left(&self) -> u64 {
        self.range.left()
    }

    /// Moves forward to a key, or to the first one after it, like [`IndexRange::seek`].
    ///
    /// # Errors
    /// As [`IndexRange::seek`].
    pub fn seek(&mut self, key: K::Given<'_>) -> Result<()> {
        self.range.seek(&key)
    }

    /// The same from the back.
    ///
    /// # Errors
    /// As [`IndexRange::seek`].
    pub fn seek_back(&mut self, key: K::Given<'_>) -> Result<()> {
        self.range.seek_back(&key)
    }

    /// Moves forward to just after the entry of a token, like [`IndexRange::resume`].
    ///
    /// # Errors
    /// As [`IndexRange::resume`].
    pub fn resume(&mut self, token: &ResumeToken) -> Result<()> {
        self.range.resume(token)
    }

    /// The same from the back.
    ///
    /// # Errors
    /// As [`IndexRange::resume`].
    pub fn resume_back(&mut self, token: &ResumeToken) -> Result<()> {
        self.range.resume_back(token)
    }

    /// The position of the walk from the front: after the record it returned last. `None` before the first one.
    pub fn token(&self) -> Option<ResumeToken> {
        self.front.as_ref().map(|entry| self.range.token(entry))
    }

    /// The position of the walk from the back.
    pub fn token_back(&self) -> Option<ResumeToken> {
        self.back.as_ref().map(|entry| self.range.token(entry))
    }

    /// The records with their keys.
    pub fn entries(self) -> TypedEntries<T, K>
    where
        K: ReadKey,
    {
        TypedEntries { range: self }
    }

    /// Each key once, with one record: from the front the one with the lowest ID, from the back the highest.
    ///
    /// ```
    /// use tenure::typed::{IndexDefinition, SetDefinition};
    /// const WORDS: SetDefinition<String> = SetDefinition::new("words");
    /// const BY_LENGTH: IndexDefinition<String, usize> = IndexDefinition::new("length", 1, |word, put| put(word.len()));
    ///
    /// let store = tenure::Store::in_memory()?;
    /// let words = store.typed_set(WORDS)?;
    /// let by_length = store.typed_index(&words, BY_LENGTH)?;
    /// store.write(|tx| words.insert_many(tx, &["a", "once", "upon"].map(str::to_owned)))?;
    /// let lengths = by_length.all(&store.view())?.distinct_keys().map(|found| Ok(found?.0));
    /// assert_eq!(lengths.collect::<tenure::Result<Vec<_>>>()?, [1, 4]);
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn distinct_keys(self) -> TypedDistinct<T, K>
    where
        K: ReadKey,
    {
        TypedDistinct { keys: self.range.distinct_keys(), of: PhantomData }
    }

    /// The records with their values. `view` is the one that the range was created from, or another one of the same commit.
    ///
    /// # Errors
    /// Those of [`IndexRange::records`], and `BadValue` for a record that does not decode as a `T`.
    pub fn values(self, view: &View) -> impl DoubleEndedIterator<Item = Result<(Id<T>, T)>> {
        self.range.records(view).map(|record| record.and_then(|record| Ok((Id::from(record.id()), decoded(&record)?))))
    }
}

impl<T, K> fmt::Debug for TypedRange<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedRange").field(&self.range).finish()
    }
}

impl<T, K> TypedRange<T, K> {
    fn next_entry(&mut self) -> Option<Result<&IndexEntry>> {
        let entry = self.range.next()?;
        Some(entry.map(|entry| &*self.front.insert(entry)))
    }

    fn next_entry_back(&mut self) -> Option<Result<&IndexEntry>> {
        let entry = self.range.next_back()?;
        Some(entry.map(|entry| &*self.back.insert(entry)))
    }
}

impl<T, K> Iterator for TypedRange<T, K> {
    type Item = Result<Id<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().map(|entry| entry.map(|entry| Id::from(entry.id)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }

    fn count(self) -> usize {
        self.range.count()
    }

    fn last(mut self) -> Option<Self::Item> {
        self.next_back()
    }
}

impl<T, K> DoubleEndedIterator for TypedRange<T, K> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.next_entry_back().map(|entry| entry.map(|entry| Id::from(entry.id)))
    }
}

/// An entry with its key read back.
pub(super) fn typed<T, K: ReadKey>(IndexEntry { key, id }: &IndexEntry) -> Result<(K::Read, Id<T>)> {
    let refused = || Error::bad_value::<K>(format!("the index has the key {key}, which is of another type"));
    Ok((K::read_all(key.values()?).ok_or_else(refused)?, Id::from(*id)))
}

/// Iterates over the records that an index finds, with their keys, from either end. Ends after an error.
pub struct TypedEntries<T, K> {
    range: TypedRange<T, K>,
}

impl<T: Value, K: IndexKey> TypedEntries<T, K> {
    /// The number of entries left, in constant time.
    pub fn left(&self) -> u64 {
        self.range.left()
    }

    /// The position of the walk from the front. See [`TypedRange::token`].
    pub fn token(&self) -> Option<ResumeToken> {
        self.range.token()
    }

    /// The position of the walk from the back.
    pub fn token_back(&self) -> Option<ResumeToken> {
        self.range.token_back()
    }
}

impl<T, K> fmt::Debug for TypedEntries<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedEntries").field(&self.range).finish()
    }
}

impl<T, K: ReadKey> Iterator for TypedEntries<T, K> {
    type Item = Result<(K::Read, Id<T>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.range.next_entry().map(|entry| entry.and_then(typed::<T, K>))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl<T, K: ReadKey> DoubleEndedIterator for TypedEntries<T, K> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.range.next_entry_back().map(|entry| entry.and_then(typed::<T, K>))
    }
}

/// Iterates over the keys of an index, each once, from either end. Ends after an error.
pub struct TypedDistinct<T, K> {
    keys: DistinctKeys,
    of: PhantomData<fn() -> (T, K)>,
}

impl<T, K> fmt::Debug for TypedDistinct<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedDistinct").field(&self.keys).finish()
    }
}

impl<T, K: ReadKey> Iterator for TypedDistinct<T, K> {
    type Item = Result<(K::Read, Id<T>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.keys.next().map(|entry| entry.and_then(|entry| typed::<T, K>(&entry)))
    }
}

impl<T, K: ReadKey> DoubleEndedIterator for TypedDistinct<T, K> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.keys.next_back().map(|entry| entry.and_then(|entry| typed::<T, K>(&entry)))
    }
}
