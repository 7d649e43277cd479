//! Second trees of key indexes, for a commit that is applied ahead of its turn.
//!
//! Owns: the changes that other commits make meanwhile, to be repeated on them. Never: applies a change to one.
//! Invariant: while an index is in `forks`, its tree has not been replaced, nor its nodes for another reason than a change.

use crate::heap::indexes::Indexes;
use crate::id::IndexNumber;
use crate::key_index::{KeyRoot, KeyTree};

impl Indexes {
    /// A second tree of an index. `None` if it has no tree now, or one that a save concerns.
    pub(crate) fn fork(&mut self, number: IndexNumber) -> Option<KeyTree> {
        let second = self.trees.get_mut(&number)?.fork()?;
        self.forks.insert(number, Vec::new());
        Some(second)
    }

    /// The changes that the second tree of an index has missed since the last call. `None` if it is of no use any more.
    pub(crate) fn take_behind(&mut self, number: IndexNumber) -> Option<Vec<Vec<u8>>> {
        self.forks.get_mut(&number).map(std::mem::take)
    }

    /// The second tree of an index, which has missed nothing, replaces the first. Returns that, to be dropped.
    pub(crate) fn join(&mut self, number: IndexNumber, second: KeyTree) -> Option<KeyRoot> {
        debug_assert!(self.forks.get(&number).is_some_and(Vec::is_empty), "a second tree that has missed nothing");
        self.forks.remove(&number)?;
        self.with_tree(number, |tree| tree.join(second))
    }

    /// The second tree of an index is of no use any more.
    pub(crate) fn part(&mut self, number: IndexNumber) {
        if self.forks.remove(&number).is_some()
            && let Some(tree) = self.trees.get_mut(&number)
        {
            tree.part();
        }
    }

    pub(super) fn part_all(&mut self) {
        while let Some((number, _)) = self.forks.first_key_value() {
            self.part(*number);
        }
    }
}
