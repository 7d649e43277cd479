//! Pages that are written before any snapshot needs them: those of a tree that is being built.
//!
//! Owns: segments of their own, until the tree is put in place or given up. Never: touches what snapshots write.
//! Invariants: 1. No snapshot deletes such a segment before one has listed it. 2. What is given up is deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Result;
use crate::format::descriptor::PageRef;
use crate::id::{SegmentSeq, low_u32};
use crate::pages::{PageSegment, PageStore, PageWriter};

/// A page segment that the next snapshot lists, with the bytes of its pages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adopted(pub(crate) PageRef);

/// Appends images to segments of their own, which are deleted when this is dropped before `keep`.
#[derive(Debug)]
pub(crate) struct Aside<'p> {
    store: &'p PageStore,
    writer: PageWriter,
    bytes: BTreeMap<SegmentSeq, u64>,
}

impl<'p> Aside<'p> {
    pub(crate) fn new(store: &'p PageStore) -> Self {
        Self { store, writer: PageWriter { holds: true, ..PageWriter::default() }, bytes: BTreeMap::new() }
    }

    /// Appends an image and tells where it will lie. It can be read when `finish` has returned.
    pub(crate) fn write(
        &mut self,
        timeline: u64,
        number: &dyn Fn() -> Result<SegmentSeq>,
        image: &[u8],
    ) -> Result<(PageRef, Arc<PageSegment>)> {
        let written = self.writer.write(self.store, timeline, number, image, &PageRef::default());
        // Also of a write that failed: the segment may have been made for it.
        if let Some(segment) = self.writer.writing() {
            *self.bytes.entry(segment).or_default() += written.as_ref().map_or(0, |page| page.bytes.into());
        }
        // One line for each segment is enough, and is in `bytes`.
        self.writer.replaced.clear();
        let page = written?;
        Ok((page, self.store.segment(&page)?))
    }

    /// Puts everything on the medium.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.writer.sync()?;
        if let Some((segment, ..)) = self.writer.current.take() {
            segment.segment.close_file();
        }
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
            // What cannot be deleted now is deleted when the store is opened again.
            drop(self.store.discard(*segment));
        }
    }
}
