//! Record segments in no table that something other than the newest state needs.
//!
//! Owns: which they are, each with the commit that emptied it. Never: deletes one; `gc/left.rs` does.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::engine::Engine;
use crate::id::{SegmentSeq, Seq};

/// Those segments.
#[derive(Debug, Default)]
pub(crate) struct Left {
    all: Mutex<BTreeMap<SegmentSeq, Seq>>,
}

impl Left {
    /// All of them.
    pub(crate) fn all(&self) -> BTreeMap<SegmentSeq, Seq> {
        self.all.lock().clone()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.lock().is_empty()
    }

    /// An opening has found these.
    pub(crate) fn replace(&self, found: BTreeMap<SegmentSeq, Seq>) {
        *self.all.lock() = found;
    }

    /// One of them is deleted.
    pub(crate) fn remove(&self, number: SegmentSeq) {
        self.all.lock().remove(&number);
    }

    /// Takes over those of a new opening.
    pub(super) fn take_over(&self, next: Self) {
        *self.all.lock() = next.all.into_inner();
    }
}

impl Engine {
    /// Adds the segments that never had a commit: no mark leads to one.
    pub(crate) fn leave_bare_segments(&self) {
        self.left.all.lock().extend(self.log.take_bare().into_iter().map(|number| (number, Seq::ZERO)));
    }
}
