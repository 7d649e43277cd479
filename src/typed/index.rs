//! Key indexes with the types of their keys and records.
//!
//! Owns: definitions of indexes, extractors made of them, lookups in terms of the types. Never: more than the index below.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;
use std::time::SystemTime;

use crate::error::Result;
use crate::extract::Extractor;
use crate::extract::Keys;
use crate::id::RecordId;
use crate::key::Desc;
use crate::key::Timestamp;
use crate::key::ToKey;
use crate::store::Store;
use crate::txn::Index;
use crate::txn::IndexRange;
use crate::txn::Transaction;
use crate::txn::View;
use crate::typed::id::Id;
use crate::typed::set::TypedSet;
use crate::typed::value::Value;

/// A type that a definition names as the type of its keys.
///
/// Borrowed keys are written with `&str` and `&[u8]` in the definition; what is given and asked for then may live as short as it
/// likes. A type of your own that is [`ToKey`] needs two lines: `type Given<'a> = Self`, and the type that its keys are written
/// as, which is that of the value that it writes: `fn key_type() -> String { <&str>::key_type() }`.
pub trait IndexKey: 'static {
    /// The key as it is given by a record, or asked for.
    type Given<'a>: ToKey;

    /// What a key is written as: `integer` for integers of any width, `(integer, string)` for a pair. It is a part of the index's
    /// definition, so it must not change while its keys do not.
    fn key_type() -> String;
}

macro_rules! given_as_they_are {
    ($name:literal: $($key:ty),*) => {$(
        impl IndexKey for $key {
            type Given<'a> = Self;

            fn key_type() -> String {
                $name.to_owned()
            }
        }
    )*};
}

given_as_they_are!("bool": bool);
given_as_they_are!("integer": i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize);
given_as_they_are!("float": f32, f64);
given_as_they_are!("string": String);
given_as_they_are!("bytes": Vec<u8>);
given_as_they_are!("timestamp": SystemTime, Timestamp);
given_as_they_are!("ID": RecordId);

impl<T: 'static> IndexKey for Id<T> {
    type Given<'a> = Self;

    fn key_type() -> String {
        RecordId::key_type()
    }
}

impl IndexKey for &'static str {
    type Given<'a> = &'a str;

    fn key_type() -> String {
        String::key_type()
    }
}

impl IndexKey for &'static [u8] {
    type Given<'a> = &'a [u8];

    fn key_type() -> String {
        Vec::<u8>::key_type()
    }
}

impl IndexKey for Cow<'static, str> {
    type Given<'a> = Cow<'a, str>;

    fn key_type() -> String {
        String::key_type()
    }
}

impl<K: IndexKey> IndexKey for Option<K> {
    type Given<'a> = Option<K::Given<'a>>;

    fn key_type() -> String {
        format!("optional {}", K::key_type())
    }
}

impl<K: IndexKey> IndexKey for Desc<K> {
    type Given<'a> = Desc<K::Given<'a>>;

    fn key_type() -> String {
        format!("descending {}", K::key_type())
    }
}

impl<const LEN: usize> IndexKey for [u8; LEN] {
    type Given<'a> = Self;

    fn key_type() -> String {
        Vec::<u8>::key_type()
    }
}

macro_rules! tuples {
    ($($($name:ident),*;)*) => {$(
        impl<$($name: IndexKey),*> IndexKey for ($($name,)*) {
            type Given<'a> = ($($name::Given<'a>,)*);

            fn key_type() -> String {
                format!("({})", [$($name::key_type()),*].join(", "))
            }
        }
    )*};
}

tuples! {
    A;
    A, B;
    A, B, C;
    A, B, C, D;
    A, B, C, D, E;
    A, B, C, D, E, F;
    A, B, C, D, E, F, G;
    A, B, C, D, E, F, G, H;
}

