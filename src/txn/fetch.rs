//! The records of a range of entries, found a few at a time.
//!
//! Records of neighbouring keys lie anywhere. Finding several before the first is handed out lets the processor wait for
//! all of them at once. How many are found ahead begins with one and doubles, so that a short walk costs no more.

use smallvec::SmallVec;

use crate::error::Error;
use crate::error::Result;
use crate::heap::Found;
use crate::id::RecordId;
use crate::key_index::Range;
use crate::txn::Lookup;
use crate::txn::Record;
use crate::txn::View;
use crate::txn::record::Hold;

/// The most records that are found ahead.
const AHEAD_MAX: usize = 16;

/// Walks over the records of a range from either end. After an error it ends.
#[derive(Debug)]
pub(crate) struct Fetch<'v> {
    range: Range,
    view: &'v View,
    /// Found, in reverse: the next one is the last.
    ahead: SmallVec<[(RecordId, Option<Found>); AHEAD_MAX]>,
    wanted: usize,
    failed: Option<Error>,
}

fn id_of(id: u64) -> Result<RecordId> {
    RecordId::from_u64(id).ok_or_else(|| Error::corrupt("key index", 0, "entry of a key index", "a record ID", id))
}

impl<'v> Fetch<'v> {
    pub(crate) fn new(range: Range, view: &'v View) -> Self {
        Self { range, view, ahead: SmallVec::new(), wanted: 1, failed: None }
    }

    fn find_ahead(&mut self) {
        while self.ahead.len() < self.wanted {
            match self.range.next().and_then(|entry| entry.map(|(_, id)| id_of(id)).transpose()) {
                Ok(Some(id)) => self.ahead.push((id, None)),
                Ok(None) => break,
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        let state = self.view.state();
        for (id, found) in &mut self.ahead {
            *found = state.lookup_plain(*id);
        }
        self.ahead.reverse();
        self.wanted = (self.wanted * 2).min(AHEAD_MAX);
    }

    fn record(&self, id: RecordId, found: Option<Found>) -> Result<Record<'v>> {
        if let Some(found) = found {
            return Ok(Record::plain(Hold::View(self.view.state()), found));
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
        if self.ahead.is_empty() && self.failed.is_none() {
            self.find_ahead();
        }
        match self.ahead.pop() {
            Some((id, found)) => Some(self.record(id, found)),
            None => self.failed.take().map(Err),
        }
    }
}

impl DoubleEndedIterator for Fetch<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let entry = self.range.next_back().and_then(|entry| entry.map(|(_, id)| id_of(id)).transpose());
        match entry {
            Ok(Some(id)) => Some(self.record(id, None)),
            // What could not be read lies behind all that was found ahead.
            Ok(None) if self.failed.is_some() => {
                self.ahead.clear();
                self.failed.take().map(Err)
            }
            // What was found ahead from the front is all that is left.
            Ok(None) if !self.ahead.is_empty() => {
                let (id, found) = self.ahead.remove(0);
                Some(self.record(id, found))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
