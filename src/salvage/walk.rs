//! Walking over the bytes of a damaged segment: intact frames, and single items.
//!
//! Owns: finding the next frame or item after damage. Never: judges an item. Every item has a checksum bound to its
//! store, file and offset, so a valid one is what was written, whatever happened to the frame around it.

use byteorder::{ByteOrder, LittleEndian};

use crate::format::frame::{FRAME_HEADER_BYTES, FRAME_TAG, FrameHeader};
use crate::format::item::{FIRST_CONTROL_KIND, FLAGS, Item, Kind};
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::format::{Frame, GRANULE_BYTES, Seed};
use crate::id::{RecordId, to_u64, to_usize};

/// The search for items hashes at most this many times the size of the file. Bytes that look like items everywhere
/// would make it quadratic; beyond this limit only intact frames are found.
const HASHED_PER_BYTE: u64 = 16;

/// What a walk finds, in file order.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Piece<'a> {
    /// A frame starts. Its items follow, all of them if it is intact.
    Frame { header: FrameHeader, is_whole: bool },
    /// A valid item, with the header of its frame if known.
    Item { offset: u64, item: Item<'a>, frame: Option<FrameHeader>, is_whole: bool },
    /// What follows need not belong to what came before.
    Gap,
    /// Where an item should start, and what a record's header says there although its checksum is invalid.
    Suspect { offset: u64, id: RecordId, seq: u64 },
    /// The same for deletions: the IDs in it.
    SuspectFrees(&'a [u8]),
    /// Bytes that are nothing.
    Bad { offset: u64, bytes: u64 },
}

struct Walk<'a, 'e> {
    bytes: &'a [u8],
    seed: Seed,
    each: &'e mut dyn FnMut(&Piece<'a>),
    at: u64,
    /// The damaged frame, and where it ends.
    broken: Option<(FrameHeader, u64)>,
    bad_from: Option<u64>,
    hashed_max: u64,
}

/// Walks over the contents of a segment. Zeros up to its end are preallocated space.
pub(crate) fn walk<'a>(bytes: &'a [u8], seed: Seed, each: &mut dyn FnMut(&Piece<'a>)) {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let (at, hashed_max) = (to_u64(SEGMENT_HEADER_BYTES), to_u64(bytes.len()).saturating_mul(HASHED_PER_BYTE));
    let mut walk = Walk { bytes, seed, each, at, broken: None, bad_from: None, hashed_max };
    while walk.at < to_u64(used) {
        walk.step();
    }
    walk.end_bad();
}

impl<'a> Walk<'a, '_> {
    fn step(&mut self) {
        let rest = self.bytes.get(to_usize(self.at)..).unwrap_or_default();
        if self.frame(rest) {
            return;
        }
        if self.broken.is_some_and(|(_, end)| self.at >= end) {
            self.broken = None;
        }
        if let Some(item) = self.item(rest) {
            self.end_bad();
            let frame = self.broken.map(|(header, _)| header);
            (self.each)(&Piece::Item { offset: self.at, item, frame, is_whole: false });
            self.at += item.bytes();
            return;
        }
        if self.bad_from.is_none() {
            self.bad_from = Some(self.at);
            (self.each)(&Piece::Gap);
            if let Some((id, seq)) = suspect(rest) {
                (self.each)(&Piece::Suspect { offset: self.at, id, seq });
            } else if let Some(ids) = suspect_frees(rest) {
                (self.each)(&Piece::SuspectFrees(ids));
            }
        }
        self.at += GRANULE_BYTES;
    }

    /// A frame that starts here; a damaged one is searched item by item.
    fn frame(&mut self, rest: &'a [u8]) -> bool {
        if rest.len() < FRAME_HEADER_BYTES || LittleEndian::read_u32(rest) != FRAME_TAG {
            return false;
        }
        let Ok(header) = FrameHeader::parse(rest, self.seed, self.at) else { return false };
        self.end_bad();
        if let Ok(frame) = Frame::parse(rest, self.seed, self.at) {
            (self.each)(&Piece::Frame { header, is_whole: true });
            for (offset, item) in frame.items().flatten() {
                (self.each)(&Piece::Item { offset, item, frame: Some(header), is_whole: true });
            }
            self.broken = None;
            self.at += u64::from(header.bytes);
            return true;
        }
        (self.each)(&Piece::Frame { header, is_whole: false });
        self.broken = Some((header, self.at + u64::from(header.bytes)));
        self.at += to_u64(FRAME_HEADER_BYTES);
        true
    }

    fn item(&mut self, rest: &'a [u8]) -> Option<Item<'a>> {
        let item =
            Item::parse(rest).ok().filter(|item| item.flags & !FLAGS == 0 && Kind::from_u8(item.kind).is_some())?;
        if item.kind < FIRST_CONTROL_KIND && (item.id().is_err() || item.seq.0 == 0) {
            return None;
        }
        self.hashed_max = self.hashed_max.checked_sub(item.bytes())?;
        item.verify(self.seed.at(self.at)).ok().map(|()| item)
    }

    fn end_bad(&mut self) {
        if let Some(offset) = self.bad_from.take() {
            (self.each)(&Piece::Bad { offset, bytes: self.at.min(to_u64(self.bytes.len())) - offset });
        }
    }
}

/// The IDs of deletions with an invalid checksum.
fn suspect_frees(rest: &[u8]) -> Option<&[u8]> {
    let item = Item::parse(rest)
        .ok()
        .filter(|item| Kind::from_u8(item.kind) == Some(Kind::Frees) && item.flags & !FLAGS == 0)?;
    Some(item.payload).filter(|payload| payload.len().is_multiple_of(8))
}

/// The header of a record with an invalid checksum.
fn suspect(rest: &[u8]) -> Option<(RecordId, u64)> {
    let item = Item::parse(rest).ok()?;
    let is_record = item.kind < FIRST_CONTROL_KIND && Kind::from_u8(item.kind).is_some();
    let id = item.id().ok().filter(|_| is_record && item.seq.0 > 0)?;
    Some((id, item.seq.0))
}
