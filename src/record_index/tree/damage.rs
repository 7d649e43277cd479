//! Leaf pages that cannot be read.
//!
//! Owns: marking them, and replacing them once it is known what they had. Never: finds damage, or decides what a page had.

use std::sync::Arc;

use crate::error::{Corruption, Result};
use crate::format::descriptor::{DESCRIPTORS_PER_PAGE, Descriptor};
use crate::format::entry::Entry;
use crate::id::{SetNumber, to_usize};
use crate::record_index::cell::{Cell, LeafRef, Over};
use crate::record_index::damaged::DamagedLeaf;
use crate::record_index::leaf::Leaf;
use crate::record_index::tree::Tree;

impl Tree {
    /// Sets the entry of a slot whose page is now found damaged.
    #[cold]
    pub(super) fn set_damaged(
        &mut self,
        page: u64,
        index: usize,
        entry: Entry,
        live: u16,
        damage: Corruption,
    ) -> Result<Entry> {
        let (leaf, old, had_record) = DamagedLeaf::new(damage).with(index, entry, live);
        self.mark_damaged(page, leaf)?;
        self.had_record = had_record;
        Ok(old)
    }

    /// A leaf page cannot be read. The directory page need not be written for that.
    pub(crate) fn mark_damaged(&mut self, page: u64, leaf: DamagedLeaf) -> Result<()> {
        if page >= self.root.page_end() {
            return Ok(());
        }
        let was_dirty = self.root.mids.get(to_usize(page) / DESCRIPTORS_PER_PAGE).is_some_and(|mid| mid.is_dirty());
        self.change_cell(page, |cell| cell.set_damaged(leaf))?;
        if let Some(mid) = self.root.mids.get(to_usize(page) / DESCRIPTORS_PER_PAGE) {
            mid.set_dirty(was_dirty);
        }
        Arc::make_mut(&mut self.root).has_damaged = true;
        Ok(())
    }

    /// Replaces an unreadable leaf page.
    pub(crate) fn replace_page(&mut self, page: u64, set: SetNumber, entries: &[Entry]) -> Result<()> {
        let leaf = Leaf::new(self.epoch);
        for (index, entry) in entries.iter().enumerate() {
            leaf.set(index, *entry);
        }
        self.change_cell(page, |cell| {
            cell.descriptor.set = set.0;
            (cell.leaf, cell.patch) = (LeafRef::Dirty(Arc::new(leaf)), Over::default());
            cell.is_whole = true;
        })
    }

    /// An unreadable page without records: it loses its set.
    pub(crate) fn clear_page(&mut self, page: u64) -> Result<()> {
        if page >= self.root.page_end() {
            return Ok(());
        }
        self.change_cell(page, |cell| {
            let floor = cell.descriptor.floor;
            *cell = Cell { descriptor: Descriptor { floor, ..Descriptor::default() }, ..Cell::default() };
        })
    }

    /// Every damaged page has been replaced.
    pub(crate) fn end_of_damage(&mut self) {
        Arc::make_mut(&mut self.root).has_damaged = false;
    }
}
