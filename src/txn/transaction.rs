//! Write transactions: changes are collected privately, validated, and appended as one frame.
//!
//! Owns: the write set, what was read, validation. Validation follows Kung and Robinson 1981 (backward, by version): a
//! commit succeeds only if every version that it read or replaced is still the newest.

use std::any::Any;
use std::sync::Arc;

use crate::engine::{Engine, SetIndexes};
use crate::error::{Error, Result};
use crate::extract::Keys;
use crate::format::item::{AGAIN, Kind, PAYLOAD_BYTES_MAX, item_bytes};
use crate::heap::{Effect, State};
use crate::id::{RecordId, Seq, SetNumber, to_u64};
use crate::txn::first_read::FirstRead;
use crate::txn::keys_ahead::KeysAhead;
use crate::txn::own_keys::{NewValue, fill_keys};
use crate::txn::own_writes::Own;
use crate::txn::parts::{KeptParts, Parts};
use crate::txn::postponed::Postponed;
use crate::txn::ranges::Ranges;
use crate::txn::savepoints::Savepoints;
use crate::txn::scans::Scans;
use crate::txn::set_indexes::find_indexes;
use crate::txn::validation::{Epochs, Part};
use crate::txn::watches::Watches;
use crate::txn::{Durability, Isolation, RecordSet, TransactionOptions};

/// A write transaction. Its changes are invisible until `commit`; dropping it aborts it.
///
/// Transactions run concurrently. A transaction fails with `Error::Conflict` if it read or replaced a version that
/// another transaction has replaced since; [`Store::write`](crate::Store::write) then runs its closure again.
///
/// ```
/// let store = tenure::Store::in_memory()?;
/// let notes = store.record_set("notes")?;
/// let mut tx = store.begin()?;
/// let id = tx.insert(&notes, "first")?;
/// assert_eq!(tx.get(id)?.as_slice(), Some(&b"first"[..]));
/// tx.commit()?;
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug)]
pub struct Transaction {
    pub(super) engine: Arc<Engine>,
    pub(super) view: Option<Arc<State>>,
    pub(super) first_read: FirstRead,
    pub(super) first_seq: Option<Seq>,
    pub(super) parts: KeptParts,
    pub(super) run: Option<SetNumber>,
    pub(super) epochs: Epochs,
    /// The indexes of the set that was written last.
    pub(super) indexes: Option<Arc<SetIndexes>>,
    pub(super) ranges: Ranges,
    /// Keys whose absence counts under any isolation.
    pub(super) not_found: Ranges,
    pub(super) watches: Watches,
    pub(super) scans: Scans,
    pub(super) isolation: Isolation,
    pub(super) durability: Durability,
    pub(super) defers_unique: bool,
    /// Keys found taken during a statement of several records.
    pub(super) postponed: Option<Vec<Postponed>>,
    pub(super) savepoints: Savepoints,
    /// A validation step to leave out, so that tests can show that they notice. Always `None` without the feature for
    /// it.
    pub(super) planted: Option<Part>,
    pub(super) done: bool,
}

impl Transaction {
    /// The caller has checked the process. `usual` is the durability that the store's options set.
    pub(crate) fn new(engine: &Arc<Engine>, options: TransactionOptions, usual: Durability) -> Result<Self> {
        if engine.read_only {
            return Err(Error::ReadOnly);
        }
        engine.poison.check_alive()?;
        Ok(Self {
            engine: Arc::clone(engine),
            view: None,
            first_read: FirstRead::InView,
            first_seq: None,
            parts: KeptParts::take(),
            run: None,
            epochs: Epochs::new(),
            indexes: None,
            ranges: Ranges::default(),
            not_found: Ranges::default(),
            watches: Watches::default(),
            scans: Scans::default(),
            isolation: options.isolation,
            durability: options.durability.unwrap_or(usual),
            defers_unique: options.defers_unique,
            postponed: None,
            savepoints: Savepoints::default(),
            planted: None,
            done: false,
        })
    }

    /// Leaves out a validation step.
    #[cfg(feature = "planted")]
    #[doc(hidden)]
    pub fn plant(&mut self, missing: Part) {
        self.planted = Some(missing);
    }

    /// Records a deletion.
    pub(super) fn note_deleted(&mut self, id: RecordId) {
        let before = self.parts.get().own.set(id, Some(Own::Deleted));
        if !self.savepoints.is_empty() {
            self.parts.get().undo.push((id, before));
        }
    }

