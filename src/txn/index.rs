//! Key indexes in a reader's hand.
//!
//! Owns: looking keys up in a view, walking over ranges. Never: changes an index; transactions do.

use std::cmp::Ordering;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use crate::catalogue::{Catalogue, Index as Known};
use crate::error::{Corruption, Error, Result};
use crate::format::index::IndexDefinition;
use crate::heap::State;
use crate::id::{IndexNumber, RecordId, Seq, SetNumber, to_usize};
use crate::key::{Key, ToKey, prefix_range};
use crate::key_index::{KeyRoot, Range};
use crate::txn::fetch::Fetch;
use crate::txn::own_changes::{Entry, OwnRange};
use crate::txn::{Record, ResumeToken, View};

/// A key index of a record set.
///
/// It goes on when the index is made anew, by a new version of its extractor or by [`rebuild_index`](crate::Store::rebuild_index): a view finds the
/// index that has the name in its state.
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
    store: [u8; 16],
    definition: Arc<IndexDefinition>,
    /// The name of its set.
    of: Arc<str>,
}

impl Index {
    pub(crate) fn new(catalogue: &Catalogue, definition: Arc<IndexDefinition>) -> Self {
        let of = Arc::from(catalogue.name_of(definition.set));
        Self { store: catalogue.store(), definition, of }
    }

    /// Its name within the set.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// Its number, which no other index of the store ever gets.
    pub fn number(&self) -> IndexNumber {
        self.definition.number
    }

    /// The set whose records it finds.
    pub fn set(&self) -> SetNumber {
        self.definition.set
    }

    /// Whether a key leads to one record at most.
    pub fn is_unique(&self) -> bool {
        self.definition.unique
    }

    pub(crate) fn check_store(&self, store: [u8; 16]) -> Result<()> {
        if store == self.store { Ok(()) } else { Err(Error::OtherStore { set: self.name().to_owned() }) }
    }

    pub(crate) fn root<'s>(&self, state: &'s State) -> Result<&'s KeyRoot> {
        self.found_in(state).map(|(_, root)| root)
    }

    /// The index in a state: this one, or the one that was or is in its place there.
    pub(crate) fn found_in<'s>(&self, state: &'s State) -> Result<(&'s Arc<IndexDefinition>, &'s KeyRoot)> {
        self.check_store(state.catalogue.store())?;
        let found = self.found_among(&state.catalogue)?;
        let root = state.indexes.get(&found.definition.number).ok_or_else(|| {
            if let Some(damage) = found.damage.as_ref() {
                return self.named(state, Error::Corrupt(Box::new(Corruption::clone(damage))));
            }
            let why = "is not complete, or this handle has stopped while it changed";
            Error::NoSuchIndex { index: self.name().to_owned(), why }
        })?;
        Ok((&found.definition, root))
    }

    /// What a catalogue knows of the index. One that was made anew has another number and the same name; only one with keys of
    /// the same type can be read with this handle.
    pub(crate) fn found_among<'c>(&self, catalogue: &'c Catalogue) -> Result<&'c Known> {
        if let Some(known) = catalogue.index(self.number()) {
            return Ok(known);
        }
        let missing = || Error::NoSuchIndex { index: self.name().to_owned(), why: "is not there" };
        let set = catalogue.set_of_handle(self.set(), &self.of).ok_or_else(missing)?;
        let found = catalogue.index_named(set, self.name()).ok_or_else(missing)?;
        check_key_type(&found.definition, &self.definition.key_type)?;
        if found.definition.unique == self.is_unique() { Ok(found) } else { Err(missing()) }
    }

    /// Damage that was met in the index, with its name and that of its set.
    pub(crate) fn named(&self, state: &State, error: Error) -> Error {
        error.in_index(state.catalogue.name_of(self.set()), self.name())
    }

    /// The record of a key; of several the one with the lowest ID. One walk down the tree.
    pub fn get<K: ToKey + ?Sized>(&self, view: &View, key: &K) -> Result<Option<RecordId>> {
        let root = self.root(view.state())?;
        let first = root.first(Key::new(key)?.as_bytes()).map_err(|error| self.named(view.state(), error))?;
        Ok(first.and_then(RecordId::from_u64))
    }

    /// The record of a key, fetched.
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

    /// The entries between two keys. Counting them takes two walks down the tree, and no entry is read.
    ///
    /// # Errors
    /// `NoSuchIndex` if the view does not have the index, `OtherStore` if it is of another store, `KeyTooLong`, or
    /// `DamagedIndex` where a node cannot be read.
    pub fn range<K: ToKey>(&self, view: &View, range: impl RangeBounds<K>) -> Result<IndexRange> {
        self.between(view, &key_bounds(&range)?)
    }

    /// The entries of keys that begin with the components of `prefix`.
    pub fn prefix<K: ToKey + ?Sized>(&self, view: &View, prefix: &K) -> Result<IndexRange> {
        self.between(view, &prefix_range(&Key::new(prefix)?))
    }

    /// The first entry: the lowest key, and of its records the one with the lowest ID. One walk down the tree.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn first(&self, view: &View) -> Result<Option<IndexEntry>> {
        self.all(view)?.next().transpose()
    }

    /// The last entry: the highest key, and of its records the one with the highest ID. One walk down the tree.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn last(&self, view: &View) -> Result<Option<IndexEntry>> {
        self.all(view)?.next_back().transpose()
    }

    /// How many entries there are between two keys. Two walks down the tree, and no entry is read.
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
        let (store, seq) = (self.store, view.seq());
        let range = Range::new(root, lower, upper).map_err(|error| self.named(view.state(), error))?;
        let set = view.state().catalogue.set(self.set()).map(|set| Arc::clone(&set.name)).unwrap_or_default();
        Ok(IndexRange { range, index: Arc::clone(definition), set, store, seq })
    }

    /// Where a walk stands that an entry of this index was given by: behind the entry.
    pub fn token(&self, entry: &IndexEntry) -> ResumeToken {
        ResumeToken::new(self.store, &self.definition, entry)
    }

    /// Entries of the index.
    pub fn len(&self, view: &View) -> Result<u64> {
        self.root(view.state()).map(KeyRoot::len)
    }

    /// Whether the index has no entries.
    pub fn is_empty(&self, view: &View) -> Result<bool> {
        self.len(view).map(|len| len == 0)
    }
}

