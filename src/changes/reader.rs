//! The commits of the log in the order in which they count, one after the other, from files that may still grow or be deleted.
//!
//! Owns: the order of commits, those that were written ahead included. `segments` finds the segment that goes on, and `limit` where
//! the log that may be shown ends.
//! Never: takes a lock of the writer, knows what a commit contains, or passes over a commit without an error.
//! Invariant: a commit is shown only after every commit before it.

mod limit;
mod segments;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::changes::reader::segments::Begin;
use crate::changes::walk;
use crate::changes::walk::{Walk, prewritten_in};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::Malformed;
use crate::format::frame::{COPIED, FRAME_HEADER_BYTES, FrameHeader, FrameKind, PREWRITTEN};
use crate::format::item::Kind;
use crate::id::{SegmentSeq, Seq, to_u64, to_usize};
use crate::log::{Ahead, Segment, SegmentSource};

/// Where a reader is.
#[derive(Debug)]
struct At {
    segment: Arc<Segment>,
    offset: u64,
    /// Nothing of the log follows in the segment.
    is_over: bool,
    /// What is asked for before it is read.
    ahead: Ahead,
    /// The last commit that was passed in it.
    last: Option<Last>,
}

impl Drop for At {
    fn drop(&mut self) {
        self.ahead.end(&self.segment);
    }
}

/// A commit that was passed.
#[derive(Debug, Clone, Copy)]
enum Last {
    /// It says this of the commit after it.
    Shown(Option<(SegmentSeq, Seq)>),
    /// It is at this offset, and was not looked at.
    Skipped(u64),
}

/// A commit.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) segment: Arc<Segment>,
    pub(super) offset: u64,
    pub(super) bytes: u32,
    pub(super) items: u32,
    pub(super) seq: Seq,
    pub(super) time_micros: u64,
    /// It was examined before in this process, and is plain.
    pub(super) is_plain: bool,
}

impl Found {
    /// The commit with this header, at an offset.
    #[inline]
    fn new(segment: &Arc<Segment>, offset: u64, header: &FrameHeader, is_plain: bool) -> Self {
        let FrameHeader { bytes, items, seq, time_micros, .. } = *header;
        Self { segment: Arc::clone(segment), offset, bytes, items, seq, time_micros, is_plain }
    }
}

/// What became of a frame.
#[derive(Debug)]
enum Passed {
    On,
    Found(Found),
    /// It is the next commit, and must not be shown yet.
    Awaited,
}

/// Reads the log.
#[derive(Debug)]
pub(super) struct Reader {
    engine: Arc<Engine>,
    source: Arc<SegmentSource>,
    at: Option<At>,
    expected: Seq,
    /// The commit that comes next was written ahead to this segment.
    named: Option<(SegmentSeq, Seq)>,
    /// The newest timeline that the manifest declares.
    declared: u64,
    /// Beside another process: what is known to be durable.
    proven: Seq,
    looked_at: Option<Instant>,
    /// Of a backing that shows states: the one in which everything was looked at.
    shown: Option<u64>,
    /// Not everything in that state was looked at. It was durable before it was shown, whatever the log says.
    has_more: bool,
    begins: BTreeMap<SegmentSeq, Begin>,
    /// Damage of a segment that was passed over.
    damage: Option<Error>,
    /// Whether commits are shown before they are durable.
    pub(super) is_early: bool,
    /// What the bucket is known to have, if only that is shown.
    pub(super) shipped: Option<Seq>,
    /// The limit when it was last asked for.
    known_limit: Seq,
}

impl Reader {
    /// A reader of the commits after this one.
    pub(super) fn new(engine: &Arc<Engine>, since: Seq) -> Self {
        let source = SegmentSource { beside_a_writer: true, ..engine.log.source().clone() };
        Self {
            engine: Arc::clone(engine),
            source: Arc::new(source),
            at: None,
            expected: since.next(),
            named: None,
            declared: engine.timeline(),
            proven: engine.log.durable_seq(),
            looked_at: None,
            shown: None,
            has_more: false,
            begins: BTreeMap::new(),
            damage: None,
            is_early: false,
            shipped: None,
            known_limit: Seq::ZERO,
        }
    }

    pub(super) fn source(&self) -> &Arc<SegmentSource> {
        &self.source
    }

    pub(super) fn expected(&self) -> Seq {
        self.expected
    }

    /// The next commit, if it may be shown and is where the reader is, in a segment that is mapped. Otherwise
    /// [`next`](Self::next) looks for it.
    #[inline]
    pub(super) fn next_in_place(&mut self) -> Option<Found> {
        if !self.may_show_next() {
            return None;
        }
        let At { segment, offset, ahead, .. } = self.at.as_mut().filter(|at| !at.is_over)?;
        let offset = *offset;
        // It was asked for with the frame before it.
        let bytes = segment.mapped(offset, FRAME_HEADER_BYTES)?;
        let is_plain = segment.is_frame_plain(offset);
        if !is_plain && !segment.is_frame_checked(offset) {
            FrameHeader::check(bytes, segment.seed(), offset).ok()?;
        }
        let Ok(header) = FrameHeader::parse_checked(bytes) else { return None };
        if header.kind != FrameKind::Commit || header.seq != self.expected || header.move_number == PREWRITTEN {
            return None;
        }
        // One that was examined is there as a whole.
        if !is_plain {
            segment.mapped(offset, to_usize(header.bytes.into()))?;
        }
        ahead.at(segment, offset, header.bytes.into());
        Some(Found::new(segment, offset, &header, is_plain))
    }

