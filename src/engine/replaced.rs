//! Where the versions are that a commit replaces or deletes, recorded with it if the store was opened to keep old values.
//!
//! Owns: finding them. Never: reads a record.

use crate::engine::Engine;
use crate::error::Result;
use crate::format::entry::{SEGMENT_BYTES_END, State as EntryState};
use crate::format::frame::FrameBuilder;
use crate::format::replaced::{Replaced, put_replaced, replaced_bytes};
use crate::heap::Effect;

/// What frames leave free for what is added to them under the commit lock.
const ROOM_BYTES: u64 = 1 << 20;

impl Engine {
    /// Where the versions are now that these effects replace or free, ascending by slot. That does not change while the caller holds
    /// the commit lock.
    fn replaced(&self, effects: &[Effect]) -> Result<Vec<Replaced>> {
        // Nothing but commits, and moves of the collector, changes a place; and those are excluded where it matters.
        let state = self.heap.current();
        let mut rows = Vec::new();
        for effect in effects {
            let (Effect::Put { id, .. } | Effect::Free(id)) = effect else { continue };
            let EntryState::Live(location) = state.root.entry(id.slot())?.state() else { continue };
            if let Some(segment) = state.table.get(location.place) {
                rows.push(Replaced { slot: id.slot(), offset: location.offset(), segment: segment.number() });
            }
        }
        rows.sort_unstable();
        rows.dedup_by_key(|row| row.slot);
        Ok(rows)
    }

    /// Adds the places to a frame that is written before its turn.
    pub(super) fn put_replaced_early(&self, frame: &mut FrameBuilder, effects: &[Effect]) -> Result<Places> {
        let early = Places { mark: frame.mark(), rows: self.replaced(effects)? };
        put(frame, &early.rows);
        Ok(early)
    }

    /// Adds the places to a frame, unless it was written before its turn with the same ones. `false` if such a frame must be written in
    /// its turn: the collector has moved a record meanwhile, and the place that the frame says may be reclaimed before the commit is
    /// read. The caller holds the commit lock.
    pub(super) fn put_replaced(
        &self,
        frame: &mut FrameBuilder,
        effects: &[Effect],
        early: Option<Places>,
        is_written: bool,
    ) -> Result<bool> {
        let rows = self.replaced(effects)?;
        if let Some(early) = early {
            if early.rows == rows && is_written {
                return Ok(true);
            }
            frame.go_back(early.mark);
        }
        put(frame, &rows);
        Ok(false)
    }
}

/// Places in a frame that is written before its turn.
#[derive(Debug)]
pub(super) struct Places {
    /// Where they begin in the frame.
    mark: (usize, u32),
    rows: Vec<Replaced>,
}

/// Adds the places to a frame, unless it would become too large.
pub(super) fn put(frame: &mut FrameBuilder, rows: &[Replaced]) {
    if frame.bytes() + replaced_bytes(rows.len()) + ROOM_BYTES <= SEGMENT_BYTES_END {
        put_replaced(frame, rows);
    }
}
