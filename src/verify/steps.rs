//! How far a verification is.
//!
//! Owns: counting bytes, section by section. Never: goes beyond what a section was said to have, or stands still at the end of one.

use crate::verify::Progress;

/// Bytes that were looked at, of all that are to be.
pub(super) struct Steps<'p> {
    tell: &'p mut dyn FnMut(Progress),
    records: (u64, u64),
    done: u64,
    total: u64,
    /// Where the section in hand ends.
    end: u64,
}

impl<'p> Steps<'p> {
    /// Sections are begun one after the other. Together they have so many bytes.
    pub(super) fn new(total: u64, tell: &'p mut dyn FnMut(Progress)) -> Self {
        Self { tell, records: (0, 0), done: 0, total, end: 0 }
    }

    /// The next section has so many bytes. What was left of the one before is done.
    pub(super) fn begin(&mut self, bytes: u64) {
        self.done = self.end;
        self.end += bytes;
        self.tell();
    }

    /// All is done.
    pub(super) fn end(&mut self) {
        self.done = self.total;
        self.tell();
    }

    /// Records of the newest state.
    pub(super) fn records(&mut self, checked: u64, total: u64) {
        self.records = (checked, total);
    }

    /// So many bytes were looked at.
    pub(super) fn add(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes).min(self.end);
        self.tell();
    }

    /// So many bytes need no look: a state before has them.
    pub(super) fn skip(&mut self, bytes: u64) {
        let bytes = bytes.min(self.end - self.done);
        self.end -= bytes;
        self.total -= bytes;
        self.tell();
    }

    fn tell(&mut self) {
        let (records, records_total) = self.records;
        (self.tell)(Progress { records, records_total, bytes: self.done, bytes_total: self.total });
    }
}
