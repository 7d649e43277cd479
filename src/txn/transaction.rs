//! Write transactions: collected privately, validated and appended as one frame.
//!
//! Owns: the write set, what was read, validation. The validation follows Kung and Robinson 1981 (backward, by
//! version): a commit stands only if every version that it read or replaced is still the newest.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::engine::Engine;
use crate::error::Error;
use crate::error::Result;
use crate::format::frame::FrameBuilder;
use crate::format::item::Kind;
use crate::format::item::PAYLOAD_BYTES_MAX;
use crate::format::item::item_bytes;
use crate::heap::Answer;
use crate::heap::Effect;
use crate::heap::Found;
use crate::heap::Place;
use crate::heap::State;
use crate::heap::put_frees;
use crate::id::NumberHash;
use crate::id::RecordId;
use crate::id::Seq;
use crate::id::SetNumber;
use crate::id::to_u64;
use crate::txn::Lookup;
use crate::txn::Record;
use crate::txn::RecordSet;
use crate::txn::large::Staged;
use crate::txn::large::Stager;
use crate::txn::large::chunks_of;
use crate::txn::record::Hold;
use crate::txn::view::is_hidden;

/// When a commit is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// When it is on the medium: it survives a power cut.
    #[default]
    Sync,
    /// When the operating system has it: it survives the process, not the machine.
    Buffered,
}

#[derive(Debug, Clone, Copy)]
enum Own {
    Put { offset: u64, set: SetNumber },
    Deleted,
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
    frame: FrameBuilder,
    effects: Vec<Effect>,
    own: HashMap<RecordId, Own, NumberHash>,
    seen: HashMap<RecordId, Option<Seq>, NumberHash>,
    frees: Vec<RecordId>,
    handed: Vec<RecordId>,
    streams: SmallVec<[u64; 2]>,
    run: Option<SetNumber>,
    done: bool,
}

impl Transaction {
    pub(crate) fn new(engine: &Arc<Engine>) -> Result<Self> {
        engine.check_writable()?;
        Ok(Self {
            engine: Arc::clone(engine),
            view: None,
            first_seq: None,
            frame: FrameBuilder::new(),
            effects: Vec::new(),
            own: HashMap::default(),
            seen: HashMap::default(),
            frees: Vec::new(),
            handed: Vec::new(),
            streams: SmallVec::new(),
            run: None,
            done: false,
        })
    }

    /// Puts a new record into a set and gives its ID, which is its own from now on, even if the transaction is aborted.
    ///
    /// Values up to 65,504 bytes stand in the transaction's frame; larger ones are streamed into the log at once.
    pub fn insert(&mut self, set: &RecordSet, bytes: impl AsRef<[u8]>) -> Result<RecordId> {
        let bytes = bytes.as_ref();
        if bytes.len() > PAYLOAD_BYTES_MAX {
            return self.insert_from(set, &mut &*bytes);
        }
        self.insert_value(set, Kind::Record, bytes)
    }

    /// Puts a new record into a set, its value read to the end of `source` without holding it in memory.
    pub fn insert_from(&mut self, set: &RecordSet, source: &mut dyn Read) -> Result<RecordId> {
        set.check_store(&self.engine.heap.current().catalogue)?;
        let result = match self.stage(source)? {
            Staged::Short(bytes) => return self.insert_value(set, Kind::Record, &bytes),
            Staged::Chunked { head, stream } => (self.insert_value(set, Kind::Head, &head), stream),
        };
        self.settle(result)
    }

    /// The stream ends with this transaction if its head is in it, and now if it came to nothing.
    fn settle<T>(&mut self, (result, stream): (Result<T>, u64)) -> Result<T> {
        match result {
            Ok(value) => {
                self.streams.push(stream);
                Ok(value)
            }
            Err(error) => {
                // What cannot be freed now is freed when the store is opened again.
                drop(self.engine.drop_streams(&[stream]));
                Err(error)
            }
        }
    }

    fn insert_value(&mut self, set: &RecordSet, kind: Kind, bytes: &[u8]) -> Result<RecordId> {
        self.check_room(kind, bytes.len())?;
        set.check_store(&self.engine.heap.current().catalogue)?;
        let id = self.engine.take_id(set.number())?;
        self.handed.push(id);
        self.put(id, set.number(), kind, bytes);
        Ok(id)
    }

