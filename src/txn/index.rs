//! Key indexes, as a reader uses them.
//!
//! Owns: looking up keys in a view, iterating over ranges. Never: changes an index; transactions do.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use crate::catalogue::{Catalogue, Handle, Index as Known, Origin};
use crate::error::{Corruption, Error, Result};
use crate::format::index::IndexDefinition;
use crate::heap::State;
use crate::id::{IndexNumber, RecordId, Seq, SetNumber, to_usize};
use crate::key::{Key, ToKey, prefix_range};
use crate::key_index::{KeyRoot, Range};
use crate::txn::entry::{IndexEntry, entry};
use crate::txn::fetch::Fetch;
use crate::txn::{Record, ResumeToken, View};

/// A key index of a record set.
///
/// A handle stays valid when the index is rebuilt, by a new version of its extractor or by
/// [`rebuild_index`](crate::Store::rebuild_index): it uses the index of this name in each view's state.
///
/// ```
/// use tenure::Store;
/// use tenure::extract::Extractor;
///
/// let store = Store::in_memory()?;
/// let people = store.record_set("people")?;
/// let by_name = store.index(&people, "name", Extractor::new("name", 1, |record, keys| {
///     keys.push(String::from_utf8_lossy(record).as_ref());
/// }))?;
/// let ada = store.write(|tx| tx.insert(&people, "Ada"))?;
/// let view = store.view();
/// assert_eq!(by_name.get(&view, "Ada")?, Some(ada));
/// assert_eq!(by_name.range(&view, "A".."B")?.count(), 1);
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Index {
    origin: Origin,
    definition: Arc<IndexDefinition>,
    /// The name of its set.
    pub(super) of: Arc<str>,
}

impl Index {
    pub(crate) fn new(catalogue: &Catalogue, definition: Arc<IndexDefinition>) -> Self {
        let of = Arc::from(catalogue.name_of(definition.set));
        Self { origin: catalogue.origin(), definition, of }
    }

    /// Its name within the set.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// Its number, never reused within the store.
    pub fn number(&self) -> IndexNumber {
        self.definition.number
    }

    /// The set that it indexes.
    pub fn set(&self) -> SetNumber {
        self.definition.set
    }

    /// Whether a key has at most one record.
    pub fn is_unique(&self) -> bool {
        self.definition.unique
    }

