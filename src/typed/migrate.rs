//! Rewriting the records of a set that are in an older form, beside readers and writers.
//!
//! Owns: in which batches. Never: keeps a record of how far it came: each record says itself whether it is done.
//! Invariants: 1. A batch is one commit. 2. What another transaction writes meanwhile is never overwritten with what was
//! there before.

use crate::error::{Error, Result};
use crate::id::RecordId;
use crate::store::Store;
use crate::txn::{Lookup, Record, Transaction};
use crate::typed::set::TypedSet;
use crate::typed::value::{Value, encoded};

/// Records that one commit rewrites, at most.
const BATCH_RECORDS: usize = 512;
/// Bytes of old values after which a batch is full.
const BATCH_BYTES: u64 = 1 << 20;

/// What [`Store::migrate_set`] or [`Store::migrate_batch`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Records that were looked at.
    pub records: u64,
    /// Of these, records that were in an older form and were rewritten.
    pub rewritten: u64,
    /// The last record that was looked at, if there are more behind it.
    pub next: Option<RecordId>,
}

impl Store {
    /// Rewrites every record of a set that is in an older form than the newest, in batches of one commit each. Readers and
    /// writers go on. A record that somebody changes or deletes meanwhile is left to them.
    ///
    /// Each record says itself whether it is in the newest form ([`Value::is_current`]). So there is nothing to keep when this
    /// is interrupted, by an error or by the end of the process: the next call passes over what was rewritten.
    ///
    /// Records keep their IDs. Their versions become those of the commits that rewrote them. Indexes are kept as by any other update;
    /// where the migration of a value gives the keys that it had, no index changes.
    ///
    /// # Errors
    /// `BadValue` names a record that cannot be migrated. The batches before it are committed, and of its own batch nothing
    /// is.
    pub fn migrate_set<T: Value>(&self, set: &TypedSet<T>) -> Result<Migrated> {
        let mut all = Migrated::default();
        loop {
            let batch = self.migrate_batch(set, all.next)?;
            let (records, rewritten) = (all.records + batch.records, all.rewritten + batch.rewritten);
            all = Migrated { records, rewritten, next: batch.next };
            if all.next.is_none() {
                return Ok(all);
            }
        }
    }

    /// Rewrites one batch of records, behind the one that the batch before ended with. For a program that wants to show how far
    /// a migration is, or to go slowly.
    ///
    /// ```
    /// use tenure::typed::SetDefinition;
    /// const NOTES: SetDefinition<String> = SetDefinition::new("notes");
    ///
    /// let store = tenure::Store::in_memory()?;
    /// let notes = store.typed_set(NOTES)?;
    /// let mut next = None;
    /// loop {
    ///     let batch = store.migrate_batch(&notes, next)?;
    ///     println!("{} of {} records rewritten", batch.rewritten, batch.records);
    ///     next = batch.next;
    ///     if next.is_none() {
    ///         break;
    ///     }
    /// }
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`migrate_set`](Self::migrate_set).
    pub fn migrate_batch<T: Value>(&self, set: &TypedSet<T>, behind: Option<RecordId>) -> Result<Migrated> {
        let view = self.view();
        let scan = view.scan(set.record_set());
        let scan = if let Some(behind) = behind { scan.from(behind) } else { scan };
        let (mut batch, mut older, mut bytes) = (Migrated::default(), Vec::new(), 0);
        for record in scan {
            let record = record?;
            if behind.is_some_and(|behind| record.id().slot() <= behind.slot()) {
                continue;
            }
            if older.len() == BATCH_RECORDS || bytes >= BATCH_BYTES {
                // There is one more.
                batch.next = older.last().copied();
                break;
            }
            batch.records += 1;
            if !T::is_current(&record.bytes()?) {
                older.push(record.id());
                bytes += record.len();
            }
        }
        drop(view);
        if !older.is_empty() {
            batch.rewritten = self.write(|tx| rewrite(tx, set, &older))?;
        }
        Ok(batch)
    }
}

/// Rewrites those of the records that are still there in an older form.
fn rewrite<T: Value>(tx: &mut Transaction, set: &TypedSet<T>, ids: &[RecordId]) -> Result<u64> {
    let mut rewritten = 0;
    for id in ids {
        let value = match tx.lookup(*id)? {
            Lookup::Live(record) => newest::<T>(&record)?,
            Lookup::Deleted | Lookup::NeverAllocated => None,
        };
        let Some(value) = value else { continue };
        set.update_encoded(tx, (*id).into(), None, &value)?;
        rewritten += 1;
    }
    Ok(rewritten)
}

/// The value of a record that is in an older form, with its bytes in the newest.
fn newest<T: Value>(record: &Record<'_>) -> Result<Option<(Vec<u8>, T)>> {
    let bytes = record.bytes()?;
    if T::is_current(&bytes) {
        return Ok(None);
    }
    let value = T::decode(&bytes).and_then(|value| encoded(&value));
    value.map(Some).map_err(|error| named(record.id(), error))
}

/// The error with the record that it is of.
fn named(id: RecordId, error: Error) -> Error {
    match error {
        Error::BadValue { what, why } => Error::BadValue { what, why: format!("record {id}: {why}") },
        other => other,
    }
}
