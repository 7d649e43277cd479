//! Leaf pages that cannot be read, and what is still known of their slots.
//!
//! Owns: the entries set since the image was written. Never: guesses an entry.

use std::collections::BTreeMap;

use crate::error::{Corruption, Error, Result};
use crate::format::entry::{ENTRIES_PER_PAGE, Entry};

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

    /// With an entry that is known.
    pub(super) fn knowing(mut self, (index, entry): (usize, Entry)) -> Self {
        self.known.insert(index, entry);
        self
    }

    /// Why its image cannot be read.
    pub(super) fn damage(&self) -> &Corruption {
        &self.damage
    }

    /// The entries that are known.
    pub(super) fn known(&self) -> impl Iterator<Item = (usize, Entry)> {
        self.known.iter().map(|(index, entry)| (*index, *entry))
    }

    #[cold]
    pub(super) fn error(&self) -> Error {
        Error::Corrupt(Box::new(self.damage.clone()))
    }

    #[cold]
    pub(super) fn entry(&self, index: usize) -> Result<Entry> {
        self.known.get(&index).copied().ok_or_else(|| self.error())
    }

    /// Sets an entry. Its previous value may be unknown: then it counts as never used. Also returns whether it
    /// certainly held a record all the same: in a page with so many records, if each of the others is known to be in
    /// another slot.
    #[must_use]
    pub(super) fn with(&self, index: usize, entry: Entry, live: u16) -> (Self, Entry, bool) {
        let mut next = self.clone();
        let without_record = ENTRIES_PER_PAGE.saturating_sub(live.into());
        match next.known.insert(index, entry) {
            Some(old) => (next, old, false),
            None => (next, Entry::NEVER, self.known.len() >= without_record),
        }
    }
}