    /// The next commit; `None` if there is none that may be shown.
    pub(super) fn next(&mut self) -> Result<Option<Found>> {
        loop {
            if !self.may_show_next() && !self.has_more && !self.ask_shipped() && !self.learn()? {
                return Ok(None);
            }
            if self.at.is_none() && !self.start()? {
                self.has_more = false;
                return Ok(None);
            }
            match self.header()? {
                Some(header) => match self.pass(header)? {
                    Passed::Found(found) => return Ok(Some(found)),
                    Passed::On => {}
                    Passed::Awaited if self.is_cut_off()? => self.end_segment(),
                    Passed::Awaited => return Ok(None),
                },
                None if self.go_on()? => {}
                None => {
                    self.has_more = false;
                    return Ok(None);
                }
            }
        }
    }

    /// The commit that was found has been examined: the next one is awaited.
    #[inline]
    pub(super) fn accept(&mut self, found: &Found, named: Option<(SegmentSeq, Seq)>) {
        self.expected = found.seq.next();
        self.named = None;
        self.damage = None;
        if let Some(at) = &mut self.at {
            at.last = Some(Last::Shown(named));
            at.offset = found.offset + u64::from(found.bytes);
        }
    }

    /// The commit that was found is damaged. If it was never part of the log, another segment goes on. `false` if it may only be
    /// incomplete.
    pub(super) fn refuse(&mut self, damage: Error) -> bool {
        if self.engine.read_only && self.is_early {
            // Perhaps it is not written to its end.
            return false;
        }
        self.damage.get_or_insert(damage);
        self.end_segment();
        true
    }

    /// What follows in the segment is not part of the log.
    fn end_segment(&mut self) {
        if let Some(at) = &mut self.at {
            at.is_over = true;
        }
    }

    /// The header of the frame where the reader is; `None` if there is none.
    #[inline]
    fn header(&mut self) -> Result<Option<FrameHeader>> {
        loop {
            let Some(at) = self.at.as_mut().filter(|at| !at.is_over) else { return Ok(None) };
            let (len, header_bytes) = (at.segment.len()?, to_u64(FRAME_HEADER_BYTES));
            if at.offset + header_bytes <= len {
                at.ahead.at(&at.segment, at.offset, header_bytes);
                let read;
                let bytes = match at.segment.mapped(at.offset, FRAME_HEADER_BYTES) {
                    Some(bytes) => bytes,
                    None => {
                        read = at.segment.read(at.offset, header_bytes)?;
                        &read
                    }
                };
                let parsed = if at.segment.is_frame_checked(at.offset) {
                    FrameHeader::parse_checked(bytes)
                } else {
                    FrameHeader::parse(bytes, at.segment.seed(), at.offset)
                };
                match parsed {
                    Ok(header) if at.offset + u64::from(header.bytes) <= len => {
                        at.ahead.at(&at.segment, at.offset, header.bytes.into());
                        return Ok(Some(header));
                    }
                    Err(malformed) if malformed.unsupported => {
                        return Err(malformed.at(at.segment.name(), at.offset));
                    }
                    _ => {}
                }
            }
            if !self.grow()? {
                return Ok(None);
            }
        }
    }

    /// Passes a frame, unless it is the commit that comes next.
    #[inline]
    fn pass(&mut self, header: FrameHeader) -> Result<Passed> {
        let expected = self.expected;
        let names = if header.kind == FrameKind::Commit && header.seq > expected && header.move_number == COPIED {
            self.names()?
        } else {
            None
        };
        let limit = if self.has_more { Seq(u64::MAX) } else { self.limit() };
        let Some(at) = &mut self.at else { return Ok(Passed::On) };
        let offset = at.offset;
        let go_on = |at: &mut At| at.offset += u64::from(header.bytes);
        match header.kind {
            FrameKind::Survivors => {
                let (wanted, got) = ("commits, watermarks and seals", "survivors");
                return Err(Error::corrupt(at.segment.name(), offset, "frame of the log", wanted, got));
            }
            FrameKind::Watermark => go_on(at),
            FrameKind::Seal => {
                go_on(at);
                at.is_over = true;
            }
            FrameKind::Commit if header.seq < expected => {
                at.last = Some(Last::Skipped(offset));
                go_on(at);
            }
            FrameKind::Commit => {
                let of_its_turn = |(number, seq): (SegmentSeq, Seq)| {
                    seq == header.seq
                        && (number == at.segment.number() && header.move_number == PREWRITTEN
                            || header.move_number == COPIED)
                };
                let is_named = self.named.or(names).is_some_and(of_its_turn);
                if !is_named && (header.seq > expected || header.move_number == PREWRITTEN) {
                    // What follows never was part of the log.
                    at.is_over = true;
                    return Ok(Passed::On);
                }
                if header.seq > limit {
                    return Ok(Passed::Awaited);
                }
                return Ok(Passed::Found(Found::new(&at.segment, offset, &header, false)));
            }
        }
        Ok(Passed::On)
    }

    /// What the last commit that was passed says is next.
    fn names(&self) -> Result<Option<(SegmentSeq, Seq)>> {
        let Some((segment, Some(last))) = self.at.as_ref().map(|at| (&*at.segment, at.last)) else { return Ok(None) };
        let offset = match last {
            Last::Shown(named) => return Ok(named),
            Last::Skipped(offset) => offset,
        };
        let damaged = |why: Malformed| why.at(segment.name(), offset);
        let bytes = segment.read(offset, to_u64(FRAME_HEADER_BYTES))?;
        let header = FrameHeader::parse(&bytes, segment.seed(), offset).map_err(damaged)?;
        walk::check(segment, offset, &header)?.map_err(damaged)?;
        let mut walk = Walk::new(segment, offset, header.bytes);
        while let Some(item) = walk.next()? {
            let (_, item) = item.map_err(damaged)?;
            if item.kind == Kind::Prewritten as u8 {
                return Ok(prewritten_in(item.payload));
            }
        }
        Ok(None)
    }
}
