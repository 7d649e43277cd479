//! Identities: record IDs, commit numbers, set numbers, and places.
//!
//! Owns: the newtypes and the one door by which each is made from its parts and taken apart.
//! Never: reads or writes bytes on disk; that is `format`'s.
//! Invariants: 1. A `RecordId` is never zero, because reuse counts begin at 1.
//! 2. IDs sort by slot first, so ID order is the order of the record index.

#[cfg(feature = "serde")]
mod with_serde;

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use crate::planted;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("Tenure maps whole segments and needs a 64-bit target");

/// Bits of the reuse count in a [`RecordId`].
pub const REUSE_BITS: u32 = 24;
/// Bits of the slot number in a [`RecordId`].
pub const SLOT_BITS: u32 = 40;
/// One more than the highest slot.
pub const SLOT_END: u64 = 1 << SLOT_BITS;
/// The highest reuse count; a slot that has reached it is retired when its record is deleted.
pub const REUSE_MAX: u32 = (1 << REUSE_BITS) - 1;

/// The same, or fewer in a process that asked for a narrow count.
#[inline]
pub(crate) fn reuse_max() -> u32 {
    if planted::is_reuse_narrow() { planted::REUSE_MAX_NARROW } else { REUSE_MAX }
}

/// The ID of a record, assigned once and valid for its lifetime. It never refers to another record, even after a delete.
///
/// Forty bits are the slot in the record index, twenty-four count how often the slot was used. A slot whose
/// count would wrap is retired.
///
/// It prints and parses as `slot.count`. With the feature `serde` it is written as this text where people read the format, and
/// as a number elsewhere.
///
/// ```
/// let id: tenure::RecordId = "12.1".parse().unwrap();
/// assert_eq!((id.slot(), id.reuse_count()), (12, 1));
/// assert_eq!(id.to_string(), "12.1");
/// assert_eq!(tenure::RecordId::from_u64(id.as_u64()), Some(id));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(NonZeroU64);

impl RecordId {
    /// The first possible ID, as a placeholder for a value whose record has none yet.
    pub(crate) const FIRST: Self = Self(NonZeroU64::MIN);

    /// An ID from its parts; `None` if a part is out of range.
    #[inline]
    pub fn from_parts(slot: u64, reuse_count: u32) -> Option<Self> {
        if slot >= SLOT_END || reuse_count == 0 || reuse_count > reuse_max() {
            return None;
        }
        NonZeroU64::new((slot << REUSE_BITS) | u64::from(reuse_count)).map(Self)
    }

    /// An ID from the number returned by [`as_u64`](Self::as_u64); `None` if it is not one.
    #[inline]
    pub fn from_u64(raw: u64) -> Option<Self> {
        Self::from_parts(raw >> REUSE_BITS, low_u32(raw & ((1 << REUSE_BITS) - 1)))
    }

    /// The ID as a number, for use inside records and other systems.
    #[inline]
    pub fn as_u64(self) -> u64 {
        self.0.get()
    }

    /// The slot of the record index, from 0.
    #[inline]
    pub fn slot(self) -> u64 {
        self.0.get() >> REUSE_BITS
    }

    /// How often the slot was assigned, from 1.
    #[inline]
    pub fn reuse_count(self) -> u32 {
        low_u32(self.0.get() & ((1 << REUSE_BITS) - 1))
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot(), self.reuse_count())
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordId({self})")
    }
}

/// The text is not a record ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a record ID: write it as SLOT.COUNT, for example 12.1")]
pub struct ParseIdError {
    text: String,
}

impl FromStr for RecordId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let parsed = text.split_once('.').and_then(|(slot, count)| {
            let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(slot) || !digits(count) {
                return None;
            }
            Self::from_parts(slot.parse().ok()?, count.parse().ok()?)
        });
        parsed.ok_or_else(|| ParseIdError { text: text.chars().take(64).collect() })
    }
}

/// A position in commit order, and the version of each record that the commit wrote. The first commit is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first commit.
    pub const ZERO: Self = Self(0);

    /// The commit after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a record set within its store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetNumber(pub u32);

impl SetNumber {
    /// The hidden set that holds the chunks of large values.
    pub const CHUNKS: Self = Self(1);
    /// The first number that a user's set can have.
    pub const FIRST_USER: Self = Self(16);
}

impl fmt::Display for SetNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a key index within its store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexNumber(pub u32);

impl fmt::Display for IndexNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The sequence number of a segment: never used twice in a store, and part of the file's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentSeq(pub u64);

impl fmt::Display for SegmentSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A count or offset as an index into memory. The target has 64 bits, so this is lossless.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits: checked at compile time above")]
pub const fn to_usize(value: u64) -> usize {
    value as usize
}

/// A length in memory as a number of the file format.
#[inline]
pub const fn to_u64(value: usize) -> u64 {
    value as u64
}

/// The low 32 bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the caller wants the low bits")]
pub const fn low_u32(value: u64) -> u32 {
    value as u32
}

/// The low 16 bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the caller wants the low bits")]
pub const fn low_u16(value: u64) -> u16 {
    value as u16
}

/// The low 8 bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the caller wants the low bits")]
pub const fn low_byte(value: u64) -> u8 {
    value as u8
}

/// Hashes numbers that the store itself assigns: IDs, pages, slots. No attacker chooses them, so a
/// multiplication is enough.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NumberHasher(u64);

impl std::hash::Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }
}

/// Builds [`NumberHasher`]s.
pub(crate) type NumberHash = std::hash::BuildHasherDefault<NumberHasher>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_out_of_range_are_refused() {
        assert_eq!(RecordId::from_parts(0, 0), None);
        assert_eq!(RecordId::from_parts(SLOT_END, 1), None);
        assert_eq!(RecordId::from_parts(1, reuse_max() + 1), None);
        assert_eq!(RecordId::from_u64(0), None);
        assert!(RecordId::from_parts(SLOT_END - 1, reuse_max()).is_some());
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        for text in ["", ".", "1", "1.", ".1", "+1.1", "1.0", "1.1.1", "99999999999999999999.1", "1 .1"] {
            assert!(text.parse::<RecordId>().is_err(), "{text:?} parsed");
        }
    }
}
