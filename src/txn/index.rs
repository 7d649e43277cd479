//! Key indexes in a reader's hand.
//!
//! Owns: looking keys up in a view, walking over ranges. Never: changes an index; transactions do.

use std::ops::Bound;
use std::ops::RangeBounds;
use std::sync::Arc;

use crate::error::Error;
use crate::error::Result;
use crate::format::index::IndexDefinition;
use crate::heap::State;
use crate::id::IndexNumber;
use crate::id::RecordId;
use crate::id::SetNumber;
use crate::key::Key;
use crate::key::ToKey;
use crate::key::prefix_range;
use crate::key_index::KeyRoot;
use crate::key_index::Range;
use crate::txn::Lookup;
use crate::txn::Record;
use crate::txn::View;

/// A key index of a record set.
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
}

impl Index {
    pub(crate) fn new(store: [u8; 16], definition: Arc<IndexDefinition>) -> Self {
        Self { store, definition }
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

    pub(crate) fn root<'s>(&self, state: &'s State) -> Result<&'s KeyRoot> {
        if state.catalogue.store() != self.store {
            return Err(Error::OtherStore { set: self.name().to_owned() });
        }
        state.indexes.get(&self.number()).ok_or_else(|| {
            let exists = state.catalogue.index(self.number()).is_some();
            let why = if exists { "is not complete yet" } else { "is not there" };
            Error::NoSuchIndex { index: self.name().to_owned(), why }
        })
    }

    /// The record of a key; of several the one with the lowest ID. One walk down the tree.
    pub fn get<K: ToKey + ?Sized>(&self, view: &View, key: &K) -> Result<Option<RecordId>> {
        let root = self.root(view.state())?;
        Ok(root.first(Key::new(key)?.as_bytes())?.and_then(RecordId::from_u64))
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
    pub fn range<K: ToKey>(&self, view: &View, range: impl RangeBounds<K>) -> Result<IndexRange> {
        self.between(view, &key_bounds(&range)?)
    }

    /// The entries of keys that begin with the components of `prefix`.
    pub fn prefix<K: ToKey + ?Sized>(&self, view: &View, prefix: &K) -> Result<IndexRange> {
        self.between(view, &prefix_range(&Key::new(prefix)?))
    }

    /// All entries.
    pub fn all(&self, view: &View) -> Result<IndexRange> {
        self.between(view, &(Bound::Unbounded, Bound::Unbounded))
    }

    /// The entries between two encoded keys.
    pub fn between(&self, view: &View, bounds: &(Bound<Key>, Bound<Key>)) -> Result<IndexRange> {
        let root = self.root(view.state())?;
        let (lower, upper) = (bounds.0.as_ref().map(Key::as_bytes), bounds.1.as_ref().map(Key::as_bytes));
        Ok(IndexRange { range: Range::new(root, lower, upper)? })
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
#[derive(Debug)]
pub struct IndexRange {
    range: Range,
}

impl IndexRange {
    /// How many entries are left. Takes no time.
    pub fn left(&self) -> u64 {
        self.range.left()
    }

    /// The records instead of the entries.
    pub fn records(self, view: &View) -> impl Iterator<Item = Result<Record<'_>>> {
        self.map(move |entry| match view.lookup(entry?.id)? {
            Lookup::Live(record) => Ok(record),
            _ => Err(Error::corrupt("key index", 0, "entry of a key index", "a live record", "none")),
        })
    }
}

impl Iterator for IndexRange {
    type Item = Result<IndexEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.range.next().and_then(|found| found.map(entry).transpose()).transpose()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.range.left()).ok())
    }
}

impl DoubleEndedIterator for IndexRange {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.range.next_back().and_then(|found| found.map(entry).transpose()).transpose()
    }
}

/// Walks over entries of an index as a transaction sees them. After an error it ends.
#[derive(Debug)]
pub struct TransactionRange {
    range: Range,
    ahead: Option<IndexEntry>,
    own: std::iter::Peekable<std::vec::IntoIter<(Key, RecordId, bool)>>,
}

impl TransactionRange {
    pub(crate) fn new(
        root: &KeyRoot,
        bounds: &(Bound<Key>, Bound<Key>),
        own: Vec<(Key, RecordId, bool)>,
    ) -> Result<Self> {
        let (lower, upper) = (bounds.0.as_ref().map(Key::as_bytes), bounds.1.as_ref().map(Key::as_bytes));
        let own: Vec<_> = own.into_iter().filter(|(key, ..)| (lower, upper).contains(key.as_bytes())).collect();
        Ok(Self { range: Range::new(root, lower, upper)?, ahead: None, own: own.into_iter().peekable() })
    }

    fn next_entry(&mut self) -> Result<Option<IndexEntry>> {
        loop {
            if self.ahead.is_none() {
                self.ahead = self.range.next()?.map(entry).transpose()?;
            }
            let order = match (&self.ahead, self.own.peek()) {
                (None, None) => return Ok(None),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(there), Some((key, id, _))) => (&there.key, there.id.as_u64()).cmp(&(key, id.as_u64())),
            };
            if order.is_lt() {
                return Ok(self.ahead.take());
            }
            if order.is_eq() {
                self.ahead = None;
            }
            if let Some((key, id, true)) = self.own.next() {
                return Ok(Some(IndexEntry { key, id }));
            }
        }
    }
}

impl Iterator for TransactionRange {
    type Item = Result<IndexEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}
