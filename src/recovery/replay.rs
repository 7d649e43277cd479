//! Replay: frames in commit order, up to the first gap.
//!
//! Owns: the order of segments, cuts of earlier recoveries, the boundary between a tear and corruption. There are no
//! readers meanwhile, so changes of key indexes are gathered over many commits and applied together. Never: writes.
//! Invariants: 1. A commit is applied only if every commit before it was.
//! 2. Damage at or below a durable watermark that any valid frame carries is corruption, and is never cut.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::Frame;
use crate::format::entry::{ENTRIES_PER_PAGE, Entry, RECORD_BYTES_MAX, State as EntryState};
use crate::format::frame::{COPIED, FRAME_HEADER_BYTES, FrameHeader, FrameKind, PREWRITTEN};
use crate::format::manifest::{Body, Cut, Snapshot, SnapshotKind};
use crate::format::segment::{FileKind, SEGMENT_HEADER_BYTES};
use crate::heap::{Effect, Heap, Indexes};
use crate::id::{REUSE_MAX, SegmentSeq, Seq, to_u64, to_usize};
use crate::log::{Ahead, Scan, ScanEnd, Segment, SegmentSource, highest_watermark};
use crate::record_index::PAGES_END;
use crate::recovery::decoding::{Batch, each_batch};
use crate::recovery::headless::Headless;
use crate::recovery::{CutReport, LogEnd, RecoveryReport, headless};

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
        heap.with_indexes(Indexes::begin_gathering);
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
        let segment = match known.get(&number) {
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

/// What the manifest itself proves: a snapshot is saved, and a cut declared, only once its commits are durable.
fn proven_by(manifest: &BTreeMap<u64, Body>) -> Seq {
    let proven = manifest.values().map(|body| match body {
        Body::Snapshot(snapshot) => snapshot.seq,
        Body::Cut(cut) => cut.resumed,
        _ => Seq::ZERO,
    });
    proven.max().unwrap_or_default()
}

/// What the frame headers of a segment say was durable, up to the first invalid one.
fn durable_of(segment: &Segment) -> Result<Seq> {
    let contents = segment.contents()?;
    let (mut at, mut durable, mut ahead) = (to_u64(SEGMENT_HEADER_BYTES), Seq::ZERO, Ahead::default());
    while let Some(rest) = contents.get(to_usize(at)..)
        && let () = ahead.at(segment, at, 0)
        && let Ok(header) = FrameHeader::parse(rest, segment.seed(), at)
    {
        durable = durable.max(header.durable);
        at += u64::from(header.bytes);
    }
    Ok(durable)
}

/// A segment of an undeclared timeline holds only copies, unless the manifest lost its end.
fn check_undeclared(segment: &Segment) -> Result<()> {
    let contents = segment.contents()?;
    let mut scan = Scan::new(segment, &contents, to_u64(SEGMENT_HEADER_BYTES));
    while let Some(frame) = scan.next_frame() {
        if frame.header.kind == FrameKind::Commit && frame.header.move_number == 0 {
            let expected = format!("a cut in the manifest that begins timeline {}", segment.header().timeline);
            return Err(Error::corrupt(segment.name(), frame.offset(), "timeline", expected, "none"));
        }
    }
    Ok(())
}

/// The last commit for which segments before cuts count.
struct Limits(Vec<(SegmentSeq, Seq)>);

impl Limits {
    fn of(cuts: &[(u64, Cut)]) -> Self {
        let mut limits: Vec<_> = cuts.iter().map(|(_, cut)| (cut.first_segment, cut.seq)).collect();
        limits.sort_unstable_by_key(|(first_segment, _)| *first_segment);
        // The lowest of all cuts that start there or later.
        let mut lowest = Seq(u64::MAX);
        for (_, seq) in limits.iter_mut().rev() {
            lowest = lowest.min(*seq);
            *seq = lowest;
        }
        Self(limits)
    }

    fn of_segment(&self, number: SegmentSeq) -> Option<Seq> {
        let behind = self.0.partition_point(|(first_segment, _)| *first_segment <= number);
        self.0.get(behind).map(|(_, seq)| *seq)
    }
}

impl<'a> Replay<'a> {
    fn new(source: &'a SegmentSource, heap: &'a Heap, past: &Past<'a>, report: &'a mut RecoveryReport) -> Self {
        let Past { manifest, base, until, reserved_end, live } = *past;
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

    /// The segment with the head existed when the snapshot was saved, and is not deleted while its log is needed.
    fn check_head(&self, files: &[SegmentSeq]) -> Result<()> {
        let Snapshot { number, head_segment, head_offset, .. } = *self.base;
        let is_there = head_offset <= to_u64(SEGMENT_HEADER_BYTES) || files.contains(&head_segment);
        if is_there || self.has_reached_its_end() {
            return Ok(());
        }
        let (name, what) = (FileKind::Records.file_name(head_segment), format!("segment of snapshot {number}"));
        Err(Error::corrupt(name, 0, what, format!("{head_offset} bytes of the log"), "no file of this name"))
    }

    /// Whether everything requested was applied.
    fn has_reached_its_end(&self) -> bool {
        self.until.is_some_and(|until| self.expected > until)
    }

    /// Work left unfinished when earlier crashes were recovered ends here.
    fn begin_timelines(&mut self, cuts: &[(u64, Cut)]) -> Result<()> {
        for (_, cut) in cuts {
            if self.expected <= cut.seq {
                let (file, expected) = (FileKind::Records.file_name(cut.first_segment), self.expected);
                let what = format!("commits {expected} to {}", cut.seq);
                return Err(match self.broken.take() {
                    Some(broken) => Error::corrupt(broken.file, broken.offset, what, "durable commits", broken.why),
                    None => Error::corrupt(file, 0, what, "durable commits", "none"),
                });
            }
            self.watermark = self.watermark.max(cut.seq);
            self.unproven.clear();
            (self.broken, self.is_damaged, self.ended) = (None, false, false);
            self.found_more = true;
        }
        let entries: Vec<u64> = cuts.iter().map(|(entry, _)| *entry).collect();
        self.burn(&entries)
    }

    /// Raises the counts of slots whose IDs may have been handed out before each of these manifest entries, which
    /// ascend.
    fn burn(&mut self, before: &[u64]) -> Result<()> {
        // Each reservation lets a slot be handed out once, so a page that was reserved twice is burned twice.
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        if !before.is_empty() {
            for page in &self.base.reserved {
                *times.entry(*page).or_default() += before.len();
            }
        }
        for (number, pages) in &self.reserves {
            let later = before.len() - before.partition_point(|entry| entry <= number);
            for page in pages.iter().filter(|_| later > 0) {
                *times.entry(*page).or_default() += later;
            }
        }
        for (page, times) in times {
            self.page_end = self.page_end.max(page.saturating_add(1)).min(PAGES_END);
            self.report.burned_slots += burn_page(self.heap, page, times)?;
        }
        Ok(())
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

    /// A page is reserved before it is assigned to a set.
    fn check_pages(&self, segment: &Segment, frame: &Frame<'_>, effects: &[Effect]) -> Result<()> {
        let pages =
            effects.iter().filter_map(|effect| if let Effect::Assign(page, _) = effect { Some(*page) } else { None });
        match pages.max().filter(|page| *page >= self.reserved_end) {
            None => Ok(()),
            Some(page) => {
                let expected = format!("one below {}, which the manifest has reserved", self.reserved_end);
                Err(Error::corrupt(segment.name(), frame.offset(), "page assigned to a set", expected, page))
            }
        }
    }

    /// Beside readers an index must not be used before it has its entries, which only a snapshot has.
    fn check_indexes(&self, segment: &Segment, frame: &Frame<'_>, effects: &[Effect]) -> Result<()> {
        let published = effects.iter().find_map(|effect| match effect {
            Effect::PublishIndex(number) => Some(*number),
            _ => None,
        });
        match published.filter(|_| self.is_live) {
            None => Ok(()),
            Some(number) => {
                let (what, expected) = (format!("key index {number}"), "a snapshot with its nodes");
                Err(Error::corrupt(segment.name(), frame.offset(), what, expected, "an older one"))
            }
        }
    }

    /// Registers the segments into which records were moved. One that is gone has been emptied by later moves or
    /// commits; otherwise it is found missing after replay.
    fn adopt_targets(&mut self, effects: &[Effect]) -> Result<()> {
        for effect in effects {
            let Effect::Moves(_, to, moves) = effect else { continue };
            self.moved_to = self.moved_to.max(*to);
            if let Some(known) = self.heap.segment(*to) {
                let end = moves.iter().map(|each| each.to).max().unwrap_or_default() + RECORD_BYTES_MAX;
                self.follow_growth(&known, end)?;
                continue;
            }
            let segment = match self.source.open(FileKind::Records, *to) {
                Ok(segment) => segment,
                // Readers would look for records in it before the next commits lead elsewhere.
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound && !self.is_live => {
                    self.source.absent(*to)
                }
                Err(error) => return Err(error),
            };
            headless::note(&segment, self.report);
            self.heap.adopt(&Arc::new(segment))?;
        }
        Ok(())
    }

    /// Beside a writer, a segment may have been opened before the moved records were written to it.
    fn follow_growth(&self, known: &Arc<Segment>, end: u64) -> Result<()> {
        if known.is_absent() || known.len()? >= end {
            return Ok(());
        }
        match self.source.open(FileKind::Records, known.number()) {
            Ok(now) if now.len()? > known.len()? => {
                self.heap.replace(&Arc::new(now));
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn finish(mut self, timeline: u64, last_segment: SegmentSeq, undeclared: Vec<SegmentSeq>) -> Result<Replayed> {
        if !self.is_live {
            self.heap.with_indexes(Indexes::end_gathering)?;
        }
        // On the way to a past commit the log may have been deleted, but not damaged.
        let wanted = self.until.map_or(self.watermark, |until| self.watermark.min(until));
        if wanted >= self.expected && (self.until.is_none() || self.is_damaged) {
            let what = format!("commits {} to {wanted}", self.expected);
            return Err(match self.broken.take() {
                Some(broken) => Error::corrupt(broken.file, broken.offset, what, "durable commits", broken.why),
                None => {
                    let file = FileKind::Records.file_name(last_segment);
                    Error::corrupt(file, 0, what, "durable commits", "the end of the log")
                }
            });
        }
        while self.unproven.front().is_some_and(|position| position.seq <= self.watermark) {
            self.unproven.pop_front();
        }
        let found_more = self.found_more || !self.reserves.is_empty() || !self.base.reserved.is_empty();
        if found_more && self.until.is_none() {
            self.burn(&[u64::MAX])?;
        }
        self.report.end = self.end();
        self.report.cut = self.broken;
        self.headless.report(self.watermark, self.report);
        let last = Seq(self.expected.0 - 1);
        let (durable, unproven, page_end) = (self.watermark, self.unproven, self.page_end);
        Ok(Replayed {
            last,
            durable,
            unproven,
            last_segment,
            undeclared,
            segments: self.segments,
            timeline,
            page_end,
            found_more,
            moved_to: self.moved_to,
            read_to: self.read_to,
            is_sealed: self.is_sealed,
            prewritten: self.prewritten,
            older: self.older,
        })
    }
}

impl Replay<'_> {
    /// Where the log ends, if nothing was wrong with it there and the store was not closed after it.
    fn end(&self) -> Option<LogEnd> {
        let is_closed = self.base.kind == SnapshotKind::Close && !self.found_more && self.reserves.is_empty();
        if is_closed || self.broken.is_some() || self.until.is_some() {
            return None;
        }
        let (segment, offset) = self.read_to;
        let (last, proven) = (Seq(self.expected.0 - 1), self.watermark.min(Seq(self.expected.0 - 1)));
        // The segment of the first commit after a close is created before the manifest records that the log continues.
        let goes_on = self.reserves.iter().any(|(number, pages)| *number > self.base.number && pages.is_empty());
        let gone_from = Some(self.base.next_segment).filter(|_| goes_on && !self.has_later_segment);
        Some(LogEnd { file: FileKind::Records.file_name(segment), offset, last, proven, gone_from })
    }
}

/// Whether only a watermark is missing before the head: it was never synced, and the snapshot does not need it.
fn lacks_a_watermark(segment: &Segment, contents: &[u8], head: u64) -> bool {
    let mut scan = Scan::new(segment, contents, to_u64(SEGMENT_HEADER_BYTES));
    while scan.next_frame().is_some() {}
    // No other frame is as short as its header, except a seal, which no head follows.
    scan.offset() + to_u64(FRAME_HEADER_BYTES) == head
}

fn burn_page(heap: &Heap, page: u64, times: usize) -> Result<u64> {
    heap.with_tree(|tree| {
        let Some(cell) = tree.root().cell(page).filter(|cell| cell.descriptor.set != 0) else { return Ok(0) };
        let entries = match cell.entries() {
            // No slot of the page is assigned while it is damaged, nor any that is free when it is repaired.
            Err(error) if error.is_corruption() => return Ok(0),
            entries => entries?,
        };
        let mut burned = 0;
        for (index, entry) in entries.into_iter().enumerate() {
            let slot = page * to_u64(ENTRIES_PER_PAGE) + to_u64(index);
            let EntryState::Free { next_count } = entry.state() else { continue };
            let more = u32::try_from(times).unwrap_or(u32::MAX).saturating_sub(1);
            let raised = Entry::freed_after(next_count.saturating_add(more).min(REUSE_MAX));
            if raised != entry {
                tree.set(slot, raised)?;
                burned += 1;
            }
        }
        Ok(burned)
    })
}

/// The frame at a position, to be copied.
pub(crate) fn frame_at<'a>(position: &Position, contents: &'a [u8]) -> Result<Frame<'a>> {
    let segment = &position.segment;
    let rest = contents.get(to_usize(position.offset)..).unwrap_or_default();
    Frame::parse(rest, segment.seed(), position.offset)
        .map_err(|malformed| malformed.at(segment.name(), position.offset))
}
