//! A survey of the record segments: the newest intact version of each record, and what else the log says.
//!
//! Owns: which of several versions is the newest, which commits an earlier recovery made void, which set a page belongs
//! to. Never: consults an index. Segments are walked from the newest to the oldest, so that everything a later timeline
//! made void is known in time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

use byteorder::{ByteOrder, LittleEndian};

use crate::error::Result;
use crate::format::entry::{ENTRIES_PER_PAGE, State as EntryState};
use crate::format::frame::{FrameHeader, FrameKind};
use crate::format::index::IndexDefinition;
use crate::format::item::{FIRST_CONTROL_KIND, Item, Kind};
use crate::format::manifest::NUMBER_END;
use crate::id::{IndexNumber, NumberHash, RecordId, Seq, SetNumber, to_u64};
use crate::recovery::Remains;
use crate::salvage::moved::Moved;
use crate::salvage::source::{LogFile, Source};
use crate::salvage::vain::{Passed, written_in_vain};
use crate::salvage::version::Version;
use crate::salvage::walk::{Piece, walk};

/// What the log says about a slot.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slot {
    pub(crate) newest: Option<Version>,
    /// The version that the record index points at.
    pub(crate) indexed: Option<Version>,
    /// The highest count that was freed, and by which commit.
    pub(crate) freed: Option<(u32, Seq)>,
}

impl Slot {
    /// Whether the newest version was deleted, as far as the log tells.
    pub(crate) fn is_freed(&self) -> bool {
        let freed = |version: Version| {
            self.freed.is_some_and(|(count, seq)| count >= version.id.reuse_count() && seq >= version.seq)
        };
        self.newest.is_none_or(freed)
    }
}

/// A place that seems to have held a version, which is not intact.
#[derive(Debug, Clone)]
pub(crate) struct Suspect {
    pub(crate) id: RecordId,
    pub(crate) seq: Seq,
    pub(crate) file: String,
    pub(crate) offset: u64,
}

/// Bytes of a segment that could not be read as anything.
#[derive(Debug, Clone)]
pub(crate) struct BadBytes {
    pub(crate) file: String,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// The contents of the segments.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) slots: HashMap<u64, Slot, NumberHash>,
    /// The sets of pages.
    pub(crate) pages: HashMap<u64, SetNumber, NumberHash>,
    pub(crate) sets: BTreeMap<SetNumber, String>,
    /// Definitions of key indexes, and the commits that created them.
    pub(crate) indexes: BTreeMap<IndexNumber, (Seq, IndexDefinition)>,
    pub(crate) dropped_indexes: BTreeMap<IndexNumber, Seq>,
    /// Names of marks, and the newest commit that set or dropped each: whether it was set.
    pub(crate) marks: BTreeMap<String, (Seq, bool)>,
    /// Dropped sets, with their records.
    pub(crate) dropped_sets: BTreeSet<SetNumber>,
    /// Numbers of indexes that replaced others.
    pub(crate) published_indexes: BTreeSet<IndexNumber>,
    pub(crate) suspects: Vec<Suspect>,
    /// IDs that seem to have been deleted: those bytes are not intact, or their commit is unknown.
    pub(crate) suspect_frees: Vec<RecordId>,
    pub(crate) bad: Vec<BadBytes>,
    pub(crate) last_seq: Seq,
    /// Complete commits, as ranges without a gap.
    pub(crate) whole: Vec<RangeInclusive<u64>>,
    pub(crate) moved: Moved,
    /// One more than the highest page named anywhere.
    pub(crate) page_end: u64,
    /// All versions in slots that the record index does not cover.
    pub(crate) unknown: HashMap<u64, Vec<Version>, NumberHash>,
    until: Option<Seq>,
    /// The first commit of each timeline that is not a copy.
    begins: BTreeMap<u64, Seq>,
}

/// State while one segment is walked.
struct Pass<'s> {
    survey: &'s mut Survey,
    remains: Option<&'s Remains>,
    log: &'s LogFile,
    index: u32,
    generation: u8,
    timeline: u64,
    run: Option<SetNumber>,
    /// The commit of the newest record met in a frame whose header is lost.
    seq: Option<Seq>,
    /// The lowest commit that may come next.
    next: Option<Seq>,
}

