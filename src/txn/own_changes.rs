//! A transaction's own changes to an index, in the order of the entries.
//!
//! Owns: the last change of each entry, gathered on demand, and rolling it back. Never: gathers without need: a
//! transaction that only writes pays nothing. Invariant: after `catch_up` the map has the last change of every changed
//! entry.

use std::ops::Bound;
use std::sync::Arc;

use crate::shared::Map;
use parking_lot::Mutex;

use crate::key_index::Gathered;
use crate::txn::own_runs::{Passed, Runs};

/// An entry: key, then ID.
pub(crate) type Entry = (Box<[u8]>, u64);

/// The last change of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) put: bool,
    /// Its position among all changes.
    at: usize,
}

/// The last change of each entry. A copy shares all that does not change afterwards.
pub(crate) type OwnMap = Map<Entry, Last>;

/// Changes in order, with what each replaced.
#[derive(Debug, Default)]
pub(crate) struct OwnChanges {
    /// Ranges being walked have copies.
    map: OwnMap,
    replaced: Vec<Option<Last>>,
    /// What walks have learned; without any there is no memory for it.
    runs: Option<Arc<Mutex<Runs<Entry>>>>,
}

impl OwnChanges {
    /// Adds the changes made since the last call.
    pub(crate) fn catch_up(&mut self, changes: &Gathered) -> &OwnMap {
        for change in changes.iter_from(self.replaced.len()) {
            let last = Last { put: change.put, at: self.replaced.len() };
            let entry = (Box::from(change.key), change.id.as_u64());
            self.replaced.push(self.map.get(&entry).copied());
            self.set(entry, Some(last));
        }
        &self.map
    }

    fn set(&mut self, entry: Entry, last: Option<Last>) {
        let returns = self.runs.as_ref().filter(|_| last.is_none_or(|last| last.put)).map(|_| entry.clone());
        match last {
            Some(last) => self.map.insert_mut(entry, last),
            None => drop(self.map.remove_mut(&entry)),
        }
        if let (Some(runs), Some(entry)) = (&self.runs, returns) {
            runs.lock().split(&entry, &self.map);
        }
    }

