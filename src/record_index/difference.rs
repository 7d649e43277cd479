//! What one state of the record index has and another does not.
//!
//! Owns: the comparison, directory page by directory page. Never: looks into a leaf page that both have.

use std::sync::Arc;

use crate::error::Result;
use crate::format::descriptor::PageRef;
use crate::format::entry::{Entry, State};
use crate::record_index::cell::{Cell, LeafRef};
use crate::record_index::mid::Mid;
use crate::record_index::root::Root;

/// Bytes that a state has and another does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Of leaf pages on the heap.
    pub(crate) heap: u64,
    /// Of records that entries point at.
    pub(crate) log: u64,
    /// Of images of leaf and directory pages.
    pub(crate) pages: u64,
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
            let is_read = |page: &PageRef| page.is_written() && !mid.is_dirty();
            for page in [Some(mid.page), mid.saved].into_iter().flatten().filter(is_read) {
                let has = |other: &Arc<Mid>| other.page == page || other.saved == Some(page);
                kept.pages += if other.is_some_and(has) { 0 } else { u64::from(page.bytes) };
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
    let (is_over_same, has_same_patch) = (cell.is_over_same(other), cell.has_same_patch(other));
    match &cell.leaf {
        LeafRef::Absent | LeafRef::Damaged(_) => return Ok(()),
        _ if is_over_same && has_same_patch => return Ok(()),
        LeafRef::Clean(_) if !is_over_same => {
            let ((own, base), others) = (cell.images(), other.images());
            let only_here = |page: &PageRef| *page != others.0 && Some(*page) != others.1;
            let bytes = [Some(own), base].into_iter().flatten().filter(only_here).map(|page| u64::from(page.bytes));
            kept.pages += bytes.sum::<u64>();
        }
        LeafRef::Clean(_) | LeafRef::Dirty(_) => {}
    }
    kept.heap += cell.bytes_besides(is_over_same, has_same_patch);
    let others = other.entries()?;
    for (index, entry) in cell.entries()?.into_iter().enumerate() {
        let other = others.get(index).copied().unwrap_or(Entry::NEVER);
        if let (State::Live(location), true) = (entry.state(), entry != other) {
            kept.log += location.bytes();
        }
    }
    Ok(())
}
