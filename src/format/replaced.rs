//! Replaced versions: where they were that a commit replaced or deleted.
//!
//! ```text
//! 0           8         16
//! +-----------+---------+-----------+---------+----
//! | slot,place| segment | slot,place| segment | ...
//! +-----------+---------+-----------+---------+----
//! ```
//! The slot has the upper 40 bits of its field, the place in granules the lower 24. Rows ascend by slot, over all items of a
//! frame, so that one of them is found without decoding the others.

use byteorder::{ByteOrder, LittleEndian};

use crate::format::entry::OFFSET_BITS;
use crate::format::frame::FrameBuilder;
use crate::format::item::{Kind, PAYLOAD_BYTES_MAX};
use crate::format::{GRANULE_BYTES, align};
use crate::id::{SLOT_END, SegmentSeq, to_u64};

/// Bytes of a row.
pub const REPLACED_BYTES: usize = 16;
/// Rows of the largest item.
const ROWS_MAX: usize = PAYLOAD_BYTES_MAX / REPLACED_BYTES;

const _: () = assert!(SLOT_END == 1 << (u64::BITS - OFFSET_BITS), "slot and place fill a field");

/// Where a version was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replaced {
    /// The slot of its record.
    pub slot: u64,
    /// The offset of its item.
    pub offset: u64,
    /// The segment.
    pub segment: SegmentSeq,
}

impl Replaced {
    /// Reads a row.
    pub fn decode(row: &[u8; REPLACED_BYTES]) -> Self {
        let (place, segment) = (LittleEndian::read_u64(&row[..8]), LittleEndian::read_u64(&row[8..]));
        let granules = place & ((1 << OFFSET_BITS) - 1);
        Self { slot: place >> OFFSET_BITS, offset: granules * GRANULE_BYTES, segment: SegmentSeq(segment) }
    }
}

/// Bytes that rows take in a frame, at most.
pub fn replaced_bytes(rows: usize) -> u64 {
    let items = to_u64(rows.div_ceil(ROWS_MAX));
    align(to_u64(rows) * to_u64(REPLACED_BYTES)) + items * 2 * GRANULE_BYTES
}

/// Adds rows, which ascend by slot, to a frame.
pub fn put_replaced(frame: &mut FrameBuilder, rows: &[Replaced]) {
    let mut payload = Vec::with_capacity(rows.len().min(ROWS_MAX) * REPLACED_BYTES);
    for part in rows.chunks(ROWS_MAX) {
        payload.clear();
        for row in part {
            payload.extend_from_slice(&((row.slot << OFFSET_BITS) | (row.offset / GRANULE_BYTES)).to_le_bytes());
            payload.extend_from_slice(&row.segment.0.to_le_bytes());
        }
        frame.control(Kind::Replaced, &payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::SEGMENT_BYTES_END;

    #[test]
    fn rows_come_back_from_as_many_items_as_they_need() {
        let row = |n: u64| Replaced { slot: n * 134_000_000, offset: 128 + n * 16, segment: SegmentSeq(n % 5) };
        let mut rows: Vec<Replaced> = (0..8_000).map(row).collect();
        rows.push(Replaced { slot: SLOT_END - 1, offset: SEGMENT_BYTES_END - 16, segment: SegmentSeq(u64::MAX) });
        let mut frame = FrameBuilder::new();
        let before = frame.bytes();
        put_replaced(&mut frame, &rows);
        assert!(frame.bytes() - before <= replaced_bytes(rows.len()));
        let (mut back, mut at) = (Vec::new(), before);
        while let Some(item) = frame.item_at(at) {
            assert_eq!(item.kind, Kind::Replaced as u8);
            back.extend(
                item.payload
                    .chunks_exact(REPLACED_BYTES)
                    .map(|row| Replaced::decode(row.first_chunk().expect("whole"))),
            );
            at += item.bytes();
        }
        assert_eq!((at, back), (frame.bytes(), rows));
    }
}
