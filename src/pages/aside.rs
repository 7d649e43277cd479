//! Pages written before any snapshot needs them: those of a tree that is being built.
//!
//! Owns: dedicated segments, until the tree is published or abandoned. Never: touches what snapshots write. Invariants:
//! 1. No snapshot deletes such a segment before one has listed it. 2. Abandoned segments are deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Result;
use crate::format::descriptor::PageRef;
use crate::id::{SegmentSeq, low_u32};
use crate::pages::replaced::Adopted;
use crate::pages::segment::PageSegment;
use crate::pages::store::PageStore;
use crate::pages::writer::PageWriter;

/// Appends images to dedicated segments, which are deleted if this is dropped before `keep`.
#[derive(Debug)]
pub(crate) struct Aside<'p> {
    store: &'p PageStore,
    writer: PageWriter,
    bytes: BTreeMap<SegmentSeq, u64>,
}

impl<'p> Aside<'p> {
    pub(crate) fn new(store: &'p PageStore) -> Self {
        Self { store, writer: PageWriter::holding(), bytes: BTreeMap::new() }
    }

    /// Appends an image and returns where it will be. It can be read once `finish` has returned.
    pub(crate) fn write(
        &mut self,
        timeline: u64,
        number: &dyn Fn() -> Result<SegmentSeq>,
        image: &[u8],
    ) -> Result<(PageRef, Arc<PageSegment>)> {
        let written = self.writer.write(self.store, timeline, number, image, &PageRef::default());
        // Even after a failed write: the segment may have been created for it.
        if let Some(segment) = self.writer.writing() {
            *self.bytes.entry(segment).or_default() += written.as_ref().map_or(0, |page| page.bytes.into());
        }
        // One row per segment is enough, and is in `bytes`.
        self.writer.forget_since(0);
        let page = written?;
        Ok((page, self.store.segment(&page)?))
    }

    /// Makes everything durable.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.writer.sync()?;
        self.writer.end_segment();
        Ok(())
    }

    /// The next snapshot lists the segments. The caller excludes its freeze.
    pub(crate) fn keep(mut self) {
        let page = |(segment, bytes)| PageRef { segment, bytes: low_u32(bytes), ..PageRef::default() };
        let adopted: Vec<Adopted> = std::mem::take(&mut self.bytes).into_iter().map(page).map(Adopted).collect();
        self.store.adopt(adopted);
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        for segment in self.bytes.keys() {
            // The next opening deletes what cannot be deleted now.
            drop(self.store.discard(*segment));
        }
    }
}
