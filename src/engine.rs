//! The engine: the parts of a running store, and the only commit path through them.
//!
//! Owns: the commit lock, the order append → apply, the count of log bytes since the last snapshot. Never: syncs under
//! the commit lock, or runs user code under it. Lock order: commit, then allocator, then log tail, then the heap's
//! writer; see `docs/locking.md`.

mod ahead;
mod announce;
mod consumers;
mod following;
mod prewriting;
mod replaced;
mod reserve;
mod shipping;
mod validate;

#[cfg(test)]
pub(crate) use ahead::MEANWHILE;
pub(crate) use following::Followed;
pub(crate) use shipping::Shipped;
pub(crate) use validate::Validate;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::backing::Backing;
use crate::catalogue::{Added, Catalogue, Handle, Lineage, Origin};
use crate::commit_lock::CommitLock;
use crate::error::{Error, Result};
use crate::extract::Extractor;
use crate::format::align;
use crate::format::frame::{FrameBuilder, FrameKind};
use crate::format::index::IndexDefinition;
use crate::format::item::{CONTROL_HEADER_BYTES, Kind, UNASKED};
use crate::format::manifest::{Body, NUMBER_END};
use crate::format::moves::{Move, put_moves};
use crate::heap::{Answer, Effect, Heap, put_assigned, put_frees};
use crate::history::History;
use crate::id::{IndexNumber, RecordId, SegmentSeq, Seq, SetNumber, to_u64};
use crate::log::{Appended, Log, Poison};
use crate::manifest::Manifest;
use crate::pages::{PageStore, PageWriter};
use crate::record_index::{Pending, Slots};
use crate::reserve::{Release, Reserve};

/// Segment places that commits leave free: the collector needs some to free others.
const PLACES_FREE_MIN: u64 = 1_024;
/// Places that the collector leaves free: each running commit may start one segment.
const PLACES_OF_COLLECTOR: u64 = 16;
/// Maximum number of IDs freed per frame: half a megabyte.
const FREES_PER_FRAME: usize = 1 << 16;

/// An index of a set, as a writer needs it.
#[derive(Debug, Clone)]
pub(crate) struct SetIndex {
    pub(crate) number: IndexNumber,
    pub(crate) name: Arc<str>,
    pub(crate) is_unique: bool,
    pub(crate) extractor: Extractor,
}

/// The indexes of a set as of an epoch.
#[derive(Debug)]
pub(crate) struct SetIndexes {
    pub(crate) set: SetNumber,
    /// The name of the set; empty if there is no such set.
    pub(crate) name: Arc<str>,
    pub(crate) all: Vec<SetIndex>,
    pub(crate) has_unique: bool,
    pub(crate) epoch: u64,
}

/// Extractors of indexes, and cached lookups about sets.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    extractors: BTreeMap<IndexNumber, Extractor>,
    sets: BTreeMap<SetNumber, Arc<SetIndexes>>,
    /// Incremented when an index of a set is created or dropped.
    epochs: BTreeMap<SetNumber, u64>,
}

impl Registry {
    fn epoch_of(&self, set: SetNumber) -> u64 {
        self.epochs.get(&set).copied().unwrap_or_default()
    }
}

/// How a commit affects free space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// It takes space: it is refused while the reserve is not complete.
    Ordinary,
    /// It only deletes or moves, or is the last operation of a store: it leads to more free space, and may use the
    /// reserve.
    MakesRoom,
}

