//! Operations that read and write in one call.
//!
//! Owns: composing them. Never: does anything beyond its parts; each part reads, writes and is validated as it would be
//! alone.

use std::any::Any;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::extract::{Keys, Reading};
use crate::heap::{Answer, Found};
use crate::id::RecordId;
use crate::key::{Key, ToKey};
use crate::txn::own_writes::Own;
use crate::txn::set_indexes::find_indexes;
use crate::txn::view::{AHEAD, is_hidden};
use crate::txn::{Index, Isolation, Record, RecordSet, Transaction};

/// The outcome of an upsert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Upserted<I = RecordId> {
    /// No record had the key: this one is new.
    Inserted(I),
    /// This record already had the key.
    Existing(I),
}

impl<I> Upserted<I> {
    /// The record that now has the key.
    pub fn id(self) -> I {
        let (Self::Inserted(id) | Self::Existing(id)) = self;
        id
    }

    /// Whether it is new.
    pub fn is_inserted(&self) -> bool {
        matches!(self, Self::Inserted(_))
    }

    /// The same of another form of the ID.
    pub(crate) fn map<J>(self, other: impl FnOnce(I) -> J) -> Upserted<J> {
        match self {
            Self::Inserted(id) => Upserted::Inserted(other(id)),
            Self::Existing(id) => Upserted::Existing(other(id)),
        }
    }
}

/// One of many records, before it is returned.
enum Looked {
    Own(Record<'static>),
    There(Found),
    Not(Error),
}

impl Transaction {
    /// Reads many records as this transaction sees them, in the order of the IDs. Looks up several at once, so that
    /// their cache misses overlap.
    pub fn get_many(&mut self, ids: &[RecordId]) -> Vec<Result<Record<'_>>> {
        let mut looked = Vec::with_capacity(ids.len());
        for some in ids.chunks(AHEAD) {
            self.look_ahead(some.iter().copied());
            looked.extend(some.iter().map(|id| self.look(*id).unwrap_or_else(Looked::Not)));
        }
        let state = self.view.as_ref();
        let records = looked.into_iter().map(|looked| match looked {
            Looked::Own(record) => Ok(record),
            // What is there was looked up in it.
            Looked::There(found) => {
                state.map_or(Err(Error::NeverAllocated { id: found.id }), |state| Record::in_view(state, found))
            }
            Looked::Not(error) => Err(error),
        });
        records.collect()
    }

    fn look(&mut self, id: RecordId) -> Result<Looked> {
        match self.own(id) {
            Some(Own::Deleted) => return Err(Error::Deleted { id }),
            Some(Own::Put { offset, .. }) => return self.own_value(id, offset).map(Looked::Own),
            None => {}
        }
        let state = self.view()?;
        let (answer, hidden) = (state.lookup(id)?, is_hidden(state, id));
        let seq = if let Answer::Live(found) = &answer { Some(found.seq) } else { None };
        self.parts.get().seen.entry(id).or_insert(seq);
        match answer {
            Answer::Live(found) if !hidden => Ok(Looked::There(found)),
            Answer::Deleted => Err(Error::Deleted { id }),
            Answer::Live(_) | Answer::NeverAllocated => Err(Error::NeverAllocated { id }),
        }
    }

