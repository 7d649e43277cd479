//! Writing pages: images in the order in which a save passes them, segment after segment.
//!
//! Owns: the segment being appended to, when pieces of it are synced, and what a save has replaced so far. Never: decides when a
//! snapshot is saved, or touches what a snapshot refers to.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::descriptor::PageRef;
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::format::{GRANULE_BYTES, checksum};
use crate::id::{SegmentSeq, low_u32, to_u64, to_usize};
use crate::pages::replaced::{Adopted, Replaced};
use crate::pages::segment::{PAGE_ALIGN_BYTES, PageSegment};
use crate::pages::store::PageStore;

/// Images are gathered up to this size before they are appended.
const WRITE_BYTES: usize = 128 << 10;
/// Bytes synced at once while no thread waits for a sync of the log. While such commits exist every piece is synced,
/// because their own syncs have to wait for everything that the file system has buffered.
const SYNC_BYTES: u64 = 4 << 20;

/// Appends images for successive saved snapshots.
#[derive(Debug, Default)]
pub(crate) struct PageWriter {
    current: Option<(Arc<PageSegment>, u64, u64)>,
    unsynced: Vec<Arc<PageSegment>>,
    buffer: Vec<u8>,
    replaced: Vec<Replaced>,
    pages: u64,
    bytes: u64,
    root: PageRef,
    root_refreshed: bool,
    /// Whether its segments are held until a snapshot lists them.
    holds: bool,
    /// Bytes appended but not synced.
    unsynced_bytes: u64,
    /// The number of requested log syncs when pages were last appended.
    syncs_wanted: u64,
}

impl PageWriter {
    /// A writer that continues from a snapshot with this root page.
    pub(crate) fn new(root: PageRef) -> Self {
        Self { root, ..Self::default() }
    }

    /// One whose segments are held until a snapshot lists them.
    pub(super) fn holding() -> Self {
        Self { holds: true, ..Self::default() }
    }

    /// The root page of the newest snapshot.
    pub(crate) fn root(&self) -> PageRef {
        self.root
    }

    /// The root page must be written again if it is in these segments.
    pub(crate) fn refresh_root(&mut self, from: &BTreeSet<SegmentSeq>) {
        self.root_refreshed |= self.root.is_written() && from.contains(&self.root.segment);
    }

    /// Whether the root page must be written although nothing below it has changed.
    pub(crate) fn is_root_refreshed(&self) -> bool {
        self.root_refreshed
    }

    /// Bytes written since the last snapshot that succeeded or was abandoned.
    pub(crate) fn replaced(&self) -> &[Replaced] {
        &self.replaced
    }

    /// A snapshot with this root page was saved.
    pub(crate) fn saved(&mut self, root: PageRef) {
        self.root = root;
        self.root_refreshed = false;
        self.replaced.clear();
    }

    /// The snapshot failed. What was written of it is dead in its segments, and nothing is appended after a possibly
    /// partial write.
    pub(crate) fn abandon(&mut self) {
        self.replaced.clear();
        (self.pages, self.bytes) = (0, 0);
        self.buffer.clear();
        self.unsynced.clear();
        self.unsynced_bytes = 0;
        self.current = None;
    }

    /// The next pages go to another segment.
    pub(crate) fn end_segment(&mut self) {
        if let Some((segment, ..)) = self.current.take() {
            segment.segment.close_file();
        }
    }

    /// The segment being appended to.
    pub(crate) fn writing(&self) -> Option<SegmentSeq> {
        self.current.as_ref().map(|(segment, ..)| segment.number())
    }

    /// Pages and bytes written since the last call.
    pub(crate) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.pages), std::mem::take(&mut self.bytes))
    }

    /// Appends an image in place of `old` and returns its location.
    pub(crate) fn write(
        &mut self,
        store: &PageStore,
        timeline: u64,
        number: &dyn Fn() -> Result<SegmentSeq>,
        image: &[u8],
        old: &PageRef,
    ) -> Result<PageRef> {
        let padded = to_u64(image.len()).next_multiple_of(PAGE_ALIGN_BYTES);
        let full = self.current.as_ref().is_none_or(|(_, len, capacity)| len + padded > *capacity);
        if full {
            self.flush()?;
            let capacity = store.capacity(self.bytes).max(to_u64(SEGMENT_HEADER_BYTES) + padded);
            let segment = store.create_segment(number, timeline, capacity, self.holds)?;
            if let Some((before, ..)) = self.current.replace((segment, to_u64(SEGMENT_HEADER_BYTES), capacity)) {
                self.unsynced.push(before);
            }
        }
        let Some((segment, len, _)) = self.current.as_mut() else {
            return Err(Error::Poisoned { reason: "no page segment".to_owned() });
        };
        let offset = *len;
        let page = PageRef {
            segment: segment.number(),
            offset_granules: low_u32(offset / GRANULE_BYTES),
            bytes: low_u32(to_u64(image.len())),
            check: checksum(segment.segment.seed().at(offset), image),
        };
        *len += padded;
        self.buffer.extend_from_slice(image);
        let end = self.buffer.len() + to_usize(padded) - image.len();
        self.buffer.resize(end, 0);
        self.pages += 1;
        self.bytes += padded;
        self.replaced.push(Replaced { old: *old, new: page });
        if self.buffer.len() >= WRITE_BYTES {
            self.unsynced_bytes += to_u64(self.buffer.len());
            self.flush()?;
            let before = std::mem::replace(&mut self.syncs_wanted, store.source.syncs_wanted.count());
            if before != self.syncs_wanted || self.unsynced_bytes >= SYNC_BYTES {
                self.sync()?;
            }
        }
        Ok(page)
    }

    /// The next snapshot no longer refers to a page, and nothing replaces it.
    pub(crate) fn release(&mut self, old: &PageRef) {
        self.replaced.push(Replaced { old: *old, new: PageRef::default() });
    }

    /// The next snapshot refers to the pages of a segment that was written aside. Called before any of them is
    /// released.
    pub(crate) fn adopt(&mut self, adopted: &Adopted) {
        self.replaced.push(Replaced { old: PageRef::default(), new: adopted.0 });
    }

    fn flush(&mut self) -> Result<()> {
        if let Some((segment, ..)) = self.current.as_ref().filter(|_| !self.buffer.is_empty()) {
            let segment = &segment.segment;
            segment.append(&self.buffer).map_err(|source| Error::io("append to", segment.name(), source))?;
        }
        self.buffer.clear();
        Ok(())
    }

    /// What was written since `replaced` had this length is dead in its segments: no snapshot refers to it.
    pub(crate) fn forget_since(&mut self, replaced: usize) {
        self.replaced.truncate(replaced);
    }

    /// Makes everything durable.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.flush()?;
        for segment in self.unsynced.iter().chain(self.current.as_ref().map(|(segment, ..)| segment)) {
            let segment = &segment.segment;
            segment.sync().map_err(|source| Error::io("sync", segment.name(), source))?;
        }
        for full in self.unsynced.drain(..) {
            full.segment.close_file();
        }
        self.unsynced_bytes = 0;
        Ok(())
    }
}
