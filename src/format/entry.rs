//! The entry of the record index: eight bytes with the location of a slot's newest version.
//!
//! ```text
//!  63 62 61    58 57      46 45            24 23             0
//! +-----+--------+----------+----------------+----------------+
//! |state| reuse  | granules | place          | offset         |   live
//! |     | 4 bits | - 1      | 22 bits        | in granules    |
//! +-----+--------+----------+----------------+----------------+
//! |state| 0                                  | next count     |   free, retired
//! +-----+------------------------------------+----------------+
//! ```
//! An entry of zero is a slot that was never used.

use crate::format::GRANULE_BYTES;
use crate::id::{low_u32, reuse_max};

/// Entries of one index page.
pub const ENTRIES_PER_PAGE: usize = 512;
/// Bits for a place in the segment table.
pub const PLACE_BITS: u32 = 22;
/// Bits for the offset in granules.
pub const OFFSET_BITS: u32 = 24;
/// Bits for the size in granules, minus one.
pub const SIZE_BITS: u32 = 12;
/// Low bits of the reuse count stored in an entry.
pub const REUSE_LOW_BITS: u32 = 4;
/// One more than the highest place.
pub const PLACE_END: u32 = 1 << PLACE_BITS;
/// Bytes that an offset can address within a segment.
pub const SEGMENT_BYTES_END: u64 = GRANULE_BYTES << OFFSET_BITS;
/// The largest stored record, header included, in bytes.
pub const RECORD_BYTES_MAX: u64 = GRANULE_BYTES << SIZE_BITS;

const STATE_SHIFT: u32 = 62;
const REUSE_SHIFT: u32 = OFFSET_BITS + PLACE_BITS + SIZE_BITS;
const SIZE_SHIFT: u32 = OFFSET_BITS + PLACE_BITS;
const _: () = assert!(REUSE_SHIFT + REUSE_LOW_BITS == STATE_SHIFT, "the fields fill the entry");

/// A raw entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry(pub u64);

/// A decoded entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The newest version is at a location.
    Live(Location),
    /// The slot is free, with this next reuse count.
    Free {
        /// The count that the next record in this slot gets.
        next_count: u32,
    },
    /// The reuse counts are exhausted.
    Retired,
}

/// The location of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Place in the segment table.
    pub place: u32,
    /// Offset within the segment, in granules.
    pub offset_granules: u32,
    /// Size with header and padding, in granules, from 1.
    pub granules: u32,
    /// Low bits of the reuse count.
    pub reuse_low: u32,
}

impl Location {
    /// Offset in bytes.
    #[inline]
    pub fn offset(self) -> u64 {
        u64::from(self.offset_granules) * GRANULE_BYTES
    }

    /// Size in bytes, with header and padding.
    #[inline]
    pub fn bytes(self) -> u64 {
        u64::from(self.granules) * GRANULE_BYTES
    }
}

impl Entry {
    /// A slot that was never used.
    pub const NEVER: Self = Self(0);

    /// A live entry; `None` if a field does not fit.
    pub fn live(place: u32, offset: u64, bytes: u64, reuse_count: u32) -> Option<Self> {
        let granules = bytes.div_ceil(GRANULE_BYTES);
        let fits = place < PLACE_END
            && offset.is_multiple_of(GRANULE_BYTES)
            && offset < SEGMENT_BYTES_END
            && (1..=(1 << SIZE_BITS)).contains(&granules);
        fits.then(|| {
            Self(
                (1 << STATE_SHIFT)
                    | (u64::from(reuse_count & ((1 << REUSE_LOW_BITS) - 1)) << REUSE_SHIFT)
                    | ((granules - 1) << SIZE_SHIFT)
                    | (u64::from(place) << OFFSET_BITS)
                    | (offset / GRANULE_BYTES),
            )
        })
    }

    /// The entry of a slot that was used with `count` and is free again: the next count, or retired.
    pub fn freed_after(count: u32) -> Self {
        if count >= reuse_max() { Self(3 << STATE_SHIFT) } else { Self((2 << STATE_SHIFT) | u64::from(count + 1)) }
    }

    /// Decodes the entry. Every bit pattern is valid.
    #[inline]
    pub fn state(self) -> State {
        match self.0 >> STATE_SHIFT {
            1 => State::Live(Location {
                place: low_u32(self.0 >> OFFSET_BITS) & (PLACE_END - 1),
                offset_granules: low_u32(self.0) & ((1 << OFFSET_BITS) - 1),
                granules: (low_u32(self.0 >> SIZE_SHIFT) & ((1 << SIZE_BITS) - 1)) + 1,
                reuse_low: low_u32(self.0 >> REUSE_SHIFT) & ((1 << REUSE_LOW_BITS) - 1),
            }),
            2 => State::Free { next_count: (low_u32(self.0) & ((1 << 24) - 1)).max(1) },
            0 => State::Free { next_count: 1 },
            _ => State::Retired,
        }
    }

    /// Whether the slot has a record.
    #[inline]
    pub fn is_live(self) -> bool {
        self.0 >> STATE_SHIFT == 1
    }

    /// Whether the slot is free.
    #[inline]
    pub fn is_free(self) -> bool {
        matches!(self.0 >> STATE_SHIFT, 0 | 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_entries_keep_their_fields() {
        let entry = Entry::live(PLACE_END - 1, SEGMENT_BYTES_END - 16, RECORD_BYTES_MAX, 0x17).expect("fits");
        let State::Live(location) = entry.state() else { panic!("not live") };
        assert_eq!((location.place, location.offset()), (PLACE_END - 1, SEGMENT_BYTES_END - 16));
        assert_eq!((location.bytes(), location.reuse_low), (RECORD_BYTES_MAX, 7));
        assert_eq!(Entry::live(PLACE_END, 0, 16, 1), None);
        assert_eq!(Entry::live(0, SEGMENT_BYTES_END, 16, 1), None);
        assert_eq!(Entry::live(0, 8, 16, 1), None);
        assert_eq!(Entry::live(0, 0, RECORD_BYTES_MAX + 1, 1), None);
        assert_eq!(Entry::live(0, 0, 0, 1), None);
    }

    #[test]
    fn a_used_up_count_retires_the_slot() {
        assert_eq!(Entry::freed_after(1).state(), State::Free { next_count: 2 });
        assert_eq!(Entry::freed_after(reuse_max()).state(), State::Retired);
        assert_eq!(Entry::NEVER.state(), State::Free { next_count: 1 });
    }
}