/// What gives the keys of a value: it calls its second argument once for each of them, or not at all.
pub type KeysOf<T, K> = for<'a> fn(&'a T, &mut dyn FnMut(<K as IndexKey>::Given<'a>));

/// The name of an index, the types of its records and keys, and how a record gives its keys. Made to be a constant.
///
/// When what `keys` gives for a value changes, raise the version: the index is made anew when it is opened. A record that is no `T` is an
/// error, in writing and in making the index, unless the definition says [`skip_unreadable`](Self::skip_unreadable).
///
/// ```
/// use tenure::typed::IndexDefinition;
///
/// // The first letters of words, and their lengths.
/// const BY_LENGTH: IndexDefinition<String, (u64, &str)> =
///     IndexDefinition::new("length", 1, |word, put| put((word.len() as u64, word)));
/// assert_eq!(BY_LENGTH.name(), "length");
/// ```
pub struct IndexDefinition<T, K: IndexKey> {
    name: &'static str,
    version: u32,
    is_unique: bool,
    skips: bool,
    keys: KeysOf<T, K>,
}

impl<T, K: IndexKey> IndexDefinition<T, K> {
    /// An index in which a key can have many records.
    pub const fn new(name: &'static str, version: u32, keys: KeysOf<T, K>) -> Self {
        Self { name, version, is_unique: false, skips: false, keys }
    }

    /// An index in which a key has one record at most.
    pub const fn unique(name: &'static str, version: u32, keys: KeysOf<T, K>) -> Self {
        Self { name, version, is_unique: true, skips: false, keys }
    }

    /// A record that is no `T` has no keys, instead of being an error: the index does not find it, and a unique index does not
    /// keep another record from having its key.
    ///
    /// ```
    /// # let store = tenure::Store::in_memory()?;
    /// use tenure::typed::{IndexDefinition, SetDefinition};
    /// const WORDS: SetDefinition<String> = SetDefinition::new("words");
    /// const BY_WORD: IndexDefinition<String, &str> = IndexDefinition::new("word", 1, |word, put| put(word));
    /// let words = store.typed_set(WORDS)?;
    /// let by_word = store.typed_index(&words, BY_WORD.skip_unreadable())?;
    /// store.write(|tx| tx.insert(words.record_set(), [0xff]))?;
    /// assert_eq!((words.len(&store.view()), by_word.index().len(&store.view())?), (1, 0));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    #[must_use]
    pub const fn skip_unreadable(mut self) -> Self {
        self.skips = true;
        self
    }

    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T, K: IndexKey> Clone for IndexDefinition<T, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, K: IndexKey> Copy for IndexDefinition<T, K> {}

impl<T, K: IndexKey> fmt::Debug for IndexDefinition<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("IndexDefinition");
        out.field("name", &self.name).field("version", &self.version).field("is_unique", &self.is_unique);
        out.finish_non_exhaustive()
    }
}

impl Store {
    /// The index of a definition: as it is there, or made while readers and writers go on. Returns when it is complete.
    ///
    /// # Errors
    /// As [`Store::index`] and [`Store::unique_index`].
    pub fn typed_index<T, K>(&self, set: &TypedSet<T>, definition: IndexDefinition<T, K>) -> Result<TypedIndex<T, K>>
    where
        T: Value,
        K: IndexKey,
    {
        let keys_of = definition.keys;
        let keys = move |value: &T, keys: &mut Keys| keys_of(value, &mut |key| keys.push(&key));
        let extractor = Extractor::of_value(definition.name, definition.version, T::decode, definition.skips, keys);
        let extractor = extractor.with_key_type(&K::key_type());
        let index = if definition.is_unique {
            self.unique_index(set.record_set(), definition.name, extractor)
        } else {
            self.index(set.record_set(), definition.name, extractor)
        };
        index.map(|index| TypedIndex { index, of: PhantomData })
    }
}

/// A key index with the types of its keys and records.
pub struct TypedIndex<T, K> {
    index: Index,
    of: PhantomData<fn() -> (T, K)>,
}

impl<T, K> Clone for TypedIndex<T, K> {
    fn clone(&self) -> Self {
        Self { index: self.index.clone(), of: PhantomData }
    }
}

impl<T, K> fmt::Debug for TypedIndex<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedIndex").field(&self.index).finish()
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "keys are mostly references or numbers, which are written as they are"
)]
impl<T: Value, K: IndexKey> TypedIndex<T, K> {
    /// The index without its types: for counts, encoded bounds, and keys of entries.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The record of a key; of several the one with the lowest ID.
    pub fn get(&self, view: &View, key: K::Given<'_>) -> Result<Option<Id<T>>> {
        Ok(self.index.get(view, &key)?.map(Id::from))
    }

