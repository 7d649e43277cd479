//! Which segment follows which.
//!
//! Owns: how each segment of the log begins, the one that goes on, and why none does. Never: passes a frame.

use std::io;
use std::sync::Arc;

use crate::changes::reader::limit::open_growing;
use crate::changes::reader::{At, Reader};
use crate::changes::segments::is_gone;
use crate::error::{Error, Result};
use crate::format::Seed;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, PREWRITTEN};
use crate::format::segment::{FileKind, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::id::{SegmentSeq, Seq, to_u64};
use crate::log::Ahead;
use crate::recovery::list;

/// How a segment of the log begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begin {
    timeline: u64,
    previous: SegmentSeq,
    /// Its first commit.
    first: Seq,
    is_prewritten: bool,
}

impl Reader {
    /// Whether an opening has ended the log before the commit that was written ahead: then the one that names it comes before one with
    /// the next number.
    pub(super) fn is_cut_off(&mut self) -> Result<bool> {
        let Some((number, timeline)) = self.at.as_ref().map(|at| (at.segment.number(), at.segment.header().timeline))
        else {
            return Ok(false);
        };
        for later in self.later(number)? {
            let begin = self.begin(later)?.filter(|begin| !begin.is_prewritten && begin.timeline > timeline);
            if begin.is_some_and(|begin| begin.first <= self.expected) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Segments that may belong to the log, after this one.
    pub(super) fn later(&self, after: SegmentSeq) -> Result<Vec<SegmentSeq>> {
        let files = list(&*self.engine.backing)?;
        Ok(files.logs.into_iter().filter(|number| *number > after).collect())
    }

    /// How a segment begins; `None` if it is not part of the log, or has nothing of it yet.
    pub(super) fn begin(&mut self, number: SegmentSeq) -> Result<Option<Begin>> {
        if let Some(begin) = self.begins.get(&number) {
            return Ok(Some(*begin));
        }
        let name = FileKind::Records.file_name(number);
        let io = |action, source| Error::io(action, &name, source);
        let file = match self.engine.backing.open(&name) {
            Ok(file) => file,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io("open", source)),
        };
        let mut bytes = [0; SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES];
        if file.len().map_err(|source| io("measure", source))? < to_u64(bytes.len()) {
            return Ok(None);
        }
        match file.read_at(0, &mut bytes) {
            Ok(()) => {}
            // Its writer has just given back the room that it had ahead.
            Err(source) if source.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(source) => return Err(io("read", source)),
        }
        let (header, frame) = bytes.split_at(SEGMENT_HEADER_BYTES);
        if header.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = header.first_chunk::<SEGMENT_HEADER_BYTES>().map(|header| SegmentHeader::decode(header, &name));
        let header = match header {
            Some(Ok(header)) => header,
            Some(Err(error)) if error.is_corruption() => match self.source.open(FileKind::Records, number) {
                Ok(segment) => segment.header().clone(),
                Err(_) => {
                    self.damage.get_or_insert(error);
                    return Ok(None);
                }
            },
            Some(Err(error)) => return Err(error),
            None => return Ok(None),
        };
        if header.uuid != self.source.uuid || header.generation > 0 || header.segment != number {
            return Ok(None);
        }
        if header.timeline > self.declared {
            self.read_manifest()?;
        }
        let offset = to_u64(SEGMENT_HEADER_BYTES);
        let seed = Seed::new(self.source.uuid, number);
        // A recovery that did not come to its end has written the segment.
        let frame = FrameHeader::parse(frame, seed, offset).ok().filter(|_| header.timeline <= self.declared);
        let begin = frame.map(|frame| Begin {
            timeline: header.timeline,
            previous: header.previous,
            first: if frame.kind == FrameKind::Commit { frame.seq } else { frame.seq.next() },
            is_prewritten: frame.kind == FrameKind::Commit && frame.move_number == PREWRITTEN,
        });
        if let Some(begin) = begin {
            self.begins.insert(number, begin);
        }
        Ok(begin)
    }

    fn open(&mut self, number: SegmentSeq) -> Result<Option<At>> {
        let own = if self.engine.read_only { None } else { self.engine.heap.segment(number) };
        let segment = match own {
            Some(own) => own,
            None => match open_growing(&self.source, number, to_u64(SEGMENT_HEADER_BYTES)) {
                Ok((segment, durable)) => {
                    self.proven = self.proven.max(durable);
                    Arc::new(segment)
                }
                Err(error) if is_gone(&error) => return Ok(None),
                Err(error) if error.is_corruption() => Arc::new(self.source.open(FileKind::Records, number)?),
                Err(error) => return Err(error),
            },
        };
        Ok(Some(At {
            segment,
            offset: to_u64(SEGMENT_HEADER_BYTES),
            is_over: false,
            ahead: Ahead::default(),
            last: None,
        }))
    }

    /// Finds the segment with the next commit. `false` if nothing has been written since.
    pub(super) fn start(&mut self) -> Result<bool> {
        let since = Seq(self.expected.0.saturating_sub(1));
        loop {
            let mut begins = Vec::new();
            for number in self.later(SegmentSeq(0))? {
                if let Some(begin) = self.begin(number)? {
                    begins.push((number, begin));
                }
            }
            if let Some(number) = self.choose(since, &begins) {
                if let Some(at) = self.open(number)? {
                    self.at = Some(at);
                    // Where nothing before it is left, nothing says that it is next.
                    let ahead = self.begins.get(&number).filter(|begin| begin.is_prewritten);
                    self.named = ahead.map(|begin| (number, begin.first)).filter(|(_, seq)| *seq == self.expected);
                    return Ok(true);
                }
                // It was deleted meanwhile.
                self.begins.remove(&number);
                continue;
            }
            let last = self.engine.heap.seq();
            return match begins.first() {
                _ if self.may_be_over() => Ok(false),
                Some((_, begin)) => Err(Error::Gone { since, oldest: Seq(begin.first.0.saturating_sub(1)) }),
                None if self.expected <= last => Err(Error::Gone { since, oldest: last }),
                None => Ok(false),
            };
        }
    }

    /// The segment from which to read for the commits after this one.
    fn choose(&self, since: Seq, begins: &[(SegmentSeq, Begin)]) -> Option<SegmentSeq> {
        let all = || begins.iter().enumerate().rev();
        let leads = |begin: &Begin| begin.first <= since || begin.first == self.expected;
        // The one before a commit that was written ahead says that it is next.
        let plain = all().find(|(_, (_, begin))| !begin.is_prewritten && leads(begin));
        // A commit that was written ahead leads on only if it counted: then the next one has the number after it.
        let counts = |index: usize, begin: &Begin| {
            let next = begins.get(index + 1).map(|(_, next)| next.first);
            leads(begin) && (next == Some(begin.first.next()) || begin.first == self.engine.heap.seq())
        };
        let found = plain.or_else(|| all().find(|(index, (_, begin))| counts(*index, begin)));
        found.map(|(_, (number, _))| *number)
    }

    /// Goes on in the next segment; `false` if there is nothing yet.
    pub(super) fn go_on(&mut self) -> Result<bool> {
        let Some((number, timeline)) = self.at.as_ref().map(|at| (at.segment.number(), at.segment.header().timeline))
        else {
            return Ok(false);
        };
        let mut gap = None;
        let mut next = None;
        self.begins.retain(|other, _| *other > number);
        for later in self.later(number)? {
            let Some(begin) = self.begin(later)? else { continue };
            if self.named.is_none() && (begin.is_prewritten || begin.first > self.expected) {
                self.named = self.names()?.filter(|(_, seq)| *seq >= self.expected);
            }
            if begin.is_prewritten {
                if self.named == Some((later, begin.first)) {
                    next = Some(later);
                    break;
                }
                continue;
            }
            let named = self.named.map(|(_, seq)| seq);
            if begin.first <= self.expected || named == Some(begin.first) {
                next = Some(later);
                break;
            }
            gap.get_or_insert((later, begin));
        }
        // Something may have been appended to this one before the next was begun.
        if self.header()?.is_some() {
            return Ok(true);
        }
        if let Some(next) = next {
            let opened = self.open(next)?;
            if opened.is_some() {
                self.at = opened;
                return Ok(true);
            }
        }
        if self.named.is_some_and(|(_, seq)| seq > self.limit()) {
            return Ok(false);
        }
        if gap.is_none() && next.is_none() && self.limit() == Seq(u64::MAX) {
            return Ok(false);
        }
        if self.may_be_over() {
            return Ok(false);
        }
        Err(self.missing(number, timeline, gap.map(|(_, begin)| begin)))
    }

    /// Whether the state that is shown need not have the next commit, because nothing says that it is durable.
    fn may_be_over(&self) -> bool {
        self.has_more && self.expected > self.limit()
    }

    /// Why the next commit, which is durable, is not there.
    fn missing(&mut self, number: SegmentSeq, timeline: u64, gap: Option<Begin>) -> Error {
        let since = Seq(self.expected.0.saturating_sub(1));
        if let Some(damage) = self.damage.take() {
            return damage;
        }
        let last = self.limit();
        match gap {
            Some(gap) if gap.timeline > timeline && gap.previous == number => {
                Error::RolledBack { since, resumed: Seq(gap.first.0 - 1) }
            }
            Some(gap) => Error::Gone { since, oldest: Seq(gap.first.0 - 1) },
            None if self.declared.max(self.engine.timeline()) > timeline => Error::RolledBack { since, resumed: last },
            None => {
                let name = FileKind::Records.file_name(number);
                let offset = self.at.as_ref().map_or(0, |at| at.offset);
                Error::corrupt(name, offset, "log", format!("commit {}", self.expected), "the end of the log")
            }
        }
    }
}
