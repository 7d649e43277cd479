//! The keys of an index that a transaction has changed, as hashes.
//!
//! Owns: the quick answer that a key was not changed. Never: tells what was done to a key; `own_changes` does, once a hash is
//! found here.
//! Invariant: the hash of every changed key is found. Hashes of changes that were rolled back may be found too.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use crate::id::{NumberHash, NumberHasher, to_u64};
use crate::key_index::Gathered;

/// Memory for this many hashes is kept; emptying takes time in proportion to the capacity.
const KEPT_MAX: usize = 1 << 12;

/// Hashes of the changed keys, as of the last question.
#[derive(Debug)]
pub(crate) struct Touched {
    /// So that nobody can choose keys that have the same hash.
    seed: u64,
    hashes: HashSet<u64, NumberHash>,
    /// How many changes are in.
    taken: usize,
}

impl Default for Touched {
    fn default() -> Self {
        Self { seed: RandomState::new().hash_one(0_u64), hashes: HashSet::default(), taken: 0 }
    }
}

impl Touched {
    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = NumberHasher::default();
        hasher.write_u64(self.seed ^ to_u64(key.len()));
        let (whole, rest) = key.as_chunks::<8>();
        for bytes in whole {
            hasher.write_u64(u64::from_le_bytes(*bytes));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            hasher.write_u64(u64::from_le_bytes(last));
        }
        hasher.finish()
    }

    /// Whether one of the changes may concern this key.
    pub(crate) fn may_have(&mut self, changes: &Gathered, key: &[u8]) -> bool {
        for change in changes.iter_from(self.taken) {
            let hash = self.hash(change.key);
            self.hashes.insert(hash);
        }
        self.taken = changes.len();
        !self.hashes.is_empty() && self.hashes.contains(&self.hash(key))
    }

    /// All changes from a place on are gone.
    pub(crate) fn go_back(&mut self, end: usize) {
        self.taken = self.taken.min(end);
    }

    /// Forgets all changes.
    pub(crate) fn clear(&mut self) {
        self.taken = 0;
        if self.hashes.capacity() > KEPT_MAX {
            self.hashes = HashSet::default();
        }
        self.hashes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RecordId;

    #[test]
    fn a_key_that_was_changed_is_found_and_another_is_not() {
        let (mut touched, mut changes) = (Touched::default(), Gathered::default());
        assert!(!touched.may_have(&changes, b""), "of nothing");
        let key = |number: u32| format!("{number:0width$}", width = number as usize % 20);
        for number in (0..400).step_by(2) {
            changes.push(key(number).as_bytes(), RecordId::FIRST, number % 4 == 0);
            assert!(touched.may_have(&changes, key(number).as_bytes()), "{number}");
            assert!(!touched.may_have(&changes, key(number + 1).as_bytes()), "{number}");
        }
    }

    #[test]
    fn what_comes_in_the_place_of_what_was_taken_back_is_found() {
        let (mut touched, mut changes) = (Touched::default(), Gathered::default());
        changes.push(b"kept", RecordId::FIRST, true);
        let mark = changes.mark();
        changes.push(b"gone", RecordId::FIRST, true);
        assert!(touched.may_have(&changes, b"gone"));
        touched.go_back(mark.0);
        changes.go_back(mark);
        changes.push(b"new", RecordId::FIRST, true);
        assert!(touched.may_have(&changes, b"new") && touched.may_have(&changes, b"kept"));
        touched.clear();
        changes.clear();
        assert!(!touched.may_have(&changes, b"kept"));
    }
}
