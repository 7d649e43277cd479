//! The sets that a transaction has scanned or counted.
//!
//! Owns: which sets, between which IDs, and whether that still holds. Never: decides whether there is a conflict; the
//! transaction does, by its isolation.

use std::ops::Bound;
use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::engine::Engine;
use crate::error::{Contended, Error, Result};
use crate::history::Found;
use crate::id::{RecordId, Seq, SetNumber};
use crate::txn::RecordSet;

/// A requested scan of a set.
#[derive(Debug)]
pub(crate) struct ScanRead {
    set: RecordSet,
    number: SetNumber,
    /// The first and the last slot.
    slots: (u64, u64),
}

impl ScanRead {
    pub(crate) fn new(set: &RecordSet, number: SetNumber, bounds: (Bound<RecordId>, Bound<RecordId>)) -> Self {
        let slot = |bound, open| match bound {
            Bound::Included(id) | Bound::Excluded(id) => RecordId::slot(id),
            Bound::Unbounded => open,
        };
        Self { set: set.clone(), number, slots: (slot(bounds.0, 0), slot(bounds.1, u64::MAX)) }
    }

    fn covers(&self, other: &Self) -> bool {
        self.number == other.number && self.slots.0 <= other.slots.0 && other.slots.1 <= self.slots.1
    }
}

/// Scans and counts of several sets.
#[derive(Debug, Default)]
pub(crate) struct Scans {
    walks: Vec<ScanRead>,
    lens: Vec<(RecordSet, SetNumber, u64)>,
    is_in_history: bool,
    /// The catalogue at the moment from which the history has commits, if that is later than the state being read.
    missed: Option<Arc<Catalogue>>,
}

impl Scans {
    pub(crate) fn is_in_history(&self) -> bool {
        self.is_in_history
    }

    /// From here on, the history keeps commits for this transaction.
    pub(crate) fn enter(&mut self, missed: Option<Arc<Catalogue>>) {
        (self.is_in_history, self.missed) = (true, missed);
    }

    pub(crate) fn push_scan(&mut self, scan: ScanRead) {
        if !self.walks.iter().rev().take(8).any(|known| known.covers(&scan)) {
            self.walks.push(scan);
        }
    }

    /// The number is that of the state being read, and so the same each time.
    pub(crate) fn push_len(&mut self, set: &RecordSet, number: SetNumber, records: u64) {
        if !self.lens.iter().any(|(_, known, _)| *known == number) {
            self.lens.push((set.clone(), number, records));
        }
    }

    /// Whether everything is unchanged since the state of a commit. The caller excludes commits.
    pub(crate) fn check(&self, engine: &Engine, read_at: Seq) -> Result<()> {
        if self.walks.is_empty() && self.lens.is_empty() {
            return Ok(());
        }
        let now = engine.heap.catalogue();
        for (set, number, records) in &self.lens {
            let known = now.set(*number);
            if known.map_or(0, |set| set.records) != *records {
                let on = Contended::Len { set: set.name().to_owned() };
                return Err(Error::conflict(on, read_at, known.map_or(engine.heap.seq(), |set| set.changed)));
            }
        }
        let root = Arc::clone(&engine.heap.current().root);
        for ScanRead { set, number, slots } in &self.walks {
            let changed = |catalogue: &Catalogue| catalogue.set(*number).map_or(Seq::ZERO, |set| set.changed);
            if changed(&now) <= read_at {
                continue;
            }
            let mut concerns = |slot: u64| (slots.0..=slots.1).contains(&slot) && root.set_of_slot(slot) == *number;
            let missed = self.missed.as_ref().map(|missed| changed(missed)).filter(|missed| *missed > read_at);
            let with = match (missed, engine.history.find_record(read_at, &mut concerns)) {
                (Some(missed), _) => missed,
                (None, Found::Nothing) => continue,
                (None, Found::Change(seq)) => seq,
                (None, Found::TooOld) => engine.heap.seq(),
            };
            return Err(Error::conflict(Contended::Scan { set: set.name().to_owned() }, read_at, with));
        }
        Ok(())
    }
}
