//! The root and its directory pages, as readers hold them.
//!
//! Owns: the way from a slot to its entry. Never: changes an entry; `tree` does.

use crate::error::Result;
use crate::format::descriptor::DESCRIPTORS_PER_PAGE;
use crate::format::entry::{ENTRIES_PER_PAGE, Entry};
use crate::id::{SLOT_END, SetNumber, to_u64, to_usize};
use crate::record_index::cell::{Cell, Weight};
use crate::record_index::cells::BLOCKS_HEAP_BYTES;
use crate::record_index::mid::Mid;
use crate::record_index::mids::Mids;

/// Maximum number of pages of a store.
pub(crate) const PAGES_END: u64 = SLOT_END / ENTRIES_PER_PAGE as u64;

/// The root: all directory pages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Root {
    pub(crate) mids: Mids,
    /// Whether a damaged leaf page was found.
    pub(crate) has_damaged: bool,
}

impl Root {
    /// The entry of a slot.
    #[inline]
    pub(crate) fn entry(&self, slot: u64) -> Result<Entry> {
        let (page, index) = (to_usize(slot) / ENTRIES_PER_PAGE, to_usize(slot) % ENTRIES_PER_PAGE);
        match self.cell_at(page) {
            Some(cell) => cell.entry(index),
            None => Ok(Entry::NEVER),
        }
    }

    /// The cells of all leaf pages, in their order.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.mids.iter().flat_map(|mid| mid.cells.iter())
    }

    /// For those who read an entry: instead of a cell that does not exist it may be an empty one.
    #[inline]
    fn cell_at(&self, page: usize) -> Option<&Cell> {
        self.mids.padded(page / DESCRIPTORS_PER_PAGE)?.cells.get(page % DESCRIPTORS_PER_PAGE)
    }

    /// The cell of a leaf page.
    pub(crate) fn cell(&self, page: u64) -> Option<&Cell> {
        self.mids.get(to_usize(page) / DESCRIPTORS_PER_PAGE)?.cells.get(to_usize(page) % DESCRIPTORS_PER_PAGE)
    }

    /// The set that owns a slot's page; zero for none.
    #[inline]
    pub(crate) fn set_of_slot(&self, slot: u64) -> SetNumber {
        SetNumber(self.cell_at(to_usize(slot) / ENTRIES_PER_PAGE).map_or(0, |cell| cell.descriptor.set))
    }

    /// The minimum count that a slot of a page gets next when its record is deleted; zero if none was set.
    #[inline]
    pub(crate) fn floor(&self, page: u64) -> u32 {
        self.cell(page).map_or(0, |cell| cell.descriptor.floor)
    }

    /// One more than the highest page that the tree has room for.
    pub(crate) fn page_end(&self) -> u64 {
        to_u64(self.mids.len() * DESCRIPTORS_PER_PAGE)
    }

    /// What leaf pages take on the heap, counted one by one.
    pub(super) fn weight(&self) -> Weight {
        let add = |sum: Weight, mid: Weight| Weight { pages: sum.pages + mid.pages, bytes: sum.bytes + mid.bytes };
        self.mids.iter().map(|mid| mid.weight()).fold(Weight::default(), add)
    }

    /// Heap bytes of the directory.
    pub(crate) fn directory_bytes(&self) -> u64 {
        let mid = BLOCKS_HEAP_BYTES + to_u64(size_of::<Mid>() + 16);
        to_u64(self.mids.len()) * mid + to_u64(self.mids.heap_bytes())
    }

    /// The root's image.
    pub(crate) fn image(&self, out: &mut Vec<u8>) {
        out.clear();
        for mid in self.mids.iter() {
            mid.row().encode(out);
        }
    }
}
