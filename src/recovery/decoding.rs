//! Reading the log ahead of its application: frames are checked, and their effects decoded, in batches.
//!
//! Owns: the size of a batch. Never: applies anything, or decides whether a frame counts: frames and the end of the segment
//! are passed on in order.

use std::ops::{ControlFlow, Range};

use crate::error::Result;
use crate::format::Frame;
use crate::format::frame::FrameKind;
use crate::heap::{Effect, add_effects};
use crate::log::{Scan, ScanEnd, Segment};

/// Frames, and effects, from which on a batch is passed on.
const FRAMES_MAX: usize = 512;
const EFFECTS_MAX: usize = 4_096;

/// A valid frame.
#[derive(Debug)]
pub(super) struct Decoded<'a> {
    pub(super) frame: Frame<'a>,
    /// Where the next one begins.
    pub(super) end: u64,
    /// Its effects among those of the batch; an error if they cannot be told.
    effects: Result<Range<usize>>,
}

/// Frames that follow each other.
#[derive(Debug, Default)]
pub(super) struct Batch<'a> {
    pub(super) frames: Vec<Decoded<'a>>,
    effects: Vec<Effect>,
    /// After the last frame: why there is no further one.
    pub(super) end: Option<ScanEnd>,
}

impl Decoded<'_> {
    /// The effects of the frame, which is of this batch. An error is given once.
    pub(super) fn take_effects(&mut self) -> Result<Range<usize>> {
        std::mem::replace(&mut self.effects, Ok(0..0))
    }
}

impl Batch<'_> {
    pub(super) fn effects(&self, range: Range<usize>) -> &[Effect] {
        self.effects.get(range).unwrap_or_default()
    }
}

fn next_batch<'a>(scan: &mut Scan<'a>, name: &str) -> Batch<'a> {
    let mut batch = Batch::default();
    while batch.frames.len() < FRAMES_MAX && batch.effects.len() < EFFECTS_MAX {
        let Some(frame) = scan.next_frame() else {
            batch.end = Some(scan.end());
            break;
        };
        let begin = batch.effects.len();
        let effects = match frame.header.kind {
            FrameKind::Commit => add_effects(&frame, name, &mut batch.effects),
            _ => Ok(()),
        };
        if effects.is_err() {
            batch.effects.truncate(begin);
        }
        let effects = effects.map(|()| begin..batch.effects.len());
        batch.frames.push(Decoded { frame, end: scan.offset(), effects });
    }
    batch
}

/// Calls `each` with the frames of a segment from `begin` on, in order, until it breaks or there are no more.
pub(super) fn each_batch(
    segment: &Segment,
    contents: &[u8],
    begin: u64,
    mut each: impl FnMut(Batch<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut scan = Scan::new(segment, contents, begin);
    loop {
        let batch = next_batch(&mut scan, segment.name());
        let is_last = batch.end.is_some();
        if each(batch)?.is_break() || is_last {
            return Ok(());
        }
    }
}
