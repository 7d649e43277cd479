//! Progress of a verification.
//!
//! Owns: counting bytes, section by section. Never: exceeds the size announced for a section, or stays below it at the
//! end.

use crate::verify::Progress;

/// Bytes read, of all that are to be read.
pub(super) struct Steps<'p> {
    tell: &'p mut dyn FnMut(Progress),
    records: (u64, u64),
    done: u64,
    total: u64,
    /// Where the current section ends.
    end: u64,
}

impl<'p> Steps<'p> {
    /// Sections start one after another. This is their total size.
    pub(super) fn new(total: u64, tell: &'p mut dyn FnMut(Progress)) -> Self {
        Self { tell, records: (0, 0), done: 0, total, end: 0 }
    }

    /// Starts the next section of this size. The rest of the previous one counts as done.
    pub(super) fn begin(&mut self, bytes: u64) {
        self.done = self.end;
        self.end += bytes;
        self.tell();
    }

    /// Everything is done.
    pub(super) fn end(&mut self) {
        self.done = self.total;
        self.tell();
    }

    /// Records of the newest state.
    pub(super) fn records(&mut self, checked: u64, total: u64) {
        self.records = (checked, total);
    }

    /// Counts bytes that were read.
    pub(super) fn add(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes).min(self.end);
        self.tell();
    }

    /// Counts bytes that need not be read: an earlier state has them.
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
