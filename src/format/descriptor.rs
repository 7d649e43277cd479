//! Page descriptors: what a parent records about its child.
//!
//! ```text
//! 0         8                 12    16    20    24   26   28      32
//! +---------+-----------------+-----+-----+-----+----+----+-------+
//! | segment | offset granules | len |check| set |free|live| floor |
//! +---------+-----------------+-----+-----+-----+----+----+-------+
//! ```
//! Segment 0 means that the child was never written. If the highest bit of the length is set, the image is a patch, and
//! the next descriptor is that of its base.

use byteorder::{ByteOrder, LittleEndian};

use crate::format::{GRANULE_BYTES, Malformed};
use crate::id::SegmentSeq;

/// Bytes of a descriptor.
pub const DESCRIPTOR_BYTES: usize = 32;
/// Descriptors of one directory page.
pub const DESCRIPTORS_PER_PAGE: usize = 128;
/// The longest page image: the root directory of 2^40 slots.
pub const PAGE_IMAGE_BYTES_MAX: u32 = 1 << 29;

/// Bit of a descriptor's length that says that the image is a patch.
pub const DESCRIPTOR_IS_PATCH: u32 = 1 << 31;

/// The location of a page image, and its checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageRef {
    /// The page segment; zero when the page was never written.
    pub segment: SegmentSeq,
    /// Offset in granules.
    pub offset_granules: u32,
    /// Bytes of the image.
    pub bytes: u32,
    /// CRC-32 of the image, seeded with its location.
    pub check: u32,
}

impl PageRef {
    /// Whether the page was written.
    pub fn is_written(&self) -> bool {
        self.segment.0 != 0
    }

    /// Offset in bytes.
    pub fn offset(&self) -> u64 {
        u64::from(self.offset_granules) * GRANULE_BYTES
    }
}

/// What a parent knows about a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Its location.
    pub page: PageRef,
    /// The set that owns its slots; zero if unassigned, and for directory pages.
    pub set: u32,
    /// Free slots.
    pub free: u16,
    /// Slots that hold a record.
    pub live: u16,
    /// A slot of the page whose record is deleted gets at least this count next.
    pub floor: u32,
}

impl Descriptor {
    /// Writes the descriptor.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut bytes = [0; DESCRIPTOR_BYTES];
        LittleEndian::write_u64(&mut bytes[..8], self.page.segment.0);
        LittleEndian::write_u32(&mut bytes[8..12], self.page.offset_granules);
        LittleEndian::write_u32(&mut bytes[12..16], self.page.bytes);
        LittleEndian::write_u32(&mut bytes[16..20], self.page.check);
        LittleEndian::write_u32(&mut bytes[20..24], self.set);
        LittleEndian::write_u16(&mut bytes[24..26], self.free);
        LittleEndian::write_u16(&mut bytes[26..28], self.live);
        LittleEndian::write_u32(&mut bytes[28..], self.floor);
        out.extend_from_slice(&bytes);
    }

    /// Reads a descriptor.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some(bytes) = bytes.get(..DESCRIPTOR_BYTES) else {
            return Err(Malformed::new("page descriptor", "32 bytes", bytes.len()));
        };
        let len = LittleEndian::read_u32(&bytes[12..16]);
        if len > PAGE_IMAGE_BYTES_MAX {
            return Err(Malformed::new("page descriptor", "a length below 512 MiB", len));
        }
        Ok(Self {
            page: PageRef {
                segment: SegmentSeq(LittleEndian::read_u64(&bytes[..8])),
                offset_granules: LittleEndian::read_u32(&bytes[8..12]),
                bytes: len,
                check: LittleEndian::read_u32(&bytes[16..20]),
            },
            set: LittleEndian::read_u32(&bytes[20..24]),
            free: LittleEndian::read_u16(&bytes[24..26]),
            live: LittleEndian::read_u16(&bytes[26..28]),
            floor: LittleEndian::read_u32(&bytes[28..]),
        })
    }
}

/// What a parent records about a child: a descriptor, and, if its image is a patch, the base of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The child; its image is the patch if there is a base.
    pub descriptor: Descriptor,
    /// The whole image below the patch.
    pub base: Option<PageRef>,
}

impl Row {
    /// Writes the row.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        self.descriptor.encode(out);
        let Some(base) = self.base else { return };
        // The highest byte of the length.
        if let Some(byte) = out.get_mut(begin + 15) {
            *byte |= 0x80;
        }
        Descriptor { page: base, ..Descriptor::default() }.encode(out);
    }

    /// Reads the first of some rows, and returns the others.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let incomplete = || Malformed::new("page descriptor", "32 bytes, or 64 of a patch", bytes.len());
        let (first, rest) = bytes.split_first_chunk::<DESCRIPTOR_BYTES>().ok_or_else(incomplete)?;
        if LittleEndian::read_u32(&first[12..16]) & DESCRIPTOR_IS_PATCH == 0 {
            return Ok((Self { descriptor: Descriptor::decode(first)?, base: None }, rest));
        }
        let mut first = *first;
        first[15] &= 0x7f;
        let (base, rest) = rest.split_first_chunk::<DESCRIPTOR_BYTES>().ok_or_else(incomplete)?;
        let (descriptor, base) = (Descriptor::decode(&first)?, Descriptor::decode(base)?.page);
        if !descriptor.page.is_written() || !base.is_written() {
            return Err(Malformed::new("page descriptor", "a patch and its base", "one that was never written"));
        }
        Ok((Self { descriptor, base: Some(base) }, rest))
    }

    /// Reads all rows of a page.
    pub fn decode_all(mut bytes: &[u8]) -> Result<Vec<Self>, Malformed> {
        let mut rows = Vec::with_capacity(bytes.len() / DESCRIPTOR_BYTES);
        while !bytes.is_empty() {
            let (row, rest) = Self::decode(bytes)?;
            rows.push(row);
            bytes = rest;
        }
        Ok(rows)
    }
}

/// Bytes of the number in front of each row of a directory page's patch.
pub const ROW_NUMBER_BYTES: usize = 2;

/// Writes the patch of a directory page: the rows that have changed, each behind its number.
pub fn encode_directory_patch(changed: &[(u16, Row)], out: &mut Vec<u8>) {
    out.clear();
    for (number, row) in changed {
        out.extend_from_slice(&number.to_le_bytes());
        row.encode(out);
    }
}

/// Reads the patch of a directory page.
pub fn decode_directory_patch(mut bytes: &[u8]) -> Result<Vec<(u16, Row)>, Malformed> {
    let mut changed: Vec<(u16, Row)> = Vec::new();
    while !bytes.is_empty() {
        let wrong = |got: usize| Malformed::new("patch of a directory page", "numbers that ascend, with rows", got);
        let (number, rest) = bytes.split_first_chunk::<ROW_NUMBER_BYTES>().ok_or_else(|| wrong(bytes.len()))?;
        let number = u16::from_le_bytes(*number);
        let is_in_order = changed.last().is_none_or(|(before, _)| *before < number);
        if !is_in_order || usize::from(number) >= DESCRIPTORS_PER_PAGE {
            return Err(wrong(number.into()));
        }
        let (row, rest) = Row::decode(rest)?;
        changed.push((number, row));
        bytes = rest;
    }
    Ok(changed)
}
