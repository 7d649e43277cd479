//! Commits that are written before their turn are applied before it too; under the commit lock the result replaces what was there.
//!
//! Owns: which saves that keeps waiting, and what the engine counts for such a commit. Never: makes anything of it visible before
//! its turn.

use std::time::Duration;

use parking_lot::MutexGuard;

use crate::engine::Engine;
use crate::engine::effects::{freed, put, sums};
use crate::error::Result;
use crate::heap;
use crate::heap::{Effect, is_large, takes_ahead};
use crate::id::Seq;
use crate::log::Prewritten;
use crate::pages::PageWriter;
use crate::record_index::{PageBits, by_page};

/// How long a commit waits for a save that is running, if it is so large that views would wait for it. After that it is applied in
/// its turn. Most of it passes before the commit is written: from then on the log passes it soon.
const SAVE_TIME: Duration = if cfg!(test) { Duration::from_secs(1) } else { Duration::from_secs(2) };

/// How long it waits for a save that has begun while it was written.
const LATE_SAVE_TIME: Duration = Duration::from_millis(50);

/// A commit that was applied ahead of its turn.
#[derive(Debug)]
pub(super) struct Ahead<'e> {
    applied: heap::Ahead<'e>,
    /// The slots of its records.
    slots: Vec<(u64, PageBits)>,
    index_bytes: u64,
    frees: bool,
    /// A save would find two trees.
    _no_save: NoSave<'e>,
}

/// Saves wait.
#[derive(Debug)]
struct NoSave<'e>(#[expect(dead_code, reason = "it is held, not used")] MutexGuard<'e, PageWriter>);

impl Engine {
    /// Waits for a save that is running, before a commit is written that views would wait for. The caller holds no lock.
    pub(super) fn let_save_end(&self, effects: &[Effect]) {
        if takes_ahead(effects) && is_large(effects) {
            drop(self.page_writer.try_lock_for(SAVE_TIME));
        }
    }

    /// That no save begins as long as the result is held, if the effects of a commit that was written may be applied before its
    /// turn. Saves go on while it is written.
    fn keep_saves_away(&self, effects: &[Effect]) -> Option<NoSave<'_>> {
        if !takes_ahead(effects) {
            return None;
        }
        let patience = if is_large(effects) { LATE_SAVE_TIME } else { Duration::ZERO };
        self.page_writer.try_lock_for(patience).map(NoSave)
    }

    /// Applies the effects of a commit that was written before its turn. The caller does not hold the commit lock.
    pub(super) fn apply_ahead(&self, prewritten: &Prewritten<'_>, effects: &[Effect]) -> Option<Ahead<'_>> {
        let (segment, offset) = prewritten.written()?;
        let no_save = self.keep_saves_away(effects)?;
        let _panic = self.poison.ends_with_panic("while a large commit was applied");
        let applied = self.heap.apply_ahead(segment, offset, effects)?;
        let (index_bytes, frees, _) = sums(effects);
        let slots = by_page(effects.iter().filter_map(put));
        #[cfg(test)]
        MEANWHILE.with_borrow_mut(|meanwhile| meanwhile.as_mut().map(|work| work()));
        Some(Ahead { applied, slots, index_bytes, frees, _no_save: no_save })
    }

    /// The log has the commit: publishes what was applied.
    pub(super) fn publish_ahead(&self, ahead: &mut Ahead<'_>, seq: Seq, bytes: u64, effects: &[Effect]) -> Result<Seq> {
        self.growth.count(bytes, ahead.index_bytes);
        if ahead.frees {
            self.slots.freeing(effects.iter().filter_map(freed), seq);
        }
        self.heap.publish_ahead(&mut ahead.applied, seq, effects).map_err(|error| self.not_applied(seq, &error))?;
        self.slots.committed_pages(&ahead.slots);
        self.settle_freed(effects, ahead.frees);
        Ok(seq)
    }
}

#[cfg(test)]
thread_local! {
    /// Runs once a commit of this thread has been applied ahead of its turn.
    pub(crate) static MEANWHILE: std::cell::RefCell<Option<Box<dyn FnMut()>>> = const { std::cell::RefCell::new(None) };
}
