//! Undoing a partly applied frame.
//!
//! Owns: the changes of a frame so far. Never: publishes a state.

use crate::format::entry::Entry;
use crate::heap::sums::Sums;
use crate::heap::{Applied, Effect, Writer};
use crate::id::SetNumber;

/// An entry changed by a frame, and its effect on counts.
#[derive(Debug)]
pub(super) struct Undo {
    pub(super) slot: u64,
    pub(super) old: Entry,
    /// Whether there was a record: a damaged page may not tell.
    pub(super) was_live: bool,
    /// The set whose counts changed, and bytes of the new record: zero for a deletion. Moves change no counts.
    pub(super) counted: Option<(SetNumber, u64)>,
}

/// Capacity kept from one frame to the next.
pub(super) const UNDO_KEPT_MAX: usize = 4_096;

impl Writer {
    /// A frame could not be applied completely: later readers see nothing of it. The handle has ended.
    pub(super) fn take_back(&mut self, frame: &Applied<'_>, sums: &mut Sums, effects: &[Effect]) {
        for Undo { slot, old, was_live, counted } in std::mem::take(&mut self.undo).into_iter().rev() {
            // Its leaf is on the heap, so nothing can fail.
            let is_back = self.tree.set(slot, old).is_ok();
            if let Some((set, bytes)) = counted.filter(|_| is_back) {
                sums.take_back(&mut self.notes(frame), set, bytes, old, was_live);
            }
        }
        if effects.iter().any(|effect| matches!(effect, Effect::Index(..))) {
            self.indexes.lose();
        }
    }
}
