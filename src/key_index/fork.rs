//! Two trees of one index: the second goes on from the first, and replaces it or is dropped.
//!
//! Owns: their parting and joining. Never: brings the changes of one to the other; the caller does, before it joins them.
//! Invariants: 1. Neither changes a node that the other has. 2. Pages are out of use once it is known which tree stays.
//! 3. No save, and no emptying of page segments, falls into the time of both.

use crate::key_index::root::KeyRoot;
use crate::key_index::tree::KeyTree;

impl KeyTree {
    /// A second tree with the same entries. `None` while a save runs, or if there is one already.
    pub(crate) fn fork(&mut self) -> Option<Self> {
        let ledger = self.ledger.fork()?;
        Some(Self { now: self.now.clone(), ledger, version: self.version })
    }

    /// The second tree, which has all changes of both, replaces the first. Returns what the first was, to be dropped.
    pub(crate) fn join(&mut self, second: Self) -> KeyRoot {
        self.ledger.join(second.ledger);
        self.version += 1;
        std::mem::replace(&mut self.now, second.now)
    }

    /// The second tree is dropped.
    pub(crate) fn part(&mut self) {
        self.ledger.part();
    }
}
