//! Sums of a frame's changes to counts: recorded once for consecutive records, not for each.
//!
//! Owns: the sums until they are recorded. Never: outlives the frame, or the writer's lock under which it is applied.
//! Invariant: after `settle`, the counts are as if each change had been recorded by itself.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::format::entry::{Entry, State as EntryState};
use crate::heap::{SegmentTable, signed};
use crate::id::{Seq, SetNumber};
use crate::log::Segment;

/// Sums that belong together: of one set, of the frame's segment, and of one segment that loses bytes.
#[derive(Debug, Default)]
pub(super) struct Sums {
    set: Option<SetNumber>,
    records: i64,
    bytes: i64,
    gained: i64,
    /// Which bytes are no longer live, and how many.
    place: u32,
    lost: i64,
}

impl Sums {
    /// A record of the frame is now live, and replaces what the entry pointed at.
    #[inline]
    pub(super) fn put(&mut self, notes: &mut Notes<'_>, set: SetNumber, bytes: u64, old: Entry, was_live: bool) {
        let old_bytes = self.forget(notes, old);
        self.gained += signed(bytes);
        self.count(notes, set, i64::from(!was_live), signed(bytes) - old_bytes);
    }

    /// What an entry pointed at is gone.
    #[inline]
    pub(super) fn free(&mut self, notes: &mut Notes<'_>, set: SetNumber, old: Entry, was_live: bool) {
        // A burned ID had no record: its set has not changed.
        if was_live || old.is_live() {
            let old_bytes = self.forget(notes, old);
            self.count(notes, set, -i64::from(was_live), -old_bytes);
        }
    }

    /// Reverts what `put`, or `free` for no bytes, has recorded. Live bytes of segments are not reverted: the handle
    /// deletes no more files.
    pub(super) fn take_back(&mut self, notes: &mut Notes<'_>, set: SetNumber, bytes: u64, old: Entry, was_live: bool) {
        let is_live = bytes > 0;
        let old_bytes = if let EntryState::Live(location) = old.state() { signed(location.bytes()) } else { 0 };
        let records = i64::from(was_live) - i64::from(is_live);
        self.count(notes, set, records, old_bytes - signed(bytes));
    }

    #[inline]
    fn count(&mut self, notes: &mut Notes<'_>, set: SetNumber, records: i64, bytes: i64) {
        if self.set != Some(set) {
            self.settle_set(notes);
            self.set = Some(set);
        }
        self.records += records;
        self.bytes += bytes;
    }

    /// The bytes of an entry, which are no longer live.
    #[inline]
    fn forget(&mut self, notes: &Notes<'_>, old: Entry) -> i64 {
        let EntryState::Live(location) = old.state() else { return 0 };
        let bytes = signed(location.bytes());
        if self.place != location.place {
            self.settle_lost(notes);
            self.place = location.place;
        }
        self.lost += bytes;
        bytes
    }

    fn settle_set(&mut self, notes: &mut Notes<'_>) {
        if let Some(set) = self.set.take() {
            let (records, bytes) = (std::mem::take(&mut self.records), std::mem::take(&mut self.bytes));
            Arc::make_mut(notes.catalogue).count(set, records, bytes, notes.seq);
        }
    }

    fn settle_lost(&mut self, notes: &Notes<'_>) {
        let lost = std::mem::take(&mut self.lost);
        if let Some(segment) = notes.table.get(self.place).filter(|_| lost > 0) {
            segment.add_live(-lost);
        }
    }

    /// Records the sums.
    pub(super) fn settle(mut self, notes: &mut Notes<'_>) {
        if self.gained > 0 {
            notes.segment.add_live(self.gained);
        }
        self.settle_lost(notes);
        self.settle_set(notes);
    }
}

/// Where sums are recorded.
#[derive(Debug)]
pub(super) struct Notes<'w> {
    pub(super) catalogue: &'w mut Arc<Catalogue>,
    pub(super) table: &'w SegmentTable,
    /// The location of the frame, and its commit.
    pub(super) segment: &'w Segment,
    pub(super) seq: Seq,
}
