//! Write transactions: collected privately, validated and appended as one frame.
//!
//! Owns: the write set, what was read, validation. The validation follows Kung and Robinson 1981 (backward, by
//! version): a commit stands only if every version that it read or replaced is still the newest.

use std::any::Any;
use std::io::Read;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use crate::engine::{Engine, Need, SetIndexes};
use crate::error::{Error, Result};
use crate::extract::Keys;
use crate::format::item::{Kind, PAYLOAD_BYTES_MAX, item_bytes};
use crate::heap::{Answer, Effect, Found, Place, State, put_frees};
use crate::id::{RecordId, Seq, SetNumber, to_u64};
use crate::key::{Key, ToKey, prefix_range};
use crate::txn::index::key_bounds;
use crate::txn::large::{Staged, Stager, chunks_of};
use crate::txn::own_keys::{NewValue, fill_keys};
use crate::txn::own_writes::Own;
use crate::txn::parts::{KeptParts, Parts};
use crate::txn::ranges::{Ranges, as_bytes};
use crate::txn::room::{make_room, pages_of};
use crate::txn::savepoints::{Point, Savepoint, Savepoints};
use crate::txn::validation::{Claim, Epochs, Part};
use crate::txn::view::is_hidden;
use crate::txn::{Index, Lookup, Record, RecordSet, TransactionRange};

/// When a commit is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// When it is on the medium: it survives a power cut.
    #[default]
    Sync,
    /// When the operating system has it: it survives the process, not the machine.
    Buffered,
}

/// A write transaction. Nothing of it is visible before `commit`; dropping it aborts it.
///
/// Transactions run side by side. One that read or replaced a version which another has replaced meanwhile fails with
/// `Error::Conflict`; [`Store::write`](crate::Store::write) runs its closure again in that case.
///
/// ```
/// use tenure::Durability;
/// let store = tenure::Store::in_memory()?;
/// let notes = store.record_set("notes")?;
/// let mut tx = store.begin()?;
/// let id = tx.insert(&notes, "first")?;
/// assert_eq!(tx.get(id)?.as_slice(), Some(&b"first"[..]));
/// tx.commit(Durability::Sync)?;
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug)]
pub struct Transaction {
    engine: Arc<Engine>,
    view: Option<Arc<State>>,
    first_seq: Option<Seq>,
    parts: KeptParts,
    run: Option<SetNumber>,
    epochs: Epochs,
    /// The indexes of the set that was written to last.
    indexes: Option<Arc<SetIndexes>>,
    ranges: Ranges,
    in_history: bool,
    isolation: Isolation,
    savepoints: Savepoints,
    /// A part of the validation that does not take place: tests show that they find that. None, in builds without the
    /// feature for it.
    planted: Option<Part>,
    done: bool,
}

/// Against what a transaction is validated when it commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Everything that it read or replaced, ranges of indexes included: as if transactions ran one after the other.
    #[default]
    Serializable,
    /// What it replaced or deleted only: the first to commit wins. Cheaper where much is read; allows write skew.
    Snapshot,
}

/// The indexes that a write to a set has to keep.
#[inline]
fn find_indexes<'i>(
    engine: &Engine,
    known: &'i mut Option<Arc<SetIndexes>>,
    epochs: &mut Epochs,
    set: SetNumber,
) -> Result<&'i SetIndexes> {
    let indexes = match known.take() {
        // What was found out first has to hold until the commit in any case.
        Some(indexes) if indexes.set == set => indexes,
        _ => {
            let indexes = engine.indexes_of(set)?;
            if epochs.iter().all(|(known, _)| *known != set) {
                epochs.push((set, indexes.epoch));
            }
            indexes
        }
    };
    Ok(known.insert(indexes))
}

/// What a write to a record replaces. Its keys are in the transaction's memory for old ones. Nothing of it is noted before
/// the write is.
#[derive(Debug)]
struct Replaced {
    set: SetNumber,
    /// Of a large value.
    chunks: Vec<RecordId>,
}

