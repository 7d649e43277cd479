//! History: the keys and records changed by recent commits, for transactions that have read index ranges or scanned
//! sets, and for those that compare many versions before they commit.
//!
//! Owns: the changes of each index and those of records, apart from each other; their limit; who needs which. Nothing is
//! kept that nobody needs. Never: decides whether there is a conflict; a transaction does. What a large commit changes is
//! sorted before the commit lock is taken. Invariant: a reader that existed before a commit finds it here, or learns
//! that the history is too short.

mod chunk;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use parking_lot::Mutex;

use crate::format::index;
use crate::heap::Effect;
pub(crate) use crate::history::chunk::Bounds;
use crate::history::chunk::{CHANGES_MAX, Chunk};
use crate::id::{IndexNumber, RecordId, Seq};

/// Maximum bytes of changes kept for readers. A reader that needs older ones gets a conflict.
pub(crate) const HISTORY_BYTES_MAX: usize = 32 << 20;

/// From so many changes on, those of a commit are sorted ahead of it.
const CHANGES_AHEAD_MIN: usize = 2 * CHANGES_MAX;
/// Bytes of so many changes of an index, at least.
const CHANGE_BYTES_AHEAD_MIN: usize = 32 * CHANGES_AHEAD_MIN;

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

/// What a large commit changes, sorted; of others nothing.
#[derive(Debug, Default)]
pub(crate) struct Noted(Option<Box<Prepared>>);

/// Changes in parts that are closed, by the topics that had readers when they were made.
#[derive(Debug, Default)]
struct Prepared {
    topics: BTreeMap<Topic, Vec<Chunk>>,
    reshapes: bool,
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

    /// Sorts what a large commit will change, for the readers that there are. The caller holds no lock: `note` has
    /// little left to do.
    pub(crate) fn prepare(&self, effects: &[Effect]) -> Noted {
        // Readers that this overlooks are served by `note`.
        if self.readers.load(Ordering::Relaxed) == 0 || !is_large(effects) {
            return Noted(None);
        }
        let topics = self.inner.lock().topics.keys().map(|topic| (*topic, Vec::new())).collect();
        let mut prepared = Prepared { topics, reshapes: false };
        for effect in effects {
            prepared.reshapes |= matches!(effect, Effect::DropSet(_));
            each_change(effect, |topic, keys| {
                let Some(parts) = prepared.topics.get_mut(&topic) else { return };
                for key in keys {
                    if parts.last().is_none_or(Chunk::is_full) {
                        parts.push(Chunk::default());
                    }
                    parts.last_mut().into_iter().for_each(|part| part.push(key, Seq::ZERO));
                }
            });
        }
        prepared.topics.values_mut().flatten().for_each(Chunk::close);
        Noted(Some(Box::new(prepared)))
    }

    /// Records an applied commit, and what `prepare` has made of these effects. The caller excludes other commits.
    pub(crate) fn note(&self, seq: Seq, effects: &[Effect], noted: Noted) {
        // As in `enter`: the number of the commit was stored before.
        fence(Ordering::SeqCst);
        if self.readers.load(Ordering::SeqCst) == 0 {
            return;
        }
        let prepared = noted.0.map(|prepared| *prepared).unwrap_or_default();
        let mut inner = self.inner.lock();
        if prepared.topics.is_empty() || !inner.topics.keys().all(|topic| prepared.topics.contains_key(topic)) {
            for effect in effects {
                if matches!(effect, Effect::DropSet(_)) {
                    inner.reshaped = seq;
                }
                each_change(effect, |topic, keys| {
                    if !prepared.topics.contains_key(&topic) {
                        inner.keep(topic, seq, keys);
                    }
                });
            }
        }
        if prepared.reshapes {
            inner.reshaped = seq;
        }
        for (topic, parts) in prepared.topics {
            inner.keep_prepared(topic, seq, parts);
        }
        inner.noted = seq;
        inner.limit();
    }