/// Refuses keys of another type than the index has. Where one of both is not told, nobody knows better.
pub(crate) fn check_key_type(definition: &IndexDefinition, wanted: &str) -> Result<()> {
    let got = &definition.key_type;
    if got == wanted || got.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let index = definition.name.clone();
    Err(Error::WrongKeyType { index, expected: wanted.to_owned(), got: got.clone() })
}

/// Bounds of values as bounds of keys.
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

/// One entry of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The key.
    pub key: Key,
    /// The record.
    pub id: RecordId,
}

fn entry((key, id): (&[u8], u64)) -> Result<IndexEntry> {
    let id = RecordId::from_u64(id)
        .ok_or_else(|| Error::corrupt("key index", 0, "entry of a key index", "a record ID", id))?;
    Ok(IndexEntry { key: Key::from_bytes(key)?, id })
}

/// Walks over entries of an index in the order of their keys, from either end. After an error it ends.
///
/// A walk can go on at another key: what lies between is passed without being read. [`distinct_keys`](Self::distinct_keys)
/// passes all entries of a key but the first.
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
    /// The commit that it is of, and the store.
    store: [u8; 16],
    seq: Seq,
}

impl IndexRange {
    /// How many entries are left. Takes no time.
    pub fn left(&self) -> u64 {
        self.range.left()
    }

    /// Goes on at a key, or at the first one behind it: entries in front of it that are left are passed. A key that the
    /// walk has come past changes nothing. A near key is found without a walk down the tree, another one takes two.
    ///
    /// # Errors
    /// `KeyTooLong`, or `DamagedIndex` where a node cannot be read.
    pub fn seek<K: ToKey + ?Sized>(&mut self, key: &K) -> Result<()> {
        let result = self.range.seek(Key::new(key)?.as_bytes(), false);
        result.map_err(|error| error.in_index(&self.set, &self.index.name))
    }