    /// The changes between two keys. Call `catch_up` first.
    pub(crate) fn range(&mut self, bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> OwnRange {
        OwnRange::new(&self.map, self.runs.get_or_insert_default(), bounds)
    }

    /// Rolls back all changes from a position on, which are still among `changes`.
    pub(crate) fn go_back(&mut self, changes: &Gathered, end: usize) {
        if self.replaced.len() <= end {
            return;
        }
        let gone: Vec<Entry> = changes
            .iter_from(end)
            .take(self.replaced.len() - end)
            .map(|change| (Box::from(change.key), change.id.as_u64()))
            .collect();
        let before = self.replaced.split_off(end);
        for (entry, before) in gone.into_iter().zip(before).rev() {
            self.set(entry, before);
        }
    }
}

/// Iterates over own changes between two keys, from either end.
#[derive(Debug)]
pub(crate) struct OwnRange {
    map: OwnMap,
    lower: Bound<Entry>,
    upper: Bound<Entry>,
    /// The runs that were known when the range was made.
    runs: Runs<Entry>,
    learned: Arc<Mutex<Runs<Entry>>>,
}

impl OwnRange {
    fn new(map: &OwnMap, learned: &Arc<Mutex<Runs<Entry>>>, (lower, upper): (Bound<&[u8]>, Bound<&[u8]>)) -> Self {
        let entry = |key: &[u8], id| (Box::from(key), id);
        let lower = match lower {
            Bound::Included(key) => Bound::Included(entry(key, 0)),
            Bound::Excluded(key) => Bound::Excluded(entry(key, u64::MAX)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let upper = match upper {
            Bound::Included(key) => Bound::Included(entry(key, u64::MAX)),
            Bound::Excluded(key) => Bound::Excluded(entry(key, 0)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let runs = learned.lock().clone();
        Self { map: map.clone(), lower, upper, runs, learned: Arc::clone(learned) }
    }

    /// The first and the last entry of the run of deletions that an entry belongs to, if known.
    pub(crate) fn run_around(&self, entry: &Entry) -> Option<(Entry, Entry)> {
        self.runs.around(entry).map(|(first, last)| (first.clone(), last.clone()))
    }

    /// Keeps what a walk has passed for the next one.
    pub(crate) fn learn(&self, passed: Passed<Entry>) {
        if passed.is_long() {
            self.learned.lock().learn(&self.runs, passed);
        }
    }

    /// `range` of the map panics on such bounds.
    fn is_empty(&self) -> bool {
        let (Bound::Included(lower) | Bound::Excluded(lower)) = &self.lower else { return false };
        let (Bound::Included(upper) | Bound::Excluded(upper)) = &self.upper else { return false };
        let is_closed = matches!((&self.lower, &self.upper), (Bound::Included(_), Bound::Included(_)));
        lower > upper || (lower == upper && !is_closed)
    }

    fn rest(&self) -> Option<impl DoubleEndedIterator<Item = (&Entry, &Last)>> {
        let is_nothing = self.map.is_empty() || self.is_empty();
        (!is_nothing).then(|| self.map.range((self.lower.as_ref(), self.upper.as_ref())))
    }

    /// The next change, without advancing.
    pub(crate) fn front(&self) -> Option<(&Entry, bool)> {
        self.rest()?.next().map(|(entry, last)| (entry, last.put))
    }

    /// The next change from the back, without advancing.
    pub(crate) fn back(&self) -> Option<(&Entry, bool)> {
        self.rest()?.next_back().map(|(entry, last)| (entry, last.put))
    }

    /// Skips everything up to and including an entry.
    pub(crate) fn pass(&mut self, entry: Entry) {
        self.lower = Bound::Excluded(entry);
    }

    /// The same from the back.
    pub(crate) fn pass_back(&mut self, entry: Entry) {
        self.upper = Bound::Excluded(entry);
    }

    /// Skips everything before a key.
    pub(crate) fn seek(&mut self, key: &[u8]) {
        let to = Bound::Included((Box::from(key), 0));
        let is_ahead = match &self.lower {
            Bound::Included((lower, _)) | Bound::Excluded((lower, _)) => **lower < *key,
            Bound::Unbounded => true,
        };
        if is_ahead {
            self.lower = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use std::collections::BTreeMap;

    use super::*;
    use crate::id::RecordId;

    /// The last change of each entry, found by looking at all of them.
    fn model(changes: &Gathered) -> Vec<(Entry, bool)> {
        let all = changes.iter_from(0).map(|change| ((Box::from(change.key), change.id.as_u64()), change.put));
        all.collect::<BTreeMap<_, _>>().into_iter().collect()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Change(u8, u64, bool),
        Look,
        Mark,
        GoBack(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0_u8..6, 0_u64..3, any::<bool>()).prop_map(|(key, slot, put)| Step::Change(key, slot, put)),
            2 => Just(Step::Look),
            1 => Just(Step::Mark),
            1 => (0_usize..4).prop_map(Step::GoBack),
        ]
    }

    proptest! {
        #[test]
        fn the_map_has_the_last_change_of_each_entry(steps in vec(step(), 0..200), from in 0_u8..6, len in 0_u8..6) {
            let (mut changes, mut own, mut marks) = (Gathered::default(), OwnChanges::default(), Vec::new());
            for step in steps {
                match step {
                    Step::Change(key, slot, put) => {
                        changes.push(&[key], RecordId::from_parts(slot, 1).unwrap(), put);
                    }
                    Step::Mark => marks.push(changes.mark()),
                    Step::GoBack(place) => {
                        marks.truncate(place + 1);
                        if let Some(mark) = marks.last() {
                            own.go_back(&changes, mark.0);
                            changes.go_back(*mark);
                        }
                    }
                    Step::Look => {
                        let map = own.catch_up(&changes);
                        let found: Vec<_> = map.iter().map(|(entry, last)| (entry.clone(), last.put)).collect();
                        prop_assert_eq!(found, model(&changes));
                    }
                }
            }
            let (lower, upper) = ([from], [from + len]);
            own.catch_up(&changes);
            let mut range = own.range((Bound::Excluded(&lower), Bound::Included(&upper)));
            let within = |entry: &(Entry, bool)| entry.0.0[0] > from && entry.0.0[0] <= from + len;
            let mut expected = model(&changes);
            expected.retain(within);
            let mut is_front = true;
            while !expected.is_empty() {
                let wanted = if is_front { expected.remove(0) } else { expected.pop().unwrap() };
                let found = if is_front { range.front() } else { range.back() };
                let found = found.map(|(entry, put)| (entry.clone(), put));
                prop_assert_eq!(found.as_ref(), Some(&wanted));
                if is_front { range.pass(wanted.0) } else { range.pass_back(wanted.0) }
                is_front = !is_front;
            }
            prop_assert!(range.front().is_none() && range.back().is_none());
        }
    }
}
