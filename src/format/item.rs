//! Items: the contents of a frame. Records, and the logged effects beside them.
//!
//! ```text
//! 0        4      6      7       8          16         24
//! +--------+------+------+-------+----------+----------+=========+=====+
//! | check  | len  | kind | flags | id       | seq      | payload | pad |   record kinds (below 0x10)
//! +--------+------+------+-------+----------+----------+=========+=====+
//! | check  | len  | kind | flags | payload ...                   | pad |   control kinds
//! +--------+------+------+-------+-------------------------------+-----+
//! ```
//! The check is the CRC-32 of the payload, continued over the header after the check, with the seed of the item's
//! offset folded in between. So a payload is hashed once, before its place in the log is known.

use byteorder::{ByteOrder, LittleEndian};

use crate::format::entry::RECORD_BYTES_MAX;
use crate::format::{Checksums, GRANULE_BYTES, Malformed, align, checksum};
use crate::id::{RecordId, Seq, to_u64, to_usize};

/// Bytes before a record's payload.
pub const RECORD_HEADER_BYTES: usize = 24;
/// Bytes before a control item's payload.
pub const CONTROL_HEADER_BYTES: usize = 8;
/// Bytes of a check, with which each item starts.
const CHECK_BYTES: usize = 4;
/// Maximum length of an item's payload.
pub const PAYLOAD_BYTES_MAX: usize = 65_504;
/// Kinds below this one are records.
pub const FIRST_CONTROL_KIND: u8 = 0x10;
/// A reader may skip an unknown kind with this bit.
pub const MAY_SKIP: u8 = 0x80;
/// Flag of a record: its ID had a version before this commit.
pub(crate) const REPLACES: u8 = 1;
/// Flag of `Frees`: no application has deleted these records.
pub(crate) const UNASKED: u8 = 1;
/// Flag of a record or `Frees`: the frame has an earlier item of the ID, or of one of the IDs.
pub(crate) const AGAIN: u8 = 2;
/// All flags.
pub(crate) const FLAGS: u8 = REPLACES | UNASKED | AGAIN;

const _: () = assert!(
    align((RECORD_HEADER_BYTES + PAYLOAD_BYTES_MAX) as u64) <= RECORD_BYTES_MAX,
    "the largest record fits an entry's size"
);
const _: () = assert!(PAYLOAD_BYTES_MAX <= u16::MAX as usize, "the length has 16 bits");

/// The kind of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A record whose value is the payload.
    Record = 0x01,
    /// A record whose value is in chunks; the payload lists them.
    Head = 0x02,
    /// A part of a large value, or a list of parts; lives in the hidden set.
    Chunk = 0x03,
    /// The records that follow belong to this set: number u32.
    Run = 0x10,
    /// Index pages assigned to sets: (page u64, set u32)*.
    Pages = 0x11,
    /// Slots that are free again, with a higher count: (id u64)*.
    Frees = 0x12,
    /// Changes of one key index: index u32, then each change.
    IndexOps = 0x13,
    /// A new record set: number u32, name.
    CreateSet = 0x14,
    /// A light snapshot with a name.
    Mark = 0x15,
    /// Records that were copied: from segment u64, to segment u64, then each: slot, from, to, as differences.
    Moves = 0x16,
    /// The chunks of this frame wait for their head: stream u64.
    Stream = 0x17,
    /// The chunks of a stream have their head, or are gone: stream u64.
    StreamEnd = 0x18,
    /// A set was dropped, with its records, which later commits free: number u32.
    DropSet = 0x19,
    /// A new key index: whether it is complete u8, its definition.
    CreateIndex = 0x1a,
    /// A key index was dropped: number u32.
    DropIndex = 0x1b,
    /// A key index is complete and replaces another one, which is gone: number u32.
    PublishIndex = 0x1c,
    /// A light snapshot loses its name.
    DropMark = 0x1d,
    /// A set is renamed: number u32, name.
    RenameSet = 0x1e,
    /// All records of a dropped set were freed: number u32.
    EndSet = 0x1f,
    /// The next commit was written before its turn: its segment u64, its number u64.
    Prewritten = 0x20,
    /// What a consumer of the changes has acknowledged: commit u64, state u8, name.
    Consumer = 0x21,
    /// The application's own bytes about the commit.
    Metadata = 0x90,
    /// Where the versions were that the commit replaced or deleted: (slot and place u64, segment u64)*.
    Replaced = 0x91,
}

