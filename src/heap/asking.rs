//! Asking for records of a state before the first of them is read, where reading would wait for the device.
//!
//! Owns: which parts of segments hold a group of records. Never: reads a record.

use std::ops::Range;
use std::sync::Arc;

use crate::backing::{Parts, asks_for_pages};
use crate::format::entry::{Entry, Location, State as EntryState};
use crate::heap::State;
use crate::log::{Ahead, Segment};

/// Parts of a segment this close are asked for as one.
const GAP_BYTES: u64 = 16 << 10;
/// Records of a page that are further apart than this are not side by side.
const SIDE_BY_SIDE_BYTES: u64 = 4 << 20;

/// A walk over the records of one leaf page of the record index after the other.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// The segment that the last records were in, if they are side by side.
    ahead: Option<(Arc<Segment>, Ahead)>,
    /// Where the last of them began.
    from: u64,
    brought: Vec<(Arc<Segment>, Parts)>,
}

impl Walk {
    /// Asks for the records of a leaf page, as far as they are not in memory, and lets go of those before.
    pub(crate) fn ask(&mut self, state: &State, entries: &[Entry]) {
        self.let_go();
        if let Some((place, part)) = only_part_of(live(entries)) {
            if let Some(segment) = state.table.get(place) {
                self.go_on(segment, &part);
            }
            return;
        }
        if !asks_for_pages() {
            return;
        }
        for (place, part) in parts_of(live(entries).collect()) {
            let Some(segment) = state.table.get(place) else { continue };
            let missing = segment.missing(part);
            if !missing.is_empty() {
                missing.iter().for_each(|part| segment.will_need(part));
                self.brought.push((Arc::clone(segment), missing));
            }
        }
    }

    /// Asks for the part and for what follows it in the segment: the next page's records are probably there.
    fn go_on(&mut self, segment: &Arc<Segment>, part: &Range<u64>) {
        let is_same = self.ahead.as_ref().is_some_and(|(last, _)| Arc::ptr_eq(last, segment));
        if !is_same || part.start < self.from {
            self.end_ahead();
        }
        self.from = part.start;
        let (_, ahead) = self.ahead.get_or_insert_with(|| (Arc::clone(segment), Ahead::default()));
        ahead.at(segment, part.start, part.end - part.start);
    }

    fn end_ahead(&mut self) {
        if let Some((segment, mut ahead)) = self.ahead.take() {
            ahead.end(&segment);
        }
    }

    fn let_go(&mut self) {
        for (segment, parts) in self.brought.drain(..) {
            parts.iter().for_each(|part| segment.let_go(part));
        }
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        self.end_ahead();
        self.let_go();
    }
}

fn live(entries: &[Entry]) -> impl Iterator<Item = Location> {
    entries.iter().filter_map(|entry| match entry.state() {
        EntryState::Live(location) => Some(location),
        EntryState::Free { .. } | EntryState::Retired => None,
    })
}

/// The part that holds these records, if they are side by side, in any order: the usual case after a load.
fn only_part_of(mut locations: impl Iterator<Item = Location>) -> Option<(u32, Range<u64>)> {
    let first = locations.next()?;
    let (mut begin, mut end, mut bytes) = (first.offset(), first.offset() + first.bytes(), first.bytes());
    for location in locations {
        begin = begin.min(location.offset());
        end = end.max(location.offset() + location.bytes());
        bytes += location.bytes();
        if location.place != first.place || end - begin > SIDE_BY_SIDE_BYTES {
            return None;
        }
    }
    (end - begin <= 2 * bytes + GAP_BYTES).then_some((first.place, begin..end))
}

/// The parts that hold these records, by segment, in order.
fn parts_of(mut locations: Vec<Location>) -> Vec<(u32, Range<u64>)> {
    locations.sort_unstable_by_key(|location| (location.place, location.offset()));
    let mut parts: Vec<(u32, Range<u64>)> = Vec::new();
    for location in locations {
        let (begin, end) = (location.offset(), location.offset() + location.bytes());
        match parts.last_mut().filter(|(place, part)| *place == location.place && begin <= part.end + GAP_BYTES) {
            Some((_, part)) => part.end = part.end.max(end),
            None => parts.push((location.place, begin..end)),
        }
    }
    parts
}

impl State {
    /// Asks for these records if the thread is known to wait for pages.
    pub(super) fn ask_if_short(&self, locations: &[Location]) {
        if asks_for_pages() {
            for location in locations {
                if let Some(segment) = self.table.get(location.place) {
                    segment.will_need(&(location.offset()..location.offset() + location.bytes()));
                }
            }
        }
    }
}
