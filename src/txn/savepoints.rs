//! Savepoints: states of a transaction that it can roll back to.
//!
//! Owns: which savepoints exist, and to which transaction they belong. Never: undoes writes; `undoing` does.
//! Invariant: a savepoint leads only to a state of the transaction that created it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::id::SetNumber;
use crate::txn::changes::Mark;

/// Source of numbers for transactions with savepoints, unique within the process.
static TRANSACTIONS: AtomicU64 = AtomicU64::new(0);

/// A state that its transaction can roll back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Savepoint {
    transaction: u64,
    number: u64,
}

/// The lengths of a transaction's buffers.
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

/// The existing savepoints of a transaction. Without any there is no memory for them.
#[derive(Debug, Default)]
pub(crate) struct Savepoints(Option<Box<Taken>>);

#[derive(Debug)]
struct Taken {
    transaction: u64,
    made: u64,
    /// By ascending number.
    all: Vec<(u64, Point)>,
}

impl Savepoints {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|made| made.all.is_empty())
    }

    pub(crate) fn push(&mut self, point: Point) -> Savepoint {
        let made = self.0.get_or_insert_with(|| {
            let transaction = TRANSACTIONS.fetch_add(1, Ordering::Relaxed);
            Box::new(Taken { transaction, made: 0, all: Vec::new() })
        });
        made.made += 1;
        made.all.push((made.made, point));
        Savepoint { transaction: made.transaction, number: made.made }
    }

    /// The point of a savepoint, which becomes the newest.
    pub(crate) fn go_back(&mut self, savepoint: Savepoint) -> Result<&Point> {
        let own = self.0.as_deref_mut().filter(|made| made.transaction == savepoint.transaction);
        let all = &mut own.ok_or(Error::NoSuchSavepoint)?.all;
        let place = all.binary_search_by_key(&savepoint.number, |(number, _)| *number);
        all.truncate(place.ok().ok_or(Error::NoSuchSavepoint)? + 1);
        all.last().map(|(_, point)| point).ok_or(Error::NoSuchSavepoint)
    }

    /// Forgets a savepoint and all later ones.
    pub(crate) fn release(&mut self, savepoint: Savepoint) -> Result<()> {
        self.go_back(savepoint)?;
        if let Some(made) = &mut self.0 {
            made.all.pop();
        }
        Ok(())
    }
}
