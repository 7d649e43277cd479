//! Where a commit says where the versions were that it replaced or deleted.
//!
//! Owns: finding the row of a record without decoding the others. Never: reads what is at the place.

use crate::error::Result;
use crate::format::replaced::{REPLACED_BYTES, Replaced};
use crate::id::to_u64;
use crate::log::Segment;

/// An item with places: its first slot, where its rows are, and how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    first: u64,
    at: u64,
    pub(super) count: u64,
}

impl Rows {
    /// Those of an item with this payload, at this offset of its segment; `None` if they are not such rows.
    pub(super) fn new(payload: &[u8], at: u64) -> Option<Self> {
        let first = Replaced::decode(payload.first_chunk()?).slot;
        let count = to_u64(payload.len() / REPLACED_BYTES);
        payload.len().is_multiple_of(REPLACED_BYTES).then_some(Self { first, at, count })
    }
}

/// The row of a slot, in items that ascend by slot.
pub(super) fn row_of(all: &[Rows], segment: &Segment, slot: u64) -> Result<Option<Replaced>> {
    let before = all.partition_point(|rows| rows.first <= slot);
    let Some(rows) = before.checked_sub(1).and_then(|index| all.get(index)) else { return Ok(None) };
    let (mut low, mut high) = (0, rows.count);
    while low < high {
        let middle = low + (high - low) / 2;
        let bytes = segment.read(rows.at + middle * to_u64(REPLACED_BYTES), to_u64(REPLACED_BYTES))?;
        let Some(row) = bytes.first_chunk().map(Replaced::decode) else { return Ok(None) };
        match row.slot.cmp(&slot) {
            std::cmp::Ordering::Equal => return Ok(Some(row)),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    Ok(None)
}