impl Kind {
    /// The kind of a byte; `None` if unknown.
    pub fn from_u8(raw: u8) -> Option<Self> {
        Some(match raw {
            0x01 => Self::Record,
            0x02 => Self::Head,
            0x03 => Self::Chunk,
            0x10 => Self::Run,
            0x11 => Self::Pages,
            0x12 => Self::Frees,
            0x13 => Self::IndexOps,
            0x14 => Self::CreateSet,
            0x15 => Self::Mark,
            0x16 => Self::Moves,
            0x17 => Self::Stream,
            0x18 => Self::StreamEnd,
            0x19 => Self::DropSet,
            0x1a => Self::CreateIndex,
            0x1b => Self::DropIndex,
            0x1c => Self::PublishIndex,
            0x1d => Self::DropMark,
            0x1e => Self::RenameSet,
            0x1f => Self::EndSet,
            0x20 => Self::Prewritten,
            0x21 => Self::Consumer,
            0x90 => Self::Metadata,
            0x91 => Self::Replaced,
            _ => return None,
        })
    }
}

/// Bytes before the payload of an item of this kind.
#[inline]
pub const fn header_bytes(kind: u8) -> usize {
    if kind < FIRST_CONTROL_KIND { RECORD_HEADER_BYTES } else { CONTROL_HEADER_BYTES }
}

/// Bytes that an item takes, padding included.
#[inline]
pub const fn item_bytes(kind: u8, payload: usize) -> u64 {
    align(to_u64(header_bytes(kind) + payload))
}

/// Appends an item whose check holds only the payload's CRC and whose seq is zero; `close_item` completes both. The
/// caller has checked the payload's length.
pub(crate) fn put_item(
    out: &mut Vec<u8>,
    checksums: &mut Checksums,
    (kind, flags): (Kind, u8),
    id: u64,
    payload: &[u8],
) {
    const PADDING: [u8; to_usize(GRANULE_BYTES)] = [0; to_usize(GRANULE_BYTES)];
    let mut header = [0_u8; RECORD_HEADER_BYTES];
    LittleEndian::write_u32(&mut header[..4], checksums.of(payload));
    LittleEndian::write_u16(&mut header[4..6], u16::try_from(payload.len()).unwrap_or(u16::MAX));
    (header[6], header[7]) = (kind as u8, flags);
    LittleEndian::write_u64(&mut header[8..16], id);
    out.reserve(RECORD_HEADER_BYTES + payload.len() + PADDING.len());
    if header_bytes(kind as u8) == RECORD_HEADER_BYTES {
        out.extend_from_slice(&header);
    } else {
        out.extend_from_slice(&header[..CONTROL_HEADER_BYTES]);
    }
    out.extend_from_slice(payload);
    let end = to_usize(align(to_u64(out.len())));
    // Adds a whole granule and then truncates: a constant size needs no function call.
    out.extend_from_slice(&PADDING);
    out.truncate(end);
}

/// Sets the seq of an item (records of a commit only) and its final check.
#[inline]
pub(crate) fn close_item(header: &mut [u8], checksums: &mut Checksums, seq: Option<Seq>, seed: u32) {
    let check = if let Some(header) = header.first_chunk_mut::<RECORD_HEADER_BYTES>() {
        if let Some(seq) = seq {
            LittleEndian::write_u64(&mut header[16..24], seq.0);
        }
        rest_check::<{ RECORD_HEADER_BYTES - CHECK_BYTES }>(header, checksums, seed)
    } else {
        rest_check::<{ CONTROL_HEADER_BYTES - CHECK_BYTES }>(header, checksums, seed)
    };
    if let Some(first) = header.first_chunk_mut() {
        *first = check.to_le_bytes();
    }
}

/// The check of a header: that of the payload, which it still starts with, continued over the rest.
#[inline]
fn rest_check<const REST: usize>(header: &[u8], checksums: &mut Checksums, seed: u32) -> u32 {
    let Some((check, rest)) = header.split_first_chunk::<CHECK_BYTES>() else { return 0 };
    let rest = rest.first_chunk::<REST>().copied().unwrap_or([0; REST]);
    checksums.seeded(u32::from_le_bytes(*check) ^ seed, rest)
}

/// An item in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// The kind's byte, known or not.
    pub kind: u8,
    /// Flags; see `FLAGS`.
    pub flags: u8,
    /// The record's ID as stored; zero for control items.
    pub raw_id: u64,
    /// The record's version; zero for control items.
    pub seq: Seq,
    /// The header as stored.
    pub header: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    check: u32,
}

