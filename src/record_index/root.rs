//! The root and its directory pages, as readers hold them.
//!
//! Owns: the way from a slot to its entry, and what of a directory page is written. Never: changes an entry; `tree` does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Result;
use crate::format::descriptor::{DESCRIPTORS_PER_PAGE, Descriptor, PageRef, Row};
use crate::format::entry::{ENTRIES_PER_PAGE, Entry};
use crate::id::{SLOT_END, SetNumber, to_u64, to_usize};
use crate::record_index::cell::{Cell, LeafRef, Weight};

/// Maximum number of pages of a store.
pub(crate) const PAGES_END: u64 = SLOT_END / ENTRIES_PER_PAGE as u64;
/// A directory page: the cells of 128 leaf pages.
#[derive(Debug)]
pub(crate) struct Mid {
    pub(crate) cells: Vec<Cell>,
    /// The location of its whole image, if it has one.
    pub(crate) page: PageRef,
    /// The patch of that image.
    pub(crate) saved: Option<PageRef>,
    /// The next save must not refer to the image.
    pub(crate) is_whole: bool,
    /// The epoch in which it was made. If no view has it, patches are added in place.
    pub(super) epoch: u64,
    /// Whether anything below it has changed since that image.
    dirty: AtomicBool,
}

impl Default for Mid {
    fn default() -> Self {
        let cells = vec![Cell::default(); DESCRIPTORS_PER_PAGE];
        let dirty = AtomicBool::new(true);
        Self { cells, page: PageRef::default(), saved: None, is_whole: false, epoch: 1, dirty }
    }
}

impl Clone for Mid {
    fn clone(&self) -> Self {
        let dirty = AtomicBool::new(self.is_dirty());
        let Self { page, saved, is_whole, epoch, .. } = *self;
        Self { cells: self.cells.clone(), page, saved, is_whole, epoch, dirty }
    }
}

impl Mid {
    /// Without leaf pages, and as on disk.
    pub(super) fn empty() -> Self {
        Self { dirty: AtomicBool::new(false), ..Self::default() }
    }

    /// As on disk: with a whole image, and the patch of that.
    pub(super) fn saved_at(page: PageRef, saved: Option<PageRef>) -> Self {
        Self { page, saved, ..Self::empty() }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Relaxed)
    }

    pub(crate) fn set_dirty(&self, is_dirty: bool) {
        self.dirty.store(is_dirty, Ordering::Relaxed);
    }

    /// What its leaf pages take on the heap.
    pub(super) fn weight(&self) -> Weight {
        self.cells.iter().map(Cell::weight).fold(Weight::default(), |sum, cell| Weight {
            pages: sum.pages + cell.pages,
            bytes: sum.bytes + cell.bytes,
        })
    }

    /// As on disk: the rows of its pages, without the absent ones at the end.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let used = |cell: &Cell| {
            cell.descriptor.set != 0 || cell.descriptor.floor != 0 || !matches!(cell.leaf, LeafRef::Absent)
        };
        let len = self.cells.iter().rposition(used).map_or(0, |last| last + 1);
        self.cells.iter().take(len).map(Cell::row).collect()
    }

    /// As the root has it.
    pub(super) fn row(&self) -> Row {
        let base = self.saved.map(|_| self.page);
        Row { descriptor: Descriptor { page: self.saved.unwrap_or(self.page), ..Descriptor::default() }, base }
    }
}

/// The root: all directory pages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Root {
    pub(crate) mids: Vec<Arc<Mid>>,
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

    #[inline]
    fn cell_at(&self, page: usize) -> Option<&Cell> {
        self.mids.get(page / DESCRIPTORS_PER_PAGE)?.cells.get(page % DESCRIPTORS_PER_PAGE)
    }

    /// The cell of a leaf page.
    pub(crate) fn cell(&self, page: u64) -> Option<&Cell> {
        self.cell_at(to_usize(page))
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
        to_u64(self.mids.len() * (DESCRIPTORS_PER_PAGE * size_of::<Cell>() + size_of::<Mid>() + 16))
    }

    /// The root's image.
    pub(crate) fn image(&self, out: &mut Vec<u8>) {
        out.clear();
        for mid in &self.mids {
            mid.row().encode(out);
        }
    }
}