/// Walks through all record segments. Commits after `until` do not count; if it is set, all versions are recorded for
/// slots that the record index does not cover.
pub(crate) fn survey(
    source: &Source,
    remains: Option<&Remains>,
    until: Option<Seq>,
    progress: &mut dyn FnMut(u64),
) -> Result<Survey> {
    let mut survey = Survey { until, moved: Moved::new(source), ..Survey::default() };
    let mut done = 0;
    for (index, log) in (0..).zip(&source.logs).collect::<Vec<_>>().into_iter().rev() {
        let contents = source.contents(log)?;
        let passed = Passed { last: survey.last_seq, begins: &survey.begins };
        if written_in_vain(source, index, &contents, &passed)? {
            done += log.bytes;
            progress(done);
            continue;
        }
        let (generation, timeline) = log.header.as_ref().map_or((0, 0), |header| (header.generation, header.timeline));
        let mut pass =
            Pass { survey: &mut survey, remains, log, index, generation, timeline, run: None, seq: None, next: None };
        if log.header.is_none() {
            let (file, bytes) = (log.name.clone(), to_u64(contents.len()).min(128));
            pass.survey.bad.push(BadBytes { file, offset: 0, bytes });
        }
        walk(&contents, source.seed(log), &mut |piece| pass.piece(piece));
        done += log.bytes;
        progress(done);
    }
    if let Some(remains) = remains {
        survey.note_sets(remains);
    }
    survey.note_set_of_rest();
    Ok(survey)
}

impl Survey {
    /// The set that a slot's page belongs to.
    pub(crate) fn set_of_slot(&self, slot: u64) -> Option<SetNumber> {
        self.pages.get(&(slot / to_u64(ENTRIES_PER_PAGE))).copied()
    }

    /// Whether the set of a slot's page was dropped.
    pub(crate) fn is_of_dropped_set(&self, slot: u64) -> bool {
        !self.dropped_sets.is_empty() && self.set_of_slot(slot).is_some_and(|set| self.dropped_sets.contains(&set))
    }

    /// Adds what the record index says about pages that the log does not mention.
    fn note_sets(&mut self, remains: &Remains) {
        let root = &remains.state.root;
        for page in 0..root.page_end() {
            if let Some(cell) = root.cell(page).filter(|cell| cell.descriptor.set != 0) {
                self.note_page(page, SetNumber(cell.descriptor.set));
            }
        }
        self.dropped_sets.extend(remains.state.catalogue.dropped_sets());
        for (number, set) in remains.state.catalogue.user_sets() {
            self.sets.entry(number).or_insert_with(|| set.name.to_string());
        }
    }

    /// Records whose set is unknown go into an unused one.
    fn note_set_of_rest(&mut self) {
        let known = self.pages.values().chain(self.sets.keys()).copied();
        let next = SetNumber(known.max().unwrap_or_default().0.max(SetNumber::FIRST_USER.0).saturating_add(1));
        for (slot, found) in &self.slots {
            if let Some(version) = found.newest {
                let set = if version.is_chunk { SetNumber::CHUNKS } else { next };
                self.pages.entry(slot / to_u64(ENTRIES_PER_PAGE)).or_insert(set);
            }
        }
    }

    /// The definitions that exist at the end.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = (Seq, IndexDefinition)> {
        let stands = |number: &IndexNumber, made: Seq| self.dropped_indexes.get(number).is_none_or(|gone| *gone < made);
        let all = self.indexes.iter().filter(move |(number, (made, _))| stands(number, *made));
        all.filter_map(|(_, (made, definition))| Some((*made, self.standing(definition)?)))
    }

    /// A definition at the end: that of a successor if it replaced its predecessor, and otherwise that of the
    /// predecessor.
    pub(crate) fn standing(&self, definition: &IndexDefinition) -> Option<IndexDefinition> {
        let is_replaced = |other: &IndexDefinition| other.replaces == Some(definition.number);
        let published = self.published_indexes.iter().filter_map(|number| self.indexes.get(number));
        if published.map(|(_, definition)| definition).any(is_replaced) {
            return None;
        }
        let is_there = definition.replaces.is_none() || self.published_indexes.contains(&definition.number);
        is_there.then(|| IndexDefinition { replaces: None, ..definition.clone() })
    }

    /// Whether an opening has made a commit void: a later timeline has its own commit of this number or a lower one.
    fn is_void(&self, timeline: u64, seq: Seq) -> bool {
        if self.until.is_some_and(|until| seq > until) {
            return true;
        }
        self.begins.range(timeline.saturating_add(1)..).any(|(_, begin)| *begin <= seq)
    }

    fn note_whole(&mut self, seq: Seq) {
        match self.whole.last_mut() {
            Some(run) if run.end().checked_add(1) == Some(seq.0) => *run = *run.start()..=seq.0,
            _ => self.whole.push(seq.0..=seq.0),
        }
    }

    /// Commits after `base` that are partly missing, as ranges without a gap.
    pub(crate) fn missing(&self, base: Seq, last: Seq) -> Vec<(Seq, Seq)> {
        let mut whole = self.whole.clone();
        whole.sort_unstable_by_key(|run| *run.start());
        let (mut next, mut missing) = (base.0.saturating_add(1), Vec::new());
        for run in whole {
            if *run.start() > next && next <= last.0 {
                missing.push((Seq(next), Seq((*run.start() - 1).min(last.0))));
            }
            next = next.max(run.end().saturating_add(1));
        }
        if next <= last.0 {
            missing.push((Seq(next), last));
        }
        missing
    }

    fn note_page(&mut self, page: u64, set: SetNumber) {
        self.pages.entry(page).or_insert(set);
        self.page_end = self.page_end.max(page.saturating_add(1));
    }
}

