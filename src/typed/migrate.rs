//! Rewriting the records of a set that are in an older form, while readers and writers continue.
//!
//! Owns: dividing the work into batches. Never: stores its progress: each record tells whether it is done. Invariants:
//! 1. A batch is one commit. 2. A concurrent write is never overwritten with the older value.

use crate::error::{Error, Result};
use crate::id::RecordId;
use crate::store::Store;
use crate::txn::{Lookup, Record, Transaction};
use crate::typed::set::TypedSet;
use crate::typed::value::{Value, encoded};

/// Maximum number of records that one commit rewrites.
const BATCH_RECORDS: usize = 512;
/// Bytes of old values at which a batch is full.
const BATCH_BYTES: u64 = 1 << 20;

/// The result of [`Store::migrate_set`] or [`Store::migrate_batch`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Number of records examined.
    pub records: u64,
    /// Number of them that were in an older form and have been rewritten.
    pub rewritten: u64,
    /// The last record examined, if there are more after it.
    pub next: Option<RecordId>,
}

impl Store {
    /// Rewrites every record of a set that is in an older form, in batches of one commit each. Readers and writers
    /// continue. A record that another transaction changes or deletes meanwhile is left as that transaction wrote it.
    ///
    /// Each record tells whether it is in the newest form ([`Value::is_current`]), so no progress needs to be saved if
    /// this is interrupted by an error or a crash: the next call skips what has been rewritten.
    ///
    /// Records keep their IDs, and get the versions of the commits that rewrote them. Indexes are maintained as by any
    /// update; if the migrated value has the same keys, no index changes.
    ///
    /// # Errors
    /// `BadValue` names a record that cannot be migrated. Earlier batches are committed; nothing of the record's own
    /// batch is.
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

    /// Rewrites one batch of records, starting after the last record of the previous batch. For programs that show
    /// progress or limit the rate.
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
                // The next record proves that there are more.
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

/// Rewrites those of the records that still exist in an older form.
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

/// The value of a record in an older form, with its bytes in the newest form.
fn newest<T: Value>(record: &Record<'_>) -> Result<Option<(Vec<u8>, T)>> {
    let bytes = record.bytes()?;
    if T::is_current(&bytes) {
        return Ok(None);
    }
    let value = T::decode(&bytes).and_then(|value| encoded(&value));
    value.map(Some).map_err(|error| named(record.id(), error))
}

/// Adds the record's ID to an error.
fn named(id: RecordId, error: Error) -> Error {
    match error {
        Error::BadValue { what, why } => Error::BadValue { what, why: format!("record {id}: {why}") },
        other => other,
    }
}
