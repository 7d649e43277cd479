//! History: the keys and records changed by recent commits, for transactions that have read index ranges or scanned
//! sets, and for those that compare many versions before they commit.
//!
//! Owns: the changes of each index and those of records, apart from each other; their limit; who needs which. Nothing is
//! kept that nobody needs. Never: decides whether there is a conflict; a transaction does. Invariant: a reader that
//! existed before a commit finds it here, or learns that the history is too short.

mod chunk;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use parking_lot::Mutex;

use crate::format::index;
use crate::heap::Effect;
pub(crate) use crate::history::chunk::Bounds;
use crate::history::chunk::Chunk;
use crate::id::{IndexNumber, RecordId, Seq};

/// Maximum bytes of changes kept for readers. A reader that needs older ones gets a conflict.
pub(crate) const HISTORY_BYTES_MAX: usize = 32 << 20;

/// What is kept for a reader: changes of the keys of one index, or of records by the numbers of their IDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    Keys(IndexNumber),
    Records,
}

/// The history of one topic.
#[derive(Debug, Default)]
struct Kept {
    readers: usize,
    closed: VecDeque<Arc<Chunk>>,
    open: Chunk,
    bytes: usize,
    /// The last commit whose changes have been dropped.
    forgotten: Seq,
}

#[derive(Debug, Default)]
struct Inner {
    topics: BTreeMap<Topic, Kept>,
    bytes: usize,
    /// The last commit that was noted.
    noted: Seq,
    /// The last commit noted that dropped a set, and with it records that it does not name.
    reshaped: Seq,
}

/// Changes by recent commits, as far as somebody needs them.
#[derive(Debug, Default)]
pub(crate) struct History {
    readers: AtomicUsize,
    inner: Mutex<Inner>,
}

/// The answer of the history to a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// No such change was made by the commits up to this one.
    Nothing(Seq),
    /// This commit has changed this key.
    Change(Seq, Box<[u8]>),
    /// The history no longer reaches far enough back.
    TooOld,
}

impl History {
    /// A reader needs a topic. Its changes are kept from now on.
    pub(crate) fn enter(&self, topic: Topic) {
        let mut inner = self.inner.lock();
        inner.topics.entry(topic).or_default().readers += 1;
        self.readers.fetch_add(1, Ordering::SeqCst);
        // Either this reader then finds a commit in the heap, or the commit finds this reader.
        fence(Ordering::SeqCst);
    }

    /// The reader is done.
    pub(crate) fn leave(&self, topic: Topic) {
        let mut inner = self.inner.lock();
        self.readers.fetch_sub(1, Ordering::SeqCst);
        let Some(kept) = inner.topics.get_mut(&topic) else { return };
        kept.readers = kept.readers.saturating_sub(1);
        if kept.readers == 0 {
            let gone = inner.topics.remove(&topic);
            inner.bytes -= gone.as_ref().map_or(0, |gone| gone.bytes);
            drop(inner);
            drop(gone);
        }
    }

    /// Records an applied commit. The caller excludes other commits.
    pub(crate) fn note(&self, seq: Seq, effects: &[Effect]) {
        // As in `enter`: the number of the commit was stored before.
        fence(Ordering::SeqCst);
        if self.readers.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut inner = self.inner.lock();
        for effect in effects {
            match effect {
                Effect::Index(number, changes) => {
                    let (topic, changes) = (Topic::Keys(*number), index::changes(changes));
                    if let (true, Ok((_, changes))) = (inner.topics.contains_key(&topic), changes) {
                        inner.keep(topic, seq, changes.flatten().map(|change| change.key));
                    }
                }
                Effect::Put { id, .. } | Effect::Free(id) => {
                    inner.keep(Topic::Records, seq, [id.as_u64().to_be_bytes().as_slice()].into_iter());
                }
                Effect::DropSet(_) => inner.reshaped = seq,
                _ => {}
            }
        }
        inner.noted = seq;
        inner.limit();
    }

