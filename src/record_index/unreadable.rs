//! A tree of which parts cannot be read.
//!
//! Owns: what is loaded of it, and which of its pages are damaged. Never: guesses an entry.

use std::sync::Arc;

use crate::error::{Corruption, Error, Result};
use crate::format::descriptor::{DESCRIPTORS_PER_PAGE, Descriptor, Row};
use crate::format::entry::{ENTRIES_PER_PAGE, Entry};
use crate::id::{to_u64, to_usize};
use crate::pages::PageStore;
use crate::record_index::cell::{Cell, LeafRef};
use crate::record_index::cells::Cells;
use crate::record_index::damaged::DamagedLeaf;
use crate::record_index::loading::{Referred, load_mid};
use crate::record_index::mid::Mid;
use crate::record_index::mids::Mids;
use crate::record_index::root::Root;

/// Maximum number of directory pages to rebuild: those of a thousand million records.
const MIDS_MAX: usize = 1 << 14;

fn lost_mid(damage: &Corruption) -> Mid {
    let leaf = LeafRef::Damaged(Arc::new(DamagedLeaf::new(damage.clone())));
    let cell = Cell { leaf, ..Cell::default() };
    let mut mid = Mid::default();
    mid.cells = Cells::of(&cell);
    mid
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
        let mut referred = Referred::new(pages);
        let mut all = Self { mids: Mids::default(), has_damaged: true };
        for row in Row::decode_all(&image).map_err(|malformed| malformed.at("root page", 0))? {
            let mid = if row.descriptor.page.is_written() {
                match load_mid(&row, pages, &mut referred) {
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
            let lost = Arc::new(lost_mid(&damage));
            (0..mids_max.min(MIDS_MAX)).for_each(|_| all.mids.push(Arc::clone(&lost)));
        }
        Ok(all)
    }

    /// Damaged leaf pages, with the damage.
    pub(crate) fn damaged_pages(&self) -> impl Iterator<Item = (u64, &Corruption)> {
        self.damaged().map(|(page, leaf)| (page, leaf.damage()))
    }

    /// What is known of slots of damaged pages.
    pub(crate) fn known_entries(&self) -> impl Iterator<Item = (u64, Entry)> {
        self.damaged().flat_map(|(page, leaf)| {
            leaf.known().map(move |(index, entry)| (page * to_u64(ENTRIES_PER_PAGE) + to_u64(index), entry))
        })
    }

    fn damaged(&self) -> impl Iterator<Item = (u64, &DamagedLeaf)> {
        let cells = (0..).zip(self.cells().take_while(|_| self.has_damaged));
        cells.filter_map(|(page, cell)| match &cell.leaf {
            LeafRef::Damaged(leaf) => Some((page, &**leaf)),
            _ => None,
        })
    }
}
