//! Burning IDs that may have been handed out by a process that did not live to say what became of them.
//!
//! Owns: how often each slot of a reserved page may have been handed out. Never: touches the slot of a record.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::format::entry::{ENTRIES_PER_PAGE, Entry, State as EntryState};
use crate::heap::Heap;
use crate::id::{reuse_max, to_u64};
use crate::record_index::PAGES_END;
use crate::recovery::replay::Replay;

impl Replay<'_> {
    /// Raises the counts of slots whose IDs may have been handed out before each of these manifest entries, which
    /// ascend.
    pub(super) fn burn(&mut self, before: &[u64]) -> Result<()> {
        // Each reservation lets a slot be handed out once, so a page that was reserved twice is burned twice.
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        if !before.is_empty() {
            for page in &self.base.reserved {
                *times.entry(*page).or_default() += before.len();
            }
        }
        for (number, pages) in &self.reserves {
            let later = before.len() - before.partition_point(|entry| entry <= number);
            for page in pages.iter().filter(|_| later > 0) {
                *times.entry(*page).or_default() += later;
            }
        }
        for (page, times) in times {
            self.page_end = self.page_end.max(page.saturating_add(1)).min(PAGES_END);
            self.report.burned_slots += burn_page(self.heap, page, times)?;
        }
        Ok(())
    }
}

fn burn_page(heap: &Heap, page: u64, times: usize) -> Result<u64> {
    heap.with_tree(|tree| {
        let Some(cell) = tree.root().cell(page).filter(|cell| cell.descriptor.set != 0) else { return Ok(0) };
        let entries = match cell.entries() {
            // No slot of the page is assigned while it is damaged, nor any that is free when it is repaired.
            Err(error) if error.is_corruption() => return Ok(0),
            entries => entries?,
        };
        let mut burned = 0;
        for (index, entry) in entries.into_iter().enumerate() {
            let slot = page * to_u64(ENTRIES_PER_PAGE) + to_u64(index);
            let EntryState::Free { next_count } = entry.state() else { continue };
            let more = u32::try_from(times).unwrap_or(u32::MAX).saturating_sub(1);
            let raised = Entry::freed_after(next_count.saturating_add(more).min(reuse_max()));
            if raised != entry {
                tree.set(slot, raised)?;
                burned += 1;
            }
        }
        Ok(burned)
    })
}
