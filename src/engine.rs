//! The engine: the parts of a running store, and the one way by which a commit passes through them.
//!
//! Owns: the commit lock, the order append → apply, the count of bytes since the last snapshot.
//! Never: syncs under the commit lock, or runs user code under it.
//! Lock order: commit, then allocator, then log tail, then the heap's writer; see `docs/locking.md`.

mod announce;
mod reserve;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::backing::Backing;
use crate::catalogue::{Added, Catalogue};
use crate::commit_lock::CommitLock;
use crate::error::{Error, Result};
use crate::extract::Extractor;
use crate::format::align;
use crate::format::frame::{FrameBuilder, FrameKind};
use crate::format::index::IndexDefinition;
use crate::format::item::{CONTROL_HEADER_BYTES, Kind};
use crate::format::manifest::{Body, NUMBER_END};
use crate::format::moves::{Move, put_moves};
use crate::heap::{Answer, Effect, Heap, put_assigned, put_frees};
use crate::history::History;
use crate::id::{IndexNumber, RecordId, SegmentSeq, Seq, SetNumber, to_u64};
use crate::log::{Log, Poison};
use crate::manifest::Manifest;
use crate::pages::{PageStore, PageWriter};
use crate::record_index::{Pending, Slots};
use crate::reserve::{Release, Reserve};

/// Places for segments that commits leave free: the collector needs some to make others free.
const PLACES_FREE_MIN: u64 = 1_024;
/// Those that the collector leaves free: each commit that goes on may begin one segment.
const PLACES_OF_COLLECTOR: u64 = 16;
/// IDs that are freed with one frame at most, when they are many: half a megabyte.
const FREES_PER_FRAME: usize = 1 << 16;

/// An index of a set, as a writer has to know it.
#[derive(Debug, Clone)]
pub(crate) struct SetIndex {
    pub(crate) number: IndexNumber,
    pub(crate) name: Arc<str>,
    pub(crate) is_unique: bool,
    pub(crate) extractor: Extractor,
}

/// The indexes of a set, and when that was so.
#[derive(Debug)]
pub(crate) struct SetIndexes {
    pub(crate) set: SetNumber,
    /// What the set is called; empty where there is no such set.
    pub(crate) name: Arc<str>,
    pub(crate) all: Vec<SetIndex>,
    pub(crate) epoch: u64,
}

/// Extractors of indexes, and what was found out about sets.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    extractors: BTreeMap<IndexNumber, Extractor>,
    sets: BTreeMap<SetNumber, Arc<SetIndexes>>,
    /// Rise when an index of a set comes or goes.
    epochs: BTreeMap<SetNumber, u64>,
}

impl Registry {
    fn epoch_of(&self, set: SetNumber) -> u64 {
        self.epochs.get(&set).copied().unwrap_or_default()
    }
}

/// What a commit does to the room that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// It takes some: it is refused while the reserve is not whole.
    Ordinary,
    /// It only deletes or moves, or is the last that a store does: it leads to more, and may use the reserve.
    MakesRoom,
}

