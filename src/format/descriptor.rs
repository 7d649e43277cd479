//! Page descriptors: what a parent records about its child.
//!
//! ```text
//! 0         8                 12    16    20    24   26   28      32
//! +---------+-----------------+-----+-----+-----+----+----+-------+
//! | segment | offset granules | len |check| set |free|live| floor |
//! +---------+-----------------+-----+-----+-----+----+----+-------+
//! ```
//! Segment 0 means that the child was never written. If the highest bit of the length is set, the image is a patch, and
//! the place of its base follows.

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
    #[inline]
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

/// Bytes of a place: where an image is, and its checksum.
pub const PLACE_BYTES: usize = 20;

impl PageRef {
    /// Writes the place.
    fn encode(&self, bytes: &mut [u8; PLACE_BYTES]) {
        LittleEndian::write_u64(&mut bytes[..8], self.segment.0);
        LittleEndian::write_u32(&mut bytes[8..12], self.offset_granules);
        LittleEndian::write_u32(&mut bytes[12..16], self.bytes);
        LittleEndian::write_u32(&mut bytes[16..], self.check);
    }

    /// Reads a place, and whether its image is a patch.
    fn decode(bytes: &[u8; PLACE_BYTES]) -> Result<(Self, bool), Malformed> {
        let len = LittleEndian::read_u32(&bytes[12..16]);
        let (len, is_patch) = (len & !DESCRIPTOR_IS_PATCH, len & DESCRIPTOR_IS_PATCH != 0);
        if len > PAGE_IMAGE_BYTES_MAX {
            return Err(Malformed::new("page descriptor", "a length below 512 MiB", len));
        }
        let page = Self {
            segment: SegmentSeq(LittleEndian::read_u64(&bytes[..8])),
            offset_granules: LittleEndian::read_u32(&bytes[8..12]),
            bytes: len,
            check: LittleEndian::read_u32(&bytes[16..]),
        };
        Ok((page, is_patch))
    }
}

/// The next bytes of an image, and those behind them.
fn take<const BYTES: usize>(bytes: &[u8]) -> Result<(&[u8; BYTES], &[u8]), Malformed> {
    let short = || Malformed::new("page descriptor", format!("{BYTES} bytes"), bytes.len());
    bytes.split_first_chunk::<BYTES>().ok_or_else(short)
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
    /// The whole image.
    pub fn whole(&self) -> PageRef {
        self.base.unwrap_or(self.descriptor.page)
    }

    /// Writes the row.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut descriptor = self.descriptor;
        let mut place = [0; PLACE_BYTES];
        if let Some(base) = &self.base {
            descriptor.page.bytes |= DESCRIPTOR_IS_PATCH;
            base.encode(&mut place);
        }
        descriptor.encode(out);
        out.extend_from_slice(if self.base.is_some() { &place } else { &[] });
    }

    /// Reads the first of some rows, and returns the others.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (first, rest) = take::<DESCRIPTOR_BYTES>(bytes)?;
        if LittleEndian::read_u32(&first[12..16]) & DESCRIPTOR_IS_PATCH == 0 {
            return Ok((Self { descriptor: Descriptor::decode(first)?, base: None }, rest));
        }
        let mut first = *first;
        first[15] &= 0x7f;
        let (base, rest) = base_of(rest)?;
        Self { descriptor: Descriptor::decode(&first)?, base: Some(base) }.checked().map(|row| (row, rest))
    }

    fn checked(self) -> Result<Self, Malformed> {
        if self.base.is_some() && !(self.descriptor.page.is_written() && self.whole().is_written()) {
            return Err(Malformed::new("page descriptor", "a patch and its base", "one that was never written"));
        }
        Ok(self)
    }

    /// Reads all rows of a page.
    pub fn decode_all(mut bytes: &[u8]) -> Result<Vec<Self>, Malformed> {
        let mut rows = Vec::with_capacity(bytes.len() / DESCRIPTOR_BYTES);
        while !bytes.is_empty() {
            // Most rows are descriptors alone.
            while let Some((first, rest)) = bytes.split_first_chunk::<DESCRIPTOR_BYTES>()
                && first[15] & 0x80 == 0
            {
                rows.push(Self { descriptor: Descriptor::decode(first)?, base: None });
                bytes = rest;
            }
            if bytes.is_empty() {
                break;
            }
            let (row, rest) = Self::decode(bytes)?;
            rows.push(row);
            bytes = rest;
        }
        Ok(rows)
    }
}