/// The parts of an open store.
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
    pub(crate) lineage: Lineage,
    /// Whether the manifest says that the log continues.
    pub(crate) is_announced: AtomicBool,
    pub(crate) transaction_bytes_max: u64,
    /// Whether commits say where the versions were that they replace or delete.
    pub(crate) old_values: bool,
    /// Log bytes that recovery would have to replay.
    pub(crate) replay_bytes: AtomicU64,
    /// Log bytes of changes of key indexes since the store was opened.
    pub(crate) index_log_bytes: AtomicU64,
    pub(crate) commit: CommitLock,
    pub(crate) next_stream: AtomicU64,
    pub(crate) registry: RwLock<Registry>,
    pub(crate) history: History,
    /// What the place that the backing ships to has.
    pub(crate) shipped: Shipped,
    /// How far this reader has followed a writer.
    pub(crate) followed: Mutex<Followed>,
    /// The timeline that it has reached.
    pub(crate) followed_timeline: AtomicU64,
    /// How often it has loaded the newest state as a whole.
    pub(crate) reloads: AtomicU64,
    /// Notified when a commit has extended the log since the last snapshot.
    pub(crate) grown: parking_lot::Condvar,
    pub(crate) grown_lock: Mutex<()>,
    /// Record segments in no table that something other than the newest state needs, with the commit that emptied them.
    pub(crate) left: Mutex<BTreeMap<SegmentSeq, Seq>>,
    /// A commit ran out of disk space, and the collector has not acted on it yet.
    pub(crate) no_space: AtomicBool,
    pub(crate) reserve: Reserve,
    /// Bytes of the log and of changed pages at which a commit must check the reserve.
    pub(crate) reserve_look: AtomicU64,
    /// How many threads may be using space of the reserve.
    pub(crate) reserve_users: AtomicU32,
    /// When a commit may next check whether there is space for the reserve.
    pub(crate) reserve_next: Mutex<Option<Instant>>,
    /// Bytes of survivors that fit into the reserve space given to the collector.
    pub(crate) reserve_survivors: AtomicU64,
    /// Log bytes since the last snapshot at which `grown` is notified.
    pub(crate) snapshot_log_bytes: u64,
    /// Maximum heap bytes of changed index pages.
    pub(crate) dirty_bytes_max: u64,
    /// Bytes of pages that commits in progress may change.
    pub(crate) dirty_bytes_awaited: AtomicU64,
}