    /// What this handle knows about the set of the index.
    pub(crate) fn set_handle(&self) -> Handle<'_> {
        Handle { lineage: self.origin.lineage, number: self.set(), name: &self.of }
    }

    pub(crate) fn check_store(&self, store: [u8; 16]) -> Result<()> {
        if store == self.origin.store { Ok(()) } else { Err(Error::OtherStore { set: self.name().to_owned() }) }
    }

    pub(crate) fn root<'s>(&self, state: &'s State) -> Result<&'s KeyRoot> {
        self.found_in(state).map(|(_, root)| root)
    }

    /// The index in a state: this one, or the one that it replaced or that replaced it.
    pub(crate) fn found_in<'s>(&self, state: &'s State) -> Result<(&'s Arc<IndexDefinition>, &'s KeyRoot)> {
        self.check_store(state.catalogue.store())?;
        let found = self.found_among(&state.catalogue)?;
        let root = state.indexes.get(&found.definition.number).ok_or_else(|| {
            if let Some(damage) = found.damage.as_ref() {
                return self.named(state, Error::Corrupt(Box::new(Corruption::clone(damage))));
            }
            let why = "is incomplete, or was being changed when this handle stopped";
            Error::NoSuchIndex { index: self.name().to_owned(), why }
        })?;
        Ok((&found.definition, root))
    }

    /// The catalogue's row for the index. A rebuilt index has another number and the same name; this handle can read it
    /// only if its keys have the same type. In another lineage this handle's number may belong to another index.
    pub(crate) fn found_among<'c>(&self, catalogue: &'c Catalogue) -> Result<&'c Known> {
        let lineage = self.origin.lineage;
        if let Some(known) = catalogue.index(self.number()).filter(|_| lineage == catalogue.origin().lineage) {
            return Ok(known);
        }
        let missing = || Error::NoSuchIndex { index: self.name().to_owned(), why: "does not exist" };
        let set = catalogue.set_of_handle(&self.set_handle()).ok_or_else(missing)?;
        let found = catalogue.index_named(set, self.name()).ok_or_else(missing)?;
        check_key_type(&found.definition, &self.definition.key_type)?;
        if found.definition.unique == self.is_unique() { Ok(found) } else { Err(missing()) }
    }

    /// Adds the names of the index and its set to a damage error.
    pub(crate) fn named(&self, state: &State, error: Error) -> Error {
        error.in_index(state.catalogue.name_of(self.set()), self.name())
    }

    /// The record with a key; if several have it, the one with the lowest ID. One descent of the tree.
    pub fn get<K: ToKey + ?Sized>(&self, view: &View, key: &K) -> Result<Option<RecordId>> {
        let root = self.root(view.state())?;
        let first = root.first(Key::new(key)?.as_bytes()).map_err(|error| self.named(view.state(), error))?;
        Ok(first.and_then(RecordId::from_u64))
    }

    /// Fetches the record with a key.
    pub fn fetch<'v, K: ToKey + ?Sized>(&self, view: &'v View, key: &K) -> Result<Option<Record<'v>>> {
        match self.get(view, key)? {
            Some(id) => view.get(id).map(Some),
            None => Ok(None),
        }
    }

    /// The entries of one key, by ascending ID.
    pub fn find<K: ToKey + ?Sized>(&self, view: &View, key: &K) -> Result<IndexRange> {
        let key = Key::new(key)?;
        self.between(view, &(Bound::Included(key.clone()), Bound::Included(key)))
    }

    /// The entries between two keys. Counting them takes two descents of the tree and reads no entry.
    ///
    /// # Errors
    /// `NoSuchIndex` if the view does not have the index, `OtherStore` if the view belongs to another store,
    /// `KeyTooLong`, or `DamagedIndex` if a node cannot be read.
    pub fn range<K: ToKey>(&self, view: &View, range: impl RangeBounds<K>) -> Result<IndexRange> {
        self.between(view, &key_bounds(&range)?)
    }

    /// The entries of keys that begin with the components of `prefix`.
    pub fn prefix<K: ToKey + ?Sized>(&self, view: &View, prefix: &K) -> Result<IndexRange> {
        self.between(view, &prefix_range(&Key::new(prefix)?))
    }

    /// The first entry: the lowest key, with its lowest record ID. One descent of the tree.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn first(&self, view: &View) -> Result<Option<IndexEntry>> {
        self.all(view)?.next().transpose()
    }

    /// The last entry: the highest key, with its highest record ID. One descent of the tree.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn last(&self, view: &View) -> Result<Option<IndexEntry>> {
        self.all(view)?.next_back().transpose()
    }

    /// The number of entries between two keys. Two descents of the tree; no entry is read.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn count<K: ToKey>(&self, view: &View, range: impl RangeBounds<K>) -> Result<u64> {
        self.range(view, range).map(|range| range.left())
    }

    /// All entries.
    pub fn all(&self, view: &View) -> Result<IndexRange> {
        self.between(view, &(Bound::Unbounded, Bound::Unbounded))
    }

    /// The entries between two encoded keys.
    pub fn between(&self, view: &View, bounds: &(Bound<Key>, Bound<Key>)) -> Result<IndexRange> {
        let (definition, root) = self.found_in(view.state())?;
        let (lower, upper) = (bounds.0.as_ref().map(Key::as_bytes), bounds.1.as_ref().map(Key::as_bytes));
        let (store, seq) = (self.origin.store, view.seq());
        let range = Range::new(root, lower, upper).map_err(|error| self.named(view.state(), error))?;
        let set = view.state().catalogue.set(definition.set).map(|set| Arc::clone(&set.name)).unwrap_or_default();
        Ok(IndexRange { range, index: Arc::clone(definition), set, store, seq })
    }

    /// A token for resuming a walk after this entry, which must be an entry of this index.
    pub fn token(&self, entry: &IndexEntry) -> ResumeToken {
        ResumeToken::new(self.origin.store, &self.definition, entry)
    }

    /// The number of entries.
    pub fn len(&self, view: &View) -> Result<u64> {
        self.root(view.state()).map(KeyRoot::len)
    }

    /// Whether the index has no entries.
    pub fn is_empty(&self, view: &View) -> Result<bool> {
        self.len(view).map(|len| len == 0)
    }
}

