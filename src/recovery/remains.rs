//! What can still be read of the record index of a store that does not open.
//!
//! Owns: the newest snapshot whose index can be loaded, without the log. Never: writes, or opens a record segment.

use std::sync::Arc;

use crate::backing::Backing;
use crate::catalogue::{Catalogue, Origin};
use crate::error::Result;
use crate::heap::{Heap, Indexes, State};
use crate::id::Seq;
use crate::manifest::Loaded;
use crate::pages::PageStore;
use crate::record_index::Root;
use crate::recovery::attempt::Attempt;
use crate::recovery::bounds;
use crate::recovery::files::Files;
use crate::recovery::opening::open_beside_a_writer;
use crate::recovery::settings::Settings;

/// The readable part of a record index, whether or not the records that it points at exist.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) state: Arc<State>,
    /// The last commit that it covers.
    pub(crate) seq: Seq,
    /// Whether that is the last commit of the store: then slots that it shows as free are free, and its IDs without a
    /// commit are burned.
    pub(crate) is_newest: bool,
}

/// The index of the newest state if the store can be opened read-only, otherwise that of the newest loadable snapshot.
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
        // An old named snapshot would report records that are live now as never assigned.
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
    /// The record index of the snapshot. Its record segments count as absent.
    fn index_alone(&self) -> Result<Heap> {
        bounds::check_snapshot(self.base)?;
        let source = self.source();
        let pages = PageStore::new(source.clone());
        let mut segments = Vec::new();
        for row in &self.base.segments {
            if row.pages {
                // Pages of a segment that cannot be opened cannot be read; they are reported individually.
                drop(pages.open_segment(row.segment, row.live_bytes));
            } else {
                segments.push((row.place, Arc::new(source.absent(row.segment))));
            }
        }
        let root = Root::load(&self.base.root, &pages)?;
        let catalogue =
            Catalogue::from_snapshot(self.base, Origin { store: self.loaded.uuid, lineage: self.settings.lineage });
        Ok(Heap::new(root, segments, catalogue, Indexes::default(), self.base.seq))
    }
}
