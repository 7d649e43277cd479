//! The first record that a transaction reads: from the newest state, without a view.
//!
//! Owns: whether that is allowed, and whether the view that is taken later has the same version. Never: reads by itself, or
//! compares anything at the commit; validation does. A transaction that reads one record, changes it and commits so takes
//! no view, and commits beside it copy nothing for it.
//! Invariant: all that a transaction has learned holds in one state. Where the view no longer has the first version, the call that
//! needs the view fails with a conflict, which only a caller who runs the transaction again may be given.

use crate::error::{Contended, Error, Result};
use crate::heap::{Answer, State};
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

    /// Whether a record was read, and anything else that is learned now must hold in a state that has it.
    pub(super) fn is_done(self) -> bool {
        matches!(self, Self::Done(..))
    }

    /// The same; what is learned now is not about that record, whose version the commit validates.
    pub(super) fn is_of_another(self, id: RecordId) -> bool {
        matches!(self, Self::Done(read, _) if read != id)
    }

    /// Called before anything is read from a view that was just taken: from now on, everything is. `since` is the state in which
    /// the transaction began.
    pub(super) fn join(&mut self, view: &State, since: Option<Seq>) -> Result<()> {
        if let Self::Done(id, seq) = *self {
            let is_same = matches!(view.lookup(id)?, Answer::Live(found) if found.seq == seq);
            *self = if is_same { Self::InView } else { Self::Lost(id, seq) };
        }
        self.check(since, view.seq)
    }

    /// Fails if what was read is no longer there; `now` is the newest commit.
    pub(super) fn check(self, since: Option<Seq>, now: Seq) -> Result<()> {
        match self {
            Self::Lost(id, seq) => {
                Err(Error::conflict(Contended::Record(id), since.max(Some(seq)).unwrap_or(seq), now))
            }
            _ => Ok(()),
        }
    }

    /// The number of a state that has the version. It was the newest at some time after the commit `since`, so that state has it, unless
    /// the version is later itself.
    pub(super) fn seq(self, since: Option<Seq>) -> Option<Seq> {
        if let Self::Done(_, seq) = self { since.max(Some(seq)) } else { None }
    }
}
