//! The records that a transaction has written, by set and ID, for its scans.
//!
//! Owns: the newest own write of each record with its value, gathered when a set is scanned for the first time, and which have changed
//! since the last scan. Never: gathers without need: a transaction that does not scan pays nothing.
//! Invariant: what a scan got never changes; the next one shares all that has not changed since.

use std::collections::HashMap;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::heap::Found;
use crate::id::{NumberHash, RecordId, SetNumber};
use crate::shared::Map;
use crate::txn::own_runs::{Passed, Runs};

/// So many changes are kept in any case.
const CHANGES_MIN: usize = 1 << 12;

/// An own record: its set, and its value, or `None` if it was deleted. Nothing at all if the transaction has not written it.
pub(crate) type Written = Option<(SetNumber, Option<Found>)>;

/// A record in the place where a scan of its set finds it.
type Place = (SetNumber, RecordId);

/// Own records by set and ID.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnRecords {
    each: Map<Place, Option<Found>>,
    /// The runs of deletions that were known when the scan was requested.
    runs: Runs<Place>,
    learned: Arc<Mutex<Runs<Place>>>,
}

impl OwnRecords {
    /// The last record of the run of deletions that a record of a set belongs to, if known.
    pub(crate) fn run_behind(&self, set: SetNumber, id: RecordId) -> Option<RecordId> {
        self.runs.around(&(set, id)).map(|(_, last)| last.1)
    }

    /// Keeps what a walk has passed for the next one.
    pub(crate) fn learn(&self, passed: Passed<Place>) {
        if passed.is_long() {
            self.learned.lock().learn(&self.runs, passed);
        }
    }

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
        let (key, found) = self.each.range((from, Bound::Unbounded)).next()?;
        (key.0 == set && (Bound::Unbounded, to).contains(&key.1)).then_some((key.1, found.as_ref()))
    }

    /// Treats the records of one set as records of another.
    pub(crate) fn join(&mut self, set: SetNumber, into: SetNumber) {
        let all: Vec<_> = self.each.range((set, RecordId::FIRST)..).take_while(|((of, _), _)| *of == set).collect();
        let all: Vec<_> = all.into_iter().map(|((_, id), found)| ((into, *id), found.clone())).collect();
        for (key, found) in all {
            self.each.insert_mut(key, found);
        }
        // What was learned about one of them is not so for both.
        (self.runs, self.learned) = (Runs::default(), Arc::default());
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

    /// Takes what the changed records are now, and returns all of them for a scan.
    pub(crate) fn take(&mut self, changed: Vec<(RecordId, Written)>) -> OwnRecords {
        self.is_asked = true;
        self.changed.clear();
        let OwnRecords { each, learned: shared, .. } = &mut self.records;
        let mut learned = shared.lock();
        for (id, written) in changed {
            let before = self.set_of.remove(&id).map(|set| (set, id));
            let now = written.as_ref().map(|(set, _)| (*set, id));
            if let Some(place) = before.filter(|place| now != Some(*place)) {
                each.remove_mut(&place);
                learned.split(&place, each);
            }
            if let Some((set, found)) = written {
                let is_there = found.is_some();
                self.set_of.insert(id, set);
                each.insert_mut((set, id), found);
                if is_there {
                    learned.split(&(set, id), each);
                }
            }
        }
        OwnRecords { each: each.clone(), runs: learned.clone(), learned: Arc::clone(shared) }
    }

    pub(crate) fn clear(&mut self) {
        if self.is_asked {
            *self = Self::default();
        }
    }
}
