//! The records that a transaction has written, by set and ID, for its scans.
//!
//! Owns: the newest own write of each record with its value, gathered when a set is scanned for the first time, and which have changed
//! since the last scan. Never: gathers without need: a transaction that does not scan pays nothing.
//! Invariant: what a scan got never changes; the next one shares all that has not changed since.

use std::collections::HashMap;
use std::ops::{Bound, RangeBounds};

use crate::shared::Map;

use crate::heap::Found;
use crate::id::{NumberHash, RecordId, SetNumber};

/// So many changes are kept in any case.
const CHANGES_MIN: usize = 1 << 12;

/// An own record: its set, and its value, or `None` if it was deleted. Nothing at all if the transaction has not written it.
pub(crate) type Written = Option<(SetNumber, Option<Found>)>;

/// Own records by set and ID.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnRecords(Map<(SetNumber, RecordId), Option<Found>>);

impl OwnRecords {
    /// The first own record of a set from a bound on, and within another.
    pub(crate) fn next(
        &self,
        set: SetNumber,
        from: Bound<RecordId>,
        to: Bound<RecordId>,
    ) -> Option<(RecordId, Option<&Found>)> {
        let from = match from {
            Bound::Unbounded => Bound::Included((set, RecordId::FIRST)),
            bound => bound.map(|id| (set, id)),
        };
        let (key, found) = self.0.range((from, Bound::Unbounded)).next()?;
        (key.0 == set && (Bound::Unbounded, to).contains(&key.1)).then_some((key.1, found.as_ref()))
    }

    /// Treats the records of one set as records of another.
    pub(crate) fn join(&mut self, set: SetNumber, into: SetNumber) {
        let all: Vec<_> = self.0.range((set, RecordId::FIRST)..).take_while(|((of, _), _)| *of == set).collect();
        let all: Vec<_> = all.into_iter().map(|((_, id), found)| ((into, *id), found.clone())).collect();
        for (key, found) in all {
            self.0.insert_mut(key, found);
        }
    }
}

/// The own records, and what has changed since the last scan.
#[derive(Debug, Default)]
pub(crate) struct OwnScans {
    records: OwnRecords,
    set_of: HashMap<RecordId, SetNumber, NumberHash>,
    changed: Vec<RecordId>,
    is_asked: bool,
}

impl OwnScans {
    /// The newest own write of a record has changed, or is gone. The transaction has written to so many records.
    #[inline]
    pub(crate) fn note(&mut self, id: RecordId, records: usize) {
        if self.is_asked {
            if self.changed.len() >= CHANGES_MIN.max(4 * records) {
                // The next scan gathers all anew: one that rolls back again and again must not keep every step.
                return self.clear();
            }
            self.changed.push(id);
        }
    }

    /// The records that have changed since the last scan; `all` of them before the first one.
    pub(crate) fn changed(&self, all: impl Iterator<Item = RecordId>) -> Vec<RecordId> {
        if !self.is_asked {
            return all.collect();
        }
        let mut changed = self.changed.clone();
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// Takes what the changed records are now, and returns all of them.
    pub(crate) fn take(&mut self, changed: Vec<(RecordId, Written)>) -> &OwnRecords {
        self.is_asked = true;
        self.changed.clear();
        for (id, written) in changed {
            if let Some(set) = self.set_of.remove(&id) {
                self.records.0.remove_mut(&(set, id));
            }
            if let Some((set, found)) = written {
                self.set_of.insert(id, set);
                self.records.0.insert_mut((set, id), found);
            }
        }
        &self.records
    }

    pub(crate) fn clear(&mut self) {
        if self.is_asked {
            *self = Self::default();
        }
    }
}
