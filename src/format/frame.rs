//! Frames: one committed transaction, one batch of survivors, or one note of the log about itself.
//!
//! ```text
//! 0      4            8            12       16   17    18   19    20      24    32
//! +------+------------+------------+--------+----+-----+----+-----+-------+-----+---------+
//! | tag  | head check | body check | length |kind|flags|part|parts| items | seq | durable |
//! +------+------------+------------+--------+----+-----+----+-----+-------+-----+---------+
//! | timeline  40 | time  48 | move number  56 | items ...
//! +--------------+----------+-----------------+-----------
//! ```
//! The head check covers the header after it; the body check covers the headers of all items, which contain the checks
//! of their payloads. A frame with valid checks is committed.

use byteorder::{ByteOrder, LittleEndian};

use crate::format::entry::SEGMENT_BYTES_END;
use crate::format::item::{
    CONTROL_HEADER_BYTES, Item, Kind, RECORD_HEADER_BYTES, close_item, header_bytes, item_bytes, put_item,
};
use crate::format::{Checksums, GRANULE_BYTES, Malformed, Seed, checksum};
use crate::id::{RecordId, Seq, low_u32, to_u64, to_usize};
use crc32fast::Hasher;

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 64;
/// First four bytes of a frame: `TnFr`.
pub const FRAME_TAG: u32 = 0x7246_6e54;
/// `move_number` of a commit that recovery copied to a new timeline.
pub const COPIED: u64 = 1;
/// `move_number` of a commit that was written before its turn: it counts only if the commit before it names it.
pub const PREWRITTEN: u64 = 2;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// A committed transaction; takes the next `Seq`.
    Commit = 1,
    /// Records that the collector moved; takes no `Seq`.
    Survivors = 2,
    /// Only records what is durable.
    Watermark = 3,
    /// Nothing follows in this segment.
    Seal = 4,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame is.
    pub kind: FrameKind,
    /// Its commit number; for other kinds, that of the last commit before it.
    pub seq: Seq,
    /// Every commit up to this one was proven durable when the frame was written.
    pub durable: Seq,
    /// The timeline.
    pub timeline: u64,
    /// When it was written: microseconds since 1970. Not used for ordering.
    pub time_micros: u64,
    /// Survivors: number of the batch. Commits: [`COPIED`], [`PREWRITTEN`] or zero. Otherwise zero.
    pub move_number: u64,
    /// Bytes with header and items.
    pub bytes: u32,
    /// Number of items.
    pub items: u32,
    body_check: u32,
}

impl FrameHeader {
    /// Reads a header at `offset` of a segment.
    pub fn parse(bytes: &[u8], seed: Seed, offset: u64) -> Result<Self, Malformed> {
        Self::check(bytes, seed, offset)?;
        Self::parse_checked(bytes)
    }

    /// Checks the tag and the checksum of a header at `offset` of a segment.
    pub(crate) fn check(bytes: &[u8], seed: Seed, offset: u64) -> Result<(), Malformed> {
        let short = || Malformed::new("frame header", "64 bytes", bytes.len());
        let header = bytes.get(..FRAME_HEADER_BYTES).ok_or_else(short)?;
        let tag = LittleEndian::read_u32(&header[..4]);
        if tag != FRAME_TAG {
            return Err(Malformed::new("frame header", "the frame tag", format!("{tag:08x}")));
        }
        let (stored, computed) = (LittleEndian::read_u32(&header[4..8]), checksum(seed.at(offset), &header[8..]));
        if stored != computed {
            return Err(Malformed::new("frame header", format!("check {stored:08x}"), format!("{computed:08x}")));
        }
        Ok(())
    }