/// The parts of a store that is open.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) backing: Arc<dyn Backing>,
    pub(crate) log: Log,
    pub(crate) heap: Heap,
    pub(crate) slots: Slots,
    pub(crate) manifest: Manifest,
    pub(crate) pages: PageStore,
    pub(crate) page_writer: Mutex<PageWriter>,
    pub(crate) poison: Arc<Poison>,
    pub(crate) read_only: bool,
    /// Whether the manifest says that the log goes on.
    pub(crate) is_announced: AtomicBool,
    pub(crate) transaction_bytes_max: u64,
    /// Log bytes that recovery would have to replay.
    pub(crate) replay_bytes: AtomicU64,
    /// Log bytes of changes of key indexes since the store was opened.
    pub(crate) index_log_bytes: AtomicU64,
    pub(crate) commit: CommitLock,
    pub(crate) next_stream: AtomicU64,
    pub(crate) registry: RwLock<Registry>,
    pub(crate) history: History,
    /// Runs when the log since the last snapshot has grown by a commit.
    pub(crate) grown: parking_lot::Condvar,
    pub(crate) grown_lock: Mutex<()>,
    /// Record segments that are in no table, and that something else than the newest state needs: with the commit by which they had
    /// been emptied.
    pub(crate) left: Mutex<BTreeMap<SegmentSeq, Seq>>,
    /// Somebody found no room on the medium, and the collector has not looked since.
    pub(crate) no_space: AtomicBool,
    pub(crate) reserve: Reserve,
    /// Bytes of the log and of changed pages from which on a commit has to see to the reserve.
    pub(crate) reserve_look: AtomicU64,
    /// How many threads may be at work with the room of the reserve.
    pub(crate) reserve_users: AtomicU32,
    /// When a commit may see again whether there is room for the reserve.
    pub(crate) reserve_next: Mutex<Option<Instant>>,
    /// Bytes of survivors for which the room is that the collector was given of the reserve.
    pub(crate) reserve_survivors: AtomicU64,
    /// Log bytes since the last snapshot at which `grown` is notified.
    pub(crate) snapshot_log_bytes: u64,
    /// Bytes of heap that changed index pages may take.
    pub(crate) dirty_bytes_max: u64,
    /// Bytes of pages that commits may change that are on their way.
    pub(crate) dirty_bytes_awaited: AtomicU64,
}

