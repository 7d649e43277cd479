//! The number of places left for segments.
//!
//! Owns: the count, and which place is next. Never: looks into a segment.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::format::entry::PLACE_END;
use crate::heap::{Heap, Writer};
use crate::id::to_u64;
use crate::log::Segment;

impl Heap {
    /// Fails if no more than this many places are left: then nothing is appended that could need one.
    #[inline]
    pub(crate) fn check_places(&self, kept_free: u64) -> Result<()> {
        if self.places_left.load(Ordering::Relaxed) > kept_free {
            return Ok(());
        }
        Err(Error::Exhausted { what: "place for a segment", limit: PLACE_END.into() })
    }

    /// Pretends that other segments have all places but this many.
    #[cfg(test)]
    pub(crate) fn assume_places(&self, left: u32) {
        let mut writer = self.writer.lock();
        Arc::make_mut(&mut writer.table).extend_to((PLACE_END - left) as usize);
        writer.free_places.clear();
        self.note_dirty(&writer);
    }
}

impl Writer {
    /// A place without a segment, which nothing else takes from now on.
    pub(super) fn take_place(&mut self) -> Result<u32> {
        if let Some(place) = self.free_places.pop() {
            return Ok(place);
        }
        let place = u32::try_from(self.table.len()).unwrap_or(PLACE_END);
        if place >= PLACE_END {
            return Err(Error::Exhausted { what: "place for a segment", limit: PLACE_END.into() });
        }
        Arc::make_mut(&mut self.table).extend_to(place as usize + 1);
        Ok(place)
    }

    /// Registers a segment at a place that was taken.
    pub(super) fn put_at(&mut self, place: u32, segment: &Arc<Segment>) {
        Arc::make_mut(&mut self.table).set(place, Some(segment));
        self.by_number.insert(segment.number(), place);
        self.table_changed = true;
    }

    pub(super) fn places_left(&self) -> u64 {
        u64::from(PLACE_END).saturating_sub(to_u64(self.table.len())) + to_u64(self.free_places.len())
    }
}