    /// Reads a header that was checked.
    #[inline]
    pub(crate) fn parse_checked(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some(header) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Err(Malformed::new("frame header", "64 bytes", bytes.len()));
        };
        let length = LittleEndian::read_u32(&header[12..16]);
        let granules_fit = u64::from(length).is_multiple_of(GRANULE_BYTES);
        if !granules_fit || to_u64(FRAME_HEADER_BYTES) > u64::from(length) || u64::from(length) > SEGMENT_BYTES_END {
            return Err(Malformed::new("frame header", "a length of whole granules", length));
        }
        let kind = match header[16] {
            1 => FrameKind::Commit,
            2 => FrameKind::Survivors,
            3 => FrameKind::Watermark,
            4 => FrameKind::Seal,
            other => return Err(Malformed::unsupported("frame kind", "1 to 4", other)),
        };
        if header[18] != 0 || header[19] != 1 {
            let got = format!("{} of {}", header[18], header[19]);
            return Err(Malformed::unsupported("part of a transaction", "0 of 1", got));
        }
        Ok(Self {
            kind,
            seq: Seq(LittleEndian::read_u64(&header[24..32])),
            durable: Seq(LittleEndian::read_u64(&header[32..40])),
            timeline: LittleEndian::read_u64(&header[40..48]),
            time_micros: LittleEndian::read_u64(&header[48..56]),
            move_number: LittleEndian::read_u64(&header[56..64]),
            bytes: length,
            items: LittleEndian::read_u32(&header[20..24]),
            body_check: LittleEndian::read_u32(&header[8..12]),
        })
    }
}

/// What the log adds to a frame when it appends it.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// See [`FrameHeader`].
    pub kind: FrameKind,
    /// See [`FrameHeader`].
    pub seq: Seq,
    /// See [`FrameHeader`].
    pub durable: Seq,
    /// See [`FrameHeader`].
    pub timeline: u64,
    /// See [`FrameHeader`].
    pub time_micros: u64,
    /// See [`FrameHeader`].
    pub move_number: u64,
}

/// Collects items; `seal` completes the frame once its place is known.
#[derive(Debug, Clone)]
pub struct FrameBuilder {
    bytes: Vec<u8>,
    items: u32,
    checksums: Checksums,
}

impl Default for FrameBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameBuilder {
    /// An empty frame.
    pub fn new() -> Self {
        Self { bytes: vec![0; FRAME_HEADER_BYTES], items: 0, checksums: Checksums::default() }
    }

