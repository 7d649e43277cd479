//! Record sets: their names and numbers, and how many records each has.
//!
//! Owns: which set a name or a handle leads to, and sets that were dropped and still have records. Never: knows where a record is.
//! Invariant: a store never reuses the number of a set.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::catalogue::origin::Handle;
use crate::id::{Seq, SetNumber, to_u64};

/// A record set.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) name: Arc<str>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) changed: Seq,
    /// It was dropped, and its records are being freed.
    pub(super) is_dropped: bool,
}

/// Bytes of the row of a set.
pub(super) fn set_bytes(name: &str) -> u64 {
    30 + to_u64(name.len())
}

impl Catalogue {
    pub(crate) fn create(&mut self, number: SetNumber, name: &str) {
        if !self.sets.contains_key(&number) {
            self.put_set(
                number,
                Set { name: Arc::from(name), records: 0, bytes: 0, changed: Seq::ZERO, is_dropped: false },
            );
        }
        self.next_set = self.next_set.max(SetNumber(number.0.saturating_add(1)));
    }

    /// Adds a set, or replaces it.
    pub(super) fn put_set(&mut self, number: SetNumber, set: Set) {
        if let Some(before) = self.sets.get(&number).map(|before| Arc::clone(&before.name)) {
            self.forget_name(number, &before);
            self.bytes = self.bytes.saturating_sub(set_bytes(&before));
        }
        self.bytes += set_bytes(&set.name);
        self.note_name(number, &set.name);
        self.sets.insert_mut(number, set);
    }

    /// From now on the name leads to the set.
    fn note_name(&mut self, number: SetNumber, name: &Arc<str>) {
        if number < SetNumber::FIRST_USER {
            return;
        }
        let mut numbers = self.named.get(name).cloned().unwrap_or_default();
        numbers.push(number);
        // The first one is found.
        numbers.sort_unstable();
        self.named.insert_mut(Arc::clone(name), numbers);
    }

    /// From now on the name does not lead to the set.
    fn forget_name(&mut self, number: SetNumber, name: &str) {
        let Some(numbers) = self.named.get_mut(name) else { return };
        numbers.retain(|other| *other != number);
        if numbers.is_empty() {
            self.named.remove_mut(name);
        }
    }

    pub(crate) fn rename_set(&mut self, number: SetNumber, name: &str) {
        let Some(set) = self.sets.get_mut(&number) else { return };
        let (name, is_dropped) = (Arc::from(name), set.is_dropped);
        let before = std::mem::replace(&mut set.name, Arc::clone(&name));
        self.bytes = (self.bytes + set_bytes(&name)).saturating_sub(set_bytes(&before));
        if !is_dropped {
            self.forget_name(number, &before);
            self.note_name(number, &name);
        }
    }

    /// A set was dropped. Its records exist until they are freed, but cannot be found.
    pub(crate) fn drop_set(&mut self, number: SetNumber) {
        if let Some(set) = self.sets.get_mut(&number).filter(|set| !set.is_dropped) {
            set.is_dropped = true;
            let name = Arc::clone(&set.name);
            self.forget_name(number, &name);
            self.dropped += 1;
        }
    }

    /// All records of a dropped set have been freed.
    pub(crate) fn end_set(&mut self, number: SetNumber) {
        if let Some(set) = self.sets.get(&number).filter(|set| set.is_dropped) {
            self.bytes = self.bytes.saturating_sub(set_bytes(&set.name));
            self.dropped -= 1;
            self.sets.remove_mut(&number);
        }
    }

    /// Whether there are dropped sets that still have records.
    pub(crate) fn has_dropped(&self) -> bool {
        self.dropped > 0
    }

    /// How many dropped sets still have records.
    pub(crate) fn dropped(&self) -> usize {
        self.dropped
    }

    /// Whether a set was dropped and still has records.
    pub(crate) fn is_dropped(&self, number: SetNumber) -> bool {
        self.dropped > 0 && self.sets.get(&number).is_some_and(|set| set.is_dropped)
    }

    /// Dropped sets that still have records.
    pub(crate) fn dropped_sets(&self) -> impl Iterator<Item = SetNumber> {
        self.sets.iter().filter(|(_, set)| set.is_dropped).map(|(number, _)| *number)
    }

    /// Numbers of all sets, including hidden ones.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = SetNumber> {
        self.sets.keys().copied()
    }

    /// Sets the recomputed counts of a set.
    pub(crate) fn set_counts(&mut self, number: SetNumber, records: u64, bytes: u64) {
        if let Some(set) = self.sets.get_mut(&number) {
            (set.records, set.bytes) = (records, bytes);
        }
    }

    /// Sets the last commit that changed a set, as another store recorded it.
    pub(crate) fn set_changed(&mut self, number: SetNumber, changed: Seq) {
        if let Some(set) = self.sets.get_mut(&number) {
            set.changed = changed;
        }
    }

    /// The name of a set; empty if it does not exist.
    pub(crate) fn name_of(&self, number: SetNumber) -> &str {
        self.sets.get(&number).map_or("", |set| &set.name)
    }

    pub(crate) fn count(&mut self, number: SetNumber, records: i64, bytes: i64, seq: Seq) {
        if let Some(set) = self.sets.get_mut(&number) {
            set.records = set.records.saturating_add_signed(records);
            set.bytes = set.bytes.saturating_add_signed(bytes);
            set.changed = set.changed.max(seq);
        }
    }

    pub(crate) fn next_set(&self) -> SetNumber {
        self.next_set
    }

    /// A set that was not dropped.
    pub(crate) fn set(&self, number: SetNumber) -> Option<&Set> {
        self.sets.get(&number).filter(|set| !set.is_dropped)
    }

    /// The number of the set that a handle refers to: the handle's own, or if that set is gone, that of the set that
    /// now has its name. If the handle is of another lineage, its number may belong to another set, so the name must agree.
    pub(crate) fn set_of_handle(&self, handle: &Handle<'_>) -> Option<SetNumber> {
        if let Some(set) = self.set(handle.number) {
            let is_it = handle.lineage == self.origin.lineage || *set.name == *handle.name;
            return is_it.then_some(handle.number);
        }
        self.find(handle.name).map(|(number, _)| number)
    }

    /// A user's set by name.
    pub(crate) fn find(&self, name: &str) -> Option<(SetNumber, &Set)> {
        let number = *self.named.get(name)?.first()?;
        Some((number, self.set(number)?))
    }

    /// All sets except hidden and dropped ones.
    pub(crate) fn user_sets(&self) -> impl Iterator<Item = (SetNumber, &Set)> {
        self.sets_with_records().filter(|(_, set)| !set.is_dropped)
    }

    /// All sets except hidden ones; including dropped ones that still have records.
    pub(crate) fn sets_with_records(&self) -> impl Iterator<Item = (SetNumber, &Set)> {
        self.sets.range(SetNumber::FIRST_USER..).map(|(number, set)| (*number, set))
    }
}
