//! The sets that a transaction has scanned or counted.
//!
//! Owns: which sets, between which IDs, and whether that still holds. Never: decides whether there is a conflict; the
//! transaction does, by its isolation.

use std::ops::Bound;
use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::engine::Engine;
use crate::error::{Contended, Error, Result};
use crate::history::{Bounds, Found, Topic};
use crate::id::{RecordId, Seq, SetNumber, reuse_max};
use crate::txn::RecordSet;

/// How many scans are kept before they are merged for the first time.
const PUT_TOGETHER_MIN: usize = 64;

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

    /// Whether another scan, which begins no earlier, begins within this one or right behind it.
    fn reaches(&self, other: &Self) -> bool {
        self.number == other.number && other.slots.0 <= self.slots.1.saturating_add(1)
    }
}

/// Scans and counts of several sets. Without any there is no memory for them.
#[derive(Debug, Default)]
pub(crate) struct Scans(Option<Box<All>>);

#[derive(Debug, Default)]
struct All {
    walks: Vec<ScanRead>,
    /// How many were left when they were last merged.
    put_together: usize,
    /// By ascending number.
    lens: Vec<(RecordSet, SetNumber, u64)>,
    is_in_history: bool,
    /// The catalogue at the moment from which the history has commits, if that is later than the state being read.
    missed: Option<Arc<Catalogue>>,
}

impl Scans {
    pub(crate) fn is_in_history(&self) -> bool {
        self.0.as_ref().is_some_and(|all| all.is_in_history)
    }

    /// From here on, the history keeps commits for this transaction.
    pub(crate) fn enter(&mut self, missed: Option<Arc<Catalogue>>) {
        let all = self.0.get_or_insert_default();
        (all.is_in_history, all.missed) = (true, missed);
    }

    pub(crate) fn push_scan(&mut self, scan: ScanRead) {
        self.0.get_or_insert_default().push_scan(scan);
    }

    /// Sorts the scans and merges those that overlap. Called before `check`.
    pub(crate) fn seal(&mut self) {
        if let Some(all) = &mut self.0 {
            all.seal();
        }
    }

    /// The number is that of the state being read, and so the same each time.
    pub(crate) fn push_len(&mut self, set: &RecordSet, number: SetNumber, records: u64) {
        let lens = &mut self.0.get_or_insert_default().lens;
        if let Err(place) = lens.binary_search_by_key(&number, |(_, known, _)| *known) {
            lens.insert(place, (set.clone(), number, records));
        }
    }

    /// Whether everything is unchanged since the state of a commit. Commits up to `checked` were searched before. Returns up to
    /// which they are now; the result is final if the caller excludes commits.
    pub(crate) fn check(&self, engine: &Engine, read_at: Seq, checked: Seq) -> Result<Seq> {
        self.0.as_ref().map_or(Ok(checked), |all| all.check(engine, read_at, checked))
    }
}

impl All {
    fn push_scan(&mut self, scan: ScanRead) {
        if self.walks.len() >= 2 * self.put_together.max(PUT_TOGETHER_MIN / 2) {
            self.seal();
        }
        self.walks.push(scan);
    }

    fn seal(&mut self) {
        self.walks.sort_by_key(|scan| (scan.number, scan.slots));
        self.walks.dedup_by(|next, kept| {
            let joins = kept.reaches(next);
            if joins {
                kept.slots.1 = kept.slots.1.max(next.slots.1);
            }
            joins
        });
        self.put_together = self.walks.len();
    }

    fn check(&self, engine: &Engine, read_at: Seq, checked: Seq) -> Result<Seq> {
        if self.walks.is_empty() && self.lens.is_empty() {
            return Ok(checked);
        }
        // Before the catalogue, which then has every commit up to this one.
        let last = engine.heap.seq();
        let now = engine.heap.catalogue();
        for (set, number, records) in &self.lens {
            // After a drop or a clear the handle means another set, whatever it holds.
            let known = now.set(*number);
            if known.is_none_or(|set| set.records != *records) {
                let on = Contended::Len { set: set.name().to_owned() };
                return Err(Error::conflict(on, read_at, known.map_or(last, |set| set.changed)));
            }
        }
        let root = Arc::clone(&engine.heap.current().root);
        let mut searched = last;
        for walks in self.walks.chunk_by(|a, b| a.number == b.number) {
            let Some(ScanRead { set, number, .. }) = walks.first() else { continue };
            let concerns = |key: &[u8]| root.set_of_slot(slot_of(key)) == *number;
            let keys: Vec<_> = walks.iter().map(|walk| (first_key(walk.slots.0), last_key(walk.slots.1))).collect();
            let bounds: Vec<Bounds<'_>> =
                keys.iter().map(|(from, to)| (Bound::Included(&from[..]), Bound::Included(&to[..]))).collect();
            let changed = |catalogue: &Catalogue| catalogue.set(*number).map(|set| set.changed);
            let missed = self.missed.as_ref().and_then(|missed| changed(missed)).filter(|missed| *missed > read_at);
            let with = match (changed(&now), missed) {
                (Some(changed), _) if changed <= read_at => continue,
                (Some(_), Some(missed)) => missed,
                (Some(_), None) => {
                    match engine.history.find(Topic::Records, read_at.max(checked), &bounds, &concerns) {
                        Found::Nothing(up_to) => {
                            searched = searched.min(up_to);
                            continue;
                        }
                        Found::Change(seq, _) => seq,
                        Found::TooOld => last,
                    }
                }
                (None, _) => last,
            };
            return Err(Error::conflict(Contended::Scan { set: set.name().to_owned() }, read_at, with));
        }
        Ok(searched)
    }
}

/// The lowest key of a slot in the history.
fn first_key(slot: u64) -> [u8; 8] {
    RecordId::from_parts(slot, 1).map_or([0xff; 8], |id| id.as_u64().to_be_bytes())
}

/// The highest one.
fn last_key(slot: u64) -> [u8; 8] {
    RecordId::from_parts(slot, reuse_max()).map_or([0xff; 8], |id| id.as_u64().to_be_bytes())
}

fn slot_of(key: &[u8]) -> u64 {
    let raw = key.first_chunk().map_or(0, |raw| u64::from_be_bytes(*raw));
    RecordId::from_u64(raw).map_or(u64::MAX, RecordId::slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_of_pages_are_put_together() {
        let id = |slot| RecordId::from_parts(slot, 1).unwrap();
        let (set, other) = (RecordSet::new(Catalogue::default().origin(), SetNumber(7), Arc::from("a")), SetNumber(8));
        let mut scans = Scans::default();
        for page in (0..10_000_u64).rev() {
            let bounds = (Bound::Included(id(page * 10)), Bound::Included(id(page * 10 + 9)));
            scans.push_scan(ScanRead::new(&set, if page % 2 == 0 { set.number() } else { other }, bounds));
            scans.push_scan(ScanRead::new(&set, SetNumber(9), bounds));
        }
        scans.seal();
        let walks = scans.0.unwrap().walks;
        let of = |number| walks.iter().filter(|walk| walk.number == number).collect::<Vec<_>>();
        assert_eq!((of(set.number()).len(), of(other).len(), of(SetNumber(9)).len()), (5_000, 5_000, 1));
        assert_eq!((of(set.number())[1].slots, of(SetNumber(9))[0].slots), ((20, 29), (0, 99_999)));
    }
}