/// Refuses keys of another type than the index has. If either type is unknown, the keys are accepted.
pub(crate) fn check_key_type(definition: &IndexDefinition, wanted: &str) -> Result<()> {
    let got = &definition.key_type;
    // Indexes of IDs that earlier versions made have the type in capitals.
    if got.eq_ignore_ascii_case(wanted) || got.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let index = definition.name.clone();
    Err(Error::WrongKeyType { index, expected: wanted.to_owned(), got: got.clone() })
}

/// Converts bounds of values to bounds of keys.
pub(crate) fn key_bounds<K: ToKey>(range: &impl RangeBounds<K>) -> Result<(Bound<Key>, Bound<Key>)> {
    let bound = |bound: Bound<&K>| {
        Ok::<_, Error>(match bound {
            Bound::Included(key) => Bound::Included(Key::new(key)?),
            Bound::Excluded(key) => Bound::Excluded(Key::new(key)?),
            Bound::Unbounded => Bound::Unbounded,
        })
    };
    Ok((bound(range.start_bound())?, bound(range.end_bound())?))
}

/// Iterates over entries of an index in key order, from either end. Ends after an error.
///
/// [`seek`](Self::seek) moves the walk to another key without reading the entries in between.
/// [`distinct_keys`](Self::distinct_keys) skips all entries of a key but the first.
///
/// ```
/// use tenure::Store;
/// use tenure::extract::Extractor;
///
/// let store = Store::in_memory()?;
/// let words = store.record_set("words")?;
/// let letters = Extractor::new("letters", 1, |record, keys| record.iter().for_each(|byte| keys.push(byte)));
/// let by_letter = store.index(&words, "letter", letters)?;
/// store.write(|tx| ["deed", "each", "aced"].iter().try_for_each(|word| tx.insert(&words, *word).map(drop)))?;
///
/// let view = store.view();
/// let mut range = by_letter.all(&view)?;
/// assert_eq!(range.left(), 10, "a a c c d d e e e h");
/// let first = range.next().transpose()?;
/// range.seek(&b'd')?;
/// let next = range.next().transpose()?;
/// assert_eq!((first.map(|entry| entry.key.to_string()), next.map(|entry| entry.key.to_string())),
///     (Some("97".to_owned()), Some("100".to_owned())));
///
/// let letters: Result<Vec<_>, _> = by_letter.all(&view)?.distinct_keys().rev().map(|entry| entry.map(|e| e.key)).collect();
/// assert_eq!(letters?.len(), 5, "h e d c a");
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug)]
pub struct IndexRange {
    range: Range,
    index: Arc<IndexDefinition>,
    /// The name of its set, for errors.
    set: Arc<str>,
    /// The commit of its view, and the store.
    store: [u8; 16],
    seq: Seq,
}

impl IndexRange {
    /// The number of entries left, in constant time.
    pub fn left(&self) -> u64 {
        self.range.left()
    }

    /// Moves forward to a key, or to the first one after it, and skips the entries before it. Seeking backwards has no
    /// effect. A nearby key is found without descending the tree; any other takes two descents.
    ///
    /// # Errors
    /// `KeyTooLong`, or `DamagedIndex` if a node cannot be read.
    pub fn seek<K: ToKey + ?Sized>(&mut self, key: &K) -> Result<()> {
        let result = self.range.seek(Key::new(key)?.as_bytes(), false);
        result.map_err(|error| error.in_index(&self.set, &self.index.name))
    }