    /// The record of a key, and its value.
    pub fn fetch(&self, view: &View, key: K::Given<'_>) -> Result<Option<(Id<T>, T)>> {
        match self.get(view, key)? {
            Some(id) => view.fetch(id).map(|value| Some((id, value))),
            None => Ok(None),
        }
    }

    /// The records of one key, by ascending ID.
    pub fn find(&self, view: &View, key: K::Given<'_>) -> Result<TypedRange<T, K>> {
        self.index.find(view, &key).map(TypedRange::new)
    }

    /// The records between two keys, by ascending key.
    pub fn range<'k>(&self, view: &View, range: impl RangeBounds<K::Given<'k>>) -> Result<TypedRange<T, K>> {
        self.index.range(view, range).map(TypedRange::new)
    }

    /// The records whose keys begin with these components.
    pub fn prefix<P: ToKey + ?Sized>(&self, view: &View, prefix: &P) -> Result<TypedRange<T, K>> {
        self.index.prefix(view, prefix).map(TypedRange::new)
    }

    /// All records that have a key, by ascending key; one that has several comes once for each.
    pub fn all(&self, view: &View) -> Result<TypedRange<T, K>> {
        self.index.all(view).map(TypedRange::new)
    }

    /// The record of the lowest key.
    pub fn first(&self, view: &View) -> Result<Option<Id<T>>> {
        self.all(view)?.next().transpose()
    }

    /// The record of the highest key.
    pub fn last(&self, view: &View) -> Result<Option<Id<T>>> {
        self.all(view)?.next_back().transpose()
    }

    /// How many entries there are between two keys. No entry is read.
    pub fn count<'k>(&self, view: &View, range: impl RangeBounds<K::Given<'k>>) -> Result<u64> {
        self.index.count(view, range)
    }

    /// The record of a key as a transaction sees it, its own writes included.
    pub fn get_in(&self, tx: &mut Transaction, key: K::Given<'_>) -> Result<Option<Id<T>>> {
        Ok(tx.find(&self.index, &key)?.map(Id::from))
    }

    /// The records between two keys as a transaction sees them, its own writes included.
    pub fn range_in<'k, R: RangeBounds<K::Given<'k>>>(
        &self,
        tx: &mut Transaction,
        range: R,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Id<T>>> + use<'k, T, K, R>> {
        let range = tx.range(&self.index, range)?;
        Ok(range.map(|entry| entry.map(|entry| Id::from(entry.id))))
    }
}

/// Walks over the records that an index finds, from either end. After an error it ends.
pub struct TypedRange<T, K> {
    range: IndexRange,
    of: PhantomData<fn() -> (T, K)>,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "keys are mostly references or numbers, which are written as they are"
)]
impl<T: Value, K: IndexKey> TypedRange<T, K> {
    fn new(range: IndexRange) -> Self {
        Self { range, of: PhantomData }
    }

    /// How many are left. Takes no time.
    pub fn left(&self) -> u64 {
        self.range.left()
    }

    /// Goes on at a key, or at the first one behind it, as [`IndexRange::seek`] does.
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

    /// One record for each key: the first one from the front, the last one from the back.
    pub fn distinct_keys(self) -> impl DoubleEndedIterator<Item = Result<Id<T>>> {
        self.range.distinct_keys().map(|entry| entry.map(|entry| Id::from(entry.id)))
    }

    /// The records with their values. The view must be the one that the range is of.
    pub fn values(self, view: &View) -> impl DoubleEndedIterator<Item = Result<(Id<T>, T)>> {
        self.map(move |id| id.and_then(|id| Ok((id, view.fetch(id)?))))
    }
}

impl<T, K> fmt::Debug for TypedRange<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedRange").field(&self.range).finish()
    }
}

impl<T, K> Iterator for TypedRange<T, K> {
    type Item = Result<Id<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.range.next().map(|entry| entry.map(|entry| Id::from(entry.id)))
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
        self.range.next_back().map(|entry| entry.map(|entry| Id::from(entry.id)))
    }
}