impl Transaction {
    /// In a process that was asked for.
    pub(crate) fn new(engine: &Arc<Engine>) -> Result<Self> {
        if engine.read_only {
            return Err(Error::ReadOnly);
        }
        engine.poison.check_alive()?;
        Ok(Self {
            engine: Arc::clone(engine),
            view: None,
            first_seq: None,
            parts: KeptParts::take(),
            run: None,
            epochs: Epochs::new(),
            indexes: None,
            ranges: Ranges::default(),
            in_history: false,
            isolation: Isolation::default(),
            savepoints: Savepoints::default(),
            planted: None,
            done: false,
        })
    }

    /// Chooses against what the transaction is validated. Default: everything.
    pub fn set_isolation(&mut self, isolation: Isolation) {
        self.isolation = isolation;
    }

    /// Leaves out a part of the validation.
    #[cfg(feature = "planted")]
    #[doc(hidden)]
    pub fn plant(&mut self, missing: Part) {
        self.planted = Some(missing);
    }

    /// A state to which [`roll_back_to`](Self::roll_back_to) can go back. Savepoints nest.
    ///
    /// ```
    /// use tenure::Durability;
    /// let store = tenure::Store::in_memory()?;
    /// let notes = store.record_set("notes")?;
    /// let mut tx = store.begin()?;
    /// tx.insert(&notes, "kept")?;
    /// let savepoint = tx.savepoint();
    /// tx.insert(&notes, "taken back")?;
    /// tx.roll_back_to(savepoint)?;
    /// tx.commit(Durability::Sync)?;
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
            streams: parts.streams.len(),
            keys: parts.keys.mark(),
            undo: parts.undo.len(),
            run: self.run,
        })
    }

    /// Takes back every write since the savepoint, which stands afterwards; later ones are gone. What was read stays read.
    ///
    /// # Errors
    /// `NoSuchSavepoint` if an earlier one was gone back to since, or if it is of another transaction.
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
        let streams = parts.streams.split_off(point.streams);
        if !streams.is_empty() {
            // What cannot be freed now is freed when the store is opened again.
            drop(self.engine.drop_streams(&streams));
        }
        Ok(())
    }

    /// A record was deleted.
    fn note_deleted(&mut self, id: RecordId) {
        let before = self.parts.get().own.set(id, Some(Own::Deleted));
        if !self.savepoints.is_empty() {
            self.parts.get().undo.push((id, before));
        }
    }

    /// What the transaction itself has done to a record.
    pub(super) fn own(&mut self, id: RecordId) -> Option<Own> {
        let parts = self.parts.get();
        // A record that it has not made it has looked at before it has changed it.
        if parts.handed.is_empty() && !parts.seen.contains_key(&id) {
            return None;
        }
        parts.own.catch_up(&parts.effects);
        parts.own.get(id)
    }

    /// The state that this transaction reads from.
    fn view(&mut self) -> &Arc<State> {
        if self.view.is_none() {
            // Before the state is taken, so that no commit falls between.
            if self.engine.has_indexes() {
                self.engine.history.enter();
                self.in_history = true;
            }
            let mut view = self.engine.heap.pin();
            if !self.in_history && !view.indexes.is_empty() {
                // The first index came in between, and commits that nobody kept for this transaction may have changed it.
                self.engine.history.enter();
                self.in_history = true;
                view = self.engine.heap.pin();
            }
            self.first_seq.get_or_insert(view.seq);
            self.view = Some(view);
        }
        self.view.get_or_insert_with(|| self.engine.heap.pin())
    }

    /// Notes what changes in each index when the new keys take the place of the old ones, or none does.
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

    /// The first record that has this key, own writes included.
    pub fn find<K: ToKey + ?Sized>(&mut self, index: &Index, key: &K) -> Result<Option<RecordId>> {
        let key = Key::new(key)?;
        let bounds = (Bound::Included(key.clone()), Bound::Included(key));
        self.entries(index, bounds)?.next().map(|entry| entry.map(|entry| entry.id)).transpose()
    }

    /// The entries of an index between two keys, ascending, own writes included.
    ///
    /// A serializable transaction conflicts with others that change an entry of the range.
    pub fn range<K: ToKey>(&mut self, index: &Index, range: impl RangeBounds<K>) -> Result<TransactionRange> {
        self.entries(index, key_bounds(&range)?)
    }

    /// The entries of keys that begin with the components of `prefix`, as [`range`](Self::range) gives them.
    pub fn prefix<K: ToKey + ?Sized>(&mut self, index: &Index, prefix: &K) -> Result<TransactionRange> {
        self.entries(index, prefix_range(&Key::new(prefix)?))
    }

    fn entries(&mut self, index: &Index, bounds: (Bound<Key>, Bound<Key>)) -> Result<TransactionRange> {
        let view = Arc::clone(self.view());
        let (definition, root) = index.found_in(&view)?;
        let own = self.parts.get().keys.of(definition.number, (as_bytes(&bounds.0), as_bytes(&bounds.1)));
        let range = TransactionRange::new(root, &bounds, own).map_err(|error| index.named(&view, error))?;
        self.ranges.push(definition, bounds);
        Ok(range)
    }

    /// Puts a new record into a set and gives its ID, which is its own from now on, even if the transaction is aborted.
    ///
    /// Values up to 65,504 bytes stand in the transaction's frame; larger ones are streamed into the log at once.
    pub fn insert(&mut self, set: &RecordSet, bytes: impl AsRef<[u8]>) -> Result<RecordId> {
        self.insert_known(set, bytes.as_ref(), None)
    }

    /// Inserts bytes, with what they decode as.
    pub(crate) fn insert_known(&mut self, set: &RecordSet, bytes: &[u8], known: Option<&dyn Any>) -> Result<RecordId> {
        if bytes.len() > PAYLOAD_BYTES_MAX {
            return self.insert_read(set, &mut &*bytes, known);
        }
        self.insert_value(set, NewValue { kind: Kind::Record, bytes, known }, None)
    }

    /// Puts a new record into a set, its value read to the end of `source` without holding it in memory.
    pub fn insert_from(&mut self, set: &RecordSet, source: &mut dyn Read) -> Result<RecordId> {
        self.insert_read(set, source, None)
    }

    fn insert_read(&mut self, set: &RecordSet, source: &mut dyn Read, known: Option<&dyn Any>) -> Result<RecordId> {
        set.check_store(self.engine.store_id())?;
        let (kind, bytes, stream) = self.stage(source)?.parts();
        let result = self.insert_value(set, NewValue { kind, bytes: &bytes, known }, None);
        self.settle(result, stream)
    }

    /// The stream ends with this transaction if its head is in it, and now if it came to nothing.
    fn settle<T>(&mut self, result: Result<T>, stream: Option<u64>) -> Result<T> {
        let Some(stream) = stream else { return result };
        match result {
            Ok(value) => {
                self.parts.get().streams.push(stream);
                Ok(value)
            }
            Err(error) => {
                // What cannot be freed now is freed when the store is opened again.
                drop(self.engine.drop_streams(&[stream]));
                Err(error)
            }
        }
    }

    /// With an ID that was taken for it, or with the next one.
    #[inline]
    pub(super) fn insert_value(
        &mut self,
        set: &RecordSet,
        value: NewValue<'_>,
        id: Option<RecordId>,
    ) -> Result<RecordId> {
        let NewValue { kind, bytes, .. } = value;
        self.check_room(kind, bytes.len())?;
        let number = self.number_of(set)?;
        let indexes = find_indexes(&self.engine, &mut self.indexes, &mut self.epochs, number)?;
        let parts = self.parts.get();
        fill_keys(indexes, value, &mut parts.new_keys, || self.engine.heap.pin())?;
        let id = match id {
            Some(id) => id,
            None => self.engine.take_id(number)?,
        };
        parts.handed.push(id);
        let Parts { keys, new_keys, .. } = parts;
        indexes.all.iter().zip(&*new_keys).for_each(|(index, new)| keys.insert(index, id, new));
        self.put(id, number, kind, bytes);
        Ok(id)
    }

    /// Gives a record a new value. Its ID stays.
    pub fn update(&mut self, id: RecordId, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.update_known(id, None, bytes.as_ref(), None)
    }

    /// Updates a record, if its version is the expected one, to bytes, with what they decode as.
    pub(crate) fn update_known(
        &mut self,
        id: RecordId,
        expected: Option<Seq>,
        bytes: &[u8],
        known: Option<&dyn Any>,
    ) -> Result<()> {
        if bytes.len() > PAYLOAD_BYTES_MAX {
            expected.map_or(Ok(()), |expected| self.check_version(id, expected))?;
            return self.update_read(id, &mut &*bytes, known);
        }
        self.update_value(id, expected, NewValue { kind: Kind::Record, bytes, known })
    }

    /// Refuses what would make the transaction too large.
    pub(super) fn check_more(&mut self, bytes: u64) -> Result<()> {
        check_bytes(&self.engine, self.parts.get(), bytes)
    }

    /// Whether this set is the one that was written to last.
    #[inline]
    pub(super) fn writes_to(&self, set: SetNumber) -> bool {
        self.indexes.as_ref().is_some_and(|indexes| indexes.set == set)
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Reads the beginnings of records that will be replaced, so that they are near then.
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

    /// Gives a record a new value, read to the end of `source` without holding it in memory.
    pub fn update_from(&mut self, id: RecordId, source: &mut dyn Read) -> Result<()> {
        self.update_read(id, source, None)
    }

    fn update_read(&mut self, id: RecordId, source: &mut dyn Read, known: Option<&dyn Any>) -> Result<()> {
        self.check_exists(id)?;
        let (kind, bytes, stream) = self.stage(source)?.parts();
        let result = self.update_value(id, None, NewValue { kind, bytes: &bytes, known });
        self.settle(result, stream)
    }

    fn update_value(&mut self, id: RecordId, expected: Option<Seq>, value: NewValue<'_>) -> Result<()> {
        let NewValue { kind, bytes, .. } = value;
        self.check_room(kind, bytes.len())?;
        let old = self.replaced(id, expected).map_err(|error| error.of_record(id))?;
        let indexes = find_indexes(&self.engine, &mut self.indexes, &mut self.epochs, old.set)?;
        fill_keys(indexes, value, &mut self.parts.get().new_keys, || self.engine.heap.pin())
            .map_err(|error| error.of_record(id))?;
        self.parts.get().frees.extend(&old.chunks);
        self.put(id, old.set, kind, bytes);
        self.change_keys(id, false);
        Ok(())
    }

    /// Gives a record a new value if its version is still `expected`; `VersionMismatch` if not.
    pub fn update_if(&mut self, id: RecordId, expected: Seq, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.update_known(id, Some(expected), bytes.as_ref(), None)
    }

    /// Deletes a record. Its ID never comes to mean another.
    pub fn delete(&mut self, id: RecordId) -> Result<()> {
        check_bytes(&self.engine, self.parts.get(), 8)?;
        let old = self.replaced(id, None).map_err(|error| error.of_record(id))?;
        self.parts.get().frees.extend(old.chunks.iter().chain([&id]));
        self.note_deleted(id);
        self.change_keys(id, true);
        Ok(())
    }

    /// The record as this transaction sees it, its own writes included.
    pub fn get(&mut self, id: RecordId) -> Result<Record<'_>> {
        match self.lookup(id)? {
            Lookup::Live(record) => Ok(record),
            Lookup::Deleted => Err(Error::Deleted { id }),
            Lookup::NeverAllocated => Err(Error::NeverAllocated { id }),
        }
    }

    /// The record as this transaction sees it, or what became of it.
    pub fn lookup(&mut self, id: RecordId) -> Result<Lookup<'_>> {
        match self.own(id) {
            Some(Own::Deleted) => return Ok(Lookup::Deleted),
            Some(Own::Put { offset, .. }) => {
                // Chunks of an own large value are younger than the transaction's view.
                let state = self.engine.heap.pin();
                let found = self.own_record(id, offset)?;
                return Record::shared(state, found).map(Lookup::Live);
            }
            None => {}
        }
        let answer = self.view().lookup(id)?;
        let seq = if let Answer::Live(found) = &answer { Some(found.seq) } else { None };
        self.parts.get().seen.entry(id).or_insert(seq);
        let view = self.view();
        Ok(match answer {
            Answer::Live(_) if is_hidden(view, id) => Lookup::NeverAllocated,
            Answer::Live(found) => Lookup::Live(Record::in_view(view, found)?),
            Answer::Deleted => Lookup::Deleted,
            Answer::NeverAllocated => Lookup::NeverAllocated,
        })
    }

    /// Makes everything visible at once and, with `Durability::Sync`, waits until it is on the medium.
    ///
    /// On `Conflict`, `NoSpace` and `TooLarge` nothing of the transaction remains. `Indeterminate` means that it was
    /// appended and the sync failed: open the store again to learn whether it is there.
    pub fn commit(mut self, durability: Durability) -> Result<Seq> {
        let seq = self.commit_only()?;
        if durability == Durability::Sync {
            self.engine.make_durable(seq)?;
        }
        Ok(seq)
    }

    fn commit_only(&mut self) -> Result<Seq> {
        let engine = &*self.engine;
        engine.poison.check_process()?;
        let Parts { frame, effects, own, frees, handed, streams, keys, .. } = self.parts.get();
        if effects.is_empty() && frees.is_empty() && streams.is_empty() && keys.is_empty() {
            self.done = handed.is_empty();
            return Ok(engine.log.last_seq());
        }
        if self.isolation == Isolation::Snapshot {
            own.catch_up(effects);
        }
        for stream in streams {
            frame.control(Kind::StreamEnd, &stream.to_le_bytes());
            effects.push(Effect::StreamEnd(*stream));
        }
        put_frees(frame, frees.iter().copied());
        effects.extend(frees.iter().map(|id| Effect::Free(*id)));
        check_bytes(engine, self.parts.get(), 0)?;
        let Parts { frame, effects, own, seen, keys, .. } = self.parts.get();
        keys.seal();
        self.ranges.seal();
        keys.put(frame, effects);
        let is_put = |effect: &Effect| matches!(effect, Effect::Put { .. } | Effect::StreamEnd(_));
        // What only deletes is never refused for want of room.
        let need = if effects.iter().any(is_put) { Need::Ordinary } else { Need::MakesRoom };
        let room = make_room(engine, need, pages_of(effects), keys.len())?;
        let offers = keys.prepare(engine)?;
        let claim = Claim {
            isolation: self.isolation,
            epochs: &self.epochs,
            first_seq: self.first_seq,
            read_at: self.view.as_ref().map(|view| view.seq),
            seen,
            own,
            ranges: &self.ranges,
            keys,
            planted: self.planted,
        };
        let result = engine.commit_frame(frame, effects, need, || claim.check(engine));
        drop((offers, room));
        let seq = result?;
        self.done = true;
        Ok(seq)
    }

    /// Reads the current record before it is replaced: its version is validated at commit.
    fn replaced(&mut self, id: RecordId, expected: Option<Seq>) -> Result<Replaced> {
        match self.own(id) {
            Some(Own::Deleted) => return Err(Error::Deleted { id }),
            Some(Own::Put { offset, set }) => {
                let found = self.own_record(id, offset)?;
                if let Some(expected) = expected.filter(|expected| *expected != found.seq) {
                    return Err(Error::VersionMismatch { id, expected, got: found.seq });
                }
                let indexes = find_indexes(&self.engine, &mut self.indexes, &mut self.epochs, set)?;
                let kind = if found.is_head { Kind::Head } else { Kind::Record };
                let payload = if let Place::Copied(bytes) = &found.place { Arc::clone(bytes) } else { Arc::from([]) };
                let old = NewValue::of(kind, &payload);
                fill_keys(indexes, old, &mut self.parts.get().old_keys, || self.engine.heap.pin())?;
                let head = found.is_head.then(|| chunks_of(&self.engine.heap.pin(), &payload));
                return Ok(Replaced { set, chunks: head.transpose()?.unwrap_or_default() });
            }
            None => {}
        }
        // What the caller learns and the commit may not validate has to be of the state that all other reads are of.
        if expected.is_some() || !self.savepoints.is_empty() {
            self.view();
        }
        let current;
        // One look, and no second: beside other commits the next one may find an entry that is younger than the state.
        let (state, answer): (&State, Answer) = match &self.view {
            Some(view) => (view, view.lookup(id)?),
            None => {
                self.first_seq.get_or_insert_with(|| self.engine.heap.seq());
                let (found_in, answer) = self.engine.heap.lookup_now(id)?;
                current = found_in;
                (&current, answer)
            }
        };
        // What a failed call tells its caller was read as well.
        let seq = if let Answer::Live(found) = &answer { Some(found.seq) } else { None };
        self.parts.get().seen.entry(id).or_insert(seq);
        let found = match answer {
            Answer::Live(found) if !is_hidden(state, id) => found,
            Answer::Deleted => return Err(Error::Deleted { id }),
            _ => return Err(Error::NeverAllocated { id }),
        };
        if let Some(expected) = expected.filter(|expected| *expected != found.seq) {
            return Err(Error::VersionMismatch { id, expected, got: found.seq });
        }
        let set = state.root.set_of_slot(id.slot());
        // The new keys are told by the same indexes as the old ones, or the commit is a conflict.
        let indexes = find_indexes(&self.engine, &mut self.indexes, &mut self.epochs, set)?;
        let keys = &mut self.parts.get().old_keys;
        if !found.is_head {
            let old = NewValue::of(Kind::Record, state.payload(&found.place));
            fill_keys(indexes, old, keys, || self.engine.heap.pin())?;
            return Ok(Replaced { set, chunks: Vec::new() });
        }
        // Chunks can be read only from a state that holds them.
        let holding = match &self.view {
            Some(view) => Arc::clone(view),
            None => {
                let pinned = self.engine.heap.pin();
                let same = match pinned.lookup(id)? {
                    Answer::Live(now) => now.seq == found.seq,
                    Answer::Deleted | Answer::NeverAllocated => false,
                };
                if !same {
                    return Err(Error::Conflict { what: format!("record {id}"), with: pinned.seq });
                }
                pinned
            }
        };
        let head = state.payload(&found.place);
        fill_keys(indexes, NewValue::of(Kind::Head, head), keys, || Arc::clone(&holding))?;
        Ok(Replaced { set, chunks: chunks_of(&holding, head)? })
    }

    fn check_exists(&mut self, id: RecordId) -> Result<()> {
        self.get(id).map(drop)
    }

    fn check_version(&mut self, id: RecordId, expected: Seq) -> Result<()> {
        let got = self.get(id)?.seq();
        if got == expected { Ok(()) } else { Err(Error::VersionMismatch { id, expected, got }) }
    }

    fn own_record(&mut self, id: RecordId, offset: u64) -> Result<Found> {
        let missing = || Error::Poisoned { reason: format!("record {id} is not in its transaction") };
        let item = self.parts.get().frame.item_at(offset).ok_or_else(missing)?;
        let place = Place::Copied(Arc::from(item.payload));
        Ok(Found { id, seq: Seq::ZERO, is_head: item.kind == Kind::Head as u8, place })
    }

    fn put(&mut self, id: RecordId, set: SetNumber, kind: Kind, bytes: &[u8]) {
        let parts = self.parts.get();
        if self.run != Some(set) {
            parts.frame.control(Kind::Run, &set.0.to_le_bytes());
            self.run = Some(set);
        }
        let (offset, bytes) = parts.frame.record(kind, id, bytes);
        parts.effects.push(Effect::Put { id, set, offset, bytes });
        if !self.savepoints.is_empty() {
            // What may be taken back is taken in at once.
            let before = parts.own.get(id);
            parts.own.catch_up(&parts.effects);
            parts.undo.push((id, before));
        }
    }

    #[inline]
    fn check_room(&mut self, kind: Kind, bytes: usize) -> Result<()> {
        check_bytes(&self.engine, self.parts.get(), item_bytes(kind as u8, bytes) + 32)
    }

    fn stage(&self, source: &mut dyn Read) -> Result<Staged> {
        Stager::new(&self.engine, self.engine.take_stream()?).stage(source)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.engine.poison.is_ours() {
            // Its IDs and streams are the parent's to give back, which has them too.
            return;
        }
        if self.in_history {
            self.engine.history.leave();
        }
        if self.done {
            return;
        }
        let Parts { handed, streams, .. } = self.parts.get();
        self.engine.slots.abandon(handed.drain(..));
        if !streams.is_empty() {
            // What cannot be freed now is freed when the store is opened again.
            drop(self.engine.drop_streams(streams));
        }
    }
}

/// Refuses what would make the transaction too large.
fn check_bytes(engine: &Engine, parts: &Parts, more: u64) -> Result<()> {
    engine.poison.check_process()?;
    let limit = engine.transaction_bytes_max;
    let bytes = parts.frame.bytes() + to_u64(parts.frees.len()) * 8 + parts.keys.bytes() + more;
    if bytes > limit { Err(Error::TooLarge { what: "transaction", bytes, limit }) } else { Ok(()) }
}
