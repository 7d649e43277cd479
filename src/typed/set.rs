//! Record sets whose records are values of one type.
//!
//! Owns: set definitions, typed writes and scans. Never: does more than the untyped record set.

use std::fmt;
use std::marker::PhantomData;

use crate::error::Result;
use crate::id::{RecordId, Seq};
use crate::store::Store;
use crate::txn::{RecordSet, Scan, Transaction, View};
use crate::typed::id::{Id, decoded};
use crate::typed::value::{Value, encoded};

/// Defines a record set: its name and the type of its records. Meant to be a constant.
///
/// ```
/// use tenure::typed::SetDefinition;
/// const NOTES: SetDefinition<String> = SetDefinition::new("notes");
/// assert_eq!(NOTES.name(), "notes");
/// ```
pub struct SetDefinition<T> {
    name: &'static str,
    of: PhantomData<fn() -> T>,
}

impl<T> SetDefinition<T> {
    /// Defines a set of this name.
    pub const fn new(name: &'static str) -> Self {
        Self { name, of: PhantomData }
    }

    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> Clone for SetDefinition<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SetDefinition<T> {}

impl<T> fmt::Debug for SetDefinition<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SetDefinition").field(&self.name).finish()
    }
}

/// A record set whose records are values of one type.
pub struct TypedSet<T> {
    set: RecordSet,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for TypedSet<T> {
    fn clone(&self) -> Self {
        Self { set: self.set.clone(), of: PhantomData }
    }
}

impl<T> fmt::Debug for TypedSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedSet").field(&self.set).finish()
    }
}

impl Store {
    /// Opens the record set of a definition, and creates it if it does not exist.
    pub fn typed_set<T: Value>(&self, definition: SetDefinition<T>) -> Result<TypedSet<T>> {
        self.record_set(definition.name).map(|set| TypedSet { set, of: PhantomData })
    }
}

impl<T: Value> TypedSet<T> {
    /// The untyped set.
    pub fn record_set(&self) -> &RecordSet {
        &self.set
    }

    /// Inserts a value into the set and returns its ID, which is never reused.
    ///
    /// # Errors
    /// `BadValue` if the encoded value does not decode again, and those of [`Transaction::insert`].
    pub fn insert(&self, tx: &mut Transaction, value: &T) -> Result<Id<T>> {
        let (bytes, known) = encoded(value)?;
        tx.insert_known(&self.set, &bytes, Some(&known)).map(Id::from)
    }

    /// Inserts values into the set, like calling [`insert`](Self::insert) for each, but faster.
    ///
    /// # Errors
    /// As [`insert`](Self::insert). If a value is refused, none is inserted; otherwise as [`Transaction::insert_many`].
    pub fn insert_many(&self, tx: &mut Transaction, values: &[T]) -> Result<Vec<Id<T>>> {
        let encoded: Vec<(Vec<u8>, T)> = values.iter().map(encoded).collect::<Result<_>>()?;
        let ids = tx.insert_many_known(&self.set, &encoded, |(bytes, known)| (bytes, Some(known)))?;
        Ok(ids.into_iter().map(Id::from).collect())
    }

    /// Updates a record of the set to a new value. Its ID stays.
    ///
    /// # Errors
    /// As [`insert`](Self::insert), `WrongSet` if the record is in another set, and those of [`Transaction::update`].
    pub fn update(&self, tx: &mut Transaction, id: Id<T>, value: &T) -> Result<()> {
        self.update_encoded(tx, id, None, &encoded(value)?)
    }

    /// Updates records of the set, as [`update`](Self::update) does one by one, but faster.
    ///
    /// Unique keys are checked once all records have their new values, so two records can swap a key.
    ///
    /// ```
    /// use tenure::typed::{IndexDefinition, SetDefinition};
    /// const SEATS: SetDefinition<String> = SetDefinition::new("seats");
    /// const BY_HOLDER: IndexDefinition<String, &str> = IndexDefinition::unique("holder", 1, |seat, put| put(seat));
    ///
    /// let store = tenure::Store::in_memory()?;
    /// let seats = store.typed_set(SEATS)?;
    /// let by_holder = store.typed_index(&seats, BY_HOLDER)?;
    /// let [ada, bob] = ["Ada", "Bob"].map(str::to_owned);
    /// let ids = store.write(|tx| seats.insert_many(tx, &[ada.clone(), bob.clone()]))?;
    /// store.write(|tx| seats.update_many(tx, &[(ids[0], bob.clone()), (ids[1], ada.clone())]))?;
    /// assert_eq!(by_holder.get(&store.view(), "Ada")?, Some(ids[1]));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// `BadValue` if the bytes of a value do not decode again, and `WrongSet` if a record is in another set; no record is
    /// updated then. Otherwise those of [`Transaction::update_many`].
    pub fn update_many(&self, tx: &mut Transaction, changes: &[(Id<T>, T)]) -> Result<()> {
        let encoded = |(id, value): &(Id<T>, T)| Ok((id.record_id(), encoded(value)?));
        let changes: Vec<(RecordId, (Vec<u8>, T))> = changes.iter().map(encoded).collect::<Result<_>>()?;
        changes.iter().try_for_each(|(id, _)| tx.check_in(&self.set, *id))?;
        tx.update_many_known(&changes, |(id, (bytes, known))| (*id, bytes, Some(known)))
    }

