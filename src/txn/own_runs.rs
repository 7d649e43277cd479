//! Runs of entries that a transaction has deleted, so that its next walk passes a run in one step.
//!
//! Owns: the runs that walks have learned, splitting them where an entry comes back. Never: knows an index: the walk says what
//! it has passed.
//! Invariant: every entry between the first and the last of a run, of the transaction's state or its own, is deleted, and is among
//! the transaction's own changes.

use crate::shared::Map;

use crate::txn::own_changes::{Entry, OwnMap};

/// After so many steps over deletions a walk tells what it has passed.
const STEPS_MIN: usize = 16;

/// Runs that do not overlap: the first entry of each, and the last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs {
    by_first: Map<Entry, Entry>,
    /// Incremented whenever an entry comes back: what a walk over an older state has passed is no run then.
    returned: u64,
}

impl Runs {
    /// The run that an entry belongs to.
    pub(crate) fn around(&self, entry: &Entry) -> Option<(&Entry, &Entry)> {
        self.by_first.range(..=entry).next_back().filter(|(_, last)| *last >= entry)
    }

    /// A walk that began with the runs `known` has passed these entries.
    pub(crate) fn learn(&mut self, known: &Self, passed: Passed) {
        let Some((mut first, mut last)) = passed.ends else { return };
        if known.returned != self.returned {
            return;
        }
        if let Some((from, to)) = self.around(&first) {
            last = last.max(to.clone());
            first = from.clone();
        }
        let within: Vec<Entry> = self.by_first.range(&first..=&last).map(|(other, _)| other.clone()).collect();
        for other in within {
            if let Some(to) = self.by_first.get(&other) {
                last = last.max(to.clone());
            }
            self.by_first.remove_mut(&other);
        }
        self.by_first.insert_mut(first, last);
    }

    /// An entry exists again, or what the transaction did to it was taken back. `own` are the own changes after that.
    pub(crate) fn split(&mut self, entry: &Entry, own: &OwnMap) {
        self.returned += 1;
        let Some((first, last)) = self.around(entry).map(|(first, last)| (first.clone(), last.clone())) else { return };
        self.by_first.remove_mut(&first);
        if let Some((before, _)) = own.range(..entry).next_back().filter(|(before, _)| **before >= first) {
            self.by_first.insert_mut(first, before.clone());
        }
        let behind = (std::ops::Bound::Excluded(entry), std::ops::Bound::Unbounded);
        if let Some((after, _)) = own.range(behind).next().filter(|(after, _)| **after <= last) {
            self.by_first.insert_mut(after.clone(), last);
        }
    }
}

/// The deletions that a walk has passed one after another, with nothing in between.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// The lowest and the highest.
    ends: Option<(Entry, Entry)>,
    steps: usize,
}

impl Passed {
    /// Whether there is enough to be worth knowing.
    pub(crate) fn is_long(&self) -> bool {
        self.steps >= STEPS_MIN
    }

    /// The walk has passed everything from one entry to another, ascending.
    pub(crate) fn add(&mut self, from: Entry, to: Entry) {
        self.steps += 1;
        self.ends = Some(match self.ends.take() {
            None => (from, to),
            Some((first, last)) => (first.min(from), last.max(to)),
        });
    }
}
