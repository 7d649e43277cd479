//! How many places are left for segments.
//!
//! Owns: the count. Never: gives a place; the segment table does.

use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::format::entry::PLACE_END;
use crate::heap::{Heap, Writer};
use crate::id::to_u64;

impl Heap {
    /// An error if not more than so many places are left for segments: then nothing is appended that could need one.
    #[inline]
    pub(crate) fn check_places(&self, kept_free: u64) -> Result<()> {
        if self.places_left.load(Ordering::Relaxed) > kept_free {
            return Ok(());
        }
        Err(Error::Exhausted { what: "place for a segment", limit: PLACE_END.into() })
    }

    /// As if other segments had all places but so many.
    #[cfg(test)]
    pub(crate) fn assume_places(&self, left: u32) {
        let mut writer = self.writer.lock();
        std::sync::Arc::make_mut(&mut writer.table).extend_to((PLACE_END - left) as usize);
        writer.free_places.clear();
        self.note_dirty(&writer);
    }
}

impl Writer {
    pub(super) fn places_left(&self) -> u64 {
        u64::from(PLACE_END).saturating_sub(to_u64(self.table.len())) + to_u64(self.free_places.len())
    }
}
