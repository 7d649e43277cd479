//! The index ranges that a transaction has read.
//!
//! Owns: merging them, finding the one that contains a key. Never: decides whether there is a conflict; the transaction
//! does. Invariant: sealed ranges are sorted, and those of one index are disjoint, so that finding a key is a binary
//! search.

use std::ops::Bound;
use std::sync::Arc;

use crate::format::index::IndexDefinition;
use crate::id::{IndexNumber, SetNumber};
use crate::key::Key;
use crate::key_bytes::is_within;

/// Number of ranges at which they are first merged.
const PUT_TOGETHER_MIN: usize = 64;

/// An index range that was read.
#[derive(Debug)]
struct RangeRead {
    index: Arc<IndexDefinition>,
    bounds: (Bound<Key>, Bound<Key>),
}

/// The lower bound in sort order; `true` sorts after the key.
fn lower(bound: &Bound<Key>) -> (Option<&[u8]>, bool) {
    match bound {
        Bound::Unbounded => (None, false),
        Bound::Included(key) => (Some(key.as_bytes()), false),
        Bound::Excluded(key) => (Some(key.as_bytes()), true),
    }
}

/// The upper bound in sort order: unbounded last, then by key, then exclusive before inclusive.
fn upper(bound: &Bound<Key>) -> (bool, &[u8], bool) {
    match bound {
        Bound::Unbounded => (true, &[], true),
        Bound::Included(key) => (false, key.as_bytes(), true),
        Bound::Excluded(key) => (false, key.as_bytes(), false),
    }
}

/// The bound of encoded bytes.
pub(crate) fn as_bytes(bound: &Bound<Key>) -> Bound<&[u8]> {
    bound.as_ref().map(Key::as_bytes)
}

impl RangeRead {
    /// Whether another range, which begins no earlier, begins within this one or right after it.
    fn reaches(&self, other: &Self) -> bool {
        let ((is_open, end, is_in), (begin, is_behind)) = (upper(&self.bounds.1), lower(&other.bounds.0));
        let Some(begin) = begin.filter(|_| !is_open) else { return true };
        begin < end || (begin == end && (is_in || !is_behind))
    }
}

/// Ranges of several indexes.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    all: Vec<RangeRead>,
    /// How many ranges were left after the last merge.
    put_together: usize,
}

impl Ranges {
    /// Adds a range.
    pub(crate) fn push(&mut self, index: &Arc<IndexDefinition>, bounds: (Bound<Key>, Bound<Key>)) {
        if self.all.len() >= 2 * self.put_together.max(PUT_TOGETHER_MIN / 2) {
            self.seal();
        }
        self.all.push(RangeRead { index: Arc::clone(index), bounds });
    }

    /// Sorts the ranges and merges those that overlap. Call it before looking any up.
    pub(crate) fn seal(&mut self) {
        self.all.sort_by(|a, b| (a.index.number, lower(&a.bounds.0)).cmp(&(b.index.number, lower(&b.bounds.0))));
        self.all.dedup_by(|next, kept| {
            let joins = next.index.number == kept.index.number && kept.reaches(next);
            if joins && upper(&kept.bounds.1) < upper(&next.bounds.1) {
                std::mem::swap(&mut kept.bounds.1, &mut next.bounds.1);
            }
            joins
        });
        self.put_together = self.all.len();
    }

    /// The indexes that were read, each with its ranges.
    pub(crate) fn by_index(&self) -> impl Iterator<Item = IndexRanges<'_>> {
        let parts = self.all.chunk_by(|a, b| a.index.number == b.index.number);
        parts.filter_map(|ranges| Some(IndexRanges { index: &ranges.first()?.index, ranges }))
    }
}

/// The ranges of one index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexRanges<'r> {
    index: &'r IndexDefinition,
    ranges: &'r [RangeRead],
}

impl<'r> IndexRanges<'r> {
    pub(crate) fn number(&self) -> IndexNumber {
        self.index.number
    }

    pub(crate) fn name(&self) -> &str {
        &self.index.name
    }

    pub(crate) fn set(&self) -> SetNumber {
        self.index.set
    }

    /// The ranges, ascending.
    pub(crate) fn bounds(&self) -> impl Iterator<Item = &'r (Bound<Key>, Bound<Key>)> {
        self.ranges.iter().map(|range| &range.bounds)
    }

    /// The range that contains a key.
    pub(crate) fn find(&self, key: &[u8]) -> Option<&'r (Bound<Key>, Bound<Key>)> {
        let behind = self.ranges.partition_point(|range| is_within((as_bytes(&range.bounds.0), Bound::Unbounded), key));
        let range = behind.checked_sub(1).and_then(|at| self.ranges.get(at));
        let within = |bounds: &(Bound<Key>, Bound<Key>)| is_within((as_bytes(&bounds.0), as_bytes(&bounds.1)), key);
        range.map(|range| &range.bounds).filter(|bounds| within(bounds))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use std::ops::RangeBounds;

    use super::*;

    fn key(number: u8) -> Key {
        Key::new(&number).unwrap()
    }

    fn bound() -> impl Strategy<Value = Bound<u8>> {
        prop_oneof![
            1 => Just(Bound::Unbounded),
            4 => (0_u8..24).prop_map(Bound::Included),
            4 => (0_u8..24).prop_map(Bound::Excluded),
        ]
    }

    fn definition(number: u32) -> Arc<IndexDefinition> {
        Arc::new(IndexDefinition {
            number: IndexNumber(number),
            set: SetNumber::FIRST_USER,
            unique: false,
            name: number.to_string(),
            extractor: String::new(),
            version: 1,
            spec: String::new(),
            key_type: String::new(),
            replaces: None,
        })
    }

    proptest! {
        #[test]
        fn a_key_lies_in_them_exactly_if_it_lies_in_one(reads in vec((0_u32..2, bound(), bound()), 0..90)) {
            let mut ranges = Ranges::default();
            for (index, from, to) in &reads {
                ranges.push(&definition(*index), (from.map(key), to.map(key)));
            }
            ranges.seal();
            for index in 0..2 {
                let part = ranges.by_index().find(|part| part.number() == IndexNumber(index));
                for number in 0..25 {
                    let lies = reads.iter().any(|(of, from, to)| *of == index && (*from, *to).contains(&number));
                    let found = part.is_some_and(|part| part.find(key(number).as_bytes()).is_some());
                    prop_assert_eq!(lies, found, "index {}, key {}", index, number);
                }
            }
        }
    }

    #[test]
    fn the_same_read_again_and_again_takes_no_more_room() {
        let mut ranges = Ranges::default();
        let index = definition(1);
        for number in 0..10_000_u32 {
            let key = key(u8::try_from(number % 50).unwrap());
            ranges.push(&index, (Bound::Included(key.clone()), Bound::Included(key)));
        }
        assert!(ranges.all.len() <= 2 * PUT_TOGETHER_MIN, "{} ranges", ranges.all.len());
    }
}
