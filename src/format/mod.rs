//! Bytes and values: every layout of the files, and nothing else.
//!
//! Owns: layouts, constants, checksums. `docs/file-format.md` describes them; a test compares the two. Never: does I/O,
//! reads a clock, or panics on any input.
//! Invariants: 1. Tag and kind 0 are never valid, so zeros never decode.
//! 2. Every length is checked against the available bytes before it is used.
//! 3. All integers are little-endian.

pub mod descriptor;
pub mod entry;
pub mod frame;
pub mod index;
pub mod item;
pub mod manifest;
pub mod moves;
pub mod node;
pub mod node_patch;
pub mod page_patch;
pub mod replaced;
pub mod segment;
pub mod value;

pub use frame::Frame;

use byteorder::{ByteOrder, LittleEndian};
use crc32fast::Hasher;

use crate::id::SegmentSeq;

/// Records and frames start at multiples of this many bytes.
pub const GRANULE_BYTES: u64 = 16;
/// Bytes of an index page.
pub const PAGE_BYTES: usize = 4096;
/// Format version that this code writes and reads.
pub const FORMAT_VERSION: u16 = 2;

/// `bytes` rounded up to whole granules.
#[inline]
pub const fn align(bytes: u64) -> u64 {
    (bytes + (GRANULE_BYTES - 1)) & !(GRANULE_BYTES - 1)
}

/// Mixes the bits of a number (the finaliser of `SplitMix64`, Steele et al. 2014).
#[inline]
pub(crate) const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The seed of every checksum in one segment, so that a block of another store, segment or offset is never valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The seed of a segment.
    pub fn new(uuid: [u8; 16], segment: SegmentSeq) -> Self {
        let (low, high) = (LittleEndian::read_u64(&uuid[..8]), LittleEndian::read_u64(&uuid[8..]));
        Self(mix(mix(low ^ mix(high)).wrapping_add(segment.0)))
    }

    /// The 32 bits for a block at `offset`.
    #[inline]
    pub fn at(self, offset: u64) -> u32 {
        crate::id::low_u32(mix(self.0 ^ offset) >> 32)
    }
}

/// CRC-32 of `bytes`, seeded.
#[inline]
pub fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// Computes many checksums. The processor's features are queried once for all of them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Checksums {
    hasher: Hasher,
}

impl Checksums {
    /// CRC-32 of `bytes`, with the seed zero.
    #[inline]
    pub(crate) fn of(&mut self, bytes: &[u8]) -> u32 {
        self.hasher.reset();
        self.hasher.update(bytes);
        self.hasher.clone().finalize()
    }

    /// For one checksum over several parts.
    #[inline]
    pub(crate) fn begin(&self) -> Hasher {
        let mut hasher = self.hasher.clone();
        hasher.reset();
        hasher
    }

    /// CRC-32 of bytes, seeded. A seed is equivalent to different first bytes, of which there are enough here.
    #[inline]
    pub(crate) fn seeded<const LEN: usize>(&mut self, seed: u32, mut bytes: [u8; LEN]) -> u32 {
        const { assert!(LEN >= 4, "a seed has four bytes") };
        let first = LittleEndian::read_u32(&bytes[..4]);
        LittleEndian::write_u32(&mut bytes[..4], first ^ seed);
        self.of(&bytes)
    }
}

/// Why bytes are not what they should be. The layers above add the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// What was being read.
    pub what: &'static str,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub got: String,
    /// Whether the bytes are valid, but written by a later version.
    pub unsupported: bool,
}

impl Malformed {
    #[expect(clippy::needless_pass_by_value, reason = "callers pass what they have just created")]
    pub(crate) fn new(what: &'static str, expected: impl ToString, got: impl ToString) -> Self {
        Self { what, expected: expected.to_string(), got: got.to_string(), unsupported: false }
    }

    /// Bytes with valid checksums that this version does not understand.
    pub(crate) fn unsupported(what: &'static str, expected: impl ToString, got: impl ToString) -> Self {
        Self { unsupported: true, ..Self::new(what, expected, got) }
    }

    /// The error for a file and offset.
    pub(crate) fn at(self, file: &str, offset: u64) -> crate::error::Error {
        if self.unsupported {
            let Self { what, expected: supported, got, .. } = self;
            return crate::error::Error::Unsupported { file: file.to_owned(), what, got, supported };
        }
        crate::error::Error::corrupt(file, offset, self.what, self.expected, self.got)
    }
}

/// Reads fields one after another; never beyond the end.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    pub(crate) rest: &'a [u8],
    what: &'static str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let split = self.rest.split_at_checked(len);
        let (head, rest) =
            split.ok_or_else(|| Malformed::new(self.what, format!("{len} more bytes"), self.rest.len()))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.take(2).map(LittleEndian::read_u16)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.take(4).map(LittleEndian::read_u32)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.take(8).map(LittleEndian::read_u64)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// A count of items of at least `each` bytes: rejected if the remaining bytes cannot hold them.
    pub(crate) fn count(&mut self, each: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        if count.saturating_mul(each) > self.rest.len() {
            return Err(Malformed::new(self.what, format!("{count} items of {each} bytes"), self.rest.len()));
        }
        Ok(count)
    }

    /// A UTF-8 string after its 16-bit length.
    pub(crate) fn text(&mut self) -> Result<String, Malformed> {
        let len = usize::from(self.u16()?);
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| Malformed::new(self.what, "UTF-8", error))
    }
}

pub(crate) fn put_u16(out: &mut Vec<u8>, value: u16) {
    let mut bytes = [0; 2];
    LittleEndian::write_u16(&mut bytes, value);
    out.extend_from_slice(&bytes);
}

pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    let mut bytes = [0; 4];
    LittleEndian::write_u32(&mut bytes, value);
    out.extend_from_slice(&bytes);
}

pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    let mut bytes = [0; 8];
    LittleEndian::write_u64(&mut bytes, value);
    out.extend_from_slice(&bytes);
}

/// Writes a string after its 16-bit length; a longer one is truncated, so callers check names first.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    put_u16(out, len);
    out.extend(bytes.iter().take(usize::from(len)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_the_same_as_other_first_bytes() {
        let mut checksums = Checksums::default();
        let bytes: [u8; 20] = std::array::from_fn(|index| u8::try_from(index * 7).unwrap());
        for seed in [0, 1, 0x8000_0000, 0x1234_5678, u32::MAX] {
            assert_eq!(checksums.seeded(seed, bytes), checksum(seed, &bytes));
            assert_eq!(checksums.seeded(seed, [1, 2, 3, 4]), checksum(seed, &[1, 2, 3, 4]));
        }
        assert_eq!(checksums.of(&bytes), checksum(0, &bytes));
        let mut begun = checksums.begin();
        bytes.chunks(7).for_each(|part| begun.update(part));
        assert_eq!(begun.finalize(), checksum(0, &bytes));
    }
}
