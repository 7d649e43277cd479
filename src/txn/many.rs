//! Writes to many records: their cache misses overlap.
//!
//! Owns: in which pieces a transaction looks ahead. Never: writes anything itself; each record goes the way of a single one.

use crate::error::Result;
use crate::id::RecordId;
use crate::txn::Transaction;
use crate::txn::view::AHEAD;

impl Transaction {
    /// Gives records new values, as [`update`](Self::update) does for one after the other. Where records are many and lie
    /// anywhere this takes less time: the processor waits for several of them at once.
    ///
    /// # Errors
    /// Those of `update` for the first record that cannot be updated; the ones before it are updated then, and no other.
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
        for some in changes.chunks(AHEAD) {
            self.look_ahead(some.iter().map(|(id, _)| *id));
            some.iter().try_for_each(|(id, bytes)| self.update(*id, bytes))?;
        }
        Ok(())
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
