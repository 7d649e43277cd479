//! The bounds between neighbours in a tree.
//!
//! Owns: which key separates two entries. Never: knows the nodes that they are in.

use smallvec::SmallVec;

use crate::format::node::KeyEntry;
use crate::key_index::slotted;

/// The lowest entry that a child may have: the shortest key that separates it from the child before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Separator {
    pub(crate) key: SmallVec<[u8; 24]>,
    pub(crate) id: u64,
}

impl Separator {
    /// Between two neighbours.
    pub(crate) fn between(before: &KeyEntry<'_>, behind: &KeyEntry<'_>) -> Self {
        if before.key == behind.key {
            return Self { key: SmallVec::from_slice(behind.key), id: behind.id };
        }
        let shortest = slotted::common(before.key, behind.key) + 1;
        Self { key: SmallVec::from_slice(behind.key.get(..shortest).unwrap_or(behind.key)), id: 0 }
    }

    #[inline]
    pub(crate) fn entry(&self) -> KeyEntry<'_> {
        KeyEntry { key: &self.key, id: self.id }
    }
}
