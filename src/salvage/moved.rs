//! Records that the collector has moved since the index that can be read was saved: it leads into segments that are gone.
//!
//! Owns: following them to where they lie now. Never: takes a record for moved because its segment is gone: that may be lost.

use std::collections::HashMap;
use std::collections::HashSet;

use crate::format::entry::Location;
use crate::format::entry::State as EntryState;
use crate::format::moves::moves;
use crate::id::NumberHash;
use crate::id::SegmentSeq;
use crate::recovery::Remains;
use crate::salvage::source::Source;
use crate::salvage::survey::Version;

/// A place: a segment, and the offset in it.
type Place = (SegmentSeq, u64);

/// What the log says of moves out of segments that are gone.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// Segments that are there.
    there: HashSet<SegmentSeq>,
    to: HashMap<(u64, SegmentSeq, u64), Place>,
    /// Copies in segments of survivors of records that the index has in a segment that is gone, by slot.
    copies: HashMap<u64, Vec<(SegmentSeq, Version)>, NumberHash>,
}

/// Where a record is that the index has in a segment that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The log leads there.
    Certain(Version),
    /// It may be this one: nothing tells whether it is the newest version.
    Perhaps(Version),
    Nothing,
}

impl Moved {
    pub(crate) fn new(source: &Source) -> Self {
        Self { there: source.logs.iter().map(|log| log.number).collect(), ..Self::default() }
    }

    /// The place in a segment that is gone to which the index leads, if it does.
    fn gone(&self, remains: Option<&Remains>, slot: u64) -> Option<(SegmentSeq, Location)> {
        let remains = remains.filter(|remains| !remains.is_newest)?;
        let EntryState::Live(location) = remains.state.root.entry(slot).ok()?.state() else { return None };
        let number = remains.state.table.get(location.place).map(|segment| segment.number())?;
        (!self.there.contains(&number)).then_some((number, location))
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

    /// Where the record of a slot is; `None` if the index does not lead into a segment that is gone.
    pub(super) fn find(&self, remains: Option<&Remains>, slot: u64) -> Option<Found> {
        let (first, location) = self.gone(remains, slot)?;
        let copies = self.copies.get(&slot).map(Vec::as_slice).unwrap_or_default();
        let (mut number, mut offset) = (first, location.offset());
        // Each move leads into a segment that was begun later, or into one of the same time: never twice through one place.
        for _ in 0..=self.to.len() {
            match self.to.get(&(slot, number, offset)) {
                Some(to) => (number, offset) = *to,
                None => break,
            }
        }
        if number != first {
            let is_there = |(at, version): &&(SegmentSeq, Version)| *at == number && version.offset == offset;
            return Some(copies.iter().find(is_there).map_or(Found::Nothing, |(_, version)| Found::Certain(*version)));
        }
        // What says where it was moved to may be damaged itself.
        let may_be = |(at, version): &&(SegmentSeq, Version)| {
            *at > first && version.bytes == location.bytes() && version.id.reuse_count() & 0xf == location.reuse_low
        };
        let newest = copies.iter().filter(may_be).max_by_key(|(_, version)| version.rank());
        Some(newest.map_or(Found::Nothing, |(_, version)| Found::Perhaps(*version)))
    }
}
