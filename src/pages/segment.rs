//! One page segment: reading its pages, each checked on its first access.
//!
//! Owns: which pages of the segment were checked, one bit per 64 bytes. Never: counts live bytes, or deletes its file.

use std::collections::BTreeMap;
use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bitvec::prelude::{BitSlice, Lsb0};
use bitvec::vec::BitVec;

use crate::error::{Error, Result};
use crate::format::checksum;
use crate::format::descriptor::PageRef;
use crate::id::{SegmentSeq, to_usize};
use crate::log::Segment;
use crate::pages::cache::Cache;

/// Images start at multiples of this.
pub(crate) const PAGE_ALIGN_BYTES: u64 = 64;

/// A readable page segment.
#[derive(Debug)]
pub(crate) struct PageSegment {
    pub(super) segment: Segment,
    verified: BitVec<AtomicU64, Lsb0>,
    /// For segments without a map.
    pub(super) cache: Arc<Cache>,
}

impl PageSegment {
    pub(super) fn new(segment: Segment, capacity: u64, cache: &Arc<Cache>) -> Self {
        let words = to_usize(capacity.div_ceil(PAGE_ALIGN_BYTES * 64));
        // The allocator has zeroed memory: words of pages that are never read are not touched.
        let verified = BitVec::from_vec(vec![0; words].into_iter().map(AtomicU64::new).collect());
        Self { segment, verified, cache: Arc::clone(cache) }
    }

    fn damaged(&self, page: &PageRef, got: impl fmt::Display) -> Error {
        let expected = format!("{} bytes with check {:08x}", page.bytes, page.check);
        Error::corrupt(self.segment.name(), page.offset(), "index page", expected, got)
    }

    pub(super) fn check(&self, page: &PageRef, bytes: &[u8]) -> Result<()> {
        let check = checksum(self.segment.seed().at(page.offset()), bytes);
        if check == page.check { Ok(()) } else { Err(self.damaged(page, format!("{check:08x}"))) }
    }

    /// Runs `read` on the image of a page.
    #[inline]
    pub(crate) fn with<T>(&self, page: &PageRef, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let Some(bytes) = self.segment.mapped(page.offset(), page.bytes as usize) else {
            return self.cached(page).map(|bytes| read(&bytes));
        };
        let bit = to_usize(page.offset() / PAGE_ALIGN_BYTES);
        if !self.verified.get(bit).is_some_and(|bit| *bit) {
            self.check(page, bytes)?;
            self.note_verified(bit);
        }
        Ok(read(bytes))
    }

    /// The same for a page that is read once: that it was checked is not noted.
    pub(crate) fn with_once<T>(&self, page: &PageRef, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let Some(bytes) = self.segment.mapped(page.offset(), page.bytes as usize) else {
            return self.cached(page).map(|bytes| read(&bytes));
        };
        self.check(page, bytes)?;
        Ok(read(bytes))
    }

    /// The image, not checked, if it is mapped: to load its bytes into the cache before they are wanted.
    #[inline]
    pub(crate) fn glance(&self, page: &PageRef) -> Option<&[u8]> {
        black_box(self.verified.get(to_usize(page.offset() / PAGE_ALIGN_BYTES)).is_some_and(|bit| *bit));
        self.segment.mapped(page.offset(), page.bytes as usize)
    }

    fn note_verified(&self, bit: usize) {
        let verified: &BitSlice<AtomicU64, Lsb0> = &self.verified;
        if bit < verified.len() {
            verified.set_aliased(bit, true);
        }
    }

    /// Whether the image is read in place.
    pub(crate) fn is_mapped(&self, page: &PageRef) -> bool {
        self.segment.mapped(page.offset(), page.bytes as usize).is_some()
    }

    /// Compares a page with its checksum once more, before its bytes get a new one elsewhere.
    pub(crate) fn check_again(&self, page: &PageRef) -> Result<()> {
        match self.segment.mapped(page.offset(), page.bytes as usize) {
            Some(bytes) => {
                self.check(page, bytes)?;
                self.note_verified(to_usize(page.offset() / PAGE_ALIGN_BYTES));
                Ok(())
            }
            // Checked when it was read to the heap.
            None => Ok(()),
        }
    }

    #[cold]
    fn cached(&self, page: &PageRef) -> Result<Arc<[u8]>> {
        let key = (self.segment.number(), page.offset_granules);
        if let Some(bytes) = self.cache.get(key) {
            return Ok(bytes);
        }
        let bytes = self.segment.read(page.offset(), u64::from(page.bytes))?;
        self.check(page, &bytes)?;
        let bytes: Arc<[u8]> = Arc::from(bytes.as_ref());
        self.cache.put(key, &bytes);
        Ok(bytes)
    }

    pub(crate) fn number(&self) -> SegmentSeq {
        self.segment.number()
    }

    /// Bytes in its file; none if unknown.
    pub(crate) fn bytes(&self) -> u64 {
        self.segment.len().unwrap_or_default()
    }
}

/// Page segments by number, with which references to pages are resolved while it is held.
pub(crate) type PageSegments = BTreeMap<SegmentSeq, Arc<PageSegment>>;
