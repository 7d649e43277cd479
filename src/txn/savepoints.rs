//! Savepoints: states of one transaction to which it can go back.
//!
//! Owns: which stand, and whose they are. Never: takes writes back; the transaction does.
//! Invariant: a savepoint leads only to a state of the transaction that it was taken of.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::id::SetNumber;
use crate::txn::Transaction;
use crate::txn::changes::Mark;

/// Numbers of transactions with savepoints: each has one of its own within the process.
static TRANSACTIONS: AtomicU64 = AtomicU64::new(0);

/// A state of a transaction to which it, and no other, can go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Savepoint {
    transaction: u64,
    number: u64,
}

/// How much there was of what a transaction gathers.
#[derive(Debug)]
pub(crate) struct Point {
    pub(crate) frame: (usize, u32),
    pub(crate) effects: usize,
    pub(crate) frees: usize,
    pub(crate) handed: usize,
    pub(crate) staged: usize,
    pub(crate) keys: Mark,
    pub(crate) undo: usize,
    pub(crate) run: Option<SetNumber>,
}

/// The savepoints of a transaction that stand.
#[derive(Debug, Default)]
pub(crate) struct Savepoints {
    transaction: Option<u64>,
    made: u64,
    all: Vec<(u64, Point)>,
}

impl Savepoints {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn push(&mut self, point: Point) -> Savepoint {
        let transaction = *self.transaction.get_or_insert_with(|| TRANSACTIONS.fetch_add(1, Ordering::Relaxed));
        self.made += 1;
        self.all.push((self.made, point));
        Savepoint { transaction, number: self.made }
    }

    /// The point of a savepoint, which is the newest from now on.
    pub(crate) fn go_back(&mut self, savepoint: Savepoint) -> Result<&Point> {
        let is_own = self.transaction == Some(savepoint.transaction);
        let place = self.all.iter().position(|(number, _)| is_own && *number == savepoint.number);
        self.all.truncate(place.ok_or(Error::NoSuchSavepoint)? + 1);
        self.all.last().map(|(_, point)| point).ok_or(Error::NoSuchSavepoint)
    }

    /// Forgets a savepoint and all that came after it.
    fn release(&mut self, savepoint: Savepoint) -> Result<()> {
        self.go_back(savepoint)?;
        self.all.pop();
        Ok(())
    }
}

impl Transaction {
    /// A state to which [`roll_back_to`](Self::roll_back_to) can go back. Savepoints nest.
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

    /// Gives up a savepoint, and those that were taken after it. What was written since stays, and belongs to what an earlier savepoint
    /// can take back.
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

    /// Takes back every write since the savepoint, which stands afterwards; later ones are gone. What was read stays read.
    ///
    /// # Errors
    /// `NoSuchSavepoint` if an earlier one was gone back to since, if it was released, or if it is of another transaction.
    pub fn roll_back_to(&mut self, savepoint: Savepoint) -> Result<()> {
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
