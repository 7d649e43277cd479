//! Rolling a transaction back to a savepoint.
//!
//! Owns: what is undone. Never: forgets what was read.

use crate::error::Result;
use crate::txn::Transaction;
use crate::txn::savepoints::{Point, Savepoint};

impl Transaction {
    /// Creates a savepoint that [`roll_back_to`](Self::roll_back_to) can roll back to. Savepoints nest.
    ///
    /// ```
    /// let store = tenure::Store::in_memory()?;
    /// let notes = store.record_set("notes")?;
    /// let mut tx = store.begin()?;
    /// tx.insert(&notes, "kept")?;
    /// let savepoint = tx.savepoint();
    /// tx.insert(&notes, "taken back")?;
    /// tx.roll_back_to(savepoint)?;
    /// tx.commit()?;
    /// assert_eq!(store.view().len(&notes), 1);
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn savepoint(&mut self) -> Savepoint {
        let parts = self.parts.get();
        parts.own.catch_up(&parts.effects);
        self.savepoints.push(Point {
            frame: parts.frame.mark(),
            effects: parts.effects.len(),
            frees: parts.frees.len(),
            handed: parts.handed.len(),
            staged: parts.staged.len(),
            keys: parts.keys.mark(),
            undo: parts.undo.len(),
            run: self.run,
        })
    }

    /// Releases a savepoint and all later ones. Writes since then stay, and an earlier savepoint can still undo them.
    ///
    /// # Errors
    /// As [`roll_back_to`](Self::roll_back_to).
    pub fn release(&mut self, savepoint: Savepoint) -> Result<()> {
        self.savepoints.release(savepoint)?;
        if self.savepoints.is_empty() {
            self.parts.get().undo.clear();
        }
        Ok(())
    }

    /// Undoes every write since the savepoint, which stays valid; later savepoints are gone. Reads still count as read.
    ///
    /// # Errors
    /// `NoSuchSavepoint` if the savepoint was released or rolled back over, or belongs to another transaction.
    pub fn roll_back_to(&mut self, savepoint: Savepoint) -> Result<()> {
        self.engine.poison.check_process()?;
        let point = self.savepoints.go_back(savepoint)?;
        let parts = self.parts.get();
        parts.frame.go_back(point.frame);
        parts.effects.truncate(point.effects);
        parts.frees.truncate(point.frees);
        parts.keys.go_back(&point.keys);
        self.run = point.run;
        for (id, before) in parts.undo.drain(point.undo..).rev() {
            parts.own.set(id, before);
        }
        parts.own.go_back(point.effects);
        self.engine.slots.abandon(parts.handed.drain(point.handed..));
        let staged = parts.staged.split_off(point.staged);
        for claim in staged {
            claim.release();
        }
        Ok(())
    }
}
