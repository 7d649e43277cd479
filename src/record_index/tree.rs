//! The tree: persistent by copying, with parts that one writer changes in place between two views.
//!
//! Owns: changes of entries, what of it is on the heap. Path copying as in Driscoll et al. 1989, with the copy
//! deferred until a view needs it. Never: reads a directory page, or changes what a view may have.

mod damage;
mod fork;
mod refresh;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::descriptor::DESCRIPTORS_PER_PAGE;
use crate::format::entry::{ENTRIES_PER_PAGE, Entry};
use crate::id::{SLOT_END, SetNumber, to_u64, to_usize};
use crate::record_index::cell::{Cell, LeafRef, Over, Weight};
use crate::record_index::leaf::{BLOCK_HEAP_BYTES, Leaf, Patch};
use crate::record_index::mid::Mid;
use crate::record_index::root::{PAGES_END, Root};

/// The tree as its only writer holds it.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    root: Arc<Root>,
    /// The epoch of new leaves.
    epoch: u64,
    /// Leaves of this epoch and earlier ones may be in a view.
    held: u64,
    restructured: bool,
    /// What its leaf pages take on the heap.
    weight: Weight,
    saving: Option<Saving>,
    /// Whether the entry set last replaced that of a record that a damaged page does not show.
    had_record: bool,
}

/// What a running save keeps on the heap.
#[derive(Debug, Clone, Copy)]
struct Saving {
    /// Bytes of leaf pages of the save: all that were on the heap then.
    frozen: u64,
    /// The highest epoch of these.
    epoch: u64,
    /// Bytes of leaf pages brought to the heap since.
    made: u64,
}

impl Tree {
    pub(crate) fn new(root: Root) -> Self {
        let root = Arc::new(root);
        let weight = Weight::default();
        Self { root, epoch: 1, held: 0, restructured: false, weight, saving: None, had_record: false }
    }

    pub(crate) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// From now on no existing leaf is changed in place: a view is being taken. Returns the epoch of the newest leaves it may have.
    pub(crate) fn pin(&mut self) -> u64 {
        self.held = self.epoch;
        self.epoch += 1;
        self.held
    }

    /// No existing view has leaves of later epochs.
    pub(crate) fn set_held(&mut self, epoch: u64) {
        self.held = epoch;
    }

    /// Whether the shape has changed since the last call, so that readers need the new root.
    pub(crate) fn take_restructured(&mut self) -> bool {
        std::mem::take(&mut self.restructured)
    }

    /// Leaf pages of the newest tree of which something is on the heap.
    pub(crate) fn dirty(&self) -> u64 {
        self.weight.pages
    }

    /// Bytes of leaf pages on the heap, including those of a save.
    pub(crate) fn heap_bytes(&self) -> u64 {
        self.saving.map_or(0, |saving| saving.frozen + saving.made).max(self.weight.bytes)
    }

    /// A save starts with what is on the heap. The caller has pinned it.
    pub(crate) fn begin_saving(&mut self) {
        self.saving = Some(Saving { frozen: self.weight.bytes, epoch: self.epoch.saturating_sub(1), made: 0 });
    }

    /// The save has released its pages.
    pub(crate) fn end_saving(&mut self) {
        self.saving = None;
        debug_assert_eq!(self.weight, self.root.weight(), "what leaf pages take on the heap");
    }

    /// Installs what a save has written of one directory page.
    pub(crate) fn install(&mut self, index: usize, merge: impl FnOnce(&Arc<Mid>) -> Arc<Mid>) {
        if let Some(now) = self.root_mut().mids.get_mut(index) {
            let before = now.weight();
            *now = merge(now);
            let after = now.weight();
            self.weight.pages = (self.weight.pages + after.pages).saturating_sub(before.pages);
            self.weight.bytes = (self.weight.bytes + after.bytes).saturating_sub(before.bytes);
        }
    }

    /// Changes what is on the heap of a page, and counts it.
    fn change_cell<T>(&mut self, page: u64, change: impl FnOnce(&mut Cell) -> T) -> Result<T> {
        let since = self.saving.map_or(0, |saving| saving.epoch);
        let cell = self.cell_mut(page)?;
        let before = (cell.weight(), cell.weight_since(since));
        let changed = change(cell);
        let after = (cell.weight(), cell.weight_since(since));
        self.weight.pages = (self.weight.pages + after.0.pages).saturating_sub(before.0.pages);
        self.weight.bytes = (self.weight.bytes + after.0.bytes).saturating_sub(before.0.bytes);
        if let Some(saving) = &mut self.saving {
            saving.made = (saving.made + after.1.bytes).saturating_sub(before.1.bytes);
        }
        Ok(changed)
    }

    /// Replaces a clean or copied part after a snapshot was saved.
    pub(crate) fn root_mut(&mut self) -> &mut Root {
        self.restructured = true;
        Arc::make_mut(&mut self.root)
    }

    /// Assigns a page to a set.
    pub(crate) fn assign(&mut self, page: u64, set: SetNumber) -> Result<()> {
        let cell = self.cell_mut(page)?;
        cell.descriptor.set = set.0;
        Ok(())
    }

    /// Slots of a page whose records are deleted from now on get at least this count next. For a page without a set
    /// this applies to all its slots if the store is rolled back to a state in which it has one.
    pub(crate) fn raise_floor(&mut self, page: u64, next_count: u32) -> Result<()> {
        if self.root.floor(page) < next_count {
            self.cell_mut(page)?.descriptor.floor = next_count;
        }
        Ok(())
    }

    /// Like `raise_floor`, but may lower it: for a store built from another one.
    pub(crate) fn set_floor(&mut self, page: u64, next_count: u32) -> Result<()> {
        if self.root.floor(page) != next_count {
            self.cell_mut(page)?.descriptor.floor = next_count;
        }
        Ok(())
    }

