//! What an older state keeps that the newest state no longer needs.

use crate::heap::State;

/// Bytes that one state has and another does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KeptBytes {
    /// Of pages and nodes on the heap.
    pub(crate) heap: u64,
    /// Of records in the log.
    pub(crate) log: u64,
    /// Of images in page segments.
    pub(crate) pages: u64,
}

impl State {
    /// What this state has and `now` does not. Takes time proportional to the pages that differ. Unreadable parts are
    /// left out.
    pub(crate) fn kept_from(&self, now: &Self) -> KeptBytes {
        let records = self.root.kept_from(&now.root).unwrap_or_default();
        let mut kept = KeptBytes { heap: records.heap, log: records.log, pages: records.pages };
        for (number, root) in &self.indexes {
            let nodes = root.kept_from(now.indexes.get(number)).unwrap_or_default();
            kept.heap += nodes.heap_bytes;
            kept.pages += nodes.page_bytes;
        }
        kept
    }
}
