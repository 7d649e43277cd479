//! Treating pages as changed, so that the next save writes them elsewhere: their segments are to be emptied.
//!
//! Owns: which pages of a directory page that concerns. Never: writes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::Result;
use crate::format::descriptor::DESCRIPTORS_PER_PAGE;
use crate::format::entry::ENTRIES_PER_PAGE;
use crate::id::{SegmentSeq, to_u64};
use crate::record_index::tree::Tree;

impl Tree {
    /// Treats pages of one directory page, and the directory page itself, as changed if their images are in these
    /// segments, until `left` pages have been moved. Returns whether there is more to look at.
    pub(crate) fn refresh(&mut self, mid: usize, from: &BTreeSet<SegmentSeq>, left: &mut u64) -> Result<bool> {
        let Some(found) = self.root.mids.get(mid).map(Arc::clone) else { return Ok(false) };
        let first = to_u64(mid * DESCRIPTORS_PER_PAGE);
        for (page, cell) in (first..).zip(found.cells.iter()) {
            if *left == 0 {
                return Ok(false);
            }
            let (own, base) = cell.images();
            let whole = base.unwrap_or(own);
            if whole.is_written() && from.contains(&whole.segment) {
                self.cell_mut(page)?.is_whole = true;
            }
            let is_there = [Some(own), base].into_iter().flatten().any(|image| from.contains(&image.segment));
            if is_there && cell.is_clean() {
                *left -= 1;
                let slot = page * to_u64(ENTRIES_PER_PAGE);
                match cell.entry(0).and_then(|entry| self.set(slot, entry)) {
                    // A damaged page stays where it is, with its segment; reads of it report the damage.
                    Err(error) if error.is_corruption() => {}
                    other => drop(other?),
                }
            }
        }
        let is_base_there = from.contains(&found.page.segment) && found.page.is_written();
        if is_base_there || found.saved.is_some_and(|saved| from.contains(&saved.segment)) {
            self.cell_mut(first)?;
            if let (true, Some(mid)) = (is_base_there, Arc::make_mut(&mut self.root).mids.get_mut(mid)) {
                Arc::make_mut(mid).is_whole = true;
            }
        }
        Ok(true)
    }
}
