//! Writes to many records: their IDs are taken at once, and their cache misses overlap.
//!
//! Owns: in which pieces a transaction looks ahead, IDs that were taken and not used. Never: writes anything itself; each record
//! goes the way of a single one.

use std::any::Any;
use std::sync::Arc;
use std::vec::IntoIter;

use crate::engine::Engine;
use crate::error::Result;
use crate::format::item::{Kind, PAYLOAD_BYTES_MAX, item_bytes};
use crate::id::RecordId;
use crate::txn::own_keys::NewValue;
use crate::txn::view::AHEAD;
use crate::txn::{RecordSet, Transaction};

/// IDs that were taken. Those that are left come to nothing, also when an extractor panics.
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
    /// Puts new records into a set and gives their IDs, as [`insert`](Self::insert) does for one after the other. Their IDs are
    /// taken at once, which takes less time.
    ///
    /// # Errors
    /// `TooLarge` before any is inserted, if all together are too much for a transaction. Otherwise those of `insert` for the first
    /// record that cannot be inserted. The ones before it are inserted then, but nobody learns their IDs: a transaction in
    /// which this fails is best dropped.
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

    /// The same of values of any form, of which the bytes may be known as something decoded.
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
        for value in values {
            let (bytes, known) = parts(value);
            let value = NewValue { kind: Kind::Record, bytes, known };
            self.insert_value(set, value, unused.ids.as_slice().first().copied())?;
            unused.ids.next();
        }
        Ok(ids)
    }

    /// Gives records new values, as [`update`](Self::update) does for one after the other. Where records are many and lie
    /// anywhere this takes less time: the processor waits for several of them at once.
    ///
    /// Keys of unique indexes are compared when all records have their new values: so two records can exchange a key.
    ///
    /// # Errors
    /// Those of `update` for the first record that cannot be updated; the ones before it are updated then, and no other.
    /// `UniqueViolation` if two records have a key in the end: all are updated then, and the transaction cannot commit unless it goes
    /// back to a savepoint.
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
        self.as_one_statement(|tx| {
            for some in changes.chunks(AHEAD) {
                tx.look_ahead(some.iter().map(|(id, _)| *id));
                some.iter().try_for_each(|(id, bytes)| tx.update(*id, bytes))?;
            }
            Ok(())
        })
    }

    /// Deletes records, as [`delete`](Self::delete) does one after the other, and waits for several of them at once.
    ///
    /// # Errors
    /// Those of `delete` for the first record that cannot be deleted; the ones before it are deleted then, and no other.
    pub fn delete_many(&mut self, ids: &[RecordId]) -> Result<()> {
        for some in ids.chunks(AHEAD) {
            self.look_ahead(some.iter().copied());
            some.iter().try_for_each(|id| self.delete(*id))?;
        }
        Ok(())
    }
}
