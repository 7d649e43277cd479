//! Key indexes with the types of their keys and records.
//!
//! Owns: definitions of indexes, extractors made of them, lookups in terms of the types. Never: more than the index below.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;

#[cfg(feature = "json")]
use crate::error::Error;
use crate::error::Result;
#[cfg(feature = "json")]
use crate::extract::JsonExtractor;
use crate::extract::{Extractor, Keys};
use crate::key::ToKey;
use crate::store::Store;
use crate::txn::{Index, View};
use crate::typed::id::Id;
use crate::typed::key::IndexKey;
use crate::typed::range::TypedRange;
use crate::typed::set::TypedSet;
use crate::typed::value::Value;

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
    is_unique: bool,
    skips: bool,
    source: Source<T, K>,
}

/// What gives the keys.
enum Source<T, K: IndexKey> {
    Code {
        version: u32,
        keys: KeysOf<T, K>,
    },
    /// All of it is stored with the index.
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
    /// An index in which a key can have many records.
    pub const fn new(name: &'static str, version: u32, keys: KeysOf<T, K>) -> Self {
        Self { name, is_unique: false, skips: false, source: Source::Code { version, keys } }
    }

    /// An index in which a key has one record at most.
    pub const fn unique(name: &'static str, version: u32, keys: KeysOf<T, K>) -> Self {
        Self { name, is_unique: true, skips: false, source: Source::Code { version, keys } }
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

    /// An index in which a key can have many records, with keys that a line of text finds in JSON records. See
    /// [`JsonExtractor`] for such lines.
    ///
    /// The line is stored with the index. So every program that can read it keeps the index, the command line among them, which
    /// refuses to write to a set with indexes whose keys only the code of another program gives. It also costs less: no value is
    /// decoded for it. When the line changes, the index is made anew when it is opened.
    ///
    /// The keys that the line gives have to be those of `K`: `:string` for `&str`, `:integer` for integers, and so on
    /// ([`IndexKey::key_type`]). With `:lower` keys are asked for in lower case.
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

    /// An index in which a key has one record at most, with keys that a line of text finds in JSON records. See
    /// [`from_line`](Self::from_line).
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
    /// The index of a definition: as it is there, or made while readers and writers go on. Returns when it is complete.
    ///
    /// # Errors
    /// As [`Store::index`] and [`Store::unique_index`]; `BadKeyText` if a definition by a line of text has a line that is none, or
    /// that gives keys of another type.
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

/// What a line of text says, if it gives keys of this type.
#[cfg(feature = "json")]
fn of_line<K: IndexKey>(line: &str) -> Result<Extractor> {
    let json: JsonExtractor = line.parse()?;
    let (wanted, given) = (K::key_type(), json.kind().name());
    if wanted == given {
        return Ok(Extractor::json(json));
    }
    let why = format!("its keys are of type {given}, and those of the definition of type {wanted}");
    Err(Error::bad_key_text(line, "line for such an index", why))
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
}