/// Room on the heap for what a commit changes, until it is dropped. From then on what was really changed counts.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    engine: &'a Engine,
    bytes: u64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.engine.dirty_bytes_awaited.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Engine {
    /// An error when nothing may be written.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        self.poison.check()
    }

    /// Lets the collector know that somebody found no room.
    pub(crate) fn note_no_space(&self, error: &Error) {
        if matches!(error, Error::NoSpace { .. }) {
            self.no_space.store(true, Ordering::Release);
        }
    }

    /// Which store this is.
    pub(crate) fn store_id(&self) -> [u8; 16] {
        self.log.source().uuid
    }

    /// Hands out an ID for a record of the set.
    #[inline]
    pub(crate) fn take_id(&self, set: SetNumber) -> Result<RecordId> {
        if let Some(id) = self.slots.take_plain(set) {
            return Ok(id);
        }
        self.take_id_of_next_page(set)
    }

    /// Hands out so many IDs for records of the set.
    pub(crate) fn take_ids(&self, set: SetNumber, count: usize) -> Result<Vec<RecordId>> {
        let mut ids = Vec::with_capacity(count);
        loop {
            self.slots.take_plain_many(set, count - ids.len(), &mut ids);
            if ids.len() == count {
                return Ok(ids);
            }
            match self.take_id_of_next_page(set) {
                Ok(id) => ids.push(id),
                Err(error) => {
                    self.slots.abandon(ids.into_iter());
                    return Err(error);
                }
            }
        }
    }

    #[cold]
    fn take_id_of_next_page(&self, set: SetNumber) -> Result<RecordId> {
        self.check_reserve(0)?;
        let root = || Arc::clone(&self.heap.current().root);
        let reserve = |pages: &[u64]| self.manifest.append(|_| Body::Reserve(pages.to_vec())).map(drop);
        self.slots.take(set, &root, &reserve, &|| self.log.durable_seq())
    }

    /// Excludes commits.
    pub(crate) fn lock_commit(&self) -> MutexGuard<'_, ()> {
        self.commit.lock()
    }

    /// Commits a frame: checks, appends and applies it. Nothing of it remains on an error, but for `Indeterminate`
    /// states that poison the handle. Durability is the caller's next step.
    pub(crate) fn commit_frame(
        &self,
        frame: &mut FrameBuilder,
        effects: &mut Vec<Effect>,
        need: Need,
        validate: impl FnOnce() -> Result<()>,
    ) -> Result<Seq> {
        self.check_writable()?;
        if need == Need::Ordinary {
            self.check_reserve(frame.bytes())?;
        }
        self.announce(frame.bytes(), need)?;
        let guard = self.lock_commit();
        if need == Need::Ordinary && self.reserve.is_short() {
            // It was given up since.
            return Err(self.refused());
        }
        if effects.iter().any(is_more) {
            self.heap.check_places(PLACES_FREE_MIN)?;
            self.log.check_numbers()?;
        }
        validate()?;
        let seq = self.append_and_apply(&guard, frame, effects, need)?;
        drop(guard);
        if self.reserve.is_short() {
            self.prove();
        }
        if self.snapshot_is_due() {
            self.grown.notify_all();
        }
        Ok(seq)
    }

    /// Commits that records were copied from one segment to another; both are known to the heap, and the copies are on the
    /// medium.
    pub(crate) fn commit_moves(&self, from: SegmentSeq, to: SegmentSeq, moves: Vec<Move>) -> Result<Seq> {
        let mut frame = FrameBuilder::new();
        put_moves(&mut frame, from, to, &moves);
        self.check_writable()?;
        let guard = self.lock_commit();
        let mut effects = vec![Effect::Moves(from, to, moves)];
        let seq = self.append_and_apply(&guard, &mut frame, &mut effects, Need::MakesRoom)?;
        drop(guard);
        if self.reserve.is_short() {
            self.prove();
        }
        Ok(seq)
    }

    /// The part of a commit behind its validation.
    pub(crate) fn append_and_apply(
        &self,
        _guard: &MutexGuard<'_, ()>,
        frame: &mut FrameBuilder,
        effects: &mut Vec<Effect>,
        need: Need,
    ) -> Result<Seq> {
        self.check_catalogue(effects)?;
        let pending = self.slots.take_pending();
        let pending = self.append_burned(pending, need)?;
        if !pending.is_empty() {
            put_pending(&pending, frame, effects);
        }
        // IDs that came to nothing were no records, and so nothing that anybody has read: they come last.
        let of_records = effects.len() - pending.burned.len();
        let seq = self.append_frame(frame, effects, need).inspect_err(|_| self.slots.put_back(pending))?;
        self.history.note(seq, effects.get(..of_records).unwrap_or_default());
        Ok(seq)
    }

    /// An error if a commit would make the catalogue one that no snapshot can hold.
    fn check_catalogue(&self, effects: &[Effect]) -> Result<()> {
        let mut added = effects.iter().filter_map(added_by).peekable();
        if added.peek().is_none() { Ok(()) } else { self.heap.catalogue().check_room(added) }
    }

    /// Appends a frame that has everything, and applies it.
    fn append_frame(&self, frame: &mut FrameBuilder, effects: &[Effect], need: Need) -> Result<Seq> {
        let _panic = self.poison.ends_with_panic("in the middle of a commit");
        self.heap.check_places(PLACES_OF_COLLECTOR)?;
        let appended = match need {
            Need::Ordinary => self.log.append(frame, FrameKind::Commit, None),
            Need::MakesRoom => {
                // One that was sealed cannot be sealed again.
                let unsealed = frame.clone();
                self.with_reserve(Release::Least, || {
                    frame.clone_from(&unsealed);
                    self.log.append(frame, FrameKind::Commit, None)
                })
            }
        };
        let appended = appended.inspect_err(|error| self.note_no_space(error))?;
        let seq = appended.seq;
        self.replay_bytes.fetch_add(frame.bytes(), Ordering::Relaxed);
        let (mut index_bytes, mut frees) = (0, false);
        for effect in effects {
            match effect {
                Effect::Index(_, changes) => {
                    index_bytes += align(to_u64(CONTROL_HEADER_BYTES + changes.len()));
                }
                Effect::Free(_) => frees = true,
                _ => {}
            }
        }
        if index_bytes > 0 {
            self.index_log_bytes.fetch_add(index_bytes, Ordering::Relaxed);
        }
        if frees {
            self.slots.freeing(effects.iter().filter_map(freed), seq);
        }
        if let Err(error) = self.heap.apply(&appended.segment, appended.offset, seq, effects) {
            // The log has the commit and the memory has not: only recovery can bring them together.
            self.poison.set(&error);
            return Err(Error::Indeterminate { seq, reason: error.to_string() });
        }
        self.settle_slots(effects, frees);
        Ok(seq)
    }

    /// Logs IDs that came to nothing in frames of their own while they are too many to ride along with a commit.
    fn append_burned(&self, mut pending: Pending, need: Need) -> Result<Pending> {
        while pending.burned.len() > FREES_PER_FRAME {
            let part = pending.burned.split_off(pending.burned.len() - FREES_PER_FRAME);
            let part = Pending { assigned: std::mem::take(&mut pending.assigned), burned: part };
            let (mut frame, mut effects) = (FrameBuilder::new(), Vec::new());
            put_pending(&part, &mut frame, &mut effects);
            if let Err(error) = self.append_frame(&mut frame, &effects, need) {
                self.slots.put_back(part);
                self.slots.put_back(pending);
                return Err(error);
            }
        }
        Ok(pending)
    }

    /// Frees the chunks of streams whose head will not come, a bounded number with each commit. After a crash in
    /// between the next opening frees the rest.
    pub(crate) fn drop_streams(&self, streams: &[u64]) -> Result<()> {
        for stream in streams {
            let state = self.heap.pin();
            // A chunk that was freed before has left its slot to others.
            let mut chunks = Vec::new();
            for id in state.catalogue.chunks(*stream) {
                match state.lookup(id) {
                    Ok(Answer::Live(_)) => chunks.push(id),
                    Ok(_) => {}
                    // One that cannot be read stays, and takes room: nothing else can be said of it.
                    Err(error) if error.is_corruption() => {}
                    Err(error) => return Err(error),
                }
            }
            drop(state);
            loop {
                let part = chunks.split_off(chunks.len().saturating_sub(FREES_PER_FRAME));
                let (mut frame, mut effects) = (FrameBuilder::new(), Vec::new());
                put_frees(&mut frame, part.iter().copied());
                effects.extend(part.into_iter().map(Effect::Free));
                if chunks.is_empty() {
                    frame.control(Kind::StreamEnd, &stream.to_le_bytes());
                    effects.push(Effect::StreamEnd(*stream));
                }
                self.commit_frame(&mut frame, &mut effects, Need::MakesRoom, || Ok(()))?;
                if chunks.is_empty() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn settle_slots(&self, effects: &[Effect], frees: bool) {
        let ids = |effect: &Effect| if let Effect::Put { id, .. } = effect { Some(*id) } else { None };
        self.slots.committed(effects.iter().filter_map(ids));
        if frees {
            let root = Arc::clone(&self.heap.current().root);
            self.slots.freed(effects.iter().filter_map(freed), &root);
        }
    }

    /// Lets the log itself tell what is durable, once nothing else is being written.
    pub(crate) fn write_watermark_when_idle(&self) -> Result<()> {
        if self.log.is_behind() {
            return Ok(());
        }
        let Some(guard) = self.commit.try_lock() else { return Ok(()) };
        let result = self.log.write_watermark();
        drop(guard);
        result
    }

    /// The number of a new stream of chunks.
    pub(crate) fn take_stream(&self) -> Result<u64> {
        let next = |stream: u64| (stream < NUMBER_END).then_some(stream + 1);
        let taken = self.next_stream.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.map_err(|_next| Error::Exhausted { what: "number of a stream", limit: NUMBER_END })
    }

    /// Whether the next snapshot is wanted: the log since the last one is long, or much has changed that is on the heap.
    pub(crate) fn snapshot_is_due(&self) -> bool {
        let replay_bytes = self.replay_bytes.load(Ordering::Relaxed);
        replay_bytes > self.snapshot_log_bytes
            || (replay_bytes > 0 && self.heap.dirty_bytes() > self.dirty_bytes_max / 2)
    }

    /// Room on the heap for pages of so many bytes, if it is there.
    pub(crate) fn take_room(&self, bytes: u64) -> Option<Room<'_>> {
        let limit = self.dirty_bytes_max.saturating_sub(self.heap.dirty_bytes());
        let more = |awaited: u64| awaited.checked_add(bytes).filter(|awaited| *awaited <= limit);
        let taken = self.dirty_bytes_awaited.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.ok().map(|_| Room { engine: self, bytes })
    }

    /// Room on the heap, whether it is there or not.
    pub(crate) fn take_room_anyway(&self, bytes: u64) -> Room<'_> {
        self.dirty_bytes_awaited.fetch_add(bytes, Ordering::AcqRel);
        Room { engine: self, bytes }
    }

    /// The indexes that a write to the set has to keep.
    pub(crate) fn indexes_of(&self, set: SetNumber) -> Result<Arc<SetIndexes>> {
        if let Some(known) = self.registry.read().sets.get(&set) {
            return Ok(Arc::clone(known));
        }
        loop {
            let epoch = self.registry.read().epoch_of(set);
            let found = match self.find_indexes(set, epoch) {
                Ok(found) => Arc::new(found),
                // The index came or went between a look at the catalogue and one at the extractors.
                Err(Error::NoExtractor { .. }) if !self.is_index_epoch(set, epoch) => continue,
                Err(error) => return Err(error),
            };
            let mut registry = self.registry.write();
            // A set that is not there may come without a new epoch.
            if registry.epoch_of(set) == epoch && !found.name.is_empty() {
                registry.sets.insert(set, Arc::clone(&found));
            }
            return Ok(found);
        }
    }

    /// The number of the set that a handle means.
    pub(crate) fn set_of_handle(&self, number: SetNumber, name: &str) -> Result<SetNumber> {
        if self.registry.read().sets.contains_key(&number) {
            return Ok(number);
        }
        let found = self.heap.catalogue().set_of_handle(number, name);
        found.ok_or_else(|| Error::NoSuchSet { name: name.to_owned() })
    }

    fn find_indexes(&self, set: SetNumber, epoch: u64) -> Result<SetIndexes> {
        let catalogue = self.heap.catalogue();
        let mut all = Vec::new();
        for index in catalogue.indexes_of(set) {
            let definition = &index.definition;
            let extractor = self.extractor_of(definition, &catalogue)?;
            let (number, name, is_unique) = (definition.number, Arc::from(definition.name.as_str()), definition.unique);
            all.push(SetIndex { number, name, is_unique, extractor });
        }
        let missing = || Error::NoSuchSet { name: catalogue.name_of(set).to_owned() };
        let name = Arc::clone(&catalogue.set(set).ok_or_else(missing)?.name);
        Ok(SetIndexes { set, name, all, epoch })
    }

    /// The extractor of an index: the one that was given, or what its line says.
    pub(crate) fn extractor_of(&self, definition: &IndexDefinition, catalogue: &Catalogue) -> Result<Extractor> {
        let known = self.registry.read().extractors.get(&definition.number).cloned();
        known.or_else(|| Extractor::from_spec(&definition.spec)).ok_or_else(|| {
            let set = catalogue.set(definition.set).map(|set| set.name.to_string()).unwrap_or_default();
            let (index, extractor) = (definition.name.clone(), definition.extractor.clone());
            Error::NoExtractor { set, index, extractor, version: definition.version }
        })
    }

    /// Whether the store has key indexes.
    pub(crate) fn has_indexes(&self) -> bool {
        self.heap.catalogue().indexes().next().is_some()
    }

    /// Indexes of a set, or their extractors, have changed. For an index that comes or goes the caller excludes commits.
    pub(crate) fn change_registry(&self, set: SetNumber, change: impl FnOnce(&mut BTreeMap<IndexNumber, Extractor>)) {
        let mut registry = self.registry.write();
        *registry.epochs.entry(set).or_default() += 1;
        registry.sets.remove(&set);
        change(&mut registry.extractors);
    }

    /// The extractors that were given, for another handle of the store.
    pub(crate) fn given_extractors(&self) -> Vec<(Arc<IndexDefinition>, Extractor)> {
        let catalogue = self.heap.catalogue();
        let registry = self.registry.read();
        let given = registry.extractors.iter();
        given
            .filter_map(|(number, given)| Some((Arc::clone(&catalogue.index(*number)?.definition), given.clone())))
            .collect()
    }

    /// Takes over extractors that were given to another handle, for indexes that they made.
    pub(crate) fn take_extractors(&self, given: Vec<(Arc<IndexDefinition>, Extractor)>) {
        let catalogue = self.heap.catalogue();
        for (of, extractor) in given {
            let index = catalogue.index_named(of.set, &of.name).filter(|index| index.definition.is_alike(&of));
            if let Some(definition) = index.map(|index| &index.definition) {
                self.change_registry(definition.set, |all| drop(all.insert(definition.number, extractor)));
            }
        }
    }

    /// Lets go of the extractors: one may hold the store, which would keep it from ever being dropped.
    pub(crate) fn forget_extractors(&self) {
        let registry = std::mem::take(&mut *self.registry.write());
        drop(registry);
    }

    /// Whether the extractor of an index is known by now. One of the same name and version does the same.
    pub(crate) fn has_extractor(&self, index: IndexNumber) -> bool {
        self.registry.read().extractors.contains_key(&index)
    }

    /// Whether what was found out about the indexes of a set then still holds.
    pub(crate) fn is_index_epoch(&self, set: SetNumber, epoch: u64) -> bool {
        self.registry.read().epoch_of(set) == epoch
    }

    /// Waits until a commit is on the medium.
    pub(crate) fn make_durable(&self, seq: Seq) -> Result<()> {
        self.log.sync_to(seq).map_err(|error| match error {
            // Also where another thread's sync failed on which this one waited.
            Error::Io { .. } | Error::NoSpace { .. } | Error::Poisoned { .. } | Error::Closed => {
                Error::Indeterminate { seq, reason: error.to_string() }
            }
            other => other,
        })
    }
}

