//! Writing many records at once: their IDs are reserved together, and their cache misses overlap.
//!
//! Owns: how far a transaction looks ahead, and IDs reserved but not used. Never: writes anything itself; each record
//! takes the path of a single write.

use std::any::Any;
use std::sync::Arc;
use std::vec::IntoIter;

use crate::engine::Engine;
use crate::error::Result;
use crate::format::item::{Kind, PAYLOAD_BYTES_MAX, item_bytes};
use crate::id::RecordId;
use crate::txn::own_keys::NewValue;
use crate::txn::set_indexes::find_indexes;
use crate::txn::view::AHEAD;
use crate::txn::{RecordSet, Transaction};

/// Reserved IDs. The unused ones are returned, even if an extractor panics.
struct Unused {
    engine: Arc<Engine>,
    ids: IntoIter<RecordId>,
}

impl Drop for Unused {
    fn drop(&mut self) {
        if self.ids.len() > 0 {
            self.engine.slots.abandon(self.ids.by_ref());
        }
    }
}

impl Transaction {
    /// Inserts new records into a set and returns their IDs, like calling [`insert`](Self::insert) for each. Faster,
    /// because the IDs are reserved together.
    ///
    /// # Errors
    /// `TooLarge` before any record is inserted, if all of them together exceed a transaction's limit. Otherwise the
    /// error of the first record that cannot be inserted. The records before it stay inserted, but their IDs are not
    /// returned: it is best to drop a transaction in which this fails.
    ///
    /// ```
    /// let store = tenure::Store::in_memory()?;
    /// let notes = store.record_set("notes")?;
    /// let ids = store.write(|tx| tx.insert_many(&notes, &["one", "two", "three"]))?;
    /// assert_eq!(store.get(ids[1])?.as_slice(), Some(&b"two"[..]));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn insert_many(&mut self, set: &RecordSet, values: &[impl AsRef<[u8]>]) -> Result<Vec<RecordId>> {
        self.insert_many_known(set, values, |value| (value.as_ref(), None))
    }

    /// Like `insert_many`, for values of any form, with their decoded values if known.
    pub(crate) fn insert_many_known<V>(
        &mut self,
        set: &RecordSet,
        values: &[V],
        parts: impl for<'v> Fn(&'v V) -> (&'v [u8], Option<&'v dyn Any>),
    ) -> Result<Vec<RecordId>> {
        let bytes = |value| parts(value).0.len();
        if values.iter().any(|value| bytes(value) > PAYLOAD_BYTES_MAX) {
            let each = values.iter().map(|value| {
                let (bytes, known) = parts(value);
                self.insert_known(set, bytes, known)
            });
            return each.collect();
        }
        self.check_more(values.iter().map(|value| item_bytes(Kind::Record as u8, bytes(value))).sum())?;
        let number = self.number_of(set)?;
        let ids = self.engine().take_ids(number, values.len())?;
        let mut unused = Unused { engine: Arc::clone(self.engine()), ids: ids.clone().into_iter() };
        let record = |value| {
            let (bytes, known) = parts(value);
            NewValue { kind: Kind::Record, bytes, known }
        };
        find_indexes(&self.engine, &mut self.indexes, &mut self.epochs, number)?;
        let mut ahead = if values.len() > 1 { self.room_ahead() } else { None };
        for some in values.chunks(AHEAD) {
            if let Some(ahead) = &mut ahead {
                self.look_up_ahead(some.iter().map(record), ahead);
            }
            for value in some {
                self.insert_value(set, record(value), unused.ids.as_slice().first().copied(), ahead.as_mut())?;
                unused.ids.next();
            }
        }
        Ok(ids)
    }

    /// Updates records, like calling [`update`](Self::update) for each. Faster for many scattered records: the
    /// processor waits for several of them at once.
    ///
    /// Keys of unique indexes are checked when all records have their new values, so two records can swap keys.
    ///
    /// # Errors
    /// The error of the first record that cannot be updated; the records before it are updated, later ones are not.
    /// `UniqueViolation` if two records have the same key in the end: then all are updated, and the transaction cannot
    /// commit unless it rolls back to a savepoint.
    ///
    /// ```
    /// let store = tenure::Store::in_memory()?;
    /// let notes = store.record_set("notes")?;
    /// let ids = store.write(|tx| (0..3).map(|_| tx.insert(&notes, "old")).collect::<tenure::Result<Vec<_>>>())?;
    /// let changes: Vec<_> = ids.iter().map(|id| (*id, format!("new of {id}"))).collect();
    /// store.write(|tx| tx.update_many(&changes))?;
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn update_many(&mut self, changes: &[(RecordId, impl AsRef<[u8]>)]) -> Result<()> {
        self.update_many_known(changes, |(id, bytes)| (*id, bytes.as_ref(), None))
    }

    /// The same of changes of any form, of which the bytes may be known as something decoded.
    pub(crate) fn update_many_known<C>(
        &mut self,
        changes: &[C],
        parts: impl for<'c> Fn(&'c C) -> (RecordId, &'c [u8], Option<&'c dyn Any>),
    ) -> Result<()> {
        self.as_one_statement(|tx| {
            for some in changes.chunks(AHEAD) {
                tx.look_ahead(some.iter().map(|change| parts(change).0));
                for change in some {
                    let (id, bytes, known) = parts(change);
                    tx.update_known(id, None, bytes, known)?;
                }
            }
            Ok(())
        })
    }

    /// Deletes records, like calling [`delete`](Self::delete) for each, and waits for several of them at once.
    ///
    /// # Errors
    /// The error of the first record that cannot be deleted; the records before it are deleted, later ones are not.
    pub fn delete_many(&mut self, ids: &[RecordId]) -> Result<()> {
        for some in ids.chunks(AHEAD) {
            self.look_ahead(some.iter().copied());
            some.iter().try_for_each(|id| self.delete(*id))?;
        }
        Ok(())
    }
}
