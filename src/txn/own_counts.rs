//! How many more records, or fewer, sets have because of a transaction's own writes.
//!
//! Owns: for each set that was counted the contribution of every record that the transaction wrote to it, and their sum. Never:
//! looks at a record: the caller says what a write means.
//! Invariant: a sum covers every write but those of the records in `changed` that it has not taken yet.

use std::collections::HashMap;

use crate::error::Result;
use crate::id::{NumberHash, RecordId, SetNumber};

/// The numbers of a set: in the state that the transaction reads, and that writes through a handle go to.
pub(crate) type Numbers = (SetNumber, SetNumber);

/// So many changes are kept in any case.
const CHANGES_MIN: usize = 1 << 12;

/// One set's count.
#[derive(Debug, Default)]
struct Count {
    /// Records that make a difference: inserted ones add one, deleted ones take one away.
    each: HashMap<RecordId, i64, NumberHash>,
    sum: i64,
    /// How many of the changed records it has taken.
    taken: usize,
}

/// The counts of the sets that were asked for. Without any there is no memory for them.
#[derive(Debug, Default)]
pub(crate) struct OwnCounts {
    of: HashMap<Numbers, Count>,
    /// Records whose newest own write has changed since the first question, in order; some several times.
    changed: Vec<RecordId>,
}

impl OwnCounts {
    /// Whether somebody has asked, so that changes must be noted.
    #[inline]
    fn is_asked(&self) -> bool {
        !self.of.is_empty()
    }

    /// The newest own write of a record has changed, or is gone. The transaction has written to so many records.
    #[inline]
    pub(crate) fn note(&mut self, id: RecordId, records: usize) {
        if self.is_asked() {
            if self.changed.len() >= CHANGES_MIN.max(4 * records) {
                // The next question counts anew: one that rolls back again and again must not keep every step.
                return self.clear();
            }
            self.changed.push(id);
        }
    }

    /// The difference that own writes make to the number of records of a set. `all` are the records written before the first
    /// question about the set; `of_record` is the difference that the newest write of a record makes.
    pub(crate) fn difference(
        &mut self,
        numbers: Numbers,
        all: impl Iterator<Item = RecordId>,
        mut of_record: impl FnMut(RecordId) -> Result<i64>,
    ) -> Result<i64> {
        if !self.of.contains_key(&numbers) {
            let mut count = Count { taken: self.changed.len(), ..Count::default() };
            for id in all {
                count.set(id, of_record(id)?);
            }
            self.of.insert(numbers, count);
        }
        let Some(count) = self.of.get_mut(&numbers) else { return Ok(0) };
        for id in self.changed.iter().skip(count.taken) {
            count.set(*id, of_record(*id)?);
            count.taken += 1;
        }
        Ok(count.sum)
    }

    pub(crate) fn clear(&mut self) {
        if self.is_asked() {
            *self = Self::default();
        }
    }
}

impl Count {
    fn set(&mut self, id: RecordId, difference: i64) {
        let before = if difference == 0 { self.each.remove(&id) } else { self.each.insert(id, difference) };
        self.sum += difference - before.unwrap_or_default();
    }
}
