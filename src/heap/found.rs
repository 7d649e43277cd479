//! Whether an item of the log is the record that an entry points at.
//!
//! Owns: comparing IDs. Never: reads.

use crate::error::{Error, Result};
use crate::format::entry::Location;
use crate::format::item::{Item, Kind};
use crate::heap::{Found, Place};
use crate::id::RecordId;
use crate::log::Segment;

pub(super) fn found(segment: &Segment, slot: u64, location: Location, item: &Item<'_>, place: Place) -> Result<Found> {
    let damaged = |got: u64| {
        let expected = format!("a record in slot {slot}");
        Error::corrupt(segment.name(), location.offset(), "record header", expected, format!("ID {got:#x}"))
    };
    let id = RecordId::from_u64(item.raw_id).filter(|id| id.slot() == slot).ok_or_else(|| damaged(item.raw_id))?;
    if id.reuse_count() & 0xf != location.reuse_low || item.kind > Kind::Chunk as u8 {
        return Err(damaged(item.raw_id));
    }
    Ok(Found { id, seq: item.seq, is_head: item.kind == Kind::Head as u8, place })
}
