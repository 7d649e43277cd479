//! Write transactions, as a user begins them.
//!
//! Owns: retrying a closure after a conflict, and which closure runs alone. Never: validates or commits by itself.

use std::io::Read;
use std::sync::atomic::Ordering;

use parking_lot::ReentrantMutexGuard;

use crate::error::{Conflict, Error, Result};
use crate::id::Seq;
use crate::store::{Inner, Store};
use crate::txn::{StagedValue, Transaction, TransactionOptions};

/// How often `Store::write` runs a closure beside others before it runs it alone.
const RETRIES_SIDE_BY_SIDE: u32 = 8;
/// The maximum number of attempts.
const RETRIES_MAX: u32 = 64;

impl Store {
    /// Begins a write transaction with the default options.
    pub fn begin(&self) -> Result<Transaction> {
        self.begin_with(TransactionOptions::new())
    }

    /// Begins a write transaction.
    pub fn begin_with(&self, options: impl Into<TransactionOptions>) -> Result<Transaction> {
        self.make_way()?;
        Transaction::new(&self.inner.engine, options.into(), self.inner.options.durability)
    }

    /// Makes room before a writer takes any.
    fn make_way(&self) -> Result<()> {
        self.inner.engine.poison.check_process()?;
        if !self.inner.engine.read_only {
            self.inner.collector.pay(&self.inner.engine);
        }
        Ok(())
    }

    /// Runs a transaction and commits it. If the closure returns an error, the transaction is aborted and `write`
    /// returns that error. Its type can be your own, as long as it implements `From<tenure::Error>`.
    ///
    /// On a conflict, `write` runs the closure again. After several conflicts it runs the closure alone: calls of
    /// `write` by other threads wait until it is done, transactions from [`begin`](Self::begin) do not. So a closure
    /// must not wait for a thread that calls `write`, or for a lock that such a thread holds.
    ///
    /// What a closure learns holds in one state. If what it has read first changes before it reads or changes something else, that
    /// call fails with a conflict, and `write` runs the closure again whatever it returns. So pass errors on; a panic is not
    /// run again.
    ///
    /// Only a conflict of this transaction is retried. If the closure commits another transaction and returns its error, that
    /// is an error like any other, even if it is a conflict: loop inside the closure.
    ///
    /// Because a closure may run again, it must not consume what it captures. [Stage](Self::stage) a value from a
    /// stream before calling `write`.
    ///
    /// # Errors
    /// Any error of the closure or of the commit; `TooManyConflicts` after 64 attempts.
    ///
    /// ```
    /// #[derive(Debug)]
    /// enum Refusal {
    ///     Overdrawn,
    ///     Store(tenure::Error),
    /// }
    ///
    /// impl From<tenure::Error> for Refusal {
    ///     fn from(error: tenure::Error) -> Self {
    ///         Self::Store(error)
    ///     }
    /// }
    ///
    /// let store = tenure::Store::in_memory()?;
    /// let accounts = store.record_set("accounts")?;
    /// let id = store.write(|tx| tx.insert(&accounts, [3]))?;
    /// let withdrawn = store.write(|tx| {
    ///     let balance = tx.get(id)?.bytes()?[0];
    ///     tx.update(id, [0])?;
    ///     balance.checked_sub(5).ok_or(Refusal::Overdrawn)
    /// });
    /// assert!(matches!(withdrawn, Err(Refusal::Overdrawn)));
    /// assert_eq!(store.get(id)?.as_slice(), Some(&[3][..]));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// If neither the closure nor the use of its result determines the error type, annotate it:
    ///
    /// ```
    /// # let store = tenure::Store::in_memory()?;
    /// # let notes = store.record_set("notes")?;
    /// store.write(|tx| -> tenure::Result<_> {
    ///     tx.insert(&notes, "one")?;
    ///     tx.insert(&notes, "two")?;
    ///     Ok(())
    /// })?;
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn write<T, E>(&self, body: impl FnMut(&mut Transaction) -> Result<T, E>) -> Result<T, E>
    where
        E: From<Error>,
    {
        self.write_with(TransactionOptions::new(), body).map(|(value, _)| value)
    }

    /// Like [`write`](Self::write), with options for this transaction; also returns the number of the commit.
    ///
    /// # Errors
    /// As `write`.
    ///
    /// ```
    /// use tenure::Durability;
    /// let store = tenure::Store::in_memory()?;
    /// let notes = store.record_set("notes")?;
    /// let (id, seq) = store.write_with(Durability::Buffered, |tx| tx.insert(&notes, "first"))?;
    /// store.wait_durable(seq)?;
    /// assert_eq!(store.get(id)?.seq(), seq);
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn write_with<T, E>(
        &self,
        options: impl Into<TransactionOptions>,
        mut body: impl FnMut(&mut Transaction) -> Result<T, E>,
    ) -> Result<(T, Seq), E>
    where
        E: From<Error>,
    {
        self.inner.engine.poison.check_process()?;
        let options = options.into();
        let (mut attempts, mut turn) = (0, None);
        loop {
            if attempts >= RETRIES_SIDE_BY_SIDE {
                // Kept for all further attempts: closures that already run finish, and no others begin.
                turn.get_or_insert_with(|| Alone::new(&self.inner));
            } else if self.inner.alone.load(Ordering::Acquire) > 0 {
                drop(self.inner.turnstile.lock());
            }
            let mut tx = self.begin_with(options)?;
            if attempts == 0 {
                tx.can_run_again();
            }
            let value = body(&mut tx);
            attempts += 1;
            if tx.is_lost() {
                // Whatever the closure made of that: the state that it read from is gone.
                self.inner.retries.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let value = value?;
            match tx.commit() {
                Ok(seq) => return Ok((value, seq)),
                Err(Error::Conflict(last)) if attempts == RETRIES_MAX => return Err(gave_up(attempts, last).into()),
                Err(Error::Conflict(_)) => drop(self.inner.retries.fetch_add(1, Ordering::Relaxed)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads a value of any size from a stream to its end and keeps it in the log, not in memory, until a transaction
    /// turns it into a record.
    ///
    /// # Errors
    /// `Source` if reading the stream fails; nothing of the value remains then.
    pub fn stage(&self, mut source: impl Read) -> Result<StagedValue> {
        self.make_way()?;
        StagedValue::new(&self.inner.engine, &mut source)
    }
}

#[cold]
fn gave_up(attempts: u32, last: Box<Conflict>) -> Error {
    Error::TooManyConflicts { attempts, last }
}

/// The turn of a closure that runs alone.
struct Alone<'s> {
    inner: &'s Inner,
    _turn: ReentrantMutexGuard<'s, ()>,
}

impl<'s> Alone<'s> {
    fn new(inner: &'s Inner) -> Self {
        // Other threads read the count first, then wait for the lock.
        inner.alone.fetch_add(1, Ordering::AcqRel);
        Self { inner, _turn: inner.turnstile.lock() }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.inner.alone.fetch_sub(1, Ordering::AcqRel);
    }
}