/// Reads the place of a base, which is no patch itself.
fn base_of(bytes: &[u8]) -> Result<(PageRef, &[u8]), Malformed> {
    let (place, rest) = take::<PLACE_BYTES>(bytes)?;
    match PageRef::decode(place)? {
        (base, false) => Ok((base, rest)),
        (_, true) => Err(Malformed::new("page descriptor", "a base that is no patch", "a patch")),
    }
}

/// Bytes of the number in front of each row of a directory page's patch.
pub const ROW_NUMBER_BYTES: usize = 2;
/// Bit of that number: the base of the row is the whole image that the row before the patch names.
pub const ROW_HAS_SAME_BASE: u16 = 0x8000;
/// Bit of that number: set and floor are those of the row before the patch.
pub const ROW_HAS_SAME_SET: u16 = 0x4000;
/// Bytes of a place and two counts.
const COUNTED_BYTES: usize = PLACE_BYTES + 4;

/// Writes the patch of a directory page: the rows that have changed, each behind its number. `before` are the rows of
/// the base.
pub fn encode_directory_patch(changed: &[(u16, Row)], before: &[Row], out: &mut Vec<u8>) {
    out.clear();
    for (number, row) in changed {
        let (now, old) = (&row.descriptor, before.get(usize::from(*number)));
        let same_base = row.base.is_some() && row.base == old.map(Row::whole);
        let same_set = old.is_some_and(|old| (old.descriptor.set, old.descriptor.floor) == (now.set, now.floor));
        let flag = |is_set: bool, bit: u16| if is_set { bit } else { 0 };
        let number = number | flag(same_base, ROW_HAS_SAME_BASE) | flag(same_set, ROW_HAS_SAME_SET);
        out.extend_from_slice(&number.to_le_bytes());
        let (mut page, mut place) = (now.page, [0; PLACE_BYTES]);
        page.bytes |= if row.base.is_some() { DESCRIPTOR_IS_PATCH } else { 0 };
        page.encode(&mut place);
        out.extend_from_slice(&place);
        out.extend_from_slice(&now.free.to_le_bytes());
        out.extend_from_slice(&now.live.to_le_bytes());
        if !same_set {
            out.extend_from_slice(&now.set.to_le_bytes());
            out.extend_from_slice(&now.floor.to_le_bytes());
        }
        if let Some(base) = row.base.filter(|_| !same_base) {
            base.encode(&mut place);
            out.extend_from_slice(&place);
        }
    }
}

/// Reads the patch of a directory page whose base has these rows.
pub fn decode_directory_patch(mut bytes: &[u8], before: &[Row]) -> Result<Vec<(u16, Row)>, Malformed> {
    let mut changed: Vec<(u16, Row)> = Vec::new();
    while !bytes.is_empty() {
        let (number, rest) = take::<ROW_NUMBER_BYTES>(bytes)?;
        let flags = u16::from_le_bytes(*number);
        let number = flags & !(ROW_HAS_SAME_BASE | ROW_HAS_SAME_SET);
        let wrong = || Malformed::new("patch of a directory page", "numbers that ascend, of rows of the base", number);
        let is_in_order = changed.last().is_none_or(|(before, _)| *before < number);
        let old = before.get(usize::from(number));
        if !is_in_order || usize::from(number) >= DESCRIPTORS_PER_PAGE || (old.is_none() && flags != number) {
            return Err(wrong());
        }
        let (counted, mut rest) = take::<COUNTED_BYTES>(rest)?;
        let place = counted.first_chunk::<PLACE_BYTES>().ok_or_else(wrong)?;
        let (page, is_patch) = PageRef::decode(place)?;
        let (free, live) = (LittleEndian::read_u16(&counted[20..22]), LittleEndian::read_u16(&counted[22..]));
        let mut row = Row { descriptor: Descriptor { page, free, live, ..Descriptor::default() }, base: None };
        match old.filter(|_| flags & ROW_HAS_SAME_SET != 0) {
            Some(old) => (row.descriptor.set, row.descriptor.floor) = (old.descriptor.set, old.descriptor.floor),
            None => {
                let (both, behind) = take::<8>(rest)?;
                row.descriptor.set = LittleEndian::read_u32(&both[..4]);
                row.descriptor.floor = LittleEndian::read_u32(&both[4..]);
                rest = behind;
            }
        }
        match old.filter(|_| flags & ROW_HAS_SAME_BASE != 0) {
            Some(old) if is_patch => row.base = Some(old.whole()),
            Some(_) => return Err(wrong()),
            None if is_patch => {
                let (base, behind) = base_of(rest)?;
                (row.base, rest) = (Some(base), behind);
            }
            None => {}
        }
        changed.push((number, row.checked()?));
        bytes = rest;
    }
    Ok(changed)
}
