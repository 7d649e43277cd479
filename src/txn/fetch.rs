//! Fetching the records of a range of entries, a few at a time.
//!
//! Records with neighbouring keys are scattered over the log. Looking up several before returning the first lets the
//! processor wait for all of them at once. The number looked up ahead grows from two, so that a short walk costs hardly
//! more.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::index::IndexDefinition;
use crate::id::{REUSE_BITS, RecordId};
use crate::key_index::Range;
use crate::txn::{Lookup, Record, View};

/// Records looked up before the first is returned: initially, and at most.
const AHEAD_MIN: usize = 2;
const AHEAD_MAX: usize = 32;

/// Iterates over the records of a range from either end. Ends after an error.
#[derive(Debug)]
pub(crate) struct Fetch<'v> {
    range: Range,
    /// The set's name and the index, for errors.
    of: (Arc<str>, Arc<IndexDefinition>),
    view: &'v View,
    /// Entries whose records were looked up; those from `at` on are left.
    ahead: Vec<u64>,
    at: usize,
    wanted: usize,
    failed: Option<Error>,
}

fn id_of(id: u64) -> Result<RecordId> {
    RecordId::from_u64(id).ok_or_else(|| Error::corrupt("key index", 0, "entry of a key index", "a record ID", id))
}

impl<'v> Fetch<'v> {
    pub(crate) fn new(range: Range, view: &'v View, of: (Arc<str>, Arc<IndexDefinition>)) -> Self {
        Self { range, of, view, ahead: Vec::new(), at: 0, wanted: AHEAD_MIN, failed: None }
    }

    /// No records, but an error.
    pub(crate) fn refused(mut range: Range, view: &'v View, of: (Arc<str>, Arc<IndexDefinition>), why: Error) -> Self {
        range.end();
        Self { failed: Some(why), ..Self::new(range, view, of) }
    }

    fn look_ahead(&mut self) {
        self.ahead.clear();
        self.at = 0;
        let result = self.range.next_ids(self.wanted, &mut self.ahead);
        self.failed = result.map_err(|error| error.in_index(&self.of.0, &self.of.1.name)).err();
        self.view.state().look_ahead(self.ahead.iter().map(|id| id >> REUSE_BITS));
        self.wanted = (self.wanted * 4).min(AHEAD_MAX);
    }

    #[inline]
    fn record(&self, id: u64) -> Result<Record<'v>> {
        let id = id_of(id)?;
        if let Some((found, bytes)) = self.view.state().lookup_plain(id) {
            return Ok(Record::plain(self.view.state(), found, bytes));
        }
        match self.view.lookup(id)? {
            Lookup::Live(record) => Ok(record),
            _ => Err(Error::corrupt("key index", 0, "entry of a key index", "a live record", "none")),
        }
    }
}

impl<'v> Iterator for Fetch<'v> {
    type Item = Result<Record<'v>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.ahead.len() && self.failed.is_none() {
            self.look_ahead();
        }
        match self.ahead.get(self.at).copied() {
            Some(id) => {
                self.at += 1;
                Some(self.record(id))
            }
            None => self.failed.take().map(Err),
        }
    }
}

impl DoubleEndedIterator for Fetch<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let entry = self.range.next_back().map(|entry| entry.map(|(_, id)| id));
        match entry {
            Ok(Some(id)) => Some(self.record(id)),
            // The unreadable record lies after everything that was found ahead.
            Ok(None) if self.failed.is_some() => {
                self.ahead.clear();
                self.failed.take().map(Err)
            }
            // What was found ahead from the front is all that is left.
            Ok(None) if self.at < self.ahead.len() => self.ahead.pop().map(|id| self.record(id)),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
