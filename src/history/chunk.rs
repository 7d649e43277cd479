//! A part of the history of one index, or of the records: changes of consecutive commits.
//!
//! Owns: their keys in one buffer, their order, searching them for ranges. Invariants: 1. A closed part is sorted by key.
//! 2. A key is not before another one whose first bytes, as a number, are fewer.

use std::ops::Bound;

use crate::id::{Seq, low_u16, low_u32, to_u64};
use crate::key_bytes::is_within;

/// A range of keys.
pub(crate) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Changes at which a part is closed.
pub(super) const CHANGES_MAX: usize = 1_024;
/// Changes for each range from which on the ranges are looked up among the changes, and not the other way round.
const CHANGES_PER_RANGE: usize = 16;

/// Changes of a closed part from one fence to the next: a search reads the fences, one after the other, and then a few changes,
/// where halving would wait for memory ten times.
const CHANGES_PER_FENCE: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Change {
    begin: u32,
    len: u16,
    /// Zero in a part that was made ahead of its only commit.
    seq: Seq,
}

/// Changes of consecutive commits.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    changes: Vec<Change>,
    /// The first bytes of the first of every few keys, once it is closed.
    fences: Vec<u64>,
    /// Its last commit.
    pub(super) last: Seq,
}

/// The range that contains a key; the ranges are sorted and disjoint.
fn range_of<'r, 'k>(ranges: &'r [Bounds<'k>], key: &[u8]) -> Option<&'r Bounds<'k>> {
    let behind = ranges.partition_point(|range| is_within((range.0, Bound::Unbounded), key));
    behind.checked_sub(1).and_then(|at| ranges.get(at)).filter(|range| is_within(**range, key))
}

/// The first bytes of a key as a number, zeros after its end.
fn first_bytes(key: &[u8]) -> u64 {
    let mut first = [0; size_of::<u64>()];
    first.iter_mut().zip(key).for_each(|(first, byte)| *first = *byte);
    u64::from_be_bytes(first)
}

impl Chunk {
    /// Heap bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.len() + self.changes.len() * size_of::<Change>() + self.fences.len() * size_of::<u64>()
    }

    pub(super) fn push(&mut self, key: &[u8], seq: Seq) {
        self.changes.push(Change { begin: low_u32(to_u64(self.bytes.len())), len: low_u16(to_u64(key.len())), seq });
        self.bytes.extend_from_slice(key);
        self.last = seq;
    }

    pub(super) fn is_full(&self) -> bool {
        self.changes.len() >= CHANGES_MAX
    }

    fn key(&self, change: &Change) -> &[u8] {
        let begin = change.begin as usize;
        self.bytes.get(begin..begin + usize::from(change.len)).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// The commit of a change.
    fn seq(&self, change: &Change) -> Seq {
        if change.seq == Seq::ZERO { self.last } else { change.seq }
    }

    /// How many changes of an open part are by commits after `since`.
    pub(super) fn len_since(&self, since: Seq) -> usize {
        self.changes.len() - self.changes.partition_point(|change| self.seq(change) <= since)
    }

    /// Sorts the changes. No more are added.
    pub(super) fn close(&mut self) {
        let mut changes = std::mem::take(&mut self.changes);
        changes.sort_unstable_by(|a, b| self.key(a).cmp(self.key(b)));
        let fences = changes.iter().step_by(CHANGES_PER_FENCE).map(|change| first_bytes(self.key(change))).collect();
        (self.changes, self.fences) = (changes, fences);
    }

    /// The number of the first change in a closed part whose key is not before a range.
    fn first_not_before(&self, begin: Bound<&[u8]>) -> usize {
        let (Bound::Included(key) | Bound::Excluded(key)) = begin else { return 0 };
        let first = first_bytes(key);
        let before = self.fences.iter().filter(|fence| **fence < first).count();
        let alike = self.fences.iter().skip(before).take_while(|fence| **fence == first).count();
        let from = before.saturating_sub(1) * CHANGES_PER_FENCE;
        let to = ((before + alike) * CHANGES_PER_FENCE).min(self.changes.len());
        let is_before = |change: &Change| !is_within((begin, Bound::Unbounded), self.key(change));
        from + self.changes.get(from..to).unwrap_or_default().partition_point(is_before)
    }

    /// A change by a commit after `since` within these ranges; the ranges are sorted and disjoint.
    pub(super) fn find(
        &self,
        is_closed: bool,
        since: Seq,
        ranges: &[Bounds<'_>],
        concerns: &dyn Fn(&[u8]) -> bool,
    ) -> Option<(Seq, &[u8])> {
        let counts = |change: &&Change| self.seq(change) > since && concerns(self.key(change));
        let found = if is_closed && ranges.len() * CHANGES_PER_RANGE < self.changes.len() {
            ranges.iter().find_map(|range| {
                let begin = self.first_not_before(range.0);
                let within = |change: &&Change| is_within((Bound::Unbounded, range.1), self.key(change));
                self.changes.get(begin..).unwrap_or_default().iter().take_while(within).find(counts)
            })
        } else {
            self.changes.iter().filter(counts).find(|change| range_of(ranges, self.key(change)).is_some())
        };
        found.map(|change| (self.seq(change), self.key(change)))
    }

    /// Calls `each` with the key of each change by a commit after `since`.
    pub(super) fn each_since(&self, since: Seq, each: &mut dyn FnMut(&[u8])) {
        self.changes.iter().filter(|change| self.seq(change) > since).for_each(|change| each(self.key(change)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_searching_find_the_same() {
        let number = |at: u16| (at.wrapping_mul(977) % 4_096).to_be_bytes();
        let keys: Vec<[u8; 2]> = (0..1_024).map(number).collect();
        let mut chunk = Chunk::default();
        for (key, seq) in keys.iter().zip(1..) {
            chunk.push(key, Seq(seq));
        }
        let mut closed = Chunk { bytes: chunk.bytes.clone(), changes: chunk.changes.clone(), ..Chunk::default() };
        closed.close();
        for from in (0..4_096_u16).step_by(3) {
            let (from, to) = (from.to_be_bytes(), from.saturating_add(2).to_be_bytes());
            for since in [0, 500, 1_000] {
                let range = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
                let expected = keys.iter().zip(1..).any(|(key, seq)| seq > since && is_within(range, key));
                for (chunk, is_closed) in [(&chunk, false), (&closed, true)] {
                    let found = chunk.find(is_closed, Seq(since), &[range], &|_| true);
                    assert_eq!(found.is_some(), expected, "{range:?} since {since}, closed: {is_closed}");
                }
            }
        }
    }

    #[test]
    fn keys_that_are_alike_in_their_first_bytes_are_found() {
        // Of any length around that of a fence, many of them alike, zeros at their ends among them.
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for tail in 0..300_u16 {
            let long = [&[7; 8][..], &tail.to_be_bytes()].concat();
            keys.extend([vec![7; usize::from(tail % 12)], vec![0; usize::from(tail % 10)], long]);
        }
        let mut closed = Chunk::default();
        for key in &keys {
            closed.push(key, Seq(1));
        }
        closed.close();
        assert!(closed.fences.is_sorted());
        keys.push(vec![9]);
        for key in &keys {
            for begin in [Bound::Included(&key[..]), Bound::Excluded(&key[..]), Bound::Unbounded] {
                let after = |change: &Change| is_within((begin, Bound::Unbounded), closed.key(change));
                let expected = closed.changes.iter().position(after).unwrap_or(closed.changes.len());
                assert_eq!(closed.first_not_before(begin), expected, "{begin:?}");
            }
        }
    }
}
