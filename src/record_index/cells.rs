//! The cells of a directory page, in blocks that states share.
//!
//! Owns: what of a directory page is copied for a change that a view must not see: one block. Never: knows which views there are.

use std::sync::Arc;

use crate::error::Result;
use crate::format::descriptor::{DESCRIPTORS_PER_PAGE, Row};
use crate::id::to_u64;
use crate::record_index::cell::Cell;

/// Cells of a block. Copying one counts a reference for each part of its cells.
const CELLS_PER_BLOCK: usize = 16;
const BLOCKS: usize = DESCRIPTORS_PER_PAGE / CELLS_PER_BLOCK;
const _: () = assert!(BLOCKS * CELLS_PER_BLOCK == DESCRIPTORS_PER_PAGE);
/// Heap bytes of the blocks of a directory page, including the allocator's share.
pub(super) const BLOCKS_HEAP_BYTES: u64 = to_u64(BLOCKS * (size_of::<Block>() + 32));

#[derive(Debug, Default)]
struct Block {
    /// The epoch in which it was made.
    epoch: u64,
    cells: [Cell; CELLS_PER_BLOCK],
}

impl Clone for Block {
    // An array's own clone may move each cell once more.
    fn clone(&self) -> Self {
        Self { epoch: self.epoch, cells: std::array::from_fn(|index| self.cells[index].clone()) }
    }
}

/// The cells of a directory page.
#[derive(Debug, Clone)]
pub(crate) struct Cells {
    blocks: [Arc<Block>; BLOCKS],
}

impl Default for Cells {
    fn default() -> Self {
        Self::of(&Cell::default())
    }
}

impl Cells {
    /// Each of them is this one, as if made before the first epoch.
    pub(super) fn of(cell: &Cell) -> Self {
        let block = Arc::new(Block { epoch: 0, cells: std::array::from_fn(|_| cell.clone()) });
        Self { blocks: std::array::from_fn(|_| Arc::clone(&block)) }
    }

    /// As the rows on disk say; cells without a row are absent.
    pub(super) fn from_rows(rows: &[Row], mut cell: impl FnMut(&Row) -> Result<Cell>) -> Result<Self> {
        let mut cells = Self::default();
        for (place, rows) in cells.blocks.iter_mut().zip(rows.chunks(CELLS_PER_BLOCK)) {
            let mut block = Arc::new(Block::default());
            for (place, row) in Arc::get_mut(&mut block).into_iter().flat_map(|block| &mut block.cells).zip(rows) {
                *place = cell(row)?;
            }
            *place = block;
        }
        Ok(cells)
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&Cell> {
        self.blocks.get(index / CELLS_PER_BLOCK)?.cells.get(index % CELLS_PER_BLOCK)
    }

    /// A cell, and the epoch of its block: where that is later than what views may have, places in the cell are filled in place.
    #[inline]
    pub(super) fn with_epoch(&self, index: usize) -> Option<(&Cell, u64)> {
        let block = self.blocks.get(index / CELLS_PER_BLOCK)?;
        Some((block.cells.get(index % CELLS_PER_BLOCK)?, block.epoch))
    }

    /// A cell of a block of its own, which is copied if another state has it.
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Cell> {
        Arc::make_mut(self.blocks.get_mut(index / CELLS_PER_BLOCK)?).cells.get_mut(index % CELLS_PER_BLOCK)
    }

    /// The same, from now on made in this epoch.
    pub(super) fn get_mut_in(&mut self, index: usize, epoch: u64) -> Option<&mut Cell> {
        let block = Arc::make_mut(self.blocks.get_mut(index / CELLS_PER_BLOCK)?);
        block.epoch = epoch;
        block.cells.get_mut(index % CELLS_PER_BLOCK)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Cell> + ExactSizeIterator {
        (0..DESCRIPTORS_PER_PAGE).map(|index| {
            let block = &self.blocks[index / CELLS_PER_BLOCK];
            &block.cells[index % CELLS_PER_BLOCK]
        })
    }

    /// Installs what a save has made of `before`: where nothing has changed since, it takes its place.
    pub(crate) fn install(&mut self, before: &Self, after: &Self) {
        for ((now, before), after) in self.blocks.iter_mut().zip(&before.blocks).zip(&after.blocks) {
            if Arc::ptr_eq(now, before) {
                now.clone_from(after);
            } else if !Arc::ptr_eq(before, after) {
                let cells = Arc::make_mut(now).cells.iter_mut();
                cells.zip(before.cells.iter().zip(&after.cells)).for_each(|(now, (before, after))| {
                    now.install(before, after);
                });
            }
        }
    }

    /// Blocks that another page does not have as well.
    #[cfg(test)]
    pub(super) fn blocks_besides(&self, other: &Self) -> usize {
        self.blocks.iter().zip(&other.blocks).filter(|(own, other)| !Arc::ptr_eq(own, other)).count()
    }
}