    /// Empties the frame and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(FRAME_HEADER_BYTES, 0);
        self.items = 0;
    }

    /// Bytes allocated.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether it has no items.
    pub fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// The current length, to roll back to.
    pub fn mark(&self) -> (usize, u32) {
        (self.bytes.len(), self.items)
    }

    /// Removes everything added since the mark.
    pub fn go_back(&mut self, (bytes, items): (usize, u32)) {
        self.bytes.truncate(bytes.max(FRAME_HEADER_BYTES));
        self.items = items;
    }

    /// Bytes so far, header included.
    pub fn bytes(&self) -> u64 {
        to_u64(self.bytes.len())
    }

    /// Adds a record and returns its offset within the frame, and its size with padding. The payload has at most
    /// `PAYLOAD_BYTES_MAX` bytes.
    pub fn record(&mut self, kind: Kind, id: RecordId, payload: &[u8]) -> (u64, u64) {
        self.record_with(kind, 0, id, payload)
    }

    /// The same with flags.
    #[inline]
    pub fn record_with(&mut self, kind: Kind, flags: u8, id: RecordId, payload: &[u8]) -> (u64, u64) {
        let offset = self.bytes();
        put_item(&mut self.bytes, &mut self.checksums, (kind, flags), id.as_u64(), payload);
        self.items += 1;
        (offset, item_bytes(kind as u8, payload.len()))
    }

    /// Adds a record that keeps this seq, to a frame that is not a commit.
    pub fn record_of(&mut self, kind: Kind, id: RecordId, seq: Seq, payload: &[u8]) -> (u64, u64) {
        let (offset, bytes) = self.record(kind, id, payload);
        let place = to_usize(offset) + 16;
        if let Some(field) = self.bytes.get_mut(place..place + 8) {
            LittleEndian::write_u64(field, seq.0);
        }
        (offset, bytes)
    }

    /// Adds a control item. The payload has at most `PAYLOAD_BYTES_MAX` bytes.
    pub fn control(&mut self, kind: Kind, payload: &[u8]) {
        self.control_with(kind, 0, payload);
    }

    /// The same with flags.
    pub fn control_with(&mut self, kind: Kind, flags: u8, payload: &[u8]) {
        put_item(&mut self.bytes, &mut self.checksums, (kind, flags), 0, payload);
        self.items += 1;
    }

    /// Adds an item taken from another frame, keeping its seq.
    pub fn copy(&mut self, item: &Item<'_>) -> (u64, u64) {
        let offset = self.bytes();
        let mut header = [0_u8; 24];
        if let Some(part) = header.get_mut(..item.header.len()) {
            part.copy_from_slice(item.header);
        }
        LittleEndian::write_u32(&mut header[..4], checksum(0, item.payload));
        self.bytes.extend(header.iter().take(item.header.len()));
        self.bytes.extend_from_slice(item.payload);
        let end = to_usize(crate::format::align(to_u64(self.bytes.len())));
        self.bytes.resize(end, 0);
        self.items += 1;
        (offset, item.bytes())
    }

    /// The item added at `offset`. Its check is not complete yet.
    pub fn item_at(&self, offset: u64) -> Option<Item<'_>> {
        self.bytes.get(to_usize(offset)..).and_then(|bytes| Item::parse(bytes).ok())
    }

    /// Makes a sealed frame one that can be sealed for another place.
    pub(crate) fn unseal(&mut self) {
        let mut at = FRAME_HEADER_BYTES;
        while let Some(prefix) = self.bytes.get(at..at + 8) {
            let (len, kind) = (usize::from(LittleEndian::read_u16(&prefix[4..6])), prefix[6]);
            let payload = at + header_bytes(kind);
            let check = checksum(0, self.bytes.get(payload..payload + len).unwrap_or_default());
            if let Some(field) = self.bytes.get_mut(at..at + 4) {
                LittleEndian::write_u32(field, check);
            }
            at += to_usize(item_bytes(kind, len));
        }
    }

    /// Completes the frame for its place and returns its bytes. A commit's records get its seq; all other frames keep
    /// the seqs that their records carry.
    pub fn seal(&mut self, stamp: &Stamp, seed: Seed, offset: u64) -> &[u8] {
        let seq = (stamp.kind == FrameKind::Commit).then_some(stamp.seq);
        let mut headers = Headers::new(&self.checksums);
        let mut at = FRAME_HEADER_BYTES;
        while let Some(prefix) = self.bytes.get(at..at + 8) {
            let (len, kind) = (usize::from(LittleEndian::read_u16(&prefix[4..6])), prefix[6]);
            if let Some(header) = self.bytes.get_mut(at..at + header_bytes(kind)) {
                close_item(header, &mut self.checksums, seq, seed.at(offset + to_u64(at)));
                headers.push(header);
            }
            at += to_usize(item_bytes(kind, len));
        }
        let length = low_u32(to_u64(self.bytes.len()));
        let (items, body_check) = (self.items, headers.finish());
        if let Some(header) = self.bytes.get_mut(..FRAME_HEADER_BYTES) {
            LittleEndian::write_u32(&mut header[..4], FRAME_TAG);
            LittleEndian::write_u32(&mut header[8..12], body_check);
            LittleEndian::write_u32(&mut header[12..16], length);
            header[16] = stamp.kind as u8;
            header[17] = 0;
            header[18] = 0;
            header[19] = 1;
            LittleEndian::write_u32(&mut header[20..24], items);
            LittleEndian::write_u64(&mut header[24..32], stamp.seq.0);
            LittleEndian::write_u64(&mut header[32..40], stamp.durable.0);
            LittleEndian::write_u64(&mut header[40..48], stamp.timeline);
            LittleEndian::write_u64(&mut header[48..56], stamp.time_micros);
            LittleEndian::write_u64(&mut header[56..64], stamp.move_number);
            let rest = header.last_chunk::<{ FRAME_HEADER_BYTES - 8 }>().copied().unwrap_or([0; _]);
            LittleEndian::write_u32(&mut header[4..8], self.checksums.seeded(seed.at(offset), rest));
        }
        &self.bytes
    }
}

