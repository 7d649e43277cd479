//! Staged values: in the log, waiting for a transaction to turn them into records.
//!
//! Owns: turning one into a record. Never: reads a source inside a transaction.
//!
//! A source can be read once, but a transaction may run several times, so no transaction takes a source. Reopening the
//! source for each run would not be safe: two handles of a file can share one position, and no type shows that. Staging
//! comes before the transaction, which takes the staged value on each run: chunks are written once, and the transaction
//! is short.
//! Invariant: chunks that no commit has taken are freed when the value is dropped, or by the next opening.

use std::any::Any;
use std::io::Read;
use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Result;
use crate::format::item::Kind;
use crate::heap::{Found, Place};
use crate::id::{RecordId, Seq};
use crate::txn::claimed::Claimed;
use crate::txn::large::Stager;
use crate::txn::own_keys::NewValue;
use crate::txn::{Record, RecordReader, RecordSet, Transaction};

/// A value that was read to its end and is not a record yet.
///
/// Created by [`Store::stage`](crate::Store::stage). [`Transaction::insert_staged`] or [`Transaction::update_staged`]
/// turns it into one record. A transaction that does not commit leaves the value as it was. If it is dropped without
/// having become a record, its space is reclaimed.
///
/// ```
/// let store = tenure::Store::in_memory()?;
/// let files = store.record_set("files")?;
/// let source = std::io::repeat(7);
/// let value = store.stage(std::io::Read::take(source, 3 << 20))?;
/// // Runs again after a conflict, with the same value.
/// let id = store.write(|tx| tx.insert_staged(&files, &value))?;
/// assert_eq!(store.get(id)?.len(), 3 << 20);
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug)]
pub struct StagedValue {
    kind: Kind,
    /// The value, or the head of its chunks.
    bytes: Vec<u8>,
    claim: Arc<Claimed>,
}

impl StagedValue {
    /// Reads a source to its end.
    pub(crate) fn new(engine: &Arc<Engine>, source: &mut dyn Read) -> Result<Self> {
        engine.check_writable()?;
        let (kind, bytes, stream) = Stager::new(engine, engine.streams.take()?).stage(source)?.parts();
        Ok(Self { kind, bytes, claim: Arc::new(Claimed::new(engine, stream)) })
    }

    /// Reads the value from its beginning.
    pub(crate) fn reader(&self) -> Result<RecordReader<'static>> {
        let place = Place::Copied(Arc::from(self.bytes.as_slice()));
        let found = Found { id: RecordId::FIRST, seq: Seq::ZERO, is_head: self.kind == Kind::Head, place };
        Record::shared(self.claim.engine().heap.pin(), found).map(Record::into_reader)
    }
}

/// A statement that stores the last claimed value. If it writes nothing, even because an extractor panics, the value is
/// released, because the transaction may continue.
struct Claiming<'t> {
    tx: &'t mut Transaction,
    is_written: bool,
}

impl Drop for Claiming<'_> {
    fn drop(&mut self) {
        if !self.is_written
            && let Some(claim) = self.tx.parts.get().staged.pop()
        {
            claim.release();
        }
    }
}

impl Transaction {
    /// Inserts a staged value into a set as a new record.
    ///
    /// # Errors
    /// `StagedValue` if a record or an unfinished transaction already holds the value, or if another store handle
    /// staged it.
    pub fn insert_staged(&mut self, set: &RecordSet, value: &StagedValue) -> Result<RecordId> {
        self.insert_staged_known(set, value, None)
    }

    /// Updates a record to a staged value. Its ID stays.
    ///
    /// # Errors
    /// As [`insert_staged`](Self::insert_staged), and those of [`update`](Self::update).
    pub fn update_staged(&mut self, id: RecordId, value: &StagedValue) -> Result<()> {
        self.update_staged_known(id, value, None)
    }

    pub(super) fn insert_staged_known(
        &mut self,
        set: &RecordSet,
        value: &StagedValue,
        known: Option<&dyn Any>,
    ) -> Result<RecordId> {
        let new = NewValue { kind: value.kind, bytes: &value.bytes, known };
        self.with_staged(value, |tx| tx.insert_value(set, new, None, None))
    }

    pub(super) fn update_staged_known(
        &mut self,
        id: RecordId,
        value: &StagedValue,
        known: Option<&dyn Any>,
    ) -> Result<()> {
        let new = NewValue { kind: value.kind, bytes: &value.bytes, known };
        self.with_staged(value, |tx| tx.update_value(id, None, new))
    }

    fn with_staged<T>(&mut self, value: &StagedValue, write: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        value.claim.take(&self.engine)?;
        self.parts.get().staged.push(Arc::clone(&value.claim));
        let mut claiming = Claiming { tx: self, is_written: false };
        let result = write(claiming.tx);
        claiming.is_written = result.is_ok();
        result
    }

    /// Stages a value that is already in memory.
    pub(super) fn stage(&self, bytes: &[u8]) -> Result<StagedValue> {
        StagedValue::new(&self.engine, &mut &*bytes)
    }
}