    /// Looks for a change by a commit after `since` of a key in these ranges, which are sorted and disjoint, that
    /// satisfies `concerns`.
    pub(crate) fn find(
        &self,
        topic: Topic,
        since: Seq,
        ranges: &[Bounds<'_>],
        concerns: &dyn Fn(&[u8]) -> bool,
    ) -> Found {
        let inner = self.inner.lock();
        let up_to = since.max(inner.noted);
        let Some(kept) = inner.topics.get(&topic).filter(|kept| kept.forgotten <= since) else { return Found::TooOld };
        let found = |(seq, key): (Seq, &[u8])| Found::Change(seq, Box::from(key));
        if let Some(change) = kept.open.find(false, since, ranges, concerns) {
            return found(change);
        }
        let closed = kept.closed_since(since);
        drop(inner);
        // Commits go on meanwhile.
        let change = closed.iter().find_map(|chunk| chunk.find(true, since, ranges, concerns));
        change.map_or(Found::Nothing(up_to), found)
    }

    /// Calls `each` with the records changed by commits after `since`. Returns the last commit that was taken into account, or
    /// `None` if not all of the records are known.
    pub(crate) fn records_since(&self, since: Seq, each: &mut dyn FnMut(RecordId)) -> Option<Seq> {
        let inner = self.inner.lock();
        let up_to = since.max(inner.noted);
        let kept = inner.topics.get(&Topic::Records).filter(|kept| kept.forgotten <= since)?;
        if inner.reshaped > since {
            return None;
        }
        let mut each = |key: &[u8]| {
            let raw = key.first_chunk().map_or(0, |raw| u64::from_be_bytes(*raw));
            RecordId::from_u64(raw).into_iter().for_each(&mut *each);
        };
        kept.open.each_since(since, &mut each);
        let closed = kept.closed_since(since);
        drop(inner);
        for chunk in closed {
            chunk.each_since(since, &mut each);
        }
        Some(up_to)
    }
}

impl Kept {
    /// The closed parts with commits after `since`.
    fn closed_since(&self, since: Seq) -> Vec<Arc<Chunk>> {
        let begin = self.closed.partition_point(|chunk| chunk.last <= since);
        self.closed.range(begin..).map(Arc::clone).collect()
    }
}

impl Inner {
    fn keep<'k>(&mut self, topic: Topic, seq: Seq, keys: impl Iterator<Item = &'k [u8]>) {
        let Some(kept) = self.topics.get_mut(&topic) else { return };
        for key in keys {
            kept.open.push(key, seq);
            if kept.open.is_full() {
                let mut chunk = std::mem::take(&mut kept.open);
                chunk.close();
                kept.bytes += chunk.heap_bytes();
                self.bytes += chunk.heap_bytes();
                kept.closed.push_back(Arc::new(chunk));
            }
        }
    }

    /// Drops the oldest changes beyond the limit, of the topics that have most.
    fn limit(&mut self) {
        while self.bytes > HISTORY_BYTES_MAX {
            let Some(kept) = self.topics.values_mut().max_by_key(|kept| kept.bytes) else { break };
            let Some(chunk) = kept.closed.pop_front() else { break };
            kept.bytes -= chunk.heap_bytes();
            self.bytes -= chunk.heap_bytes();
            kept.forgotten = chunk.last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freed(slots: std::ops::Range<u64>) -> Vec<Effect> {
        slots.map(|slot| Effect::Free(RecordId::from_parts(slot, 1).expect("an ID"))).collect()
    }

    fn changed_since(history: &History, since: u64) -> Option<(usize, Option<Seq>)> {
        let mut count = 0;
        let up_to = history.records_since(Seq(since), &mut |_| count += 1);
        up_to.map(|up_to| (count, Some(up_to)))
    }

    #[test]
    fn nothing_is_kept_for_nobody_and_everything_since_they_entered_for_readers() {
        let history = History::default();
        history.note(Seq(1), &freed(0..5_000));
        assert_eq!(history.inner.lock().topics.len(), 0);
        history.enter(Topic::Keys(IndexNumber(1)));
        history.note(Seq(2), &freed(0..5_000));
        assert_eq!(history.inner.lock().bytes, 0, "a reader of an index needs no records");
        history.enter(Topic::Records);
        history.note(Seq(3), &freed(0..5_000));
        history.note(Seq(4), &freed(0..7));
        assert_eq!(changed_since(&history, 2), Some((5_007, Some(Seq(4)))));
        assert_eq!(changed_since(&history, 3), Some((7, Some(Seq(4)))));
        history.note(Seq(5), &[Effect::DropSet(crate::id::SetNumber(9))]);
        assert_eq!(changed_since(&history, 3), None, "the records of the set are unknown");
        assert_eq!(changed_since(&history, 5), Some((0, Some(Seq(5)))));
        history.leave(Topic::Records);
        history.leave(Topic::Keys(IndexNumber(1)));
        let inner = history.inner.lock();
        assert_eq!((inner.topics.len(), inner.bytes), (0, 0));
    }

    #[test]
    fn a_reader_of_too_much_is_told_so() {
        let history = History::default();
        history.enter(Topic::Records);
        for seq in 1..=20 {
            history.note(Seq(seq), &freed(0..100_000));
        }
        assert!(history.inner.lock().bytes <= HISTORY_BYTES_MAX);
        assert_eq!(changed_since(&history, 0), None);
        assert!(changed_since(&history, 19).is_some());
        assert_eq!(history.find(Topic::Records, Seq(0), &[], &|_| true), Found::TooOld);
    }
}