/// Headers of items, gathered and then hashed together: one by one they are too short for that to be fast.
struct Headers {
    body: Hasher,
    bytes: [u8; HEADERS_BYTES],
    len: usize,
}

/// Bytes hashed at once.
const HEADERS_BYTES: usize = 10 * RECORD_HEADER_BYTES;

impl Headers {
    #[inline]
    fn new(checksums: &Checksums) -> Self {
        Self { body: checksums.begin(), bytes: [0; HEADERS_BYTES], len: 0 }
    }

    /// Adds the header of an item.
    #[inline]
    fn push(&mut self, header: &[u8]) {
        if self.len + RECORD_HEADER_BYTES > HEADERS_BYTES {
            self.hash();
        }
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        // Copied without a function call.
        if let (Some(header), Some(room)) = (header.first_chunk::<RECORD_HEADER_BYTES>(), room.first_chunk_mut()) {
            *room = *header;
        } else if let (Some(header), Some(room)) =
            (header.first_chunk::<CONTROL_HEADER_BYTES>(), room.first_chunk_mut())
        {
            *room = *header;
        }
        self.len += header.len();
    }

    fn hash(&mut self) {
        self.body.update(self.bytes.get(..self.len).unwrap_or_default());
        self.len = 0;
    }

    /// The check of all headers.
    fn finish(&mut self) -> u32 {
        self.hash();
        self.body.clone().finalize()
    }
}

/// Checks the items of a frame, one after the other.
#[derive(Debug, Default)]
pub(crate) struct ItemChecks {
    checksums: Checksums,
    count: u32,
}

impl ItemChecks {
    /// The next item, at the place of this seed.
    #[inline]
    pub(crate) fn item(&mut self, item: &Item<'_>, seed: u32) -> Result<(), Malformed> {
        self.count += 1;
        item.verify_with(&mut self.checksums, seed)
    }

    /// All of so many items were there. The body check is not computed: each item's own check depends on its place, and covers its header.
    pub(crate) fn finish(&self, items: u32) -> Result<(), Malformed> {
        if self.count == items {
            return Ok(());
        }
        Err(Malformed::new("frame body", format!("{items} items"), self.count))
    }
}

/// The same, with the body check.
struct FrameCheck {
    checksums: Checksums,
    headers: Headers,
    count: u32,
}

impl Default for FrameCheck {
    fn default() -> Self {
        let checksums = Checksums::default();
        Self { headers: Headers::new(&checksums), checksums, count: 0 }
    }
}

impl FrameCheck {
    /// The next item, at the place of this seed.
    #[inline]
    fn item(&mut self, item: &Item<'_>, seed: u32) -> Result<(), Malformed> {
        item.verify_with(&mut self.checksums, seed)?;
        self.headers.push(item.header);
        self.count += 1;
        Ok(())
    }

    /// All items were there.
    fn finish(mut self, header: &FrameHeader) -> Result<(), Malformed> {
        let (check, count) = (self.headers.finish(), self.count);
        if check != header.body_check || count != header.items {
            let expected = format!("{} items with check {:08x}", header.items, header.body_check);
            return Err(Malformed::new("frame body", expected, format!("{count} items with {check:08x}")));
        }
        Ok(())
    }
}

/// A frame with a valid header; its items may still be damaged.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The header.
    pub header: FrameHeader,
    bytes: &'a [u8],
    seed: Seed,
    offset: u64,
}

