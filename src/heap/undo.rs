//! Taking back a frame that was applied in part.
//!
//! Owns: what a frame has changed so far. Never: publishes a state.

use crate::format::entry::Entry;
use crate::heap::sums::Sums;
use crate::heap::{Applied, Effect, Writer};
use crate::id::SetNumber;

/// An entry that a frame has changed, and what it counts for.
#[derive(Debug)]
pub(super) struct Undo {
    pub(super) slot: u64,
    pub(super) old: Entry,
    /// Whether there was a record: a damaged page may not say so.
    pub(super) was_live: bool,
    /// The set that counts the change, and bytes of the new record: zero for one that is gone. Moves count nothing.
    pub(super) counted: Option<(SetNumber, u64)>,
}

/// Room for what frames have changed that is kept from one to the next.
pub(super) const UNDO_KEPT_MAX: usize = 4_096;

impl Writer {
    /// A frame could not be applied as a whole: nothing of it remains for those who look from now on. The handle is at its end.
    pub(super) fn take_back(&mut self, frame: &Applied<'_>, sums: &mut Sums, effects: &[Effect]) {
        for Undo { slot, old, was_live, counted } in std::mem::take(&mut self.undo).into_iter().rev() {
            // Its leaf is on the heap, so there is nothing that could fail.
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
