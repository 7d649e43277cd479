//! Savepoints: states of one transaction to which it can go back.
//!
//! Owns: which stand, and whose they are. Never: takes writes back; the transaction does.
//! Invariant: a savepoint leads only to a state of the transaction that it was taken of.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::error::Error;
use crate::error::Result;
use crate::id::SetNumber;
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
    pub(crate) streams: usize,
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
}
