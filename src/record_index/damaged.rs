//! Leaf pages that cannot be read, and what is still known of their slots.
//!
//! Owns: the entries set since the image was written. Never: guesses an entry.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Corruption, Error, Result};
use crate::format::descriptor::{DESCRIPTORS_PER_PAGE, Descriptor, Row};
use crate::format::entry::{ENTRIES_PER_PAGE, Entry};
use crate::id::{to_u64, to_usize};
use crate::pages::PageStore;
use crate::record_index::tree::{Seen, load_mid};
use crate::record_index::{Cell, LeafRef, Mid, Root};

/// A leaf page whose image is damaged.
#[derive(Debug, Clone)]
pub(crate) struct DamagedLeaf {
    damage: Corruption,
    known: BTreeMap<usize, Entry>,
}

/// Maximum number of directory pages to rebuild: those of a thousand million records.
const MIDS_MAX: usize = 1 << 14;

fn lost_mid(damage: &Corruption) -> Mid {
    let leaf = LeafRef::Damaged(Arc::new(DamagedLeaf::new(damage.clone())));
    let cell = Cell { leaf, ..Cell::default() };
    let mut mid = Mid::default();
    mid.cells.fill(cell);
    mid
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

impl Root {
    /// Like `load`. Leaf pages below an unreadable directory page or root count as damaged; `page_end` bounds their
    /// number.
    pub(crate) fn load_what_is(root: &Descriptor, pages: &PageStore, page_end: u64) -> Result<Self> {
        let mids_max = to_usize(page_end.div_ceil(to_u64(DESCRIPTORS_PER_PAGE)));
        let image = pages.segment(&root.page).and_then(|segment| segment.with(&root.page, <[u8]>::to_vec));
        let (image, damage) = match image {
            Ok(image) => (image, None),
            Err(Error::Corrupt(damage)) => (Vec::new(), Some(*damage)),
            Err(error) => return Err(error),
        };
        let mut seen = Seen::default();
        let mut all = Self { mids: Vec::new(), has_damaged: true };
        for row in Row::decode_all(&image).map_err(|malformed| malformed.at("root page", 0))? {
            let mid = if row.descriptor.page.is_written() {
                match load_mid(&row, pages, &mut seen) {
                    Ok(mid) => mid,
                    Err(Error::Corrupt(damage)) => lost_mid(&damage),
                    Err(error) => return Err(error),
                }
            } else {
                Mid::empty()
            };
            all.mids.push(Arc::new(mid));
        }
        if let Some(damage) = damage {
            // No more than the manifest confirms, plus no more than the log could fill.
            all.mids.resize(mids_max.min(MIDS_MAX), Arc::new(lost_mid(&damage)));
        }
        Ok(all)
    }

    /// Damaged leaf pages, with the damage.
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
