//! The engine: the parts of a running store, and the only commit path through them.
//!
//! How a commit passes (`commit_recording`):
//!
//! 1. *Admit:* the handle may write, the reserve is complete, and the manifest says that the log continues.
//! 2. *Before its turn*, a commit that needs a segment of its own is written, and applied to second trees (`prewriting`, `ahead`).
//! 3. *Validate*, under the commit lock: what its owner has read still holds, and the store has room for it (`validate`).
//! 4. *Append* one frame to the log, with what the slots have pending (`ids`).
//! 5. *Apply* its effects: from now on every new state has all of them. The history takes note, and the lock is released.
//! 6. *Wait for durability* (`make_durable`), if the owner wants that; or until another place has it, too (`shipping`).
//!
//! Owns: the commit lock, and this order. Never: syncs under the commit lock, or runs user code under it. Lock order: commit, then
//! allocator, then log tail, then the heap's writer; see `docs/locking.md`.

mod ahead;
mod announce;
mod consumers;
mod dirty;
mod effects;
mod following;
mod growth;
mod ids;
mod left;
mod prewriting;
mod registry;
mod replaced;
mod reserve;
mod shipping;
mod streams;
mod validate;

#[cfg(test)]
pub(crate) use ahead::MEANWHILE;
pub(crate) use announce::Announced;
pub(crate) use dirty::{DirtyBudget, Room};
pub(crate) use following::{Followed, Following};
pub(crate) use growth::{Growth, SnapshotLogBytes};
pub(crate) use left::Left;
pub(crate) use registry::{Registry, SetIndex, SetIndexes};
pub(crate) use reserve::ReserveUse;
pub(crate) use shipping::Shipped;
pub(crate) use streams::Streams;
pub(crate) use validate::Validate;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::backing::Backing;
use crate::catalogue::{Lineage, Origin};
use crate::commit_lock::CommitLock;
use crate::engine::effects::{freed, sums};
use crate::engine::ids::put_pending;
use crate::engine::prewriting::Early;
use crate::error::{Error, Result};
use crate::format::frame::{FrameBuilder, FrameKind};
use crate::format::moves::{Move, put_moves};
use crate::heap::{Effect, Heap};
use crate::history::{History, Noted};
use crate::id::{SegmentSeq, Seq};
use crate::log::{Appended, Log, Poison};
use crate::manifest::Manifest;
use crate::pages::{PageStore, PageWriter};
use crate::record_index::Slots;
use crate::reserve::Release;

/// Places that the collector leaves free: each running commit may start one segment.
const PLACES_OF_COLLECTOR: u64 = 16;

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
    pub(crate) read_only: bool,
    pub(crate) lineage: Lineage,
    pub(crate) transaction_bytes_max: u64,
    /// Whether commits say where the versions were that they replace or delete.
    pub(crate) old_values: bool,

    pub(crate) backing: Arc<dyn Backing>,
    pub(crate) log: Log,
    pub(crate) heap: Heap,
    pub(crate) slots: Slots,
    pub(crate) manifest: Manifest,
    pub(crate) pages: PageStore,
    pub(crate) page_writer: Mutex<PageWriter>,
    pub(crate) poison: Arc<Poison>,
    pub(crate) commit: CommitLock,
    pub(crate) history: History,

    /// Extractors, and what is known of the indexes of sets.
    pub(crate) registry: Registry,
    /// The log since the last snapshot.
    pub(crate) growth: Growth,
    /// Heap space for changed index pages.
    pub(crate) dirty: DirtyBudget,
    /// Disk space for operations that free more.
    pub(crate) reserve: ReserveUse,
    /// Whether the manifest says that the log continues.
    pub(crate) announced: Announced,
    /// Large values that are being written.
    pub(crate) streams: Streams,
    /// What the place that the backing ships to has.
    pub(crate) shipped: Shipped,
    /// How far this reader has followed a writer.
    pub(crate) following: Following,
    /// Record segments in no table that are still needed.
    pub(crate) left: Left,
}

impl Engine {
    /// Fails if nothing may be written.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        self.poison.check()
    }

    /// The identity of the store.
    pub(crate) fn store_id(&self) -> [u8; 16] {
        self.log.source().uuid
    }

    /// The origin of handles from this engine.
    pub(crate) fn origin(&self) -> Origin {
        Origin { store: self.store_id(), lineage: self.lineage }
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
        let mut early = if is_early {
            self.do_early(frame, effects, records_old, validate)?
        } else {
            Early::of_history(self.history.prepare(effects))
        };
        let guard = self.lock_commit();
        self.validate(effects, need, validate)?;
        if records_old {
            self.record_old(frame, effects, &mut early)?;
        }
        let seq = self.do_rest(&guard, frame, effects, need, &mut early)?;
        drop(guard);
        drop(early);
        if self.reserve.is_short() {
            self.prove();
        }
        if self.snapshot_is_due() {
            self.growth.notify();
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
        guard: &MutexGuard<'_, ()>,
        frame: &mut FrameBuilder,
        effects: &mut Vec<Effect>,
        need: Need,
    ) -> Result<Seq> {
        self.append_apply_and_note(guard, frame, effects, need, Noted::default())
    }

    /// The same of a commit for which the history has prepared.
    fn append_apply_and_note(
        &self,
        _guard: &MutexGuard<'_, ()>,
        frame: &mut FrameBuilder,
        effects: &mut Vec<Effect>,
        need: Need,
        noted: Noted,
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
        self.history.note(seq, effects.get(..of_records).unwrap_or_default(), noted);
        Ok(seq)
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
        let appended = appended.inspect_err(|error| self.reserve.note_no_space(error))?;
        self.apply_appended(&appended, frame.bytes(), effects)
    }

    /// Applies a frame that the log has.
    fn apply_appended(&self, appended: &Appended, bytes: u64, effects: &[Effect]) -> Result<Seq> {
        let seq = appended.seq;
        let (index_bytes, frees, ended) = sums(effects);
        self.growth.count(bytes, index_bytes);
        if frees {
            self.slots.freeing(effects.iter().filter_map(freed), seq);
        }
        self.heap
            .apply(&appended.segment, appended.offset, seq, effects)
            .map_err(|error| self.not_applied(seq, &error))?;
        self.settle_slots(effects, frees);
        if let Some(set) = ended {
            self.slots.end_set(set);
        }
        Ok(seq)
    }

    /// The log has a commit but memory does not: only recovery can reconcile them.
    fn not_applied(&self, seq: Seq, error: &Error) -> Error {
        self.poison.set(error);
        Error::Indeterminate { seq, reason: error.to_string() }
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
}
