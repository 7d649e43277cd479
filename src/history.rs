//! History: which keys recent commits have changed, for transactions that have read ranges of an index.
//!
//! Owns: the list, its limit, who needs it. Never: decides about a conflict; a transaction does.
//! Invariant: a reader that was there before a commit finds it in the list, or learns that the list is too short.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::format::index;
use crate::heap::Effect;
use crate::id::IndexNumber;
use crate::id::Seq;

/// Changes that are kept for readers at most, in bytes. A reader that needs older ones is a conflict.
const HISTORY_BYTES_MAX: usize = 32 << 20;

#[derive(Debug, Default)]
struct Inner {
    commits: VecDeque<(Seq, IndexNumber, Vec<u8>)>,
    bytes: usize,
    /// The last commit whose changes are no longer here.
    forgotten: Seq,
}

/// Changes of key indexes by recent commits. Empty while nobody has read a range.
#[derive(Debug, Default)]
pub(crate) struct History {
    readers: AtomicUsize,
    inner: Mutex<Inner>,
}

/// What a transaction has to ask the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// No such change was committed.
    Nothing,
    /// This commit has made one.
    Change(Seq),
    /// So much was committed that nobody knows.
    TooOld,
}

impl History {
    /// A transaction begins to read ranges. What is committed from now on is kept for it.
    pub(crate) fn enter(&self) {
        let inner = self.inner.lock();
        self.readers.fetch_add(1, Ordering::SeqCst);
        drop(inner);
    }

    /// It is done.
    pub(crate) fn leave(&self) {
        let mut inner = self.inner.lock();
        if self.readers.fetch_sub(1, Ordering::SeqCst) == 1 {
            *inner = Inner::default();
        }
    }

    /// A commit was applied. The caller excludes other commits.
    pub(crate) fn note(&self, seq: Seq, effects: &[Effect]) {
        if self.readers.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut inner = self.inner.lock();
        for effect in effects {
            if let Effect::Index(number, changes) = effect {
                inner.bytes += changes.len();
                inner.commits.push_back((seq, *number, changes.clone()));
            }
        }
        while inner.bytes > HISTORY_BYTES_MAX {
            let Some((seq, _, changes)) = inner.commits.pop_front() else { break };
            inner.bytes -= changes.len();
            inner.forgotten = seq;
        }
    }

    /// Whether a commit after `since` has changed a key of the index for which `concerns` holds.
    pub(crate) fn find(&self, since: Seq, number: IndexNumber, concerns: &dyn Fn(&[u8]) -> bool) -> Found {
        let inner = self.inner.lock();
        if inner.forgotten > since {
            return Found::TooOld;
        }
        // They are in the order of commits; others may have kept many that are older.
        let begin = inner.commits.partition_point(|(seq, ..)| *seq <= since);
        for (seq, _, changes) in inner.commits.range(begin..).filter(|(_, other, _)| *other == number) {
            let Ok((_, changes)) = index::changes(changes) else { continue };
            if changes.flatten().any(|change| concerns(change.key)) {
                return Found::Change(*seq);
            }
        }
        Found::Nothing
    }
}
