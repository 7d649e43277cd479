//! The commits of the log in the order in which they count, one after the other, from files that may still grow or be deleted.
//!
//! Owns: which segment follows which, the order of commits that were written ahead, and where the log that may be shown ends.
//! Never: takes a lock of the writer, knows what a commit contains, or passes over a commit without an error.
//! Invariant: a commit is shown only after every commit before it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::changes::segments::is_gone;
use crate::changes::walk;
use crate::changes::walk::{Walk, prewritten_in};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::frame::{COPIED, FRAME_HEADER_BYTES, FrameHeader, FrameKind, PREWRITTEN};
use crate::format::item::Kind;
use crate::format::manifest::Body;
use crate::format::segment::{FileKind, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::format::{Malformed, Seed};
use crate::id::{SegmentSeq, Seq, to_u64};
use crate::log::{Ahead, Segment, SegmentSource};
use crate::manifest;
use crate::recovery::list;

/// How often a reader beside another process looks at the manifest and at segments that may have been begun.
const LOOK: Duration = Duration::from_millis(20);

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

/// How a segment of the log begins.
#[derive(Debug, Clone, Copy)]
struct Begin {
    timeline: u64,
    previous: SegmentSeq,
    /// Its first commit.
    first: Seq,
    is_prewritten: bool,
}

/// A commit.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) segment: Arc<Segment>,
    pub(super) offset: u64,
    pub(super) header: FrameHeader,
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
    begins: BTreeMap<SegmentSeq, Begin>,
    /// Damage of a segment that was passed over.
    damage: Option<Error>,
    /// Whether commits are shown before they are durable.
    pub(super) is_early: bool,
    /// What the bucket is known to have, if only that is shown.
    pub(super) shipped: Option<Seq>,
}

