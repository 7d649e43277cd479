//! The first record that a transaction reads: from the newest state, without a view.
//!
//! Owns: whether that is allowed, and whether the view that is taken later has the same version. Never: reads by itself, or
//! compares anything at the commit; validation does. A transaction that reads one record, changes it and commits so takes
//! no view: it waits for no commit that is being applied, and commits beside it copy nothing for it.
//! Invariant: all that a transaction has read holds in one state. Where the view no longer has the first version, the second
//! read fails with a conflict, which only a caller who runs the transaction again may be given.

use crate::error::{Contended, Error, Result};
use crate::heap::{Answer, Heap, State};
use crate::id::{RecordId, Seq};

/// How a transaction reads its first record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum FirstRead {
    /// From its view, like all others.
    #[default]
    InView,
    /// From the newest state, if nothing else needs a view before.
    Newest,
    /// This version was read, and there is no view yet.
    Done(RecordId, Seq),
    /// There is no state any more that has what was read.
    Lost(RecordId, Seq),
}

impl FirstRead {
    /// Whether the transaction must be run again, whatever became of it.
    pub(super) fn is_lost(self) -> bool {
        matches!(self, Self::Lost(..))
    }

    /// Called before anything is read from a view that was just taken: from now on, everything is.
    pub(super) fn join(&mut self, view: &State) -> Result<()> {
        if let Self::Done(id, seq) = *self {
            let is_same = matches!(view.lookup(id)?, Answer::Live(found) if found.seq == seq);
            *self = if is_same { Self::InView } else { Self::Lost(id, seq) };
        }
        self.check(view.seq)
    }

    /// Fails if what was read is no longer there; `now` is the newest commit.
    pub(super) fn check(self, now: Seq) -> Result<()> {
        match self {
            Self::Lost(id, seq) => Err(Error::conflict(Contended::Record(id), seq, now)),
            _ => Ok(()),
        }
    }

    /// A commit after which the newest state had what was read, which began at `since`. Waits for that commit to be applied.
    pub(super) fn seq(self, heap: &Heap, since: Option<Seq>) -> Option<Seq> {
        let Self::Done(_, seq) = self else { return None };
        if heap.seq() < seq {
            drop(heap.pin());
        }
        since.max(Some(seq))
    }
}
