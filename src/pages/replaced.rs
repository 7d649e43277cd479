//! What changes in the list of page segments with the next snapshot.
//!
//! Owns: how a page that was written, and one that is released, change the live bytes of their segments. Never: applies that.

use crate::format::descriptor::PageRef;
use crate::id::SegmentSeq;

/// A page that replaces another in the next snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replaced {
    pub(super) old: PageRef,
    pub(super) new: PageRef,
}

impl Replaced {
    /// The changes of live bytes by segment.
    pub(super) fn live_bytes(&self) -> [(SegmentSeq, i64); 2] {
        [(self.old.segment, -i64::from(self.old.bytes)), (self.new.segment, i64::from(self.new.bytes))]
    }
}

/// A page segment that the next snapshot lists, with the bytes of its pages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adopted(pub(crate) PageRef);
