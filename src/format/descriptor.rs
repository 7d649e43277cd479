//! Page descriptors: what a parent records about its child.
//!
//! ```text
//! 0         8                 12    16    20    24   26   28      32
//! +---------+-----------------+-----+-----+-----+----+----+-------+
//! | segment | offset granules | len |check| set |free|live| floor |
//! +---------+-----------------+-----+-----+-----+----+----+-------+
//! ```
//! Segment 0 means that the child was never written.

use byteorder::{ByteOrder, LittleEndian};

use crate::format::{GRANULE_BYTES, Malformed};
use crate::id::SegmentSeq;

/// Bytes of a descriptor.
pub const DESCRIPTOR_BYTES: usize = 32;
/// Descriptors of one directory page.
pub const DESCRIPTORS_PER_PAGE: usize = 128;
/// The longest page image: the root directory of 2^40 slots.
pub const PAGE_IMAGE_BYTES_MAX: u32 = 1 << 29;

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