    /// The same from the back: entries behind the key that are left are passed.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    pub fn seek_back<K: ToKey + ?Sized>(&mut self, key: &K) -> Result<()> {
        let result = self.range.seek_back(Key::new(key)?.as_bytes(), false);
        result.map_err(|error| error.in_index(&self.set, &self.index.name))
    }

    /// Goes on behind the entry of a token: entries up to it that are left are passed. That the walk has come past it changes
    /// nothing. The range keeps its bounds: a token never leads out of them.
    ///
    /// # Errors
    /// `BadToken` if it is not a token of this index, or `DamagedIndex` where a node cannot be read.
    pub fn resume(&mut self, token: &ResumeToken) -> Result<()> {
        token.check(self.store, &self.index)?;
        let result = self.range.seek_to(&token.position(true));
        result.map_err(|error| error.in_index(&self.set, &self.index.name))
    }

    /// The same from the back: the entry of the token and all behind it are passed.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub fn resume_back(&mut self, token: &ResumeToken) -> Result<()> {
        token.check(self.store, &self.index)?;
        let result = self.range.seek_back_to(&token.position(false));
        result.map_err(|error| error.in_index(&self.set, &self.index.name))
    }

    /// Where a walk stands that has just given this entry.
    pub fn token(&self, entry: &IndexEntry) -> ResumeToken {
        ResumeToken::new(self.store, &self.index, entry)
    }

    /// Each key once: with its lowest ID from the front, with its highest from the back.
    pub fn distinct_keys(self) -> DistinctKeys {
        DistinctKeys { range: self }
    }

    /// The records instead of the entries. `view` is the one that the range was taken of, or another one of the same commit.
    ///
    /// # Errors
    /// `OtherView` in place of the first record if it is a view of another commit, `OtherStore` if of another store.
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

    /// As [`left`](Self::left): no entry is read.
    fn count(self) -> usize {
        to_usize(self.left())
    }

    /// The next one from the back: no other entry is read.
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

/// Walks over the keys of an index, each once, from either end. After an error it ends.
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

/// Walks over entries of an index as a transaction sees them, from either end. After an error it ends.
#[derive(Debug)]
pub struct TransactionRange {
    range: Range,
    /// Entries of the range that were read before they were wanted, one from each end.
    ahead: Option<IndexEntry>,
    behind: Option<IndexEntry>,
    /// What the transaction itself has changed, with `false` where an entry is gone.
    own: Option<OwnRange>,
}

impl TransactionRange {
    pub(crate) fn new(root: &KeyRoot, bounds: &(Bound<Key>, Bound<Key>), own: Option<OwnRange>) -> Result<Self> {
        let (lower, upper) = (bounds.0.as_ref().map(Key::as_bytes), bounds.1.as_ref().map(Key::as_bytes));
        Ok(Self { range: Range::new(root, lower, upper)?, ahead: None, behind: None, own })
    }

    /// Goes on at a key, or at the first one behind it, as [`IndexRange::seek`] does. The transaction has still read the
    /// whole range.
    ///
    /// # Errors
    /// As [`IndexRange::seek`].
    pub fn seek<K: ToKey + ?Sized>(&mut self, key: &K) -> Result<()> {
        let key = Key::new(key)?;
        self.ahead.take_if(|entry| entry.key < key);
        self.behind.take_if(|entry| entry.key < key);
        if let Some(own) = &mut self.own {
            own.seek(key.as_bytes());
        }
        self.range.seek(key.as_bytes(), false)
    }

    fn next_entry(&mut self) -> Result<Option<IndexEntry>> {
        loop {
            if self.ahead.is_none() {
                let next = self.range.next()?.map(entry).transpose()?;
                self.ahead = next.or_else(|| self.behind.take());
            }
            let Some((own, put)) = self.own.as_ref().and_then(OwnRange::front) else { return Ok(self.ahead.take()) };
            match self.ahead.as_ref().map(|there| order(there, own)) {
                Some(Ordering::Less) => return Ok(self.ahead.take()),
                Some(Ordering::Equal) => self.ahead = None,
                Some(Ordering::Greater) | None => {}
            }
            let own = own.clone();
            let found = put.then(|| entry((&own.0, own.1)));
            self.own.iter_mut().for_each(|range| range.pass(own.clone()));
            if found.is_some() {
                return found.transpose();
            }
        }
    }

    fn next_entry_back(&mut self) -> Result<Option<IndexEntry>> {
        loop {
            if self.behind.is_none() {
                let next = self.range.next_back()?.map(entry).transpose()?;
                self.behind = next.or_else(|| self.ahead.take());
            }
            let Some((own, put)) = self.own.as_ref().and_then(OwnRange::back) else { return Ok(self.behind.take()) };
            match self.behind.as_ref().map(|there| order(there, own)) {
                Some(Ordering::Greater) => return Ok(self.behind.take()),
                Some(Ordering::Equal) => self.behind = None,
                Some(Ordering::Less) | None => {}
            }
            let own = own.clone();
            let found = put.then(|| entry((&own.0, own.1)));
            self.own.iter_mut().for_each(|range| range.pass_back(own.clone()));
            if found.is_some() {
                return found.transpose();
            }
        }
    }
}

fn order(there: &IndexEntry, (key, id): &Entry) -> Ordering {
    (there.key.as_bytes(), there.id.as_u64()).cmp(&(key, *id))
}

impl Iterator for TransactionRange {
    type Item = Result<IndexEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}

impl DoubleEndedIterator for TransactionRange {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.next_entry_back().transpose()
    }
}