    /// Like [`seek`](Self::seek) from the back: skips the entries after the key.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    pub fn seek_back<K: ToKey + ?Sized>(&mut self, key: &K) -> Result<()> {
        let result = self.range.seek_back(Key::new(key)?.as_bytes(), false);
        result.map_err(|error| error.in_index(&self.set, &self.index.name))
    }

    /// Moves forward to just after the entry of a token, and skips the entries before it. Resuming backwards has no
    /// effect. The range keeps its bounds: a token never leads out of them.
    ///
    /// # Errors
    /// `BadToken` if the token is not one of this index, or `DamagedIndex` if a node cannot be read.
    pub fn resume(&mut self, token: &ResumeToken) -> Result<()> {
        token.check(self.store, &self.index)?;
        let result = self.range.seek_to(&token.position(true));
        result.map_err(|error| error.in_index(&self.set, &self.index.name))
    }

    /// Like [`resume`](Self::resume) from the back: skips the token's entry and all entries after it.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub fn resume_back(&mut self, token: &ResumeToken) -> Result<()> {
        token.check(self.store, &self.index)?;
        let result = self.range.seek_back_to(&token.position(false));
        result.map_err(|error| error.in_index(&self.set, &self.index.name))
    }

    /// A token for resuming the walk after this entry.
    pub fn token(&self, entry: &IndexEntry) -> ResumeToken {
        ResumeToken::new(self.store, &self.index, entry)
    }

    /// Each key once: with its lowest ID from the front, its highest from the back.
    pub fn distinct_keys(self) -> DistinctKeys {
        DistinctKeys { range: self }
    }

    /// The records instead of the entries. `view` must be the view of the range, or another view of the same commit.
    ///
    /// # Errors
    /// `OtherView` in place of the first record if the view is of another commit, `OtherStore` if it is of another
    /// store.
    pub fn records(self, view: &View) -> impl DoubleEndedIterator<Item = Result<Record<'_>>> {
        let index = || self.index.name.clone();
        if view.state().catalogue.store() != self.store {
            let why = Error::OtherStore { set: index() };
            return Fetch::refused(self.range, view, (self.set, self.index), why);
        }
        if view.seq() != self.seq {
            let why = Error::OtherView { index: index(), expected: self.seq, got: view.seq() };
            return Fetch::refused(self.range, view, (self.set, self.index), why);
        }
        Fetch::new(self.range, view, (self.set, self.index))
    }
}

impl Iterator for IndexRange {
    type Item = Result<IndexEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.range.next().and_then(|found| found.map(entry).transpose());
        found.map_err(|error| error.in_index(&self.set, &self.index.name)).transpose()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.range.left()).ok())
    }

    /// Like [`left`](Self::left): reads no entry.
    fn count(self) -> usize {
        to_usize(self.left())
    }

    /// The next entry from the back: reads no other entry.
    fn last(mut self) -> Option<Self::Item> {
        self.next_back()
    }
}

impl DoubleEndedIterator for IndexRange {
    fn next_back(&mut self) -> Option<Self::Item> {
        let found = self.range.next_back().and_then(|found| found.map(entry).transpose());
        found.map_err(|error| error.in_index(&self.set, &self.index.name)).transpose()
    }
}

/// Iterates over the keys of an index, each once, from either end. Ends after an error.
#[derive(Debug)]
pub struct DistinctKeys {
    range: IndexRange,
}

impl Iterator for DistinctKeys {
    type Item = Result<IndexEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.range.next()?;
        Some(entry.and_then(|entry| {
            self.range.range.seek(entry.key.as_bytes(), true)?;
            Ok(entry)
        }))
    }
}

impl DoubleEndedIterator for DistinctKeys {
    fn next_back(&mut self) -> Option<Self::Item> {
        let entry = self.range.next_back()?;
        Some(entry.and_then(|entry| {
            self.range.range.seek_back(entry.key.as_bytes(), true)?;
            Ok(entry)
        }))
    }
}