    fn cell_mut(&mut self, page: u64) -> Result<&mut Cell> {
        if page >= PAGES_END {
            return Err(Error::Exhausted { what: "slot", limit: SLOT_END });
        }
        self.restructured = true;
        let (mid, cell) = (to_usize(page) / DESCRIPTORS_PER_PAGE, to_usize(page) % DESCRIPTORS_PER_PAGE);
        let epoch = self.epoch;
        let root = Arc::make_mut(&mut self.root);
        if root.mids.len() <= mid {
            root.mids.extend_to(mid + 1);
        }
        let found = root.mids.get_mut(mid).and_then(|mid| {
            let mid = Arc::make_mut(mid);
            mid.set_dirty(true);
            mid.cells.get_mut_in(cell, epoch)
        });
        found.ok_or(Error::Exhausted { what: "slot", limit: SLOT_END })
    }

    /// Whether the slot whose entry was set last held a record before, though the returned entry does not say so.
    pub(crate) fn had_record(&mut self) -> bool {
        std::mem::take(&mut self.had_record)
    }

    /// Sets a slot's entry and returns the previous one, which may be unknown for a damaged page: then it counts as
    /// never used.
    pub(crate) fn set(&mut self, slot: u64, entry: Entry) -> Result<Entry> {
        let (page, index) = (slot / to_u64(ENTRIES_PER_PAGE), to_usize(slot) % ENTRIES_PER_PAGE);
        self.had_record = false;
        if page >= self.root.page_end() {
            let expected = format!("a page below {}, or one already assigned to a set", self.root.page_end());
            return Err(Error::corrupt("record index", 0, format!("entry of slot {slot}"), expected, page));
        }
        if let Some(old) = self.set_in_place(page, index, entry) {
            return Ok(old);
        }
        let Some(cell) = self.root.cell(page) else { return Ok(Entry::NEVER) };
        let (descriptor, epoch) = (cell.descriptor_now(), self.epoch);
        if let LeafRef::Damaged(leaf) = &cell.leaf {
            let (leaf, old, had_record) = leaf.with(index, entry, descriptor.live);
            self.cell_mut(page)?.leaf = LeafRef::Damaged(Arc::new(leaf));
            self.had_record = had_record;
            return Ok(old);
        }
        let patch = match cell.patch.get() {
            Some(patch) => Some(patch.copy(epoch)),
            None => cell.takes_patch().then(|| Patch::new(epoch, &descriptor)),
        };
        let patched = match &patch {
            Some(patch) if patch.load(index).is_some() => Ok(true),
            Some(patch) => cell.below(|below| patch.add_block(index, below)),
            None => Ok(false),
        };
        let made = match (patched, patch) {
            (Ok(true), Some(patch)) => Ok(Made::Patch(Arc::new(patch))),
            (Ok(_), _) => cell
                .check_again()
                .and_then(|()| cell.with_entries(|entry| Made::Leaf(Arc::new(Leaf::with(epoch, &descriptor, entry))))),
            (Err(error), _) => Err(error),
        };
        match made {
            Ok(Made::Patch(patch)) => {
                let old = patch.set(index, entry).unwrap_or(Entry::NEVER);
                self.change_cell(page, |cell| cell.patch = Over::Since(patch))?;
                Ok(old)
            }
            Ok(Made::Leaf(leaf)) => {
                let old = leaf.set(index, entry);
                let leaf = LeafRef::Dirty(leaf);
                self.change_cell(page, |cell| (cell.leaf, cell.patch) = (leaf, Over::default()))?;
                Ok(old)
            }
            Err(Error::Corrupt(damage)) => self.set_damaged(page, index, entry, descriptor.live, *damage),
            Err(error) => Err(error),
        }
    }

    /// Sets an entry where no view sees it, if there is such a place. The shape that readers know stays.
    fn set_in_place(&mut self, page: u64, index: usize, entry: Entry) -> Option<Entry> {
        let mid = self.root.mids.get(to_usize(page) / DESCRIPTORS_PER_PAGE)?;
        let (cell, epoch) = mid.cells.with_epoch(to_usize(page) % DESCRIPTORS_PER_PAGE)?;
        match (cell.patch.get(), &cell.leaf) {
            (None, LeafRef::Dirty(leaf)) if leaf.epoch > self.held => Some(leaf.set(index, entry)),
            (Some(patch), _) if patch.epoch > self.held => {
                if let Some(old) = patch.set(index, entry) {
                    return Some(old);
                }
                if patch.is_full() || !cell.below(|below| patch.add_block(index, below)).ok()? {
                    return None;
                }
                let old = patch.set(index, entry);
                self.note_made(0, BLOCK_HEAP_BYTES);
                old
            }
            (None, _) if epoch > self.held && cell.takes_patch() => {
                let patch = Patch::new(self.epoch, &cell.descriptor_now());
                if !cell.below(|below| patch.add_block(index, below)).ok()? {
                    return None;
                }
                let old = patch.set(index, entry);
                let bytes = patch.heap_bytes();
                let is_new = !cell.is_dirty();
                if !cell.patch.set(Arc::new(patch)) {
                    return None;
                }
                mid.set_dirty(true);
                self.note_made(u64::from(is_new), bytes);
                old
            }
            _ => None,
        }
    }

    fn note_made(&mut self, pages: u64, bytes: u64) {
        self.weight.pages += pages;
        self.weight.bytes += bytes;
        if let Some(saving) = &mut self.saving {
            saving.made += bytes;
        }
    }
}

/// What replaces a part of a page that a view may have.
enum Made {
    Patch(Arc<Patch>),
    Leaf(Arc<Leaf>),
}
