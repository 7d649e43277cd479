//! Key indexes with typed keys and records.
//!
//! Owns: index definitions, their extractors, typed lookups. Never: does more than the untyped index.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;

#[cfg(feature = "json")]
use crate::error::Error;
use crate::error::Result;
#[cfg(feature = "json")]
use crate::extract::JsonExtractor;
use crate::extract::{Extractor, Keys};
use crate::store::Store;
use crate::txn::{Index, View};
use crate::typed::id::Id;
use crate::typed::key::IndexKey;
use crate::typed::range::TypedRange;
use crate::typed::set::TypedSet;
use crate::typed::value::Value;

/// Computes the keys of a value: calls its second argument once for each key.
pub type KeysOf<T, K> = for<'a> fn(&'a T, &mut dyn FnMut(<K as IndexKey>::Given<'a>));

/// Defines an index: its name, the types of its records and keys, and how to compute the keys of a record. Meant to be
/// a constant.
///
/// Raise the version when `keys` changes what it computes for a value: opening the index then rebuilds it. A record
/// that does not decode as `T` is an error, both on writes and when the index is built, unless the definition says
/// [`skip_unreadable`](Self::skip_unreadable).
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
    is_unique: bool,
    skips: bool,
    source: Source<T, K>,
}

/// How the keys are computed.
enum Source<T, K: IndexKey> {
    Code {
        version: u32,
        keys: KeysOf<T, K>,
    },
    /// Stored with the index completely.
    #[cfg(feature = "json")]
    Line(&'static str),
}

impl<T, K: IndexKey> Clone for Source<T, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, K: IndexKey> Copy for Source<T, K> {}

impl<T, K: IndexKey> IndexDefinition<T, K> {
    /// Defines an index in which a key can have many records.
    pub const fn new(name: &'static str, version: u32, keys: KeysOf<T, K>) -> Self {
        Self { name, is_unique: false, skips: false, source: Source::Code { version, keys } }
    }

    /// Defines an index in which a key has at most one record.
    pub const fn unique(name: &'static str, version: u32, keys: KeysOf<T, K>) -> Self {
        Self { name, is_unique: true, skips: false, source: Source::Code { version, keys } }
    }

    /// Treats a record that does not decode as `T` as one without keys instead of failing: the index does not find it,
    /// and it blocks no key of a unique index.
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

    /// Defines an index in which a key can have many records, with keys that a line of text selects from JSON records.
    /// See [`JsonExtractor`] for the syntax.
    ///
    /// The line is stored with the index, so any program that understands such lines can maintain the index, including
    /// the command line, which refuses to write to sets with indexes that depend on another program's code. It is also
    /// cheaper: no value is decoded for it. When the line changes, opening the index rebuilds it.
    ///
    /// The keys that the line selects must have the type `K`: `:string` for `&str`, `:integer` for integers, and so on
    /// ([`IndexKey::key_type`]). With `:lower`, look up keys in lower case.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use tenure::typed::{IndexDefinition, Json, SetDefinition};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Package {
    ///     name: String,
    ///     depends: Vec<String>,
    /// }
    ///
    /// const PACKAGES: SetDefinition<Json<Package>> = SetDefinition::new("packages");
    /// const BY_NAME: IndexDefinition<Json<Package>, &str> =
    ///     IndexDefinition::unique_from_line("name", "json:/name:string");
    /// const BY_NEED: IndexDefinition<Json<Package>, &str> =
    ///     IndexDefinition::from_line("depends", "json:/depends/*:string");
    ///
    /// let store = tenure::Store::in_memory()?;
    /// let packages = store.typed_set(PACKAGES)?;
    /// let by_name = store.typed_index(&packages, BY_NAME)?;
    /// let by_need = store.typed_index(&packages, BY_NEED)?;
    /// let serde = Json(Package { name: "serde".into(), depends: vec!["serde_core".into()] });
    /// let id = store.write(|tx| packages.insert(tx, &serde))?;
    /// assert_eq!(by_name.get(&store.view(), "serde")?, Some(id));
    /// assert_eq!(by_need.get(&store.view(), "serde_core")?, Some(id));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    #[cfg(feature = "json")]
    pub const fn from_line(name: &'static str, line: &'static str) -> Self {
        Self { name, is_unique: false, skips: false, source: Source::Line(line) }
    }