    /// Updates a record to the value that a function computes from its current value.
    ///
    /// ```
    /// let store = tenure::Store::in_memory()?;
    /// let counters = store.record_set("counters")?;
    /// let id = store.write(|tx| tx.insert(&counters, [1]))?;
    /// store.write(|tx| tx.update_with(id, |old| [old[0] + 1]))?;
    /// assert_eq!(store.get(id)?.as_slice(), Some(&[2][..]));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn update_with<B: AsRef<[u8]>>(&mut self, id: RecordId, new: impl FnOnce(&[u8]) -> B) -> Result<()> {
        let bytes = new(&self.get(id)?.bytes()?);
        self.update(id, bytes)
    }

    /// Deletes every record with a key in a range, and returns how many there were.
    ///
    /// # Errors
    /// As [`range`](Self::range) and [`delete`](Self::delete).
    pub fn delete_range<K: ToKey>(&mut self, index: &Index, range: impl RangeBounds<K>) -> Result<u64> {
        let mut deleted = 0;
        // The range as of now, before any record is deleted: a record with several keys in the range appears several
        // times.
        for entry in self.range(index, range)? {
            let id = entry?.id;
            if !matches!(self.own(id), Some(Own::Deleted)) {
                self.delete(id)?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    /// Updates the record that has the value's key in a unique index, or inserts a new record if none has it.
    ///
    /// ```
    /// use tenure::extract::Extractor;
    /// use tenure::{Store, Upserted};
    ///
    /// let store = Store::in_memory()?;
    /// let stock = store.record_set("stock")?;
    /// let article = Extractor::new("article", 1, |record, keys| keys.push(&record[0]));
    /// let by_article = store.unique_index(&stock, "article", article)?;
    /// let new = store.write(|tx| tx.upsert(&by_article, [7, 10]))?;
    /// let again = store.write(|tx| tx.upsert(&by_article, [7, 9]))?;
    /// assert_eq!(again, Upserted::Existing(new.id()));
    /// assert_eq!(store.get(new.id())?.as_slice(), Some(&[7, 9][..]));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotUnique`, `NoSuchIndex`, and those of [`insert`](Self::insert) and [`update`](Self::update).
    pub fn upsert(&mut self, index: &Index, bytes: impl AsRef<[u8]>) -> Result<Upserted> {
        self.upsert_known(index, bytes.as_ref(), None)
    }

    /// Upserts bytes, with what they decode as.
    pub(crate) fn upsert_known(&mut self, index: &Index, bytes: &[u8], known: Option<&dyn Any>) -> Result<Upserted> {
        let upserted = self.insert_or_get_known(index, bytes, known)?;
        if let Upserted::Existing(id) = upserted {
            self.update_known(id, None, bytes, known)?;
        }
        Ok(upserted)
    }

    /// Returns the record that has the value's key in a unique index, or inserts a new record if none has it. A value
    /// without a key is always inserted.
    ///
    /// # Errors
    /// As [`upsert`](Self::upsert).
    pub fn insert_or_get(&mut self, index: &Index, bytes: impl AsRef<[u8]>) -> Result<Upserted> {
        self.insert_or_get_known(index, bytes.as_ref(), None)
    }

    /// Finds or inserts bytes, with what they decode as.
    pub(crate) fn insert_or_get_known(
        &mut self,
        index: &Index,
        bytes: &[u8],
        known: Option<&dyn Any>,
    ) -> Result<Upserted> {
        index.check_store(self.engine.store_id())?;
        if !index.is_unique() {
            return Err(Error::NotUnique { index: index.name().to_owned() });
        }
        // The set of the index, or the one in its place if that was cleared.
        let number = self.engine.set_of_handle(&index.set_handle())?;
        let indexes = find_indexes(&self.engine, &mut self.indexes, &mut self.epochs, number)?;
        // A rebuilt index has another number.
        let of = indexes.all.iter().find(|known| *known.name == *index.name());
        let no_such_index = || Error::NoSuchIndex { index: index.name().to_owned(), why: "does not exist" };
        let (of, name) = (of.ok_or_else(no_such_index)?, Arc::clone(&indexes.name));
        let mut keys = Keys::default();
        let told = of.extractor.run(&mut Reading::known(bytes, known), &mut keys);
        told.map_err(|error| error.of_index(&name, index.name()))?;
        for key in keys.iter() {
            if let Some(id) = self.first_of(index, Key::from_bytes(key)?)? {
                return Ok(Upserted::Existing(id));
            }
        }
        if self.isolation == Isolation::Snapshot {
            // If two transactions find no record with the key, only one may insert it; the other must find that record.
            let view = Arc::clone(self.view()?);
            let (definition, _) = index.found_in(&view)?;
            self.watch(definition)?;
            for key in keys.iter() {
                let bound = Bound::Included(Key::from_bytes(key)?);
                self.not_found.push(definition, (bound.clone(), bound));
            }
        }
        let set = RecordSet::new(self.engine.origin(), number, name);
        self.insert_known(&set, bytes, known).map(Upserted::Inserted)
    }
}
