//! The indexes that a transaction has read ranges of, from when on the history keeps their changes, and what it missed.
//!
//! Owns: entering the history at the first range of an index, and leaving it. Never: decides whether there is a conflict.
//! Invariant: for each index with a range that was read, the keys changed since the transaction's state are in `missed`
//! or in the history, or it is known that they are too many.

use smallvec::SmallVec;

use crate::engine::Engine;
use crate::heap::State;
use crate::history::{HISTORY_BYTES_MAX, Topic};
use crate::id::{IndexNumber, Seq};
use crate::key_index::KeyList;

/// Maximum bytes of missed keys that a transaction keeps, as many as the history keeps for all.
const MISSED_BYTES_MAX: usize = HISTORY_BYTES_MAX;

/// An index that was read.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) index: IndexNumber,
    /// The history has the commits after this one.
    pub(crate) since: Seq,
    /// Keys changed between the transaction's state and that commit, ascending; `None` if they are unknown, or too many.
    pub(crate) missed: Option<KeyList>,
}

/// The indexes that a transaction has read ranges of.
#[derive(Debug, Default)]
pub(crate) struct Watches(SmallVec<[Watch; 1]>);

impl Watches {
    pub(crate) fn of(&self, index: IndexNumber) -> Option<&Watch> {
        self.0.iter().find(|watch| watch.index == index)
    }

    /// A range of an index is read from this state.
    pub(crate) fn watch(&mut self, engine: &Engine, index: IndexNumber, view: &State) {
        if self.of(index).is_some() {
            return;
        }
        // First, so that no commit falls between.
        engine.history.enter(Topic::Keys(index));
        let mut watch = Watch { index, since: view.seq, missed: Some(KeyList::default()) };
        if engine.heap.seq() != view.seq {
            let now = engine.heap.pin();
            let roots = view.indexes.get(&index).zip(now.indexes.get(&index));
            let held: usize = self.0.iter().filter_map(|watch| watch.missed.as_ref()).map(KeyList::heap_bytes).sum();
            let left = MISSED_BYTES_MAX.saturating_sub(held);
            // Of an index that cannot be read it is unknown what changed.
            watch.missed = roots.and_then(|(then, now)| then.changed_keys(now, left).ok().flatten());
            watch.since = now.seq;
        }
        self.0.push(watch);
    }

    /// The transaction is done.
    pub(crate) fn end(&mut self, engine: &Engine) {
        self.0.drain(..).for_each(|watch| engine.history.leave(Topic::Keys(watch.index)));
    }
}
