//! IDs: assigning them, and telling the slots what became of those that a commit puts and frees.
//!
//! Owns: what a commit logs for the slots, which are pages assigned to sets and burned IDs. Never: chooses a slot, or looks at a record.

use std::sync::Arc;

use crate::engine::effects::{freed, put};
use crate::engine::{Engine, Need};
use crate::error::Result;
use crate::format::frame::FrameBuilder;
use crate::format::item::UNASKED;
use crate::format::manifest::Body;
use crate::heap::{Effect, put_assigned, put_frees};
use crate::id::{RecordId, SetNumber};
use crate::record_index::Pending;

/// Maximum number of IDs freed per frame: half a megabyte.
pub(super) const FREES_PER_FRAME: usize = 1 << 16;

impl Engine {
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

    /// Logs burned IDs in frames of their own while there are too many to include in a commit.
    pub(super) fn append_burned(&self, mut pending: Pending, need: Need) -> Result<Pending> {
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

    /// A commit has been applied: what it put is taken, and what it freed may be assigned again.
    pub(super) fn settle_slots(&self, effects: &[Effect], frees: bool) {
        self.slots.committed(effects.iter().filter_map(put));
        self.settle_freed(effects, frees);
    }

    /// The same, of what it freed only.
    pub(super) fn settle_freed(&self, effects: &[Effect], frees: bool) {
        if frees {
            let root = Arc::clone(&self.heap.current().root);
            self.slots.freed(effects.iter().filter_map(freed), &root);
        }
    }
}

/// Adds pending items to a frame.
pub(super) fn put_pending(pending: &Pending, frame: &mut FrameBuilder, effects: &mut Vec<Effect>) {
    put_assigned(frame, &pending.assigned);
    put_frees(frame, UNASKED, pending.burned.iter().copied());
    // Pages first: a record's set is looked up by its page.
    let assigned = pending.assigned.iter().map(|(page, set)| Effect::Assign(*page, *set));
    effects.splice(0..0, assigned);
    effects.extend(pending.burned.iter().map(|id| Effect::Free(*id)));
}
