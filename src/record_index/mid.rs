//! A directory page, as readers hold it.
//!
//! Owns: where its images are, and what of it is written. Never: changes an entry; `tree` does.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::format::descriptor::{Descriptor, PageRef, Row};
use crate::record_index::cell::{Cell, LeafRef, Weight};
use crate::record_index::cells::Cells;

/// A directory page: the cells of 128 leaf pages.
#[derive(Debug)]
pub(crate) struct Mid {
    pub(crate) cells: Cells,
    /// The location of its whole image, if it has one.
    pub(crate) page: PageRef,
    /// The patch of that image.
    pub(crate) saved: Option<PageRef>,
    /// The next save must not refer to the image.
    pub(crate) is_whole: bool,
    /// Whether anything below it has changed since that image.
    dirty: AtomicBool,
}

impl Default for Mid {
    fn default() -> Self {
        let (cells, dirty) = (Cells::default(), AtomicBool::new(true));
        Self { cells, page: PageRef::default(), saved: None, is_whole: false, dirty }
    }
}

impl Clone for Mid {
    fn clone(&self) -> Self {
        let dirty = AtomicBool::new(self.is_dirty());
        let Self { page, saved, is_whole, .. } = *self;
        Self { cells: self.cells.clone(), page, saved, is_whole, dirty }
    }
}

impl Mid {
    /// Without leaf pages, and as on disk.
    pub(super) fn empty() -> Self {
        Self { dirty: AtomicBool::new(false), ..Self::default() }
    }

    /// As on disk, where the row of the root says: with a whole image, and maybe a patch of that.
    pub(super) fn saved_at(cells: Cells, row: &Row) -> Self {
        let saved = row.base.map(|_| row.descriptor.page);
        Self { cells, page: row.whole(), saved, is_whole: false, dirty: AtomicBool::new(false) }
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
