//! Statements that read and write in one call.
//!
//! Owns: what they are made of. Never: anything that their parts do not do: each part reads and writes as it does alone, and
//! is validated so.

use std::ops::RangeBounds;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::extract::{Keys, Reading};
use crate::heap::{Answer, Found};
use crate::id::RecordId;
use crate::key::{Key, ToKey};
use crate::txn::own_writes::Own;
use crate::txn::transaction::find_indexes;
use crate::txn::view::is_hidden;
use crate::txn::{Index, Record, RecordSet, Transaction};

/// What became of a value that was to go where its key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Upserted {
    /// No record had the key: this one is new.
    Inserted(RecordId),
    /// This record had the key already.
    Existing(RecordId),
}

impl Upserted {
    /// The record that has the key now.
    pub fn id(self) -> RecordId {
        let (Self::Inserted(id) | Self::Existing(id)) = self;
        id
    }

    /// Whether it is new.
    pub fn is_inserted(self) -> bool {
        matches!(self, Self::Inserted(_))
    }
}

/// One of many records, before it is handed out.
enum Looked {
    Own(Record<'static>),
    There(Found),
    Not(Error),
}

impl Transaction {
    /// Many records as this transaction sees them, in the order of the IDs. Several are looked for at once, so that their cache
    /// misses overlap.
    pub fn get_many(&mut self, ids: &[RecordId]) -> Vec<Result<Record<'_>>> {
        self.view();
        self.look_ahead(ids.iter().copied());
        let looked: Vec<Looked> = ids.iter().map(|id| self.look(*id).unwrap_or_else(Looked::Not)).collect();
        let state = self.view();
        let records = looked.into_iter().map(|looked| match looked {
            Looked::Own(record) => Ok(record),
            Looked::There(found) => Record::in_view(state, found),
            Looked::Not(error) => Err(error),
        });
        records.collect()
    }

    fn look(&mut self, id: RecordId) -> Result<Looked> {
        match self.own(id) {
            Some(Own::Deleted) => return Err(Error::Deleted { id }),
            Some(Own::Put { offset, .. }) => {
                let state = self.engine.heap.pin();
                return Record::shared(state, self.own_record(id, offset)?).map(Looked::Own);
            }
            None => {}
        }
        let state = self.view();
        let (answer, hidden) = (state.lookup(id)?, is_hidden(state, id));
        let seq = if let Answer::Live(found) = &answer { Some(found.seq) } else { None };
        self.parts.get().seen.entry(id).or_insert(seq);
        match answer {
            Answer::Live(found) if !hidden => Ok(Looked::There(found)),
            Answer::Deleted => Err(Error::Deleted { id }),
            Answer::Live(_) | Answer::NeverAllocated => Err(Error::NeverAllocated { id }),
        }
    }

    /// Gives a record the value that a function makes of the one that it has.
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

    /// Deletes every record that has a key between two, and tells how many that were.
    ///
    /// # Errors
    /// As [`range`](Self::range) and [`delete`](Self::delete).
    pub fn delete_range<K: ToKey>(&mut self, index: &Index, range: impl RangeBounds<K>) -> Result<u64> {
        let mut deleted = 0;
        // As it was before the first of them is gone: a record with several keys of the range comes several times.
        for entry in self.range(index, range)? {
            let id = entry?.id;
            if !matches!(self.own(id), Some(Own::Deleted)) {
                self.delete(id)?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    /// Puts a value into the record that has its key in a unique index, or into a new record where none has it.
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
        let upserted = self.insert_or_get(index, bytes.as_ref())?;
        if let Upserted::Existing(id) = upserted {
            self.update(id, bytes)?;
        }
        Ok(upserted)
    }

    /// The record that has the key of a value in a unique index, or a new record with the value where none has it. A value
    /// without a key is always new.
    ///
    /// # Errors
    /// As [`upsert`](Self::upsert).
    pub fn insert_or_get(&mut self, index: &Index, bytes: impl AsRef<[u8]>) -> Result<Upserted> {
        let bytes = bytes.as_ref();
        index.check_store(self.engine.store_id())?;
        if !index.is_unique() {
            return Err(Error::NotUnique { index: index.name().to_owned() });
        }
        let indexes = find_indexes(&self.engine, &mut self.indexes, &mut self.epochs, index.set())?;
        // One that was made anew has another number.
        let known = indexes.all.iter().find(|known| *known.name == *index.name());
        let no_such_index = || Error::NoSuchIndex { index: index.name().to_owned(), why: "is not there" };
        let (known, name) = (known.ok_or_else(no_such_index)?, Arc::clone(&indexes.name));
        let mut keys = Keys::default();
        let told = known.extractor.run(&mut Reading::new(bytes), &mut keys);
        told.map_err(|error| error.of_index(&name, index.name()))?;
        for key in keys.iter() {
            if let Some(id) = self.first_of(index, Key::from_bytes(key)?)? {
                return Ok(Upserted::Existing(id));
            }
        }
        let set = RecordSet::new(self.engine.store_id(), index.set(), name);
        self.insert(&set, bytes).map(Upserted::Inserted)
    }
}
