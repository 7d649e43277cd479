//! History: the keys and records changed by recent commits, for transactions that have read index ranges or scanned
//! sets.
//!
//! Owns: the list, its limit, who needs it. Never: decides whether there is a conflict; a transaction does. Invariant:
//! a reader that existed before a commit finds it in the list, or learns that the list is too short.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::format::index;
use crate::heap::Effect;
use crate::id::{IndexNumber, Seq};

/// Maximum bytes of changes kept for readers. A reader that needs older ones gets a conflict.
const HISTORY_BYTES_MAX: usize = 32 << 20;

/// The changes of a commit.
#[derive(Debug)]
enum Change {
    /// Entries of an index, as logged.
    Keys(IndexNumber, Vec<u8>),
    /// The records of these slots.
    Records(Vec<u64>),
}

impl Change {
    fn bytes(&self) -> usize {
        match self {
            Self::Keys(_, changes) => changes.len(),
            Self::Records(slots) => size_of_val(slots.as_slice()),
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    commits: VecDeque<(Seq, Change)>,
    bytes: usize,
    /// The last commit whose changes have been dropped.
    forgotten: Seq,
}

/// Changes by recent commits: of key indexes while a transaction reads ranges, and of records while one scans sets.
#[derive(Debug, Default)]
pub(crate) struct History {
    readers: AtomicUsize,
    record_readers: AtomicUsize,
    inner: Mutex<Inner>,
}

/// The answer of the history to a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// No such change was committed.
    Nothing,
    /// This commit has made one.
    Change(Seq),
    /// The history no longer reaches far enough back.
    TooOld,
}

impl History {
    /// A transaction starts to read ranges. Commits are kept for it from now on.
    pub(crate) fn enter(&self) {
        self.enter_as(&self.readers);
    }

    /// The transaction is done.
    pub(crate) fn leave(&self) {
        self.leave_as(&self.readers);
    }

    /// A transaction starts to scan sets. The records that commits change are kept for it from now on.
    pub(crate) fn enter_records(&self) {
        self.enter_as(&self.record_readers);
    }

    /// The transaction is done.
    pub(crate) fn leave_records(&self) {
        self.leave_as(&self.record_readers);
    }

    fn enter_as(&self, readers: &AtomicUsize) {
        let inner = self.inner.lock();
        readers.fetch_add(1, Ordering::SeqCst);
        drop(inner);
    }

    fn leave_as(&self, readers: &AtomicUsize) {
        let mut inner = self.inner.lock();
        readers.fetch_sub(1, Ordering::SeqCst);
        if self.readers.load(Ordering::SeqCst) + self.record_readers.load(Ordering::SeqCst) == 0 {
            *inner = Inner::default();
        }
    }

    /// Records an applied commit. The caller excludes other commits.
    pub(crate) fn note(&self, seq: Seq, effects: &[Effect]) {
        let keeps_keys = self.readers.load(Ordering::SeqCst) > 0;
        let keeps_records = self.record_readers.load(Ordering::SeqCst) > 0;
        if !keeps_keys && !keeps_records {
            return;
        }
        let mut inner = self.inner.lock();
        let mut slots = Vec::new();
        for effect in effects {
            match effect {
                Effect::Index(number, changes) if keeps_keys => {
                    inner.keep(seq, Change::Keys(*number, changes.clone()));
                }
                Effect::Put { id, .. } | Effect::Free(id) if keeps_records => slots.push(id.slot()),
                _ => {}
            }
        }
        if !slots.is_empty() {
            inner.keep(seq, Change::Records(slots));
        }
        inner.limit();
    }

    /// Whether a commit after `since` has changed a key of the index that satisfies `concerns`.
    pub(crate) fn find(&self, since: Seq, number: IndexNumber, concerns: &mut dyn FnMut(&[u8]) -> bool) -> Found {
        self.find_change(since, &mut |change| {
            let Change::Keys(of, changes) = change else { return false };
            let Some((_, changes)) = index::changes(changes).ok().filter(|_| *of == number) else { return false };
            changes.flatten().any(|change| concerns(change.key))
        })
    }

    /// Whether a commit after `since` has changed a record in a slot that satisfies `concerns`.
    pub(crate) fn find_record(&self, since: Seq, concerns: &mut dyn FnMut(u64) -> bool) -> Found {
        self.find_change(since, &mut |change| {
            let Change::Records(slots) = change else { return false };
            slots.iter().any(|slot| concerns(*slot))
        })
    }

    fn find_change(&self, since: Seq, concerns: &mut dyn FnMut(&Change) -> bool) -> Found {
        let inner = self.inner.lock();
        if inner.forgotten > since {
            return Found::TooOld;
        }
        // Commits are in order; other readers may have kept many older ones.
        let begin = inner.commits.partition_point(|(seq, _)| *seq <= since);
        let found = inner.commits.range(begin..).find(|(_, change)| concerns(change));
        found.map_or(Found::Nothing, |(seq, _)| Found::Change(*seq))
    }
}

impl Inner {
    fn keep(&mut self, seq: Seq, change: Change) {
        self.bytes += change.bytes();
        self.commits.push_back((seq, change));
    }

    /// Drops the oldest changes beyond the limit.
    fn limit(&mut self) {
        while self.bytes > HISTORY_BYTES_MAX {
            let Some((seq, change)) = self.commits.pop_front() else { break };
            self.bytes -= change.bytes();
            self.forgotten = seq;
        }
    }
}