/// Whether an effect makes the store larger.
fn is_more(effect: &Effect) -> bool {
    !matches!(
        effect,
        Effect::Free(_)
            | Effect::DropSet(_)
            | Effect::EndSet(_)
            | Effect::StreamEnd(_)
            | Effect::DropIndex(_)
            | Effect::PublishIndex(_)
            | Effect::DropMark(_)
            | Effect::Index(..)
    )
}

fn added_by(effect: &Effect) -> Option<Added<'_>> {
    match effect {
        Effect::CreateSet(_, name) | Effect::RenameSet(_, name) => Some(Added::Set(name)),
        Effect::Mark(name) => Some(Added::Mark(name)),
        Effect::CreateIndex(definition, _) => Some(Added::Index(definition)),
        Effect::Stream(..) => Some(Added::Chunk),
        _ => None,
    }
}

fn freed(effect: &Effect) -> Option<RecordId> {
    if let Effect::Free(id) = effect { Some(*id) } else { None }
}

/// Puts what waits to be logged into a frame.
fn put_pending(pending: &Pending, frame: &mut FrameBuilder, effects: &mut Vec<Effect>) {
    put_assigned(frame, &pending.assigned);
    put_frees(frame, pending.burned.iter().copied());
    // Pages first: a record's set is looked up by its page.
    let assigned = pending.assigned.iter().map(|(page, set)| Effect::Assign(*page, *set));
    effects.splice(0..0, assigned);
    effects.extend(pending.burned.iter().map(|id| Effect::Free(*id)));
}