    /// Deletes records of the set, as [`delete`](Self::delete) does one by one, but faster.
    ///
    /// # Errors
    /// `WrongSet` if a record is in another set; no record is deleted then. Otherwise those of [`Transaction::delete_many`].
    pub fn delete_many(&self, tx: &mut Transaction, ids: &[Id<T>]) -> Result<()> {
        let ids: Vec<RecordId> = ids.iter().map(|id| id.record_id()).collect();
        ids.iter().try_for_each(|id| tx.check_in(&self.set, *id))?;
        tx.delete_many(&ids)
    }

    /// Updates a record of the set if its version is still `expected`.
    ///
    /// # Errors
    /// As [`update`](Self::update), and `VersionMismatch` if it has another version.
    ///
    /// ```
    /// use tenure::typed::SetDefinition;
    /// const NOTES: SetDefinition<String> = SetDefinition::new("notes");
    ///
    /// let store = tenure::Store::in_memory()?;
    /// let notes = store.typed_set(NOTES)?;
    /// let id = store.write(|tx| notes.insert(tx, &"first".to_owned()))?;
    /// let (text, seq) = store.view().fetch_versioned(id)?;
    /// store.write(|tx| notes.update_if(tx, id, seq, &(text.clone() + " and second")))?;
    /// let late = store.write(|tx| notes.update_if(tx, id, seq, &"too late".to_owned()));
    /// assert!(matches!(late, Err(tenure::Error::VersionMismatch { .. })));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn update_if(&self, tx: &mut Transaction, id: Id<T>, expected: Seq, value: &T) -> Result<()> {
        self.update_encoded(tx, id, Some(expected), &encoded(value)?)
    }

    /// Updates a record of the set to bytes that decode as a value.
    pub(super) fn update_encoded(
        &self,
        tx: &mut Transaction,
        id: Id<T>,
        expected: Option<Seq>,
        (bytes, known): &(Vec<u8>, T),
    ) -> Result<()> {
        tx.check_in(&self.set, id.record_id())?;
        tx.update_known(id.record_id(), expected, bytes, Some(known))
    }

    /// Deletes a record of the set. From then on, reading its ID returns *deleted*.
    ///
    /// # Errors
    /// `WrongSet` if the record is in another set, and those of [`Transaction::delete`].
    pub fn delete(&self, tx: &mut Transaction, id: Id<T>) -> Result<()> {
        tx.delete_in(&self.set, id.record_id())
    }

    /// Types an untyped ID, if its record is in this set; `WrongSet` if it is in another.
    pub fn id(&self, view: &View, id: RecordId) -> Result<Id<T>> {
        view.get_in(&self.set, id).map(|_| Id::from(id))
    }

    /// The number of records in the set.
    pub fn len(&self, view: &View) -> u64 {
        view.len(&self.set)
    }

    /// Whether the set has no records.
    pub fn is_empty(&self, view: &View) -> bool {
        view.is_empty(&self.set)
    }

    /// The records of the set in the order of their IDs.
    pub fn scan<'v>(&self, view: &'v View) -> TypedScan<'v, T> {
        TypedScan { scan: view.scan(&self.set), of: PhantomData }
    }
}

/// Iterates over the records of a set. A record that does not decode as `T` yields an error, and the iteration
/// continues after it.
pub struct TypedScan<'v, T> {
    scan: Scan<'v>,
    of: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for TypedScan<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedScan").field(&self.scan).finish()
    }
}

impl<T: Value> Iterator for TypedScan<'_, T> {
    type Item = Result<(Id<T>, T)>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.scan.next()?;
        Some(record.and_then(|record| Ok((Id::from(record.id()), decoded(&record)?))))
    }
}
