//! What can still be read of the record index of a store that does not open.
//!
//! Owns: the newest snapshot whose index can be loaded, without the log. Never: writes, or opens a segment of records.

use std::sync::Arc;

use crate::backing::Backing;
use crate::catalogue::Catalogue;
use crate::error::Result;
use crate::heap::{Heap, Indexes, State};
use crate::id::Seq;
use crate::manifest::Loaded;
use crate::pages::PageStore;
use crate::record_index::Root;
use crate::recovery::{Attempt, Files, Settings, bounds, open_beside_a_writer};

/// What can be read of a record index, whether the records that it leads to are there or not.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) state: Arc<State>,
    /// The last commit that it knows of.
    pub(crate) seq: Seq,
    /// Whether that is the last commit of the store: then what it says is free is free, and the IDs of it that came to nothing
    /// are burned.
    pub(crate) is_newest: bool,
}

/// The index of the newest state if the store can be opened for reading, else that of the newest snapshot that can be loaded.
pub(crate) fn remains(
    backing: &Arc<dyn Backing>,
    settings: &Settings,
    loaded: &Loaded,
    files: &Files,
) -> Option<Remains> {
    if let Ok((engine, _)) = open_beside_a_writer(backing, settings) {
        let state = engine.heap.pin();
        return Some(Remains { seq: state.seq, state, is_newest: true });
    }
    for base in loaded.kept().snapshots().rev() {
        let attempt = Attempt { backing, settings, loaded, files, base, until: None };
        // A named snapshot that is old would say of what is live by now that it was never given.
        if let Ok(heap) = attempt.index_alone()
            && base.name.is_empty()
        {
            let state = heap.pin();
            return Some(Remains { seq: base.seq, state, is_newest: false });
        }
    }
    None
}

impl Attempt<'_> {
    /// The record index of the snapshot. Its segments of records count as absent.
    fn index_alone(&self) -> Result<Heap> {
        bounds::check_snapshot(self.base)?;
        let source = self.source();
        let pages = PageStore::new(source.clone());
        let mut segments = Vec::new();
        for row in &self.base.segments {
            if row.pages {
                // Pages of one that cannot be opened cannot be read, and that is told where they are.
                drop(pages.open_segment(row.segment, row.live_bytes));
            } else {
                segments.push((row.place, Arc::new(source.absent(row.segment))));
            }
        }
        let root = Root::load(&self.base.root, &pages)?;
        let catalogue = Catalogue::from_snapshot(self.base, self.loaded.uuid);
        Ok(Heap::new(root, segments, catalogue, Indexes::default(), self.base.seq))
    }
}