    /// Like [`from_line`](Self::from_line), for an index in which a key has at most one record.
    #[cfg(feature = "json")]
    pub const fn unique_from_line(name: &'static str, line: &'static str) -> Self {
        Self { name, is_unique: true, skips: false, source: Source::Line(line) }
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
        out.field("name", &self.name).field("is_unique", &self.is_unique);
        out.finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the index of a definition. If it does not exist, it is built while readers and writers continue. Returns
    /// when it is complete.
    ///
    /// # Errors
    /// As [`Store::index`] and [`Store::unique_index`]; `BadKeyText` if the line of a definition is invalid or selects
    /// keys of another type.
    pub fn typed_index<T, K>(&self, set: &TypedSet<T>, definition: IndexDefinition<T, K>) -> Result<TypedIndex<T, K>>
    where
        T: Value,
        K: IndexKey,
    {
        let extractor = match definition.source {
            Source::Code { version, keys: keys_of } => {
                let keys = move |value: &T, keys: &mut Keys| keys_of(value, &mut |key| keys.push(&key));
                Extractor::of_value(definition.name, version, T::decode, definition.skips, keys)
                    .with_key_type(&K::key_type())
            }
            #[cfg(feature = "json")]
            Source::Line(line) => of_line::<K>(line)?,
        };
        let index = if definition.is_unique {
            self.unique_index(set.record_set(), definition.name, extractor)
        } else {
            self.index(set.record_set(), definition.name, extractor)
        };
        index.map(|index| TypedIndex { index, of: PhantomData })
    }
}

/// Parses a line of text, if it selects keys of this type.
#[cfg(feature = "json")]
fn of_line<K: IndexKey>(line: &str) -> Result<Extractor> {
    let json: JsonExtractor = line.parse()?;
    let (wanted, given) = (K::key_type(), json.kind().name());
    if wanted == given {
        return Ok(Extractor::json(json));
    }
    let why = format!("its keys have type {given}, but the definition has type {wanted}");
    Err(Error::bad_key_text(line, "line for such an index", why))
}

/// A key index with typed keys and records.
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
    /// The untyped index: for counts, encoded bounds, and keys of entries.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The record with a key; if several have it, the one with the lowest ID.
    pub fn get(&self, view: &View, key: K::Given<'_>) -> Result<Option<Id<T>>> {
        Ok(self.index.get(view, &key)?.map(Id::from))
    }

    /// The record with a key, and its value.
    pub fn fetch(&self, view: &View, key: K::Given<'_>) -> Result<Option<(Id<T>, T)>> {
        match self.get(view, key)? {
            Some(id) => view.fetch(id).map(|value| Some((id, value))),
            None => Ok(None),
        }
    }

    /// The records with a key, by ascending ID.
    pub fn find(&self, view: &View, key: K::Given<'_>) -> Result<TypedRange<T, K>> {
        self.index.find(view, &key).map(TypedRange::new)
    }

    /// The records between two keys, by ascending key.
    pub fn range<'k>(&self, view: &View, range: impl RangeBounds<K::Given<'k>>) -> Result<TypedRange<T, K>> {
        self.index.range(view, range).map(TypedRange::new)
    }

    /// All records that have a key, by ascending key; a record with several keys appears once for each.
    pub fn all(&self, view: &View) -> Result<TypedRange<T, K>> {
        self.index.all(view).map(TypedRange::new)
    }

    /// The record with the lowest key.
    pub fn first(&self, view: &View) -> Result<Option<Id<T>>> {
        self.all(view)?.next().transpose()
    }

    /// The record with the highest key.
    pub fn last(&self, view: &View) -> Result<Option<Id<T>>> {
        self.all(view)?.next_back().transpose()
    }

    /// The number of entries between two keys. Reads no entry.
    pub fn count<'k>(&self, view: &View, range: impl RangeBounds<K::Given<'k>>) -> Result<u64> {
        self.index.count(view, range)
    }
}
