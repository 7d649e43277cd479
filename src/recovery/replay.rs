//! Replay: frames in commit order, up to the first gap.
//!
//! Owns: the order of segments, and which frame is the next commit; `cuts`, `proof` and `end` tell where the log ends. There are no
//! readers meanwhile, so changes of key indexes are gathered over many commits and applied together. Never: writes.
//! Invariants: 1. A commit is applied only if every commit before it was.
//! 2. Damage at or below a durable watermark that any valid frame carries is corruption, and is never cut.

mod burning;
mod checks;
mod cuts;
mod end;
mod proof;
mod targets;

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::Frame;
use crate::format::frame::{COPIED, FrameKind, PREWRITTEN};
use crate::format::manifest::{Body, Cut, Snapshot};
use crate::format::segment::FileKind;
use crate::heap::{Effect, Heap};
use crate::id::{SegmentSeq, Seq, to_u64};
use crate::log::{ScanEnd, Segment, SegmentSource, highest_watermark};
use crate::recovery::decoding::{Batch, each_batch};
use crate::recovery::headless::Headless;
use crate::recovery::replay::cuts::{Limits, check_undeclared};
use crate::recovery::replay::proof::{durable_of, lacks_a_watermark, proven_by};
use crate::recovery::replayed::{Position, Replayed};
use crate::recovery::report::{CutReport, RecoveryReport};

/// The state of a replay.
struct Replay<'a> {
    source: &'a SegmentSource,
    heap: &'a Heap,
    base: &'a Snapshot,
    report: &'a mut RecoveryReport,
    expected: Seq,
    watermark: Seq,
    unproven: VecDeque<Position>,
    broken: Option<CutReport>,
    /// Whether the bytes there are bad, rather than a commit missing.
    is_damaged: bool,
    ended: bool,
    found_more: bool,
    page_end: u64,
    /// The last commit to apply, unless all are.
    until: Option<Seq>,
    moved_to: SegmentSeq,
    /// The commit that the one before it names: the segment to which it was written ahead, and its number.
    prewritten: Option<(SegmentSeq, Seq)>,
    headless: Headless,
    /// Valid reservations, with the numbers of their entries.
    reserves: Vec<(u64, &'a [u64])>,
    /// Pages from this one on were never reserved.
    reserved_end: u64,
    /// Whether a log segment was started since the snapshot was saved.
    has_later_segment: bool,
    /// The end of the last frame.
    read_to: (SegmentSeq, u64),
    is_sealed: bool,
    older: Vec<SegmentSeq>,
    /// Whether there are readers.
    is_live: bool,
    segments: usize,
}

/// A state with readers goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Live {
    /// What is known to be durable.
    pub(crate) durable: Seq,
    /// Whether the last frame is the last one of its segment.
    pub(crate) is_sealed: bool,
    /// The commit that the last one names.
    pub(crate) prewritten: Option<(SegmentSeq, Seq)>,
}

/// Where replay starts and ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past<'a> {
    pub(crate) manifest: &'a BTreeMap<u64, Body>,
    pub(crate) base: &'a Snapshot,
    /// The last commit to apply, unless all are.
    pub(crate) until: Option<Seq>,
    /// Pages from this one on were never reserved.
    pub(crate) reserved_end: u64,
    /// If there are readers.
    pub(crate) live: Option<Live>,
    /// Whether threads may be started.
    pub(crate) at_once: bool,
}

