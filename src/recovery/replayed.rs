//! What replay has found, for those who go on from there.
//!
//! Owns: where the log ends, and which commits may have to be copied. Never: reads a segment.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::Result;
use crate::format::Frame;
use crate::id::{SegmentSeq, Seq, to_usize};
use crate::log::Segment;

/// A commit that may have to be copied.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    pub(crate) segment: Arc<Segment>,
    pub(crate) offset: u64,
    pub(crate) seq: Seq,
}

/// The result of replay.
#[derive(Debug, Clone)]
pub(crate) struct Replayed {
    /// The last commit that was applied.
    pub(crate) last: Seq,
    /// Every commit up to this one is proven durable.
    pub(crate) durable: Seq,
    /// Commits above `durable`.
    pub(crate) unproven: VecDeque<Position>,
    /// The last segment that belongs to the log.
    pub(crate) last_segment: SegmentSeq,
    /// Segments started by a recovery that never declared them.
    pub(crate) undeclared: Vec<SegmentSeq>,
    /// Segments from which commits were replayed.
    pub(crate) segments: usize,
    /// The current timeline of the log.
    pub(crate) timeline: u64,
    /// The first page that no reservation names.
    pub(crate) page_end: u64,
    /// Whether anything followed the snapshot's head.
    pub(crate) found_more: bool,
    /// The highest segment that anything was moved to, whether or not it exists.
    pub(crate) moved_to: SegmentSeq,
    /// The end of the last frame.
    pub(crate) read_to: (SegmentSeq, u64),
    /// Whether that frame is the last one of its segment.
    pub(crate) is_sealed: bool,
    /// The commit that the last one names.
    pub(crate) prewritten: Option<(SegmentSeq, Seq)>,
    /// Segments that do not belong to the log, met while a reader goes on.
    pub(crate) older: Vec<SegmentSeq>,
}

/// The frame at a position, to be copied.
pub(crate) fn frame_at<'a>(position: &Position, contents: &'a [u8]) -> Result<Frame<'a>> {
    let segment = &position.segment;
    let rest = contents.get(to_usize(position.offset)..).unwrap_or_default();
    Frame::parse(rest, segment.seed(), position.offset)
        .map_err(|malformed| malformed.at(segment.name(), position.offset))
}
