//! A bit for each slot of a page.
//!
//! Owns: setting, clearing and finding bits. Never: knows what a bit means. Invariant: `ones` is the number of set
//! bits, so that they need not be counted.

use crate::format::entry::ENTRIES_PER_PAGE;
use crate::id::{low_u16, to_u64};

const WORD_BITS: usize = 64;
const WORDS: usize = ENTRIES_PER_PAGE / WORD_BITS;

const _: () = assert!(WORDS * WORD_BITS == ENTRIES_PER_PAGE, "a page has whole words of slots");

/// The bits of one page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PageBits {
    words: [u64; WORDS],
    ones: u16,
}

impl PageBits {
    /// All bits.
    pub(crate) fn all() -> Self {
        Self { words: [u64::MAX; WORDS], ones: low_u16(to_u64(ENTRIES_PER_PAGE)) }
    }

    /// Whether no bit is set.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.ones == 0
    }

    /// Sets or clears a bit. Bits beyond the page do not exist.
    #[inline]
    pub(crate) fn set(&mut self, index: usize, value: bool) {
        let Some(word) = self.words.get_mut(index / WORD_BITS) else { return };
        let bit = 1 << (index % WORD_BITS);
        let was = *word & bit != 0;
        if value && !was {
            *word |= bit;
            self.ones += 1;
        } else if !value && was {
            *word &= !bit;
            self.ones -= 1;
        }
    }

    /// Clears every bit that is set in `others`.
    pub(crate) fn clear_all(&mut self, others: &Self) {
        for (word, other) in self.words.iter_mut().zip(&others.words) {
            *word &= !other;
        }
        self.ones = low_u16(self.words.iter().map(|word| u64::from(word.count_ones())).sum());
    }

    /// The first bit from `from` on that is set.
    #[inline]
    pub(crate) fn first_from(&self, from: usize) -> Option<usize> {
        let (mut at, mut mask) = (from / WORD_BITS, u64::MAX << (from % WORD_BITS));
        loop {
            let word = self.words.get(at)? & mask;
            if word != 0 {
                return Some(at * WORD_BITS + word.trailing_zeros() as usize);
            }
            (at, mask) = (at + 1, u64::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn of(set: &BTreeSet<usize>) -> PageBits {
        let mut bits = PageBits::default();
        for index in set {
            bits.set(*index, true);
        }
        bits
    }

    proptest! {
        #[test]
        fn they_are_a_set_of_slots(changes in vec((0..ENTRIES_PER_PAGE + 3, any::<bool>()), 0..300), others in vec(0..ENTRIES_PER_PAGE, 0..300)) {
            let (mut bits, mut set) = (PageBits::default(), BTreeSet::new());
            for (index, value) in changes {
                bits.set(index, value);
                if value && index < ENTRIES_PER_PAGE {
                    set.insert(index);
                } else {
                    set.remove(&index);
                }
            }
            for from in 0..ENTRIES_PER_PAGE + 70 {
                prop_assert_eq!(bits.first_from(from), set.range(from..).next().copied());
            }
            let others: BTreeSet<usize> = others.into_iter().collect();
            bits.clear_all(&of(&others));
            set = &set - &others;
            prop_assert_eq!((bits, bits.is_empty()), (of(&set), set.is_empty()));
        }
    }

    #[test]
    fn all_are_set_in_the_whole() {
        let mut all = PageBits::all();
        assert_eq!(all, of(&(0..ENTRIES_PER_PAGE).collect()));
        (0..ENTRIES_PER_PAGE).for_each(|index| all.set(index, false));
        assert!(all.is_empty());
    }
}