/// Replays everything after the snapshot's head, or up to `until`.
pub(crate) fn replay(
    source: &SegmentSource,
    heap: &Heap,
    past: &Past<'_>,
    known: &BTreeMap<SegmentSeq, Arc<Segment>>,
    files: &[SegmentSeq],
    report: &mut RecoveryReport,
) -> Result<Replayed> {
    let Past { manifest, base, .. } = *past;
    let cuts: Vec<(u64, Cut)> = manifest
        .iter()
        .filter_map(|(number, body)| if let Body::Cut(cut) = body { Some((*number, *cut)) } else { None })
        .filter(|(number, _)| *number > base.number)
        .collect();
    let limits = Limits::of(&cuts);
    let timeline = cuts.iter().map(|(_, cut)| cut.timeline).fold(base.timeline, u64::max);
    let mut replay = Replay::new(source, heap, past, report);
    replay.check_head(files)?;
    if !replay.is_live {
        heap.with_indexes(|indexes| indexes.begin_gathering(past.at_once));
    }
    let mut undeclared = Vec::new();
    let mut last_segment = base.head_segment;
    let mut cuts = cuts.as_slice();
    for number in files.iter().copied().filter(|number| *number >= base.head_segment) {
        if replay.has_reached_its_end() {
            break;
        }
        let here = cuts.iter().take_while(|(_, cut)| cut.first_segment <= number).count();
        let (begun, later) = cuts.split_at(here);
        replay.begin_timelines(begun)?;
        cuts = later;
        let limit = limits.of_segment(number);
        let segment = match known.get(&number).filter(|segment| !segment.is_absent()) {
            Some(segment) => Arc::clone(segment),
            None => match source.open_proven(FileKind::Records, number, base.begin_of(number)) {
                Ok(segment) => Arc::new(segment),
                Err(error) if error.is_corruption() => {
                    // A segment with a torn header is not a missing segment, even if an earlier opening declared a cut for it.
                    replay.has_later_segment |= number >= base.next_segment;
                    replay.is_damaged = true;
                    replay.break_at(FileKind::Records.file_name(number), 0, error.to_string(), 0);
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        if segment.header().generation > 0 && replay.is_live {
            replay.older.push(number);
            continue;
        }
        if segment.header().generation > 0 {
            // These records were moved, and the moves are in the log. But the frame says what was durable when it was
            // written.
            if limit.is_none() {
                replay.watermark = replay.watermark.max(durable_of(&segment)?);
            }
            continue;
        }
        last_segment = last_segment.max(number);
        replay.has_later_segment |= number >= base.next_segment;
        if segment.header().timeline > timeline {
            check_undeclared(&segment)?;
            undeclared.push(number);
            continue;
        }
        replay.segment(&segment, limit)?;
    }
    if !replay.has_reached_its_end() {
        replay.begin_timelines(cuts)?;
    }
    replay.finish(timeline, last_segment, undeclared)
}

impl<'a> Replay<'a> {
    fn new(source: &'a SegmentSource, heap: &'a Heap, past: &Past<'a>, report: &'a mut RecoveryReport) -> Self {
        let Past { manifest, base, until, reserved_end, live, .. } = *past;
        let reserves = manifest.range(base.reserved_from..).filter_map(|(number, body)| match body {
            Body::Reserve(pages) => Some((*number, pages.as_slice())),
            _ => None,
        });
        Self {
            source,
            heap,
            base,
            report,
            expected: base.seq.next(),
            watermark: live.map_or_else(|| proven_by(manifest).max(base.seq), |live| live.durable),
            unproven: VecDeque::new(),
            broken: None,
            is_damaged: false,
            ended: false,
            found_more: false,
            page_end: base.page_end,
            until,
            moved_to: SegmentSeq(0),
            prewritten: live.and_then(|live| live.prewritten),
            headless: Headless::default(),
            reserves: reserves.collect(),
            reserved_end,
            has_later_segment: false,
            read_to: (base.head_segment, base.head_offset),
            is_sealed: live.is_some_and(|live| live.is_sealed),
            older: Vec::new(),
            is_live: live.is_some(),
            segments: 0,
        }
    }

    /// Whether everything requested was applied.
    fn has_reached_its_end(&self) -> bool {
        self.until.is_some_and(|until| self.expected > until)
    }

    fn break_at(&mut self, file: String, offset: u64, why: String, bytes_void: u64) {
        self.found_more = true;
        match &mut self.broken {
            Some(broken) => broken.bytes_void += bytes_void,
            None => self.broken = Some(CutReport { file, offset, why, bytes_void }),
        }
    }

    fn segment(&mut self, segment: &Arc<Segment>, limit: Option<Seq>) -> Result<()> {
        let begin = self.base.begin_of(segment.number());
        let contents = segment.contents_from(begin)?;
        let len = to_u64(contents.len());
        if segment.number() == self.base.head_segment && begin > len && !lacks_a_watermark(segment, &contents, begin) {
            let what = "log below the head of a snapshot";
            return Err(Error::corrupt(segment.name(), len, what, format!("{begin} bytes"), len));
        }
        let (mut lowest, mut void, mut end) = (None, None, ScanEnd::Whole);
        if !self.ended && !self.has_reached_its_end() {
            each_batch(segment, &contents, begin, |mut batch| {
                void = self.batch(segment, &mut batch, limit, &mut lowest)?;
                // What follows the requested end is not looked at.
                let is_over = void.is_some() || self.has_reached_its_end();
                end = batch.end.filter(|_| !is_over).unwrap_or(ScanEnd::Whole);
                Ok(if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
        }
        if let Some(offset) = void {
            self.headless.meet(segment, lowest);
            // Void since an earlier recovery, or after a gap.
            if self.ended {
                let why = "a commit is missing before it".to_owned();
                self.break_at(segment.name().to_owned(), offset, why, len - offset);
                self.watermark = self.watermark.max(highest_watermark(&contents, segment.seed(), offset));
            }
            return Ok(());
        }
        self.headless.meet(segment, lowest);
        if self.ended {
            self.watermark = self.watermark.max(highest_watermark(&contents, segment.seed(), begin));
            self.break_at(segment.name().to_owned(), begin, String::new(), len.saturating_sub(begin));
        } else if let ScanEnd::Broken { offset, why } = end {
            let why = format!("{}: expected {}, got {}", why.what, why.expected, why.got);
            self.is_damaged = true;
            self.break_at(segment.name().to_owned(), offset, why, len - offset);
            if limit.is_none_or(|limit| limit >= self.expected) {
                self.watermark = self.watermark.max(highest_watermark(&contents, segment.seed(), offset));
            }
        }
        Ok(())
    }

    /// Applies the commits of a batch. Returns the offset of the frame from which on the segment is void, if there is one.
    fn batch(
        &mut self,
        segment: &Arc<Segment>,
        batch: &mut Batch<'_>,
        limit: Option<Seq>,
        lowest: &mut Option<Seq>,
    ) -> Result<Option<u64>> {
        let mut frames = std::mem::take(&mut batch.frames);
        let (mut commits, mut void) = (Vec::with_capacity(frames.len()), None);
        for decoded in &mut frames {
            if self.has_reached_its_end() {
                break;
            }
            self.found_more = true;
            let header = decoded.frame.header;
            let Some(is_next) = self.admit(segment, &decoded.frame, limit)? else {
                void = Some(decoded.frame.offset());
                break;
            };
            if is_next {
                let effects = decoded.take_effects()?;
                let all = batch.effects(effects.clone());
                self.check_pages(segment, &decoded.frame, all)?;
                self.check_indexes(segment, &decoded.frame, all)?;
                if all.iter().any(|effect| matches!(effect, Effect::Moves(..))) {
                    self.adopt_targets(all)?;
                }
                let named = all.iter().find_map(|effect| match effect {
                    Effect::Prewritten(segment, seq) => Some((*segment, *seq)),
                    _ => None,
                });
                commits.push((header.seq, effects));
                self.replayed(segment, &decoded.frame);
                self.prewritten = named;
            }
            if is_next || header.kind != FrameKind::Commit {
                self.count(&decoded.frame);
            }
            self.read_to = (segment.number(), decoded.end);
            self.is_sealed = header.kind == FrameKind::Seal;
            if header.kind == FrameKind::Commit && lowest.is_none() {
                *lowest = Some(header.seq);
                self.segments += 1;
            }
        }
        if self.is_live && !commits.is_empty() {
            self.heap.follow_growth(segment)?;
        }
        let commits = commits.into_iter().map(|(seq, effects)| (seq, batch.effects(effects)));
        self.heap.replay(segment, commits)?;
        Ok(void)
    }

    /// Whether a frame is the next commit; `None` if the rest of the segment is void.
    fn admit(&mut self, segment: &Segment, frame: &Frame<'_>, limit: Option<Seq>) -> Result<Option<bool>> {
        let header = &frame.header;
        if header.kind == FrameKind::Survivors {
            let (expected, got) = ("commits, watermarks and seals", "survivors");
            return Err(Error::corrupt(segment.name(), frame.offset(), "frame of the log", expected, got));
        }
        if header.kind != FrameKind::Commit {
            return Ok(Some(false));
        }
        if limit.is_some_and(|limit| header.seq > limit) {
            return Ok(None);
        }
        let is_early = header.move_number == PREWRITTEN && header.seq >= self.expected;
        let is_named = self.prewritten.is_some_and(|(named, seq)| {
            seq == header.seq && (named == segment.number() && is_early || header.move_number == COPIED)
        });
        if is_early && !is_named {
            // Its turn never came, and its segment could not be deleted.
            return Ok(None);
        }
        if let Some(until) = self.until.filter(|until| is_named && header.seq > *until) {
            // The numbers before it lead to the commit that names it.
            self.expected = until.next();
            return Ok(None);
        }
        if is_named {
            self.expected = header.seq;
        }
        if header.seq > self.expected {
            self.watermark = self.watermark.max(header.durable);
            self.ended = true;
            return Ok(None);
        }
        Ok(Some(header.seq == self.expected))
    }

    /// The next commit is there.
    fn replayed(&mut self, segment: &Arc<Segment>, frame: &Frame<'_>) {
        let seq = frame.header.seq;
        self.report.commits_replayed += 1;
        self.unproven.push_back(Position { segment: Arc::clone(segment), offset: frame.offset(), seq });
        self.expected = self.expected.next();
        (self.broken, self.is_damaged) = (None, false);
    }

    /// Counts a frame, and what it says was durable.
    fn count(&mut self, frame: &Frame<'_>) {
        self.report.frames_replayed += 1;
        self.report.bytes_replayed += u64::from(frame.header.bytes);
        self.watermark = self.watermark.max(frame.header.durable);
        while self.unproven.front().is_some_and(|position| position.seq <= self.watermark) {
            self.unproven.pop_front();
        }
    }
}