    /// Whether commits after `since` have made so many changes, or more than are known.
    pub(crate) fn has_many_since(&self, topic: Topic, since: Seq, many: usize) -> bool {
        let inner = self.inner.lock();
        let Some(kept) = inner.topics.get(&topic).filter(|kept| kept.forgotten <= since) else { return true };
        let mut count = kept.open.len_since(since);
        let closed = kept.closed.iter().rev().take_while(|part| part.last > since);
        count >= many
            || closed.map(|part| part.len()).any(|part| {
                count += part;
                count >= many
            })
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

/// Whether a commit changes so much that sorting it takes long.
fn is_large(effects: &[Effect]) -> bool {
    let is_long =
        |effect: &Effect| matches!(effect, Effect::Index(_, changes) if changes.len() >= CHANGE_BYTES_AHEAD_MIN);
    effects.len() >= CHANGES_AHEAD_MIN || effects.iter().any(is_long)
}

/// Calls `each` with what an effect changes.
#[inline]
fn each_change(effect: &Effect, mut each: impl FnMut(Topic, &mut dyn Iterator<Item = &[u8]>)) {
    match effect {
        Effect::Index(number, changes) => {
            if let Ok((_, changes)) = index::changes(changes) {
                each(Topic::Keys(*number), &mut changes.flatten().map(|change| change.key));
            }
        }
        Effect::Put { id, .. } | Effect::Free(id) => {
            each(Topic::Records, &mut std::iter::once(id.as_u64().to_be_bytes().as_slice()));
        }
        _ => {}
    }
}

impl Kept {
    /// Closes the part that is open, if it has changes. Returns its bytes.
    fn close(&mut self) -> usize {
        let mut part = std::mem::take(&mut self.open);
        if part.len() == 0 {
            return 0;
        }
        part.close();
        self.push(part)
    }

    /// Adds a closed part. Returns its bytes.
    fn push(&mut self, part: Chunk) -> usize {
        let bytes = part.heap_bytes();
        self.bytes += bytes;
        self.closed.push_back(Arc::new(part));
        bytes
    }

    /// The closed parts with commits after `since`.
    fn closed_since(&self, since: Seq) -> Vec<Arc<Chunk>> {
        let begin = self.closed.partition_point(|chunk| chunk.last <= since);
        self.closed.range(begin..).map(Arc::clone).collect()
    }
}

impl Inner {
    fn keep(&mut self, topic: Topic, seq: Seq, keys: &mut dyn Iterator<Item = &[u8]>) {
        let Some(kept) = self.topics.get_mut(&topic) else { return };
        for key in keys {
            kept.open.push(key, seq);
            if kept.open.is_full() {
                self.bytes += kept.close();
            }
        }
    }

    /// Keeps the parts that were made ahead of a commit.
    fn keep_prepared(&mut self, topic: Topic, seq: Seq, parts: Vec<Chunk>) {
        let Some(kept) = self.topics.get_mut(&topic).filter(|_| !parts.is_empty()) else { return };
        // Parts follow each other as commits do.
        self.bytes += kept.close();
        for mut part in parts {
            part.last = seq;
            self.bytes += kept.push(part);
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
    use std::ops::Bound;

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
        history.note(Seq(1), &freed(0..5_000), Noted::default());
        assert_eq!(history.inner.lock().topics.len(), 0);
        history.enter(Topic::Keys(IndexNumber(1)));
        history.note(Seq(2), &freed(0..5_000), Noted::default());
        assert_eq!(history.inner.lock().bytes, 0, "a reader of an index needs no records");
        history.enter(Topic::Records);
        history.note(Seq(3), &freed(0..5_000), Noted::default());
        history.note(Seq(4), &freed(0..7), Noted::default());
        assert_eq!(changed_since(&history, 2), Some((5_007, Some(Seq(4)))));
        assert_eq!(changed_since(&history, 3), Some((7, Some(Seq(4)))));
        history.note(Seq(5), &[Effect::DropSet(crate::id::SetNumber(9))], Noted::default());
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
            history.note(Seq(seq), &freed(0..100_000), Noted::default());
        }
        assert!(history.inner.lock().bytes <= HISTORY_BYTES_MAX);
        assert_eq!(changed_since(&history, 0), None);
        assert!(changed_since(&history, 19).is_some());
        assert_eq!(history.find(Topic::Records, Seq(0), &[], &|_| true), Found::TooOld);
    }

    fn inserted(keys: impl Iterator<Item = u64>) -> Vec<Effect> {
        let mut changes = 3_u32.to_le_bytes().to_vec();
        let id = RecordId::from_parts(7, 1).expect("an ID");
        for key in keys {
            index::Change { put: true, key: &key.to_be_bytes(), id }.encode(&mut changes);
        }
        vec![Effect::Index(IndexNumber(3), changes)]
    }

    #[test]
    fn what_was_sorted_ahead_of_a_commit_is_found_like_all_else() {
        let topic = Topic::Keys(IndexNumber(3));
        let (ahead, in_turn) = (History::default(), History::default());
        let mut seq = 0;
        for history in [&ahead, &in_turn] {
            history.enter(topic);
        }
        let sizes = [3, 10_000, 1, 2_500, 1_023, 5_000, 40, 2_048];
        for size in sizes {
            // Numbers of commits have gaps.
            seq += 2;
            let effects = inserted((0..size).map(|at| ((at * 7_919 % 10_007) << 8) | seq));
            let prepared = ahead.prepare(&effects);
            assert_eq!(prepared.0.is_none(), size < 3_000, "{size} changes");
            ahead.note(Seq(seq), &effects, prepared);
            in_turn.note(Seq(seq), &effects, Noted::default());
        }
        for since in 0..=seq {
            for from in (0..10_007_u64 << 8).step_by(4_999) {
                let (from, to) = (from.to_be_bytes(), (from + 700).to_be_bytes());
                let range = [(Bound::Included(&from[..]), Bound::Excluded(&to[..]))];
                let is_found = |history: &History| match history.find(topic, Seq(since), &range, &|_| true) {
                    Found::Nothing(up_to) => (false, up_to == Seq(seq)),
                    // Each key says its commit.
                    Found::Change(seq, key) => (true, key.last() == seq.0.to_le_bytes().first() && seq.0 > since),
                    Found::TooOld => panic!("kept"),
                };
                let found = is_found(&ahead);
                assert_eq!((found, found.1), (is_found(&in_turn), true), "since {since}, {range:?}");
            }
            let changes: u64 = sizes.iter().skip(usize::try_from(since / 2).expect("few")).sum();
            for history in [&ahead, &in_turn] {
                let is_many =
                    |many: u64| history.has_many_since(topic, Seq(since), usize::try_from(many).expect("few"));
                assert!(is_many(changes) && !is_many(changes + 1_024), "{changes} changes since {since}");
            }
        }
    }

    #[test]
    fn readers_that_come_after_the_sorting_and_before_the_commit_find_it() {
        let history = History::default();
        let mut effects = inserted(0..5_000);
        effects.extend(freed(0..5_000));
        effects.push(Effect::DropSet(crate::id::SetNumber(9)));
        history.enter(Topic::Records);
        let prepared = history.prepare(&effects);
        let topics = prepared.0.as_ref().map(|prepared| prepared.topics.keys().copied().collect::<Vec<_>>());
        assert_eq!(topics, Some(vec![Topic::Records]));
        history.enter(Topic::Keys(IndexNumber(3)));
        history.note(Seq(5), &effects, prepared);
        let all = [(Bound::Unbounded, Bound::Unbounded)];
        for (topic, more) in
            [(Topic::Records, Topic::Keys(IndexNumber(3))), (Topic::Keys(IndexNumber(3)), Topic::Records)]
        {
            assert!(matches!(history.find(topic, Seq(4), &all, &|_| true), Found::Change(Seq(5), _)), "{topic:?}");
            assert!(history.has_many_since(topic, Seq(4), 5_000) && !history.has_many_since(topic, Seq(4), 5_001));
            assert!(!history.has_many_since(more, Seq(5), 1));
        }
        assert_eq!(changed_since(&history, 4), None, "the records of the set are unknown");
        let prepared = history.prepare(&effects);
        history.note(Seq(6), &effects, prepared);
        assert_eq!(changed_since(&history, 5), None, "nor are they if all was sorted ahead");
        // Those who have gone need nothing.
        let prepared = history.prepare(&effects);
        history.leave(Topic::Records);
        history.note(Seq(7), &effects, prepared);
        assert_eq!(history.inner.lock().topics.len(), 1);
        history.leave(Topic::Keys(IndexNumber(3)));
        assert_eq!(history.inner.lock().bytes, 0);
    }
}
