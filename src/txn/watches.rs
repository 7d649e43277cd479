//! The indexes that a transaction has read ranges of, from when on the history keeps their changes, and what it missed.
//!
//! Owns: entering the history at the first range of an index, and leaving it. Never: decides whether there is a conflict.
//! Invariant: for each index with a range that was read, the keys changed since the transaction's state are in `missed`
//! or in the history.

use smallvec::SmallVec;

use crate::engine::Engine;
use crate::heap::State;
use crate::history::Topic;
use crate::id::{IndexNumber, Seq};

/// An index that was read.
#[derive(Debug)]
pub(crate) struct Watch {
    index: IndexNumber,
    /// The history has the commits after this one.
    pub(crate) since: Seq,
    /// Keys changed between the transaction's state and that commit, ascending; `None` if they are unknown.
    pub(crate) missed: Option<Vec<Box<[u8]>>>,
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
        let mut watch = Watch { index, since: view.seq, missed: Some(Vec::new()) };
        if engine.heap.seq() != view.seq {
            let now = engine.heap.pin();
            let roots = view.indexes.get(&index).zip(now.indexes.get(&index));
            // Of an index that cannot be read it is unknown what changed.
            watch.missed = roots.and_then(|(then, now)| then.changed_keys(now).ok());
            watch.since = now.seq;
        }
        self.0.push(watch);
    }

    /// The transaction is done.
    pub(crate) fn end(&mut self, engine: &Engine) {
        self.0.drain(..).for_each(|watch| engine.history.leave(Topic::Keys(watch.index)));
    }
}