impl<'a> Item<'a> {
    /// Parses the item at the beginning of `bytes`, which may continue after it.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let short = || Malformed::new("item", "a whole item", format!("{} bytes", bytes.len()));
        let prefix = bytes.get(..CONTROL_HEADER_BYTES).ok_or_else(short)?;
        let kind = prefix[6];
        if kind == 0 {
            return Err(Malformed::new("item", "a kind", "zero"));
        }
        let header = bytes.get(..header_bytes(kind)).ok_or_else(short)?;
        let len = usize::from(LittleEndian::read_u16(&prefix[4..6]));
        let payload = bytes.get(header.len()..header.len() + len).ok_or_else(short)?;
        let (raw_id, seq) = if header.len() == RECORD_HEADER_BYTES {
            (LittleEndian::read_u64(&header[8..16]), Seq(LittleEndian::read_u64(&header[16..24])))
        } else {
            (0, Seq::ZERO)
        };
        Ok(Self { kind, flags: prefix[7], raw_id, seq, header, payload, check: LittleEndian::read_u32(&prefix[..4]) })
    }

    /// Parses a record at the beginning of `bytes`; `None` for anything else, and for heads and chunks.
    #[inline]
    pub fn parse_record(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..RECORD_HEADER_BYTES)?;
        if header[6] != Kind::Record as u8 {
            return None;
        }
        let len = usize::from(LittleEndian::read_u16(&header[4..6]));
        let payload = bytes.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + len)?;
        let (raw_id, seq) = (LittleEndian::read_u64(&header[8..16]), Seq(LittleEndian::read_u64(&header[16..24])));
        let (kind, flags, check) = (header[6], header[7], LittleEndian::read_u32(&header[..4]));
        Some(Self { kind, flags, raw_id, seq, header, payload, check })
    }

    /// Parses a control item of this kind at the beginning of `bytes`; `None` for anything else.
    #[inline]
    pub(crate) fn parse_control(bytes: &'a [u8], kind: Kind) -> Option<Self> {
        let header = bytes.get(..CONTROL_HEADER_BYTES)?;
        if header[6] != kind as u8 {
            return None;
        }
        let len = usize::from(LittleEndian::read_u16(&header[4..6]));
        let payload = bytes.get(CONTROL_HEADER_BYTES..CONTROL_HEADER_BYTES + len)?;
        let (kind, flags, check) = (header[6], header[7], LittleEndian::read_u32(&header[..4]));
        Some(Self { kind, flags, raw_id: 0, seq: Seq::ZERO, header, payload, check })
    }

    /// Verifies header and payload for an item at the place of `seed`.
    #[inline]
    pub fn verify(&self, seed: u32) -> Result<(), Malformed> {
        let rest = self.header.get(4..).unwrap_or_default();
        let check = checksum(checksum(0, self.payload) ^ seed, rest);
        if check == self.check {
            Ok(())
        } else {
            Err(Malformed::new("checksum of an item", format!("{:08x}", self.check), format!("{check:08x}")))
        }
    }

    /// The same with what computes many checksums.
    #[inline]
    pub(crate) fn verify_with(&self, checksums: &mut Checksums, seed: u32) -> Result<(), Malformed> {
        let of_payload = checksums.of(self.payload) ^ seed;
        let check = if self.header.len() == RECORD_HEADER_BYTES {
            let rest = self.header.last_chunk::<{ RECORD_HEADER_BYTES - CHECK_BYTES }>();
            checksums.seeded(of_payload, rest.copied().unwrap_or_default())
        } else {
            let rest = self.header.last_chunk::<{ CONTROL_HEADER_BYTES - CHECK_BYTES }>();
            checksums.seeded(of_payload, rest.copied().unwrap_or_default())
        };
        if check == self.check {
            Ok(())
        } else {
            Err(Malformed::new("checksum of an item", format!("{:08x}", self.check), format!("{check:08x}")))
        }
    }

    /// The record's ID; an error if it is invalid.
    pub fn id(&self) -> Result<RecordId, Malformed> {
        RecordId::from_u64(self.raw_id).ok_or_else(|| Malformed::new("record header", "a record ID", self.raw_id))
    }

    /// Bytes that the item takes, padding included.
    #[inline]
    pub fn bytes(&self) -> u64 {
        align(to_u64(self.header.len() + self.payload.len()))
    }
}