/// Heap space for the changes of a commit, reserved until it is dropped. After that the actual changes count.
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
    /// Fails if nothing may be written.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        self.poison.check()
    }

    /// Tells the collector that space ran out.
    pub(crate) fn note_no_space(&self, error: &Error) {
        if matches!(error, Error::NoSpace { .. }) {
            self.no_space.store(true, Ordering::Release);
        }
    }

    /// The identity of the store.
    pub(crate) fn store_id(&self) -> [u8; 16] {
        self.log.source().uuid
    }

    /// The origin of handles from this engine.
    pub(crate) fn origin(&self) -> Origin {
        Origin { store: self.store_id(), lineage: self.lineage }
    }

    /// Assigns an ID for a record of the set.
    #[inline]
    pub(crate) fn take_id(&self, set: SetNumber) -> Result<RecordId> {
        if let Some(id) = self.slots.take_plain(set) {
            return Ok(id);
        }
        self.take_id_of_next_page(set)
    }

    /// Assigns this many IDs for records of the set.
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

    /// Commits a frame: checks, appends and applies it. On an error nothing of it remains, except after
    /// `Indeterminate`, which poisons the handle. Making it durable is the caller's next step.
    pub(crate) fn commit_frame(
        &self,
        frame: &mut FrameBuilder,
        effects: &mut Vec<Effect>,
        need: Need,
        validate: &mut dyn Validate,
    ) -> Result<Seq> {
        self.commit_recording(frame, effects, need, false, validate)
    }

    /// The same; whether the frame is to say where the versions were that it replaces or deletes.
    pub(crate) fn commit_recording(
        &self,
        frame: &mut FrameBuilder,
        effects: &mut Vec<Effect>,
        need: Need,
        records_old: bool,
        validate: &mut dyn Validate,
    ) -> Result<Seq> {
        self.check_writable()?;
        if need == Need::Ordinary {
            self.check_reserve(frame.bytes())?;
        }
        let is_early = self.is_early(frame, need);
        self.announce(if is_early { 0 } else { frame.bytes() }, need)?;
        let places = if records_old && is_early { Some(self.put_replaced_early(frame, effects)?) } else { None };
        if is_early {
            self.let_save_end(effects);
        }
        let prewritten = if is_early { self.prewrite(frame)? } else { None };
        let mut ahead = prewritten.as_ref().and_then(|prewritten| self.apply_ahead(prewritten, effects));
        if prewritten.is_some() {
            validate.look_again()?;
        }
        let guard = self.lock_commit();
        if need == Need::Ordinary && self.reserve.is_short() {
            // Abandoned meanwhile.
            return Err(self.refused());
        }
        if effects.iter().any(is_more) {
            self.heap.check_places(PLACES_FREE_MIN)?;
            self.log.check_numbers()?;
        }
        validate.check()?;
        let mut prewritten = prewritten;
        if records_old && !self.put_replaced(frame, effects, places, prewritten.is_some())? && prewritten.is_some() {
            ahead = None;
            prewritten = None;
            frame.unseal();
        }
        let seq = match prewritten {
            Some(prewritten) => self.name_and_apply(&guard, frame, effects, prewritten, &mut ahead)?,
            None => self.append_and_apply(&guard, frame, effects, need)?,
        };
        drop(guard);
        drop(ahead);
        if self.reserve.is_short() {
            self.prove();
        }
        if self.snapshot_is_due() {
            self.grown.notify_all();
        }
        Ok(seq)
    }

    /// Commits that records were copied from one segment to another; the heap knows both, and the copies are durable.
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

    /// The part of a commit after its validation.
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
        // Burned IDs had no record that could have been read: they come last.
        let of_records = effects.len() - pending.burned.len();
        let seq = self.append_frame(frame, effects, need).inspect_err(|_| self.slots.put_back(pending))?;
        self.history.note(seq, effects.get(..of_records).unwrap_or_default());
        Ok(seq)
    }

    /// Fails if a commit would make the catalogue too large for a snapshot.
    fn check_catalogue(&self, effects: &[Effect]) -> Result<()> {
        let mut added = effects.iter().filter_map(added_by).peekable();
        if added.peek().is_none() { Ok(()) } else { self.heap.catalogue().check_room(added) }
    }

    /// Appends a complete frame, and applies it.
    fn append_frame(&self, frame: &mut FrameBuilder, effects: &[Effect], need: Need) -> Result<Seq> {
        let _panic = self.poison.ends_with_panic("in the middle of a commit");
        self.heap.check_places(PLACES_OF_COLLECTOR)?;
        let appended = match need {
            Need::Ordinary => self.log.append(frame, FrameKind::Commit, None),
            Need::MakesRoom => {
                // A sealed frame cannot be sealed again.
                let unsealed = frame.clone();
                self.with_reserve(Release::Least, || {
                    frame.clone_from(&unsealed);
                    self.log.append(frame, FrameKind::Commit, None)
                })
            }
        };
        let appended = appended.inspect_err(|error| self.note_no_space(error))?;
        self.apply_appended(&appended, frame.bytes(), effects)
    }

    /// Applies a frame that the log has.
    fn apply_appended(&self, appended: &Appended, bytes: u64, effects: &[Effect]) -> Result<Seq> {
        let seq = appended.seq;
        let (index_bytes, frees) = sums(effects);
        self.count_appended(bytes, index_bytes);
        if frees {
            self.slots.freeing(effects.iter().filter_map(freed), seq);
        }
        self.heap
            .apply(&appended.segment, appended.offset, seq, effects)
            .map_err(|error| self.not_applied(seq, &error))?;
        self.settle_slots(effects, frees);
        Ok(seq)
    }

    fn count_appended(&self, bytes: u64, index_bytes: u64) {
        self.replay_bytes.fetch_add(bytes, Ordering::Relaxed);
        if index_bytes > 0 {
            self.index_log_bytes.fetch_add(index_bytes, Ordering::Relaxed);
        }
    }

    /// The log has a commit but memory does not: only recovery can reconcile them.
    fn not_applied(&self, seq: Seq, error: &Error) -> Error {
        self.poison.set(error);
        Error::Indeterminate { seq, reason: error.to_string() }
    }

    /// Logs burned IDs in frames of their own while there are too many to include in a commit.
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

    /// Frees the chunks of streams whose head will not be committed, a bounded number per commit. After a crash the
    /// next opening frees the rest.
    pub(crate) fn drop_streams(&self, streams: &[u64]) -> Result<()> {
        for stream in streams {
            let state = self.heap.pin();
            // The slot of a chunk that was freed before may have been reused.
            let mut chunks = Vec::new();
            for id in state.catalogue.chunks(*stream) {
                match state.lookup(id) {
                    Ok(Answer::Live(_)) => chunks.push(id),
                    Ok(_) => {}
                    // An unreadable chunk stays and takes space: nothing is known about it.
                    Err(error) if error.is_corruption() => {}
                    Err(error) => return Err(error),
                }
            }
            drop(state);
            loop {
                let part = chunks.split_off(chunks.len().saturating_sub(FREES_PER_FRAME));
                let (mut frame, mut effects) = (FrameBuilder::new(), Vec::new());
                put_frees(&mut frame, UNASKED, part.iter().copied());
                effects.extend(part.into_iter().map(Effect::Free));
                if chunks.is_empty() {
                    frame.control(Kind::StreamEnd, &stream.to_le_bytes());
                    effects.push(Effect::StreamEnd(*stream));
                }
                self.commit_frame(&mut frame, &mut effects, Need::MakesRoom, &mut || Ok(()))?;
                if chunks.is_empty() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn settle_slots(&self, effects: &[Effect], frees: bool) {
        self.slots.committed(effects.iter().filter_map(put));
        self.settle_freed(effects, frees);
    }

    fn settle_freed(&self, effects: &[Effect], frees: bool) {
        if frees {
            let root = Arc::clone(&self.heap.current().root);
            self.slots.freed(effects.iter().filter_map(freed), &root);
        }
    }

    /// Records in the log itself what is durable, once nothing else is being written.
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

    /// Whether the next snapshot is due: the log since the last one is long, or many changed pages are on the heap.
    pub(crate) fn snapshot_is_due(&self) -> bool {
        let replay_bytes = self.replay_bytes.load(Ordering::Relaxed);
        replay_bytes > self.snapshot_log_bytes
            || (replay_bytes > 0 && self.heap.dirty_bytes() > self.dirty_bytes_max / 2)
    }

    /// Heap space for pages of this size, if available.
    pub(crate) fn take_room(&self, bytes: u64) -> Option<Room<'_>> {
        let limit = self.dirty_bytes_max.saturating_sub(self.heap.dirty_bytes());
        let more = |awaited: u64| awaited.checked_add(bytes).filter(|awaited| *awaited <= limit);
        let taken = self.dirty_bytes_awaited.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.ok().map(|_| Room { engine: self, bytes })
    }

    /// Heap space, available or not.
    pub(crate) fn take_room_anyway(&self, bytes: u64) -> Room<'_> {
        self.dirty_bytes_awaited.fetch_add(bytes, Ordering::AcqRel);
        Room { engine: self, bytes }
    }

    /// The indexes that a write to the set must maintain.
    pub(crate) fn indexes_of(&self, set: SetNumber) -> Result<Arc<SetIndexes>> {
        if let Some(known) = self.registry.read().sets.get(&set) {
            return Ok(Arc::clone(known));
        }
        loop {
            let epoch = self.registry.read().epoch_of(set);
            let found = match self.find_indexes(set, epoch) {
                Ok(found) => Arc::new(found),
                // The index was created or dropped between reading the catalogue and the extractors.
                Err(Error::NoExtractor { .. }) if !self.is_index_epoch(set, epoch) => continue,
                Err(error) => return Err(error),
            };
            let mut registry = self.registry.write();
            // Creating a set does not change an epoch.
            if registry.epoch_of(set) == epoch && !found.name.is_empty() {
                registry.sets.insert(set, Arc::clone(&found));
            }
            return Ok(found);
        }
    }

    /// The number of the set that a handle refers to.
    pub(crate) fn set_of_handle(&self, handle: &Handle<'_>) -> Result<SetNumber> {
        if handle.lineage == self.lineage && self.registry.read().sets.contains_key(&handle.number) {
            return Ok(handle.number);
        }
        let found = self.heap.catalogue().set_of_handle(handle);
        found.ok_or_else(|| Error::NoSuchSet { name: handle.name.to_owned() })
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
        let has_unique = all.iter().any(|index| index.is_unique);
        Ok(SetIndexes { set, name, all, has_unique, epoch })
    }

    /// The extractor of an index: the registered one, or the one built from its line.
    pub(crate) fn extractor_of(&self, definition: &IndexDefinition, catalogue: &Catalogue) -> Result<Extractor> {
        let known = self.registry.read().extractors.get(&definition.number).cloned();
        known.or_else(|| Extractor::from_spec(&definition.spec)).ok_or_else(|| {
            let set = catalogue.set(definition.set).map(|set| set.name.to_string()).unwrap_or_default();
            let (index, extractor) = (definition.name.clone(), definition.extractor.clone());
            Error::NoExtractor { set, index, extractor, version: definition.version }
        })
    }

    /// Indexes of a set, or their extractors, have changed. For an index that is created or dropped the caller excludes
    /// commits.
    pub(crate) fn change_registry(&self, set: SetNumber, change: impl FnOnce(&mut BTreeMap<IndexNumber, Extractor>)) {
        let mut registry = self.registry.write();
        *registry.epochs.entry(set).or_default() += 1;
        registry.sets.remove(&set);
        change(&mut registry.extractors);
    }

    /// The registered extractors, for another handle of the store.
    pub(crate) fn given_extractors(&self) -> Vec<(Arc<IndexDefinition>, Extractor)> {
        let catalogue = self.heap.catalogue();
        let registry = self.registry.read();
        let given = registry.extractors.iter();
        given
            .filter_map(|(number, given)| Some((Arc::clone(&catalogue.index(*number)?.definition), given.clone())))
            .collect()
    }

    /// Takes over another handle's extractors, for the indexes that they belong to.
    pub(crate) fn take_extractors(&self, given: Vec<(Arc<IndexDefinition>, Extractor)>) {
        let catalogue = self.heap.catalogue();
        for (of, extractor) in given {
            let index = catalogue.index_named(of.set, &of.name).filter(|index| index.definition.is_alike(&of));
            if let Some(definition) = index.map(|index| &index.definition) {
                self.change_registry(definition.set, |all| drop(all.insert(definition.number, extractor)));
            }
        }
    }

    /// Drops the extractors: one may hold the store, and so keep it from ever being dropped.
    pub(crate) fn forget_extractors(&self) {
        let registry = std::mem::take(&mut *self.registry.write());
        drop(registry);
    }

    /// Whether the extractor of an index is registered. One of the same name and version is equivalent.
    pub(crate) fn has_extractor(&self, index: IndexNumber) -> bool {
        self.registry.read().extractors.contains_key(&index)
    }

    /// Whether what was looked up about the indexes of a set still holds.
    pub(crate) fn is_index_epoch(&self, set: SetNumber, epoch: u64) -> bool {
        self.registry.read().epoch_of(set) == epoch
    }

    /// Waits until a commit is durable.
    pub(crate) fn make_durable(&self, seq: Seq) -> Result<()> {
        self.log.sync_to(seq).map_err(|error| match error {
            // Also if another thread's sync failed on which this one waited.
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
            | Effect::Consumer(..)
            | Effect::Index(..)
            | Effect::Prewritten(..)
    )
}

fn added_by(effect: &Effect) -> Option<Added<'_>> {
    match effect {
        Effect::CreateSet(_, name) | Effect::RenameSet(_, name) => Some(Added::Set(name)),
        Effect::Mark(name) => Some(Added::Mark(name)),
        Effect::Consumer(name, Some(_)) => Some(Added::Consumer(name)),
        Effect::CreateIndex(definition, _) => Some(Added::Index(definition)),
        Effect::Stream(..) => Some(Added::Chunk),
        _ => None,
    }
}

/// Bytes of logged changes of key indexes, and whether slots are freed.
fn sums(effects: &[Effect]) -> (u64, bool) {
    let (mut index_bytes, mut frees) = (0, false);
    for effect in effects {
        match effect {
            Effect::Index(_, changes) => index_bytes += align(to_u64(CONTROL_HEADER_BYTES + changes.len())),
            Effect::Free(_) => frees = true,
            _ => {}
        }
    }
    (index_bytes, frees)
}

fn put(effect: &Effect) -> Option<RecordId> {
    if let Effect::Put { id, .. } = effect { Some(*id) } else { None }
}

fn freed(effect: &Effect) -> Option<RecordId> {
    if let Effect::Free(id) = effect { Some(*id) } else { None }
}

/// Adds pending items to a frame.
fn put_pending(pending: &Pending, frame: &mut FrameBuilder, effects: &mut Vec<Effect>) {
    put_assigned(frame, &pending.assigned);
    put_frees(frame, UNASKED, pending.burned.iter().copied());
    // Pages first: a record's set is looked up by its page.
    let assigned = pending.assigned.iter().map(|(page, set)| Effect::Assign(*page, *set));
    effects.splice(0..0, assigned);
    effects.extend(pending.burned.iter().map(|id| Effect::Free(*id)));
}
