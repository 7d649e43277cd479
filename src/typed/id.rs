//! Typed record IDs, and fetching records through them.
//!
//! Owns: the type, and one call each on views, transactions and stores. Never: checks that a record was written as this
//! type; decoding does. The type costs nothing: an `Id` is a `RecordId`.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use crate::error::Result;
use crate::id::{ParseIdError, RecordId, Seq};
use crate::key::{KeyWriter, ToKey};
use crate::store::Store;
use crate::txn::{Record, Transaction, View};
use crate::typed::value::Value;

/// The ID of a record whose value is a `T`. As a field of another value it is a reference.
///
/// It is assigned once and refers to this record forever. Fetching a deleted record fails with
/// [`Error::Deleted`](crate::Error::Deleted); it never returns another record.
///
/// It prints and parses like [`RecordId`]. With the feature `serde` it serializes as this text in human-readable
/// formats, and as a number in others.
///
/// ```
/// use tenure::RecordId;
/// use tenure::typed::Id;
///
/// let id: Id<String> = "12.1".parse().unwrap();
/// assert_eq!(id.to_string(), "12.1");
/// assert_eq!(Id::from(RecordId::from(id)), id);
/// ```
pub struct Id<T> {
    id: RecordId,
    of: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    /// The ID without its type.
    pub fn record_id(self) -> RecordId {
        self.id
    }
}

impl<T> From<RecordId> for Id<T> {
    fn from(id: RecordId) -> Self {
        Self { id, of: PhantomData }
    }
}

impl<T> From<Id<T>> for RecordId {
    fn from(id: Id<T>) -> Self {
        id.id
    }
}

// Not derived, because a derive would require the same traits of `T`.

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.id)
    }
}

impl<T> FromStr for Id<T> {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        text.parse::<RecordId>().map(Self::from)
    }
}

impl<T> ToKey for Id<T> {
    fn write_key(&self, out: &mut KeyWriter) {
        self.id.write_key(out);
    }
}

#[cfg(feature = "serde")]
impl<T> serde::Serialize for Id<T> {
    fn serialize<S: serde::Serializer>(&self, out: S) -> std::result::Result<S::Ok, S::Error> {
        self.id.serialize(out)
    }
}

#[cfg(feature = "serde")]
impl<'de, T> serde::Deserialize<'de> for Id<T> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        RecordId::deserialize(from).map(Self::from)
    }
}

fn untyped<T>(ids: &[Id<T>]) -> Vec<RecordId> {
    ids.iter().map(|id| id.id).collect()
}

pub(crate) fn decoded<T: Value>(record: &Record<'_>) -> Result<T> {
    T::decode(&record.bytes()?)
}

impl View {
    /// Fetches the value of a record. Fails with `Deleted` if the record was deleted.
    ///
    /// ```
    /// use tenure::typed::{Id, SetDefinition};
    /// const NOTES: SetDefinition<String> = SetDefinition::new("notes");
    ///
    /// let store = tenure::Store::in_memory()?;
    /// let notes = store.typed_set(NOTES)?;
    /// let id: Id<String> = store.write(|tx| notes.insert(tx, &"remember".to_owned()))?;
    /// assert_eq!(store.view().fetch(id)?, "remember");
    /// store.write(|tx| notes.delete(tx, id))?;
    /// assert!(matches!(store.view().fetch(id), Err(tenure::Error::Deleted { .. })));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn fetch<T: Value>(&self, id: Id<T>) -> Result<T> {
        decoded(&self.get(id.id)?)
    }

    /// Fetches the value of a record and the commit that wrote it, for use with
    /// [`TypedSet::update_if`](crate::typed::TypedSet::update_if).
    pub fn fetch_versioned<T: Value>(&self, id: Id<T>) -> Result<(T, Seq)> {
        let record = self.get(id.id)?;
        Ok((decoded(&record)?, record.seq()))
    }

    /// Fetches the values of many records, in the order of the IDs. Each has its own result, as from
    /// [`fetch`](Self::fetch). Several lookups overlap.
    pub fn fetch_many<T: Value>(&self, ids: &[Id<T>]) -> Vec<Result<T>> {
        self.get_many(&untyped(ids)).into_iter().map(|record| decoded(&record?)).collect()
    }
}

impl Transaction {
    /// Fetches the value of a record as this transaction sees it, its own writes included. Fails with `Deleted` if the
    /// record was deleted.
    pub fn fetch<T: Value>(&mut self, id: Id<T>) -> Result<T> {
        decoded(&self.get(id.id)?)
    }

    /// Fetches the value of a record as this transaction sees it, and the commit that wrote it; [`Seq::ZERO`] for an
    /// own write.
    pub fn fetch_versioned<T: Value>(&mut self, id: Id<T>) -> Result<(T, Seq)> {
        let record = self.get(id.id)?;
        Ok((decoded(&record)?, record.seq()))
    }

    /// Fetches the values of many records, in the order of the IDs. Each has its own result. Several lookups overlap.
    pub fn fetch_many<T: Value>(&mut self, ids: &[Id<T>]) -> Vec<Result<T>> {
        self.get_many(&untyped(ids)).into_iter().map(|record| decoded(&record?)).collect()
    }
}

impl Store {
    /// Fetches the newest value of a record, outside any view. Fails with `Deleted` if the record was deleted.
    pub fn fetch<T: Value>(&self, id: Id<T>) -> Result<T> {
        decoded(&self.get(id.id)?)
    }

    /// Fetches the newest value of a record, and the commit that wrote it.
    pub fn fetch_versioned<T: Value>(&self, id: Id<T>) -> Result<(T, Seq)> {
        let record = self.get(id.id)?;
        Ok((decoded(&record)?, record.seq()))
    }
}
