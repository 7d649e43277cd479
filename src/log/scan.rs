//! Scanning the frames of a segment, and what follows its last valid one.
//!
//! Owns: the order of frames in one segment; the search for evidence after damage. Never: decides whether damage is a
//! tear or corruption; recovery does, with all segments in view.

use crate::format::frame::{FRAME_TAG, FrameHeader, FrameKind};
use crate::format::{Frame, GRANULE_BYTES, Malformed, Seed};
use crate::id::{Seq, to_u64, to_usize};
use crate::log::{Ahead, Segment};
use byteorder::{ByteOrder, LittleEndian};

/// Why a scan ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScanEnd {
    /// At the end of the file, or at a seal.
    Whole,
    /// At bytes that are not a frame.
    Broken {
        /// Where they begin.
        offset: u64,
        /// The problem.
        why: Malformed,
    },
}

/// Walks over the frames of one segment's content.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    segment: &'a Segment,
    bytes: &'a [u8],
    offset: u64,
    ahead: Ahead,
    end: Option<ScanEnd>,
}

impl Drop for Scan<'_> {
    fn drop(&mut self) {
        self.ahead.end(self.segment);
    }
}

impl<'a> Scan<'a> {
    /// Starts at `offset` of a segment whose whole contents are `bytes`.
    pub(crate) fn new(segment: &'a Segment, bytes: &'a [u8], offset: u64) -> Self {
        Self { segment, bytes, offset, ahead: Ahead::default(), end: None }
    }

    /// Where the next frame starts, or the damage.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Why there was no further frame.
    pub(crate) fn end(&self) -> ScanEnd {
        self.end.clone().unwrap_or(ScanEnd::Whole)
    }

    /// The next valid frame; `None` at the end and at damage.
    pub(crate) fn next_frame(&mut self) -> Option<Frame<'a>> {
        if self.end.is_some() {
            return None;
        }
        let rest = self.bytes.get(to_usize(self.offset)..).unwrap_or_default();
        if rest.is_empty() {
            self.end = Some(ScanEnd::Whole);
            return None;
        }
        self.ahead.at(self.segment, self.offset, 0);
        // Not checked yet, but only asked for as far as the segment goes.
        let frame_bytes = rest.get(12..16).map_or(0, LittleEndian::read_u32);
        self.ahead.at(self.segment, self.offset, to_u64(rest.len()).min(frame_bytes.into()));
        match Frame::parse(rest, self.segment.seed(), self.offset) {
            Ok(frame) => {
                self.offset += u64::from(frame.header.bytes);
                if frame.header.kind == FrameKind::Seal {
                    self.end = Some(ScanEnd::Whole);
                }
                Some(frame)
            }
            Err(why) => {
                self.end = Some(ScanEnd::Broken { offset: self.offset, why });
                None
            }
        }
    }
}

/// The highest durable watermark in any frame header at or after `offset`, searched granule by granule: frames after
/// damage prove what was durable before they were written.
pub(crate) fn highest_watermark(bytes: &[u8], seed: Seed, offset: u64) -> Seq {
    let mut highest = Seq::ZERO;
    let mut at = offset.next_multiple_of(GRANULE_BYTES);
    while let Some(rest) = bytes.get(to_usize(at)..).filter(|rest| rest.len() >= 64) {
        if LittleEndian::read_u32(rest) == FRAME_TAG
            && let Ok(header) = FrameHeader::parse(rest, seed, at)
        {
            highest = highest.max(header.durable);
        }
        at += GRANULE_BYTES;
        if at >= to_u64(bytes.len()) {
            break;
        }
    }
    highest
}
