//! Records that the collector has moved since the readable index was saved, which points into segments that are gone.
//!
//! Owns: following them to their current place. Never: assumes that a record was moved because its segment is gone: it
//! may be lost.

use std::collections::{HashMap, HashSet};

use crate::format::entry::State as EntryState;
use crate::format::moves::moves;
use crate::id::{NumberHash, SegmentSeq};
use crate::recovery::Remains;
use crate::salvage::source::Source;
use crate::salvage::version::Version;

/// A place: a segment, and the offset in it.
type Place = (SegmentSeq, u64);

/// What the log says about moves out of segments that are gone.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// Existing segments.
    there: HashSet<SegmentSeq>,
    to: HashMap<(u64, SegmentSeq, u64), Place>,
    /// Copies in survivors' segments of records that the index has in a segment that is gone, by slot.
    copies: HashMap<u64, Vec<(SegmentSeq, Version)>, NumberHash>,
}

impl Moved {
    pub(crate) fn new(source: &Source) -> Self {
        Self { there: source.logs.iter().map(|log| log.number).collect(), ..Self::default() }
    }

    /// The place in a segment that is gone, if the index points into one.
    fn gone(&self, remains: Option<&Remains>, slot: u64) -> Option<Place> {
        let remains = remains.filter(|remains| !remains.is_newest)?;
        let EntryState::Live(location) = remains.state.root.entry(slot).ok()?.state() else { return None };
        let number = remains.state.table.get(location.place).map(|segment| segment.number())?;
        (!self.there.contains(&number)).then_some((number, location.offset()))
    }

    pub(super) fn note_moves(&mut self, payload: &[u8]) {
        let Ok((from, to, all)) = moves(payload) else { return };
        if !self.there.contains(&from) {
            self.to.extend(all.iter().map(|each| ((each.slot, from, each.from), (to, each.to))));
        }
    }

    pub(super) fn note_copy(&mut self, remains: Option<&Remains>, number: SegmentSeq, version: &Version) {
        if version.generation > 0 && self.gone(remains, version.id.slot()).is_some() {
            self.copies.entry(version.id.slot()).or_default().push((number, *version));
        }
    }

    /// The copy of a slot's record to which the log leads from a segment that is gone.
    pub(super) fn find(&self, remains: Option<&Remains>, slot: u64) -> Option<Version> {
        let (mut number, mut offset) = self.gone(remains, slot)?;
        let copies = self.copies.get(&slot)?;
        // Each move leads into a segment that was started later, or at the same time: no place is visited twice.
        for _ in 0..=self.to.len() {
            match self.to.get(&(slot, number, offset)) {
                Some(to) => (number, offset) = *to,
                None => break,
            }
        }
        let is_there = |(at, version): &&(SegmentSeq, Version)| *at == number && version.offset == offset;
        copies.iter().find(is_there).map(|(_, version)| *version)
    }
}
