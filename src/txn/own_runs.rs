//! Runs of entries of an index, or of records of a set, that a transaction has deleted, so that its next walk passes a run in one
//! step.
//!
//! Owns: the runs that walks have learned, splitting them where an entry comes back. Never: knows an index or a set: the walk says
//! what it has passed.
//! Invariant: every entry between the first and the last of a run, of the transaction's state or its own, is deleted, and is among
//! the transaction's own changes.

use std::ops::Bound;

use crate::shared::Map;

/// After so many steps over deletions a walk tells what it has passed.
const STEPS_MIN: usize = 16;

/// Runs that do not overlap: the first entry of each, and the last.
#[derive(Debug, Clone)]
pub(crate) struct Runs<E: Ord> {
    by_first: Map<E, E>,
    /// Incremented whenever an entry comes back: what a walk over an older state has passed is no run then.
    returned: u64,
}

impl<E: Ord> Default for Runs<E> {
    fn default() -> Self {
        Self { by_first: Map::default(), returned: 0 }
    }
}

impl<E: Ord + Clone> Runs<E> {
    /// The run that an entry belongs to.
    pub(crate) fn around(&self, entry: &E) -> Option<(&E, &E)> {
        self.by_first.range(..=entry).next_back().filter(|(_, last)| *last >= entry)
    }

    /// A walk that began with the runs `known` has passed these entries.
    pub(crate) fn learn(&mut self, known: &Self, passed: Passed<E>) {
        let Some((mut first, mut last)) = passed.ends else { return };
        if known.returned != self.returned {
            return;
        }
        if let Some((from, to)) = self.around(&first) {
            last = last.max(to.clone());
            first = from.clone();
        }
        let within: Vec<E> = self.by_first.range(&first..=&last).map(|(other, _)| other.clone()).collect();
        for other in within {
            if let Some(to) = self.by_first.get(&other) {
                last = last.max(to.clone());
            }
            self.by_first.remove_mut(&other);
        }
        self.by_first.insert_mut(first, last);
    }

    /// An entry exists again, or what the transaction did to it was taken back. `own` are the own changes after that.
    pub(crate) fn split<V>(&mut self, entry: &E, own: &Map<E, V>) {
        self.returned += 1;
        let Some((first, last)) = self.around(entry).map(|(first, last)| (first.clone(), last.clone())) else { return };
        self.by_first.remove_mut(&first);
        if let Some((before, _)) = own.range(..entry).next_back().filter(|(before, _)| **before >= first) {
            self.by_first.insert_mut(first, before.clone());
        }
        let behind = (Bound::Excluded(entry), Bound::Unbounded);
        if let Some((after, _)) = own.range(behind).next().filter(|(after, _)| **after <= last) {
            self.by_first.insert_mut(after.clone(), last);
        }
    }
}

/// The deletions that a walk has passed one after another, with nothing in between.
#[derive(Debug)]
pub(crate) struct Passed<E> {
    /// The lowest and the highest.
    ends: Option<(E, E)>,
    steps: usize,
}

impl<E> Default for Passed<E> {
    fn default() -> Self {
        Self { ends: None, steps: 0 }
    }
}

impl<E: Ord> Passed<E> {
    /// Whether there is enough to be worth knowing.
    pub(crate) fn is_long(&self) -> bool {
        self.steps >= STEPS_MIN
    }

    /// The walk has passed everything from one entry to another, ascending.
    pub(crate) fn add(&mut self, from: E, to: E) {
        self.steps += 1;
        self.ends = Some(match self.ends.take() {
            None => (from, to),
            Some((first, last)) => (first.min(from), last.max(to)),
        });
    }
}
