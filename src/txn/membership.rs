//! Reading and writing a record only if it belongs to a set.
//!
//! Owns: which set a record belongs to in a transaction, including records it inserted itself. Never: reads a record to
//! find out; the pages of the record index tell.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::id::{RecordId, Seq, SetNumber};
use crate::txn::own_writes::Own;
use crate::txn::{Index, Record, RecordSet, Transaction};

impl Transaction {
    /// The record as this transaction sees it, if it belongs to the set.
    ///
    /// # Errors
    /// As [`get`](Self::get), `WrongSet` if the record belongs to another set, `OtherStore` if the set belongs to
    /// another store.
    pub fn get_in(&mut self, set: &RecordSet, id: RecordId) -> Result<Record<'_>> {
        self.check_in(set, id)?;
        self.get(id)
    }

    /// Updates a record, if it belongs to the set.
    ///
    /// # Errors
    /// As [`update`](Self::update) and [`get_in`](Self::get_in).
    pub fn update_in(&mut self, set: &RecordSet, id: RecordId, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.check_in(set, id)?;
        self.update(id, bytes)
    }

    /// Updates a record, if it belongs to the set and its version is still `expected`.
    ///
    /// # Errors
    /// As [`update_if`](Self::update_if) and [`get_in`](Self::get_in).
    pub fn update_if_in(
        &mut self,
        set: &RecordSet,
        id: RecordId,
        expected: Seq,
        bytes: impl AsRef<[u8]>,
    ) -> Result<()> {
        self.check_in(set, id)?;
        self.update_if(id, expected, bytes)
    }

    /// Deletes a record, if it belongs to the set.
    ///
    /// ```
    /// let store = tenure::Store::in_memory()?;
    /// let (notes, people) = (store.record_set("notes")?, store.record_set("people")?);
    /// let ada = store.write(|tx| tx.insert(&people, "Ada"))?;
    /// assert!(matches!(store.write(|tx| tx.delete_in(&notes, ada)), Err(tenure::Error::WrongSet { .. })));
    /// store.write(|tx| tx.delete_in(&people, ada))?;
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`delete`](Self::delete) and [`get_in`](Self::get_in).
    pub fn delete_in(&mut self, set: &RecordSet, id: RecordId) -> Result<()> {
        self.check_in(set, id)?;
        self.delete(id)
    }

    /// The number of the set that a handle refers to.
    #[inline]
    pub(crate) fn number_of(&self, set: &RecordSet) -> Result<SetNumber> {
        set.check_store(self.engine().store_id())?;
        let handle = set.handle();
        if self.writes_to(handle.number) && handle.lineage == self.engine().lineage {
            Ok(handle.number)
        } else {
            self.engine().set_of_handle(&handle)
        }
    }

    /// Refuses a record that belongs to another set or does not exist.
    pub(crate) fn check_in(&mut self, set: &RecordSet, id: RecordId) -> Result<()> {
        set.check_store(self.engine().store_id())?;
        let engine = Arc::clone(self.engine());
        let number = match self.own(id) {
            Some(Own::Put { set, .. }) => set,
            // A page belongs to one set forever, so a state newer than the transaction's gives the same answer.
            _ => engine.heap.current().root.set_of_slot(id.slot()),
        };
        if number == self.number_of(set)? {
            return Ok(());
        }
        // Reports a missing record as missing, not as one of another set.
        self.get(id)?;
        let got = engine.heap.catalogue().name_of(number).to_owned();
        Err(Error::WrongSet { id, expected: set.name().to_owned(), got })
    }

    /// Refuses an index of another set.
    pub(crate) fn check_index_of(&self, set: &RecordSet, index: &Index) -> Result<()> {
        index.check_store(self.engine().store_id())?;
        let of = index.found_among(&self.engine().heap.catalogue())?.definition.set;
        if of == self.number_of(set)? {
            return Ok(());
        }
        Err(Error::NoSuchIndex { index: index.name().to_owned(), why: "belongs to another set" })
    }
}