impl Pass<'_> {
    fn piece(&mut self, piece: &Piece<'_>) {
        match *piece {
            Piece::Frame { header, is_whole } => self.frame(&header, is_whole),
            Piece::Item { offset, item, frame, is_whole } => self.item(offset, &item, frame.as_ref(), is_whole),
            Piece::Gap => (self.run, self.seq) = (None, None),
            Piece::Suspect { offset, id, seq } => {
                let file = self.log.name.clone();
                self.survey.suspects.push(Suspect { id, seq: Seq(seq), file, offset });
            }
            Piece::SuspectFrees(ids) => self.suspect_frees(ids),
            Piece::Bad { offset, bytes } => {
                self.survey.bad.push(BadBytes { file: self.log.name.clone(), offset, bytes });
            }
        }
    }

    fn frame(&mut self, header: &FrameHeader, is_whole: bool) {
        (self.run, self.seq) = (None, None);
        self.timeline = header.timeline;
        if header.kind == FrameKind::Survivors {
            self.generation = self.generation.max(1);
        } else if !self.survey.is_void(header.timeline, header.seq) {
            // What was durable then existed, whether or not it was found.
            self.survey.last_seq = self.survey.last_seq.max(header.seq).max(header.durable);
            self.next = Some(header.seq.next());
            if header.kind == FrameKind::Commit && is_whole {
                self.survey.note_whole(header.seq);
            }
        }
        // What was cut is void only if something else was committed in its place.
        if header.kind == FrameKind::Commit && header.move_number == 0 && is_whole {
            let begin = self.survey.begins.entry(header.timeline).or_insert(header.seq);
            *begin = header.seq.min(*begin);
        }
    }

    fn item(&mut self, offset: u64, item: &Item<'_>, frame: Option<&FrameHeader>, is_whole: bool) {
        let kind = Kind::from_u8(item.kind);
        if item.kind < FIRST_CONTROL_KIND {
            self.seq = Some(item.seq);
            // The collector's copies were never void.
            if self.generation > 0 || !self.survey.is_void(self.timeline, item.seq) {
                self.record(offset, item, kind, is_whole);
            }
            return;
        }
        let seq = frame.map(|header| header.seq).or(self.seq).or(self.next);
        if kind == Some(Kind::Frees) && seq.is_none() {
            self.suspect_frees(item.payload);
        } else if kind == Some(Kind::Run) {
            self.run = item.payload.first_chunk().map(|number| SetNumber(u32::from_le_bytes(*number)));
        } else if let Some(seq) = seq.filter(|seq| !self.survey.is_void(self.timeline, *seq)) {
            self.control(item, kind, seq);
        }
    }

    fn record(&mut self, offset: u64, item: &Item<'_>, kind: Option<Kind>, is_whole: bool) {
        let Some(id) = RecordId::from_u64(item.raw_id) else { return };
        let version = Version {
            id,
            seq: item.seq,
            log: self.index,
            generation: self.generation,
            is_head: kind == Some(Kind::Head),
            is_chunk: kind == Some(Kind::Chunk),
            is_whole,
            offset,
            bytes: item.bytes(),
        };
        self.survey.last_seq = self.survey.last_seq.max(item.seq);
        if let Some(set) = self.run {
            self.survey.note_page(id.slot() / to_u64(ENTRIES_PER_PAGE), set);
        }
        self.note_slot(id);
        let is_indexed = self.is_indexed(&version);
        self.survey.moved.note_copy(self.remains, self.log.number, &version);
        let is_unknown = self.remains.is_some_and(|remains| remains.state.root.entry(id.slot()).is_err());
        let slot = self.survey.slots.entry(id.slot()).or_default();
        if is_indexed {
            slot.indexed = Some(version);
        }
        if self.survey.until.is_some() && is_unknown {
            self.survey.unknown.entry(id.slot()).or_default().push(version);
        }
        if slot.newest.is_none_or(|newest| newest.rank() < version.rank()) {
            slot.newest = Some(version);
        }
    }

    /// Whether the record index, as far as it is readable, points at this version.
    fn is_indexed(&self, version: &Version) -> bool {
        let Some(state) = self.remains.map(|remains| &remains.state) else { return false };
        let Ok(entry) = state.root.entry(version.id.slot()) else { return false };
        let EntryState::Live(location) = entry.state() else { return false };
        location.offset() == version.offset
            && location.bytes() == version.bytes
            && location.reuse_low == version.id.reuse_count() & 0xf
            && state.table.get(location.place).is_some_and(|segment| segment.number() == self.log.number)
    }

    fn suspect_frees(&mut self, ids: &[u8]) {
        let ids = ids.chunks_exact(8).map(LittleEndian::read_u64).filter_map(RecordId::from_u64);
        self.survey.suspect_frees.extend(ids);
    }

    fn note_slot(&mut self, id: RecordId) {
        self.survey.page_end = self.survey.page_end.max(id.slot() / to_u64(ENTRIES_PER_PAGE) + 1);
    }

    fn control(&mut self, item: &Item<'_>, kind: Option<Kind>, seq: Seq) {
        match kind {
            Some(Kind::Prewritten) => {
                let named = item.payload.get(8..16).map_or(0, LittleEndian::read_u64);
                // There are no commits between this one and the one that it names.
                let is_there = self.survey.whole.iter().any(|run| run.contains(&named));
                if is_there && named > seq.0.saturating_add(1) && named < NUMBER_END {
                    self.survey.whole.push(seq.0 + 1..=named - 1);
                }
            }
            Some(Kind::Frees) => {
                for id in item.payload.chunks_exact(8).map(LittleEndian::read_u64).filter_map(RecordId::from_u64) {
                    self.note_slot(id);
                    let freed = &mut self.survey.slots.entry(id.slot()).or_default().freed;
                    *freed = Some((id.reuse_count(), seq)).max(*freed);
                }
            }
            Some(Kind::Pages) => {
                for part in item.payload.chunks_exact(12) {
                    let (page, set) = (LittleEndian::read_u64(part), part.get(8..).map(LittleEndian::read_u32));
                    if let Some(set) = set.filter(|_| page < PAGES_END) {
                        self.survey.note_page(page, SetNumber(set));
                    }
                }
            }
            Some(Kind::CreateSet) => {
                if let Some((number, name)) = item.payload.split_first_chunk()
                    && let Ok(name) = std::str::from_utf8(name)
                {
                    self.survey.sets.entry(SetNumber(u32::from_le_bytes(*number))).or_insert_with(|| name.to_owned());
                }
            }
            Some(Kind::Moves) => self.survey.moved.note_moves(item.payload),
            Some(Kind::Mark | Kind::DropMark) => {
                if let Ok(name) = std::str::from_utf8(item.payload) {
                    let made = (seq, kind == Some(Kind::Mark));
                    // The newest log segment is walked first.
                    let newest = self.survey.marks.entry(name.to_owned()).or_insert(made);
                    *newest = made.max(*newest);
                }
            }
            Some(Kind::CreateIndex) => {
                let definition = item.payload.split_first().map(|(_, definition)| IndexDefinition::decode(definition));
                if let Some(Ok(definition)) = definition {
                    self.survey.indexes.entry(definition.number).or_insert((seq, definition));
                }
            }
            Some(Kind::DropIndex) => {
                if let Some(number) = item.payload.first_chunk() {
                    self.survey.dropped_indexes.entry(IndexNumber(u32::from_le_bytes(*number))).or_insert(seq);
                }
            }
            Some(Kind::DropSet) => {
                if let Some(number) = item.payload.first_chunk() {
                    self.survey.dropped_sets.insert(SetNumber(u32::from_le_bytes(*number)));
                }
            }
            Some(Kind::PublishIndex) => {
                if let Some(number) = item.payload.first_chunk() {
                    self.survey.published_indexes.insert(IndexNumber(u32::from_le_bytes(*number)));
                }
            }
            _ => {}
        }
    }
}

/// Maximum number of pages of a store.
const PAGES_END: u64 = crate::id::SLOT_END / ENTRIES_PER_PAGE as u64;
