//! The number of places left for segments.
//!
//! Owns: the count. Never: assigns a place; the segment table does.

use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::format::entry::PLACE_END;
use crate::heap::{Heap, Writer};
use crate::id::to_u64;

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
