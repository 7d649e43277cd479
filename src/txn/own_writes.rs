//! A transaction's own writes to each record, and the versions it has seen.
//!
//! Owns: the newest own write of each record, gathered on demand. Never: gathers without need: a transaction that only
//! inserts looks up none of its records, and pays nothing. Invariant: after `catch_up` the map has the newest write of
//! every record that was written.

use std::collections::HashMap;

use crate::error::Result;
use crate::heap::Effect;
use crate::id::{NumberHash, RecordId, Seq, SetNumber};
use crate::txn::own_counts::{Numbers, OwnCounts};
use crate::txn::own_scans::{OwnRecords, OwnScans, Written};

/// The version of each record that was read or replaced; `None` if there was none.
pub(crate) type Seen = HashMap<RecordId, Option<Seq>, NumberHash>;

/// The transaction's last write to a record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Own {
    Put { offset: u64, set: SetNumber },
    Deleted,
}

/// The newest own write of each record.
#[derive(Debug, Default)]
pub(crate) struct OwnWrites {
    map: HashMap<RecordId, Own, NumberHash>,
    /// How many of the transaction's effects are in the map.
    taken: usize,
    counts: OwnCounts,
    scans: OwnScans,
}

impl OwnWrites {
    /// Adds the records put since the last call.
    #[inline]
    pub(crate) fn catch_up(&mut self, effects: &[Effect]) {
        for effect in effects.get(self.taken..).unwrap_or_default() {
            if let Effect::Put { id, set, offset, .. } = effect {
                self.map.insert(*id, Own::Put { offset: *offset, set: *set });
                self.note(*id);
            }
        }
        self.taken = effects.len();
    }

    #[inline]
    fn note(&mut self, id: RecordId) {
        self.counts.note(id, self.map.len());
        self.scans.note(id, self.map.len());
    }

    /// The newest write of a record. Call `catch_up` first.
    pub(crate) fn get(&self, id: RecordId) -> Option<Own> {
        self.map.get(&id).copied()
    }

    /// The records whose newest writes have changed since they were last taken for a scan. Call `catch_up` first.
    pub(crate) fn changed(&self) -> Vec<RecordId> {
        self.scans.changed(self.map.keys().copied())
    }

    /// Takes the newest writes of records that have changed; returns those of all for a scan.
    pub(crate) fn take_changed(&mut self, changed: Vec<(RecordId, Written)>) -> OwnRecords {
        self.scans.take(changed)
    }

    /// The difference that the newest writes make to the number of records of a set; `of_write` says what one makes. Each write
    /// is looked at once. Call `catch_up` first.
    pub(crate) fn difference(
        &mut self,
        numbers: Numbers,
        of_write: impl Fn(RecordId, Own) -> Result<i64>,
    ) -> Result<i64> {
        let Self { map, counts, .. } = self;
        let of_record = |id| map.get(&id).map_or(Ok(0), |own| of_write(id, *own));
        counts.difference(numbers, map.keys().copied(), of_record)
    }

    pub(crate) fn contains(&self, id: RecordId) -> bool {
        self.map.contains_key(&id)
    }

    /// Sets or removes the newest write of a record and returns the old one. Call `catch_up` first.
    pub(crate) fn set(&mut self, id: RecordId, own: Option<Own>) -> Option<Own> {
        self.note(id);
        match own {
            Some(own) => self.map.insert(id, own),
            None => self.map.remove(&id),
        }
    }

    /// Forgets the effects from here on; the caller has undone them in the map.
    pub(crate) fn go_back(&mut self, effects: usize) {
        self.taken = self.taken.min(effects);
    }

    pub(crate) fn clear(&mut self) {
        self.map.clear();
        self.counts.clear();
        self.scans.clear();
        self.taken = 0;
    }

    pub(crate) fn capacity(&self) -> usize {
        self.map.capacity()
    }
}
