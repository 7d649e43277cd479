//! What one state of the record index has and another does not.
//!
//! Owns: the comparison, directory page by directory page. Never: looks into a leaf page that both have.

use std::sync::Arc;

use crate::error::Result;
use crate::format::entry::{Entry, State};
use crate::record_index::tree::{Cell, LeafRef, Root};

/// What a state has that another does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Leaf pages on the heap.
    pub(crate) heap_leaves: u64,
    /// Bytes of records that entries point at.
    pub(crate) log_bytes: u64,
    /// Bytes of images of leaf and directory pages.
    pub(crate) page_bytes: u64,
}

impl Root {
    /// What this state has and `now` does not.
    pub(crate) fn kept_from(&self, now: &Self) -> Result<Kept> {
        let mut kept = Kept::default();
        let absent = Cell::default();
        for (index, mid) in self.mids.iter().enumerate() {
            let other = now.mids.get(index);
            if other.is_some_and(|other| Arc::ptr_eq(mid, other)) {
                continue;
            }
            if mid.page.is_written() && !mid.dirty && other.is_none_or(|other| other.dirty || other.page != mid.page) {
                kept.page_bytes += u64::from(mid.page.bytes);
            }
            for (place, cell) in mid.cells.iter().enumerate() {
                let other = other.and_then(|other| other.cells.get(place)).unwrap_or(&absent);
                compare(cell, other, &mut kept)?;
            }
        }
        Ok(kept)
    }
}

fn compare(cell: &Cell, other: &Cell, kept: &mut Kept) -> Result<()> {
    match (&cell.leaf, &other.leaf) {
        (LeafRef::Absent | LeafRef::Damaged(_), _) => return Ok(()),
        (LeafRef::Dirty(leaf), LeafRef::Dirty(other)) if Arc::ptr_eq(leaf, other) => return Ok(()),
        (LeafRef::Clean(_), LeafRef::Clean(_)) if cell.descriptor.page == other.descriptor.page => return Ok(()),
        (LeafRef::Dirty(_), _) => kept.heap_leaves += 1,
        (LeafRef::Clean(_), _) => kept.page_bytes += u64::from(cell.descriptor.page.bytes),
    }
    let others = other.entries()?;
    for (index, entry) in cell.entries()?.into_iter().enumerate() {
        let other = others.get(index).copied().unwrap_or(Entry::NEVER);
        if let (State::Live(location), true) = (entry.state(), entry != other) {
            kept.log_bytes += location.bytes();
        }
    }
    Ok(())
}