    /// Its owner runs the transaction again if a call fails with a conflict, so the first read needs no view.
    pub(crate) fn can_run_again(&mut self) {
        self.first_read = FirstRead::Newest;
    }

    /// Whether a call has failed with a conflict, because no state has what was read first any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.first_read.is_lost()
    }

    /// The state that this transaction reads from.
    pub(super) fn view(&mut self) -> Result<&Arc<State>> {
        let Self { engine, view, first_read, first_seq, .. } = self;
        view_of(engine, view, first_read, first_seq)
    }

    /// Records the change of each index when the new keys replace the old ones, or when the record is deleted.
    fn change_keys(&mut self, id: RecordId, is_deleted: bool) {
        let Some(indexes) = &self.indexes else { return };
        let Parts { keys, old_keys, new_keys, .. } = self.parts.get();
        // After a deletion there may be none yet.
        new_keys.resize_with(new_keys.len().max(indexes.all.len()), Keys::default);
        for ((index, old), new) in indexes.all.iter().zip(old_keys).zip(new_keys) {
            if is_deleted {
                new.clear();
            }
            keys.replace(index, id, old, new);
        }
    }

    /// Inserts a new record into a set and returns its ID. The ID is never reused, even if the transaction aborts.
    ///
    /// Values up to 65,504 bytes are part of the transaction's frame; larger ones are written to the log at once. For a
    /// value that is not in memory, use [`Store::stage`](crate::Store::stage).
    pub fn insert(&mut self, set: &RecordSet, bytes: impl AsRef<[u8]>) -> Result<RecordId> {
        self.insert_known(set, bytes.as_ref(), None)
    }

    /// Inserts bytes, with their decoded value if known.
    #[inline]
    pub(crate) fn insert_known(&mut self, set: &RecordSet, bytes: &[u8], known: Option<&dyn Any>) -> Result<RecordId> {
        if bytes.len() > PAYLOAD_BYTES_MAX {
            self.number_of(set)?;
            let value = self.stage(bytes)?;
            return self.insert_staged_known(set, &value, known);
        }
        self.insert_value(set, NewValue { kind: Kind::Record, bytes, known }, None, None)
    }

    /// Uses a reserved ID, or takes the next one.
    #[inline]
    pub(super) fn insert_value(
        &mut self,
        set: &RecordSet,
        value: NewValue<'_>,
        id: Option<RecordId>,
        ahead: Option<&mut KeysAhead>,
    ) -> Result<RecordId> {
        let NewValue { kind, bytes, .. } = value;
        self.check_room(kind, bytes.len())?;
        let number = self.number_of(set)?;
        let indexes = find_indexes(&self.engine, &mut self.indexes, &mut self.epochs, number)?;
        let parts = self.parts.get();
        if !ahead.is_some_and(|ahead| ahead.give(&mut parts.new_keys)) {
            fill_keys(indexes, value, &mut parts.new_keys, || self.engine.heap.pin())?;
        }
        self.check_keys(id, false)?;
        let parts = self.parts.get();
        let id = match id {
            Some(id) => id,
            None => self.engine.take_id(number)?,
        };
        parts.handed.push(id);
        if let Some(indexes) = self.indexes.as_ref().filter(|indexes| !indexes.all.is_empty()) {
            let Parts { keys, new_keys, .. } = parts;
            indexes.all.iter().zip(&*new_keys).for_each(|(index, new)| keys.insert(index, id, new));
        }
        self.put(id, number, (kind, 0), bytes);
        Ok(id)
    }

    /// Updates a record to a new value. Its ID stays.
    pub fn update(&mut self, id: RecordId, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.update_known(id, None, bytes.as_ref(), None)
    }

    /// Updates a record if it has the expected version, with the decoded value if known.
    pub(crate) fn update_known(
        &mut self,
        id: RecordId,
        expected: Option<Seq>,
        bytes: &[u8],
        known: Option<&dyn Any>,
    ) -> Result<()> {
        if bytes.len() > PAYLOAD_BYTES_MAX {
            match expected {
                Some(expected) => self.check_version(id, expected)?,
                None => self.check_exists(id)?,
            }
            let value = self.stage(bytes)?;
            return self.update_staged_known(id, &value, known);
        }
        self.update_value(id, expected, NewValue { kind: Kind::Record, bytes, known })
    }

    /// Fails if the transaction would become too large.
    pub(super) fn check_more(&mut self, bytes: u64) -> Result<()> {
        check_bytes(&self.engine, self.parts.get(), bytes)
    }

    /// Whether this set is the one that was written last.
    #[inline]
    pub(super) fn writes_to(&self, set: SetNumber) -> bool {
        self.indexes.as_ref().is_some_and(|indexes| indexes.set == set)
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Prefetches the beginnings of records that will be replaced.
    pub(super) fn look_ahead(&self, ids: impl ExactSizeIterator<Item = RecordId>) {
        if ids.len() < 2 {
            return;
        }
        let slots = ids.map(RecordId::slot);
        match &self.view {
            Some(view) => view.look_ahead(slots),
            None => self.engine.heap.look_ahead(slots),
        }
    }

    pub(super) fn update_value(&mut self, id: RecordId, expected: Option<Seq>, value: NewValue<'_>) -> Result<()> {
        let NewValue { kind, bytes, .. } = value;
        self.check_room(kind, bytes.len())?;
        let old = self.replaced(id, expected).map_err(|error| error.of_record(id))?;
        let indexes = find_indexes(&self.engine, &mut self.indexes, &mut self.epochs, old.set)?;
        fill_keys(indexes, value, &mut self.parts.get().new_keys, || self.engine.heap.pin())
            .map_err(|error| error.of_record(id))?;
        self.check_keys(Some(id), true)?;
        self.parts.get().frees.extend(&old.chunks);
        self.put(id, old.set, (kind, old.flags()), bytes);
        self.change_keys(id, false);
        Ok(())
    }

    /// Updates a record if its version is still `expected`; `VersionMismatch` if not. A record that this transaction has
    /// changed before has the version that it replaced, until the commit.
    pub fn update_if(&mut self, id: RecordId, expected: Seq, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.update_known(id, Some(expected), bytes.as_ref(), None)
    }

    /// Deletes a record. Its ID never refers to another record.
    pub fn delete(&mut self, id: RecordId) -> Result<()> {
        check_bytes(&self.engine, self.parts.get(), 8)?;
        let old = self.replaced(id, None).map_err(|error| error.of_record(id))?;
        let parts = self.parts.get();
        parts.frees.extend(old.chunks.iter().chain([&id]));
        if old.flags() & AGAIN != 0 {
            parts.frees_flags |= AGAIN;
            parts.again.push(id);
        }
        self.note_deleted(id);
        self.change_keys(id, true);
        Ok(())
    }

    pub(super) fn put(&mut self, id: RecordId, set: SetNumber, (kind, flags): (Kind, u8), bytes: &[u8]) {
        let parts = self.parts.get();
        if self.run != Some(set) {
            parts.frame.control(Kind::Run, &set.0.to_le_bytes());
            self.run = Some(set);
        }
        if flags & AGAIN != 0 {
            parts.again.push(id);
        }
        let (offset, bytes) = parts.frame.record_with(kind, flags, id, bytes);
        parts.effects.push(Effect::Put { id, set, offset, bytes });
        if !self.savepoints.is_empty() {
            // Own writes that a savepoint may undo are added to the map at once.
            let before = parts.own.get(id);
            parts.own.catch_up(&parts.effects);
            parts.undo.push((id, before));
        }
    }

    #[inline]
    pub(super) fn check_room(&mut self, kind: Kind, bytes: usize) -> Result<()> {
        check_bytes(&self.engine, self.parts.get(), item_bytes(kind as u8, bytes) + 32)
    }
}

/// The state that a transaction reads from, which is taken now if there is none.
#[inline]
pub(super) fn view_of<'t>(
    engine: &Engine,
    view: &'t mut Option<Arc<State>>,
    first_read: &mut FirstRead,
    first_seq: &mut Option<Seq>,
) -> Result<&'t Arc<State>> {
    if view.is_none() {
        first_read.check(*first_seq, engine.heap.seq())?;
        let taken = engine.heap.pin();
        first_read.join(&taken, *first_seq)?;
        first_seq.get_or_insert(taken.seq);
        *view = Some(taken);
    }
    Ok(view.get_or_insert_with(|| engine.heap.pin()))
}

/// Fails if the transaction would become too large.
#[inline]
pub(super) fn check_bytes(engine: &Engine, parts: &Parts, more: u64) -> Result<()> {
    engine.poison.check_process()?;
    let limit = engine.transaction_bytes_max;
    let bytes = parts.frame.bytes() + to_u64(parts.frees.len()) * 8 + parts.keys.bytes() + more;
    if bytes > limit { Err(Error::TooLarge { what: "transaction", bytes, limit }) } else { Ok(()) }
}