impl<'a> Frame<'a> {
    /// Reads the frame at the beginning of `bytes`, which is at `offset` of its segment. Checks everything: header,
    /// headers of items, payloads.
    pub fn parse(bytes: &'a [u8], seed: Seed, offset: u64) -> Result<Self, Malformed> {
        let frame = Self::parse_header(bytes, seed, offset)?;
        let mut check = FrameCheck::default();
        for item in frame.items() {
            let (at, item) = item?;
            check.item(&item, seed.at(at))?;
        }
        check.finish(&frame.header)?;
        Ok(frame)
    }

    /// The frame at the beginning of `bytes`, with only its header checked: the caller checks each item.
    pub fn parse_header(bytes: &'a [u8], seed: Seed, offset: u64) -> Result<Self, Malformed> {
        let header = FrameHeader::parse(bytes, seed, offset)?;
        let whole = bytes
            .get(..header.bytes as usize)
            .ok_or_else(|| Malformed::new("frame", format!("{} bytes", header.bytes), bytes.len()))?;
        Ok(Self { header, bytes: whole, seed, offset })
    }

    /// The items with their offsets within the segment.
    pub fn items(&self) -> Items<'a> {
        Items { rest: self.bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default(), offset: self.offset + 64 }
    }

    /// The offset of the frame in its segment.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The seed of its segment.
    pub fn seed(&self) -> Seed {
        self.seed
    }
}

/// Walks over the items of a frame.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
    offset: u64,
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<(u64, Item<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = match Item::parse(self.rest) {
            Ok(item) => item,
            Err(malformed) => {
                self.rest = &[];
                return Some(Err(malformed));
            }
        };
        let at = self.offset;
        let bytes = item.bytes();
        self.offset += bytes;
        self.rest = self.rest.get(to_usize(bytes)..).unwrap_or_default();
        Some(Ok((at, item)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SegmentSeq;

    fn stamp() -> Stamp {
        Stamp { kind: FrameKind::Commit, seq: Seq(7), durable: Seq(6), timeline: 1, time_micros: 5, move_number: 0 }
    }

    #[test]
    fn an_unsealed_frame_is_sealed_for_another_place() {
        let seed = Seed::new([3; 16], SegmentSeq(9));
        let mut builder = FrameBuilder::new();
        builder.control(Kind::Run, &[16, 0, 0, 0]);
        builder.record(Kind::Record, RecordId::from_parts(5, 1).expect("an ID"), b"hello");
        let once = builder.clone().seal(&stamp(), seed, 128).to_vec();
        builder.seal(&Stamp { seq: Seq(99), ..stamp() }, seed, 4096);
        builder.unseal();
        assert_eq!(builder.seal(&stamp(), seed, 128), once);
    }

    #[test]
    fn a_frame_comes_back_and_every_flipped_bit_is_seen() {
        let seed = Seed::new([3; 16], SegmentSeq(9));
        let mut builder = FrameBuilder::new();
        builder.control(Kind::Run, &[16, 0, 0, 0]);
        let id = RecordId::from_parts(5, 1).expect("an ID");
        builder.record(Kind::Record, id, b"hello");
        let bytes = builder.seal(&stamp(), seed, 4096).to_vec();
        let frame = Frame::parse(&bytes, seed, 4096).expect("valid");
        let items: Vec<_> = frame.items().map(|item| item.expect("valid").1).collect();
        assert_eq!((items.len(), items[1].payload, items[1].seq), (2, &b"hello"[..], Seq(7)));
        assert_eq!(items[1].id(), Ok(id));
        assert!(Frame::parse(&bytes, seed, 4112).is_err(), "another offset must not validate");
        let other = Seed::new([3; 16], SegmentSeq(10));
        assert!(Frame::parse(&bytes, other, 4096).is_err(), "another segment must not validate");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let in_padding = matches!(bit / 8, 76..80 | 109..112);
            assert_eq!(Frame::parse(&damaged, seed, 4096).is_ok(), in_padding, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Frame::parse(&bytes[..len], seed, 4096).is_err(), "cut at {len}");
        }
    }
}
