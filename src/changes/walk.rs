//! Walking over the items of a frame, in place where its segment is mapped and a window at a time elsewhere.
//!
//! Owns: the window. Never: holds more of a frame than that.

use crate::error::Result;
use crate::format::Malformed;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, ItemChecks};
use crate::format::item::{Item, Kind, PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES};
use crate::id::{SegmentSeq, Seq, to_u64, to_usize};
use crate::log::Segment;

/// Bytes read at once where a segment has no map. At least one item fits.
const WINDOW_BYTES: u64 = 256 << 10;
const _: () = assert!(WINDOW_BYTES > (PAYLOAD_BYTES_MAX + RECORD_HEADER_BYTES) as u64);

/// A walk over the items of one frame.
#[derive(Debug)]
pub(super) struct Walk<'s> {
    segment: &'s Segment,
    at: u64,
    end: u64,
    is_mapped: bool,
    /// What follows, where the segment is mapped; elsewhere empty.
    rest: &'s [u8],
    window: Vec<u8>,
    window_at: u64,
}

impl<'s> Walk<'s> {
    /// Over the frame at an offset, of so many bytes.
    #[inline]
    pub(super) fn new(segment: &'s Segment, offset: u64, bytes: u32) -> Self {
        let (at, end) = (offset + to_u64(FRAME_HEADER_BYTES), offset + u64::from(bytes));
        let mapped = segment.mapped(at, to_usize(end.saturating_sub(at)));
        let (is_mapped, rest) = (mapped.is_some(), mapped.unwrap_or_default());
        Self { segment, at, end, is_mapped, rest, window: Vec::new(), window_at: at }
    }

    pub(super) fn is_mapped(&self) -> bool {
        self.is_mapped
    }

    /// The next item, if the segment is mapped.
    #[inline]
    pub(super) fn next_mapped(&mut self) -> Option<Result<(u64, Item<'s>), Malformed>> {
        (!self.rest.is_empty()).then(|| Item::parse(self.rest).map(|item| self.pass(item)))
    }

    /// The next item, if it is a record in a segment that is mapped.
    #[inline]
    pub(super) fn next_record(&mut self) -> Option<(u64, Item<'s>)> {
        Item::parse_record(self.rest).map(|item| self.pass(item))
    }

    /// The next item, if it begins a run of records in a segment that is mapped.
    #[inline]
    pub(super) fn next_run(&mut self) -> Option<Item<'s>> {
        Item::parse_control(self.rest, Kind::Run).map(|item| self.pass(item).1)
    }

    /// Passes the item at the beginning of what is mapped.
    #[inline]
    fn pass(&mut self, item: Item<'s>) -> (u64, Item<'s>) {
        let (offset, bytes) = (self.at, item.bytes());
        self.at += bytes;
        self.rest = self.rest.get(to_usize(bytes)..).unwrap_or_default();
        (offset, item)
    }

    /// Whether nothing is left.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.at >= self.end
    }

    /// The next item. The inner error is damage.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Result<(u64, Item<'_>), Malformed>>> {
        if self.is_mapped() { Ok(self.next_mapped()) } else { self.next_read() }
    }

    fn next_read(&mut self) -> Result<Option<Result<(u64, Item<'_>), Malformed>>> {
        let (offset, left) = (self.at, self.end.saturating_sub(self.at));
        if left == 0 {
            return Ok(None);
        }
        let is_whole = |window: &[u8], from: u64| {
            window.get(to_usize(offset - from)..).is_some_and(|bytes| Item::parse(bytes).is_ok())
        };
        if !is_whole(&self.window, self.window_at) {
            self.window = self.segment.read(offset, left.min(WINDOW_BYTES))?.into_owned();
            self.window_at = offset;
        }
        let bytes = self.window.get(to_usize(offset - self.window_at)..).unwrap_or_default();
        Ok(Some(Item::parse(bytes).map(|item| {
            self.at += item.bytes();
            (offset, item)
        })))
    }
}

/// Checks a frame whose header is valid. The inner error is damage.
pub(super) fn check(segment: &Segment, offset: u64, header: &FrameHeader) -> Result<Result<(), Malformed>> {
    let (mut walk, mut checks, seed) =
        (Walk::new(segment, offset, header.bytes), ItemChecks::default(), segment.seed());
    while let Some(item) = walk.next()? {
        if let Err(malformed) = item.and_then(|(at, item)| checks.item(&item, seed.at(at))) {
            return Ok(Err(malformed));
        }
    }
    Ok(checks.finish(header.items))
}

/// What is said of a commit that was written ahead: its segment, and its number.
pub(super) fn prewritten_in(payload: &[u8]) -> Option<(SegmentSeq, Seq)> {
    let (segment, rest) = payload.split_first_chunk::<8>()?;
    Some((SegmentSeq(u64::from_le_bytes(*segment)), Seq(u64::from_le_bytes(*rest.first_chunk::<8>()?))))
}
