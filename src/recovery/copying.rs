//! Copying commits that are not proven durable to a new timeline: the system may have lost them after a sync that failed, though it
//! still shows them.
//!
//! Owns: in which portions. Never: declares the timeline.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Result;
use crate::format::frame::FrameBuilder;
use crate::format::moves::Move;
use crate::heap::{Effect, add_effects};
use crate::id::{SegmentSeq, Seq};
use crate::log::{Appended, Segment};
use crate::recovery::replayed::{Position, frame_at};
use crate::recovery::report::RecoveryReport;

/// Bytes, and commits, from which on a portion is written.
const PORTION_BYTES: u64 = 1 << 20;
const PORTION_COMMITS: usize = 1_024;

/// Commits that are written together.
#[derive(Debug, Default)]
struct Portion {
    frames: Vec<(Seq, FrameBuilder)>,
    bytes: u64,
    from: Vec<Original>,
}

/// Where a commit comes from.
#[derive(Debug)]
struct Original {
    segment: Arc<Segment>,
    offset: u64,
    /// The slots and offsets of its records.
    records: Vec<(u64, u64)>,
}

/// Copies these commits, in order.
pub(super) fn copy(engine: &Engine, commits: &VecDeque<Position>, report: &mut RecoveryReport) -> Result<()> {
    let mut contents: Option<(SegmentSeq, Cow<'_, [u8]>)> = None;
    let (mut portion, mut effects) = (Portion::default(), Vec::new());
    for position in commits {
        let (segment, number) = (&position.segment, position.segment.number());
        let bytes = match contents.take_if(|(held, _)| *held == number) {
            Some((_, bytes)) => bytes,
            None => segment.contents()?,
        };
        let frame = frame_at(position, &bytes)?;
        effects.clear();
        add_effects(&frame, segment.name(), &mut effects)?;
        let mut builder = FrameBuilder::new();
        for item in frame.items() {
            let (_, item) = item.map_err(|malformed| malformed.at(segment.name(), position.offset))?;
            builder.copy(&item);
        }
        let records = effects.iter().filter_map(|effect| match effect {
            Effect::Put { id, offset, .. } => Some((id.slot(), *offset)),
            _ => None,
        });
        portion.bytes += builder.bytes();
        let (segment, records) = (Arc::clone(segment), records.collect());
        portion.from.push(Original { segment, offset: position.offset, records });
        portion.frames.push((position.seq, builder));
        contents = Some((number, bytes));
        if portion.bytes >= PORTION_BYTES || portion.frames.len() >= PORTION_COMMITS {
            std::mem::take(&mut portion).write(engine, report)?;
        }
    }
    portion.write(engine, report)
}

impl Portion {
    /// Writes the commits, and points the entries of their records at the copies.
    fn write(mut self, engine: &Engine, report: &mut RecoveryReport) -> Result<()> {
        let places = engine.log.append_copies(&mut self.frames)?;
        let all: Vec<_> = self.from.iter().zip(&places).collect();
        let is_between_the_same = |a: &(&Original, &Appended), b: &(&Original, &Appended)| {
            Arc::ptr_eq(&a.0.segment, &b.0.segment) && Arc::ptr_eq(&a.1.segment, &b.1.segment)
        };
        for commits in all.chunk_by(is_between_the_same) {
            let Some((first, Appended { segment: to, .. })) = commits.first() else { continue };
            let moves = commits.iter().flat_map(|(original, copy)| {
                let Original { offset, records, .. } = original;
                records.iter().map(move |(slot, at)| Move { slot: *slot, from: *at, to: at - offset + copy.offset })
            });
            engine.heap.relocate(&first.segment, to, &moves.collect::<Vec<_>>())?;
        }
        report.bytes_copied += self.bytes;
        Ok(())
    }
}
