//! Leaf pages that cannot be read, and what is known of their slots all the same.
//!
//! Owns: the entries that were set since the image was written. Never: guesses an entry.

use std::collections::BTreeMap;

use crate::error::Corruption;
use crate::error::Error;
use crate::error::Result;
use crate::format::entry::ENTRIES_PER_PAGE;
use crate::format::entry::Entry;
use crate::id::to_u64;
use crate::record_index::LeafRef;
use crate::record_index::Root;

/// A leaf page whose image is damaged.
#[derive(Debug, Clone)]
pub(crate) struct DamagedLeaf {
    damage: Corruption,
    known: BTreeMap<usize, Entry>,
}

impl DamagedLeaf {
    pub(crate) fn new(damage: Corruption) -> Self {
        Self { damage, known: BTreeMap::new() }
    }

    #[cold]
    pub(super) fn error(&self) -> Error {
        Error::Corrupt(Box::new(self.damage.clone()))
    }

    #[cold]
    pub(super) fn entry(&self, index: usize) -> Result<Entry> {
        self.known.get(&index).copied().ok_or_else(|| self.error())
    }

    /// Notes an entry. What it was before may not be known: then it counts as one that was never used.
    #[must_use]
    pub(super) fn with(&self, index: usize, entry: Entry) -> (Self, Entry) {
        let mut next = self.clone();
        let old = next.known.insert(index, entry).unwrap_or(Entry::NEVER);
        (next, old)
    }
}

impl Root {
    /// Leaf pages that were found damaged, with what is damaged.
    pub(crate) fn damaged_pages(&self) -> impl Iterator<Item = (u64, &Corruption)> {
        self.damaged().map(|(page, leaf)| (page, &leaf.damage))
    }

    /// What is known of slots of damaged pages.
    pub(crate) fn known_entries(&self) -> impl Iterator<Item = (u64, Entry)> {
        self.damaged().flat_map(|(page, leaf)| {
            leaf.known.iter().map(move |(index, entry)| (page * to_u64(ENTRIES_PER_PAGE) + to_u64(*index), *entry))
        })
    }

    fn damaged(&self) -> impl Iterator<Item = (u64, &DamagedLeaf)> {
        let cells = (0..).zip(self.mids.iter().filter(|_| self.has_damaged).flat_map(|mid| &mid.cells));
        cells.filter_map(|(page, cell)| match &cell.leaf {
            LeafRef::Damaged(leaf) => Some((page, &**leaf)),
            _ => None,
        })
    }
}