    /// Gives a record a new value. Its ID stays.
    pub fn update(&mut self, id: RecordId, bytes: impl AsRef<[u8]>) -> Result<()> {
        let bytes = bytes.as_ref();
        if bytes.len() > PAYLOAD_BYTES_MAX {
            return self.update_from(id, &mut &*bytes);
        }
        self.update_value(id, Kind::Record, None, bytes)
    }

    /// Gives a record a new value, read to the end of `source` without holding it in memory.
    pub fn update_from(&mut self, id: RecordId, source: &mut dyn Read) -> Result<()> {
        self.check_exists(id)?;
        let result = match self.stage(source)? {
            Staged::Short(bytes) => return self.update_value(id, Kind::Record, None, &bytes),
            Staged::Chunked { head, stream } => (self.update_value(id, Kind::Head, None, &head), stream),
        };
        self.settle(result)
    }

    fn update_value(&mut self, id: RecordId, kind: Kind, expected: Option<Seq>, bytes: &[u8]) -> Result<()> {
        self.check_room(kind, bytes.len())?;
        let set = self.replace(id, expected)?;
        self.put(id, set, kind, bytes);
        Ok(())
    }

    /// Gives a record a new value if its version is still `expected`; `VersionMismatch` if not.
    pub fn update_if(&mut self, id: RecordId, expected: Seq, bytes: impl AsRef<[u8]>) -> Result<()> {
        let bytes = bytes.as_ref();
        if bytes.len() > PAYLOAD_BYTES_MAX {
            self.check_version(id, expected)?;
            return self.update_from(id, &mut &*bytes);
        }
        self.update_value(id, Kind::Record, Some(expected), bytes)
    }