/// Opens a segment that may grow. Its writer may give back the room that it had ahead after its length was read; then it is looked at
/// again.
fn open_growing(source: &SegmentSource, number: SegmentSeq, proven: u64) -> Result<(Segment, Seq)> {
    let is_cut =
        |error: &Error| matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::UnexpectedEof);
    match source.open_growing(number, proven) {
        Err(error) if is_cut(&error) => source.open_growing(number, proven),
        other => other,
    }
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
            declared: engine.log.timeline(),
            proven: engine.log.durable_seq(),
            looked_at: None,
            begins: BTreeMap::new(),
            damage: None,
            is_early: false,
            shipped: None,
        }
    }

    pub(super) fn source(&self) -> &Arc<SegmentSource> {
        &self.source
    }

    /// The last commit that may be shown.
    pub(super) fn limit(&self) -> Seq {
        let limit = match (self.engine.read_only, self.is_early) {
            (true, true) => Seq(u64::MAX),
            (true, false) => self.proven,
            (false, true) => self.engine.heap.seq(),
            (false, false) => self.engine.log.durable_seq().min(self.engine.heap.seq()),
        };
        self.shipped.map_or(limit, |shipped| shipped.min(limit))
    }

    /// Asks what the bucket has. Whether it is the next commit.
    fn ask_shipped(&mut self) -> bool {
        if let Some((now, (reached, _))) = self.shipped.as_mut().zip(self.engine.backlog()) {
            *now = reached.max(*now);
        }
        self.expected <= self.limit()
    }

    pub(super) fn expected(&self) -> Seq {
        self.expected
    }

    /// The next commit, whose items are not examined yet; `None` if there is none that may be shown.
    pub(super) fn next(&mut self) -> Result<Option<Found>> {
        loop {
            if self.expected > self.limit() && !self.ask_shipped() && !self.learn()? {
                return Ok(None);
            }
            if self.at.is_none() && !self.start()? {
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
                None => return Ok(None),
            }
        }
    }

    /// The commit that was found has been examined: the next one is awaited.
    pub(super) fn accept(&mut self, found: &Found, named: Option<(SegmentSeq, Seq)>) {
        self.expected = found.header.seq.next();
        self.named = None;
        self.damage = None;
        if let Some(at) = &mut self.at {
            at.last = Some(Last::Shown(named));
            at.offset = found.offset + u64::from(found.header.bytes);
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

    /// Whether an opening has ended the log before the commit that was written ahead: then the one that names it comes before one with
    /// the next number.
    fn is_cut_off(&mut self) -> Result<bool> {
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

    /// The header of the frame where the reader is; `None` if there is none.
    fn header(&mut self) -> Result<Option<FrameHeader>> {
        loop {
            let Some(at) = self.at.as_mut().filter(|at| !at.is_over) else { return Ok(None) };
            let (len, header_bytes) = (at.segment.len()?, to_u64(FRAME_HEADER_BYTES));
            if at.offset + header_bytes <= len {
                at.ahead.at(&at.segment, at.offset, header_bytes);
                let read = at.segment.read(at.offset, header_bytes)?;
                let parsed = if at.segment.is_frame_checked(at.offset) {
                    FrameHeader::parse_checked(&read)
                } else {
                    FrameHeader::parse(&read, at.segment.seed(), at.offset)
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

    /// Whether the segment has more than before.
    fn grow(&mut self) -> Result<bool> {
        let Some(at) = self.at.as_mut().filter(|at| !at.is_over) else { return Ok(false) };
        let number = at.segment.number();
        if !self.engine.read_only {
            // One that this process writes shows what is appended by itself.
            let Some(own) = self.engine.heap.segment(number).filter(|own| !Arc::ptr_eq(own, &at.segment)) else {
                return Ok(false);
            };
            let has_more = own.len()? > at.segment.len()?;
            at.segment = own;
            return Ok(has_more);
        }
        match open_growing(&self.source, number, at.offset) {
            Ok((now, durable)) => {
                self.proven = self.proven.max(durable);
                let has_more = now.len()? > at.segment.len()?;
                if has_more {
                    at.segment = Arc::new(now);
                }
                Ok(has_more)
            }
            // It was deleted: nothing is appended to it any more.
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Passes a frame, unless it is the commit that comes next.
    fn pass(&mut self, header: FrameHeader) -> Result<Passed> {
        let expected = self.expected;
        let names = if header.kind == FrameKind::Commit && header.seq > expected && header.move_number == COPIED {
            self.names()?
        } else {
            None
        };
        let limit = self.limit();
        let Some(at) = &mut self.at else { return Ok(Passed::On) };
        let (segment, offset) = (Arc::clone(&at.segment), at.offset);
        let go_on = |at: &mut At| at.offset += u64::from(header.bytes);
        match header.kind {
            FrameKind::Survivors => {
                let (wanted, got) = ("commits, watermarks and seals", "survivors");
                return Err(Error::corrupt(segment.name(), offset, "frame of the log", wanted, got));
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
                        && (number == segment.number() && header.move_number == PREWRITTEN
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
                return Ok(Passed::Found(Found { segment, offset, header }));
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
        let mut walk = Walk::new(segment, offset, &header);
        while let Some(item) = walk.next()? {
            let (_, item) = item.map_err(damaged)?;
            if item.kind == Kind::Prewritten as u8 {
                return Ok(prewritten_in(item.payload));
            }
        }
        Ok(None)
    }

    /// Segments that may belong to the log, after this one.
    fn later(&self, after: SegmentSeq) -> Result<Vec<SegmentSeq>> {
        let files = list(&*self.engine.backing)?;
        Ok(files.logs.into_iter().filter(|number| *number > after).collect())
    }

    /// How a segment begins; `None` if it is not part of the log, or has nothing of it yet.
    fn begin(&mut self, number: SegmentSeq) -> Result<Option<Begin>> {
        if let Some(begin) = self.begins.get(&number) {
            return Ok(Some(*begin));
        }
        let name = FileKind::Records.file_name(number);
        let io = |action, source| Error::io(action, &name, source);
        let file = match self.engine.backing.open(&name) {
            Ok(file) => file,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io("open", source)),
        };
        let mut bytes = [0; SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES];
        if file.len().map_err(|source| io("measure", source))? < to_u64(bytes.len()) {
            return Ok(None);
        }
        match file.read_at(0, &mut bytes) {
            Ok(()) => {}
            // Its writer has just given back the room that it had ahead.
            Err(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
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

    /// Learns which timelines the manifest declares, and what it proves durable.
    fn read_manifest(&mut self) -> Result<()> {
        self.declared = self.declared.max(self.engine.log.timeline());
        if !self.engine.read_only {
            return Ok(());
        }
        let files = list(&*self.engine.backing)?;
        let loaded = match manifest::load(&*self.engine.backing, &files.manifests) {
            Ok(loaded) => loaded,
            // Its writer has just begun another file.
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        for body in loaded.entries.values() {
            let (timeline, proven) = match body {
                Body::Snapshot(snapshot) => (snapshot.timeline, snapshot.seq),
                Body::Cut(cut) => (cut.timeline, cut.resumed),
                _ => continue,
            };
            self.declared = self.declared.max(timeline);
            self.proven = self.proven.max(proven);
        }
        Ok(())
    }

    /// Beside another process: looks for evidence that the next commit is durable.
    fn learn(&mut self) -> Result<bool> {
        if !self.engine.read_only || self.is_early {
            return Ok(false);
        }
        let before = (self.proven, self.at.as_ref().map(|at| at.segment.number()));
        self.grow()?;
        if self.expected <= self.proven {
            return Ok(true);
        }
        if self.looked_at.is_some_and(|at| at.elapsed() < LOOK) {
            return Ok(false);
        }
        self.looked_at = Some(Instant::now());
        for number in self.later(before.1.unwrap_or_default())? {
            if self.begin(number)?.is_none() {
                continue;
            }
            match open_growing(&self.source, number, to_u64(SEGMENT_HEADER_BYTES)) {
                Ok((_, durable)) => self.proven = self.proven.max(durable),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
            if self.expected <= self.proven {
                return Ok(true);
            }
        }
        self.read_manifest()?;
        Ok(self.expected <= self.proven)
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
    fn start(&mut self) -> Result<bool> {
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
    fn go_on(&mut self) -> Result<bool> {
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
        Err(self.missing(number, timeline, gap.map(|(_, begin)| begin)))
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
            None if self.declared.max(self.engine.log.timeline()) > timeline => {
                Error::RolledBack { since, resumed: last }
            }
            None => {
                let name = FileKind::Records.file_name(number);
                let offset = self.at.as_ref().map_or(0, |at| at.offset);
                Error::corrupt(name, offset, "log", format!("commit {}", self.expected), "the end of the log")
            }
        }
    }
}