    /// Deletes a record. Its ID never comes to mean another.
    pub fn delete(&mut self, id: RecordId) -> Result<()> {
        self.check_bytes(8)?;
        self.replace(id, None)?;
        self.frees.push(id);
        self.own.insert(id, Own::Deleted);
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
        match self.own.get(&id).copied() {
            Some(Own::Deleted) => return Ok(Lookup::Deleted),
            Some(Own::Put { offset, .. }) => {
                // Chunks of an own large value are younger than the transaction's view.
                let state = self.engine.heap.pin();
                let found = self.own_record(id, offset)?;
                return Record::new(Hold::Shared(state), found).map(Lookup::Live);
            }
            None => {}
        }
        let view = self.view.get_or_insert_with(|| self.engine.heap.pin());
        self.first_seq.get_or_insert(view.seq);
        let answer = view.lookup(id)?;
        let seq = if let Answer::Live(found) = &answer { Some(found.seq) } else { None };
        self.seen.entry(id).or_insert(seq);
        Ok(match answer {
            Answer::Live(_) if is_hidden(view, id) => Lookup::NeverAllocated,
            Answer::Live(found) => Lookup::Live(Record::new(Hold::View(view), found)?),
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
        if self.effects.is_empty() && self.frees.is_empty() && self.streams.is_empty() {
            self.done = self.handed.is_empty();
            return Ok(self.engine.log.last_seq());
        }
        for stream in &self.streams {
            self.frame.control(Kind::StreamEnd, &stream.to_le_bytes());
            self.effects.push(Effect::StreamEnd(*stream));
        }
        put_frees(&mut self.frame, self.frees.iter().copied());
        self.effects.extend(self.frees.iter().map(|id| Effect::Free(*id)));
        self.check_bytes(0)?;
        let engine = Arc::clone(&self.engine);
        let (first_seq, seen) = (self.first_seq, &self.seen);
        let validate = || validate(&engine, first_seq, seen);
        let seq = engine.commit_frame(&mut self.frame, &mut self.effects, validate)?;
        self.done = true;
        Ok(seq)
    }

    /// Reads the current record before it is replaced: its version is validated at commit, its chunks are freed.
    fn replace(&mut self, id: RecordId, expected: Option<Seq>) -> Result<SetNumber> {
        match self.own.get(&id).copied() {
            Some(Own::Deleted) => return Err(Error::Deleted { id }),
            Some(Own::Put { offset, set }) => {
                let found = self.own_record(id, offset)?;
                if let Some(expected) = expected.filter(|expected| *expected != found.seq) {
                    return Err(Error::VersionMismatch { id, expected, got: found.seq });
                }
                if found.is_head {
                    let state = self.engine.heap.pin();
                    self.frees.extend(chunks_of(&state, state.payload(&found.place))?);
                }
                return Ok(set);
            }
            None => {}
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
        self.seen.entry(id).or_insert(seq);
        let found = match answer {
            Answer::Live(found) if !is_hidden(state, id) => found,
            Answer::Deleted => return Err(Error::Deleted { id }),
            _ => return Err(Error::NeverAllocated { id }),
        };
        if let Some(expected) = expected.filter(|expected| *expected != found.seq) {
            return Err(Error::VersionMismatch { id, expected, got: found.seq });
        }
        if found.is_head {
            if self.view.is_some() {
                self.frees.extend(chunks_of(state, state.payload(&found.place))?);
            } else {
                // Chunks can be read only from a state that holds them.
                let pinned = self.engine.heap.pin();
                let same = match pinned.lookup(id)? {
                    Answer::Live(now) => now.seq == found.seq,
                    Answer::Deleted | Answer::NeverAllocated => false,
                };
                if !same {
                    return Err(Error::Conflict { what: format!("record {id}"), with: pinned.seq });
                }
                self.frees.extend(chunks_of(&pinned, state.payload(&found.place))?);
            }
        }
        Ok(state.root.set_of_slot(id.slot()))
    }

    fn check_exists(&mut self, id: RecordId) -> Result<()> {
        self.get(id).map(drop)
    }

    fn check_version(&mut self, id: RecordId, expected: Seq) -> Result<()> {
        let got = self.get(id)?.seq();
        if got == expected { Ok(()) } else { Err(Error::VersionMismatch { id, expected, got }) }
    }

    fn own_record(&self, id: RecordId, offset: u64) -> Result<Found> {
        let Some(item) = self.frame.item_at(offset) else {
            return Err(Error::Poisoned { reason: format!("record {id} is not in its transaction") });
        };
        let place = Place::Copied(Arc::from(item.payload));
        Ok(Found { id, seq: Seq::ZERO, is_head: item.kind == Kind::Head as u8, place })
    }

    fn put(&mut self, id: RecordId, set: SetNumber, kind: Kind, bytes: &[u8]) {
        if self.run != Some(set) {
            self.frame.control(Kind::Run, &set.0.to_le_bytes());
            self.run = Some(set);
        }
        let (offset, bytes) = self.frame.record(kind, id, bytes);
        self.effects.push(Effect::Put { id, set, offset, bytes });
        self.own.insert(id, Own::Put { offset, set });
    }

    fn check_room(&self, kind: Kind, bytes: usize) -> Result<()> {
        self.check_bytes(item_bytes(kind as u8, bytes) + 32)
    }

    fn check_bytes(&self, more: u64) -> Result<()> {
        let limit = self.engine.transaction_bytes_max;
        let bytes = self.frame.bytes() + to_u64(self.frees.len()) * 8 + more;
        if bytes > limit { Err(Error::TooLarge { what: "transaction", bytes, limit }) } else { Ok(()) }
    }

    fn stage(&self, source: &mut dyn Read) -> Result<Staged> {
        Stager::new(&self.engine, self.engine.take_stream()).stage(source)
    }
}

/// Whether every version that was seen is still the newest.
fn validate(engine: &Engine, first_seq: Option<Seq>, seen: &HashMap<RecordId, Option<Seq>, NumberHash>) -> Result<()> {
    if seen.is_empty() || first_seq == Some(engine.heap.seq()) {
        return Ok(());
    }
    let state = engine.heap.pin();
    for (id, seq) in seen {
        let now = match state.lookup(*id)? {
            Answer::Live(found) => Some(found.seq),
            Answer::Deleted | Answer::NeverAllocated => None,
        };
        if now != *seq {
            return Err(Error::Conflict { what: format!("record {id}"), with: now.unwrap_or(state.seq) });
        }
    }
    Ok(())
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.engine.slots.abandon(self.handed.drain(..));
        if !self.streams.is_empty() {
            // What cannot be freed now is freed when the store is opened again.
            drop(self.engine.drop_streams(&self.streams));
        }
    }
}
