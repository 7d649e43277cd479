//! Opening a store: the newest usable snapshot, the log after it, and a new timeline if one is needed.
//!
//! Owns: choosing the snapshot, replay, cleaning up after a crash. Reports what it did. Never: cuts anything proven
//! durable, or writes when the store is opened read-only.
//! Invariants: 1. Nothing is acknowledged, deleted or appended before every retained commit, and every manifest entry
//! that was read, is durable.
//! 2. Recovering twice gives the same state.

mod bounds;
mod copying;
mod decoding;
mod files;
mod following;
mod headless;
mod leftovers;
mod point;
mod remains;
mod replay;
mod report;
mod settle;

pub(crate) use files::{Files, list};
pub(crate) use following::{Step, advance};
pub(crate) use leftovers::{Keeper, is_ours, oldest_mark, slowest};
pub use point::Point;
pub(crate) use point::{open_at, open_to_copy, roll_back};
pub(crate) use remains::{Remains, remains};
pub use report::{CutReport, LogEnd, RecoveryReport};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::backing::Backing;
use crate::catalogue::{Catalogue, Lineage, Origin};
use crate::commit_lock::CommitLock;
use crate::engine::{Announced, DirtyBudget, Engine, Following, Growth, Left, Registry, ReserveUse, Shipped, Streams};
use crate::error::{Corruption, Error, Result};
use crate::format::descriptor::Descriptor;
use crate::format::entry::ENTRIES_PER_PAGE;
use crate::format::manifest::{Body, Cut, NUMBER_END, Snapshot, SnapshotKind};
use crate::format::segment::{FileKind, SEGMENT_HEADER_BYTES};
use crate::heap::{Heap, Indexes};
use crate::history::History;
use crate::id::{IndexNumber, SegmentSeq, Seq, to_u64};
use crate::key_index::KeyTree;
use crate::log::{Log, LogStart, NextBytes, Poison, Segment, SegmentSource, SyncsWanted, now_micros};
use crate::manifest;
use crate::manifest::{Loaded, Manifest};
use crate::pages::{PageStore, PageWriter};
use crate::record_index::{DamagedLeaf, Root, Slots, Tree};
use crate::recovery::replay::Replayed;
use crate::reserve::{Release, Reserve};

/// The part of `dirty_bytes_max` that each tree may take for copies of leaves. Beyond it a few changes of a leaf are kept
/// beside its image.
const COPIED_LEAVES_PART: u64 = 16;

/// How often a read-only opening retries while a writer changes the directory.
const ATTEMPTS_BESIDE_A_WRITER: u32 = 100;

/// How to open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) check_pages: bool,
    /// Whether to accept an index without a directory, and records without a file.
    pub(crate) repairs: bool,
    pub(crate) check_every_read: bool,
    pub(crate) segment_bytes: u64,
    pub(crate) transaction_bytes_max: u64,
    pub(crate) old_values: bool,
    pub(crate) snapshot_log_bytes: u64,
    pub(crate) dirty_bytes_max: u64,
    pub(crate) lineage: Lineage,
}

/// The marker of an incomplete copy of a store.
pub(crate) const UNFINISHED: &str = "unfinished";
/// The file that carries the writer's lock.
pub(crate) const LOCK: &str = "lock";

/// `NotAStore` if this is an incomplete copy.
pub(crate) fn refuse_unfinished(backing: &dyn Backing) -> Result<()> {
    let names = backing.list().map_err(|source| Error::io("list", backing.location(), source))?;
    if names.iter().any(|name| name == UNFINISHED) {
        // A copy leaves the file empty; a load notes which dump it loads.
        let is_load = backing.open(UNFINISHED).and_then(|file| file.len()).is_ok_and(|len| len > 0);
        let why = if is_load {
            "a load into it was interrupted: run it again with the same dump, or delete the directory"
        } else {
            "it is an incomplete copy: delete it and copy again"
        };
        return Err(Error::NotAStore { path: backing.location(), why: why.to_owned() });
    }
    Ok(())
}

/// Opens the newest state.
pub(crate) fn open_beside_a_writer(
    backing: &Arc<dyn Backing>,
    settings: &Settings,
) -> Result<(Engine, RecoveryReport)> {
    let signs = |(_, report): &(Engine, RecoveryReport)| [&*report.fell_back, &*report.damaged].concat();
    beside_a_writer(backing, settings.read_only, signs, || open(Arc::clone(backing), settings))
}

/// Like `open_beside_a_writer`; if an opening for writing runs out of space, it is retried with the reserve released.
/// Also returns whether it was.
pub(crate) fn open_with_reserve(
    backing: &Arc<dyn Backing>,
    settings: &Settings,
) -> Result<((Engine, RecoveryReport), bool)> {
    match open_beside_a_writer(backing, settings) {
        Err(error @ Error::NoSpace { .. }) if !settings.read_only => {
            if Reserve::new(Arc::clone(backing)).release(Release::All).is_none() {
                return Err(error);
            }
            open_beside_a_writer(backing, settings).map(|opened| (opened, true))
        }
        result => result.map(|opened| (opened, false)),
    }
}

/// A reader may find that the writer has just deleted a file that it was about to open; it then retries. `signs` are
/// errors that may result from that, or from damage. A writer removes a file from the manifest before deleting it, so
/// an error that persists over two attempts is damage.
fn beside_a_writer<T>(
    backing: &Arc<dyn Backing>,
    read_only: bool,
    signs: impl Fn(&T) -> Vec<String>,
    open: impl Fn() -> Result<T>,
) -> Result<T> {
    let names = || {
        let mut names = backing.list().unwrap_or_default();
        names.sort_unstable();
        names
    };
    let (mut before, mut seen) = (names(), None);
    for attempt in 1.. {
        let result = open();
        let found = result.as_ref().ok().map(&signs);
        let is_settled = found.as_ref().is_some_and(|found| found.is_empty() || seen.as_ref() == Some(found));
        if !read_only || is_settled || attempt == ATTEMPTS_BESIDE_A_WRITER {
            return result;
        }
        seen = found;
        let now = names();
        // Without a change in the directory a retry finds the same; but the change may just have been missed.
        if now == before && attempt > 3 {
            return result;
        }
        before = now;
    }
    open()
}

/// Opens a store and recovers it if needed.
fn open(backing: Arc<dyn Backing>, settings: &Settings) -> Result<(Engine, RecoveryReport)> {
    let started = Instant::now();
    let files = list(&*backing)?;
    if files.manifests.is_empty() {
        if !files.logs.is_empty() || !files.pages.is_empty() {
            let expected = "a manifest beside the segments";
            return Err(Error::corrupt(backing.location(), 0, "store directory", expected, "none"));
        }
        if !settings.create || settings.read_only {
            let why = "it contains no manifest".to_owned();
            return Err(Error::NotAStore { path: backing.location(), why });
        }
        return begin(backing, settings, files.manifests);
    }
    let empty = files.logs.is_empty() && files.pages.is_empty();
    if empty && manifest::is_unfinished(&*backing, &files.manifests)? {
        if !settings.create || settings.read_only {
            let why = "its creation was interrupted before anything was stored".to_owned();
            return Err(Error::NotAStore { path: backing.location(), why });
        }
        return begin(backing, settings, files.manifests);
    }
    let loaded = manifest::load(&*backing, &files.manifests)?;
    let files = files.without_foreign(&loaded);
    let new_report = || RecoveryReport { foreign: files.foreign.clone(), ..RecoveryReport::of(&loaded) };
    let mut report = new_report();
    let kept = loaded.kept();
    let mut unusable: Vec<(u64, Error)> = Vec::new();
    // Snapshots with damaged pages, usable until they are repaired if no intact one exists.
    let mut usable = BTreeSet::new();
    for base in kept.snapshots().rev().chain(kept.snapshots().rev()) {
        let is_second = usable.contains(&base.number);
        if unusable.iter().any(|(unusable, _)| *unusable == base.number) && !is_second {
            continue;
        }
        let attempt = Attempt { backing: &backing, settings, loaded: &loaded, files: &files, base, until: None };
        match attempt.run(&mut report) {
            Ok(based) if !based.damage.is_empty() && !is_second => {
                report = new_report();
                usable.insert(base.number);
                let damage = based.damage.into_iter().next().map(Box::new);
                unusable.extend(damage.map(|damage| (base.number, Error::Corrupt(damage))));
            }
            Ok(base) => {
                // A snapshot is dropped only if another one is better.
                if is_second {
                    unusable.retain(|(number, _)| !usable.contains(number));
                }
                report.fell_back.extend(unusable.iter().map(|(number, error)| format!("snapshot {number}: {error}")));
                report.clean &= unusable.is_empty();
                let numbers: Vec<u64> = unusable.iter().map(|(number, _)| *number).collect();
                let engine = base.finish(&attempt, &numbers, &mut report)?;
                report.micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                return Ok((engine, report));
            }
            Err(error) if error.is_corruption() => {
                report = new_report();
                unusable.push((base.number, error));
            }
            Err(error) => return Err(error),
        }
    }
    match unusable.into_iter().next() {
        Some((_, error)) => Err(error),
        None => {
            let why = "its manifest contains no snapshot".to_owned();
            Err(Error::NotAStore { path: backing.location(), why })
        }
    }
}

/// Creates a store and opens it.
fn begin(
    backing: Arc<dyn Backing>,
    settings: &Settings,
    unfinished: Vec<SegmentSeq>,
) -> Result<(Engine, RecoveryReport)> {
    initialise(&backing, settings, unfinished, |_| {})?;
    let (engine, mut report) = open(backing, settings)?;
    report.snapshot = None;
    Ok((engine, report))
}

/// Creates a store whose first snapshot contains what `fill` adds, and opens it. For imports of records with their own
/// IDs and commit numbers.
pub(crate) fn make(
    backing: &Arc<dyn Backing>,
    settings: &Settings,
    fill: impl FnOnce(&mut Snapshot),
) -> Result<Engine> {
    initialise(backing, settings, Vec::new(), fill)?;
    open(Arc::clone(backing), settings).map(|(engine, _)| engine)
}

/// Writes the first manifest entry of a new store: an empty snapshot. Deletes what an interrupted creation left.
fn initialise(
    backing: &Arc<dyn Backing>,
    settings: &Settings,
    unfinished: Vec<SegmentSeq>,
    fill: impl FnOnce(&mut Snapshot),
) -> Result<()> {
    let uuid = *uuid::Uuid::new_v4().as_bytes();
    let (segment_bytes, files, ours) = (settings.segment_bytes, unfinished.clone(), unfinished);
    let loaded = Loaded { uuid, segment_bytes, files, ours, ..Loaded::default() };
    let manifest = Manifest::new(Arc::clone(backing), &loaded, Arc::default());
    let mut snapshot = Snapshot {
        number: 1,
        kind: SnapshotKind::Close,
        name: String::new(),
        seq: Seq::ZERO,
        timeline: 1,
        time_micros: now_micros(),
        root: Descriptor::default(),
        page_end: 0,
        head_segment: SegmentSeq(1),
        head_offset: to_u64(SEGMENT_HEADER_BYTES),
        next_segment: SegmentSeq(1),
        next_set: 0,
        next_stream: 0,
        reserved_from: 2,
        segments: Vec::new(),
        sets: Vec::new(),
        marks: Vec::new(),
        reserved: Vec::new(),
        streams: Vec::new(),
        next_index: 0,
        indexes: Vec::new(),
        raised: Vec::new(),
        extensions: Vec::new(),
    };
    Catalogue::default().fill(&mut snapshot);
    fill(&mut snapshot);
    manifest.append(|_| Body::Snapshot(Box::new(snapshot)))?;
    manifest.prove();
    Ok(())
}

struct Attempt<'a> {
    backing: &'a Arc<dyn Backing>,
    settings: &'a Settings,
    loaded: &'a Loaded,
    files: &'a Files,
    base: &'a Snapshot,
    /// The last commit to apply, unless all are.
    until: Option<Seq>,
}

/// A snapshot with the log replayed over it; nothing is written yet.
struct Based {
    source: SegmentSource,
    pages: PageStore,
    heap: Heap,
    replayed: Replayed,
    /// Damage that does not prevent opening the store.
    damage: Vec<Corruption>,
}

impl Attempt<'_> {
    fn source(&self) -> SegmentSource {
        SegmentSource {
            backing: Arc::clone(self.backing),
            uuid: self.loaded.uuid,
            segment_bytes: self.loaded.segment_bytes,
            next_bytes: NextBytes::default(),
            syncs_wanted: SyncsWanted::default(),
            sizes: Arc::default(),
            check_every_read: self.settings.check_every_read,
            beside_a_writer: self.settings.read_only,
        }
    }

    /// The key indexes of the snapshot; damaged ones are marked as such.
    fn load_indexes(&self, pages: &PageStore) -> Result<Indexes> {
        let mut indexes = Indexes::default();
        for row in self.base.indexes.iter().filter(|row| row.ready) {
            let number = row.definition.number;
            match KeyTree::load(&row.root, row.entries, pages.segments()) {
                Ok(tree) => indexes.insert(number, tree),
                Err(Error::Corrupt(damaged)) => indexes.damage(number, *damaged),
                Err(error) => return Err(error),
            }
        }
        for (number, damaged) in self.base.damaged_indexes() {
            indexes.damage(number, damaged);
        }
        Ok(indexes)
    }

    fn run(&self, report: &mut RecoveryReport) -> Result<Based> {
        bounds::check_snapshot(self.base)?;
        let (source, uuid) = (self.source(), self.loaded.uuid);
        let pages = PageStore::new(source.clone());
        let (mut segments, mut damage) = (Vec::new(), Vec::new());
        let mut known: BTreeMap<SegmentSeq, Arc<Segment>> = BTreeMap::new();
        for row in &self.base.segments {
            let result = if row.pages {
                pages.open_segment(row.segment, row.live_bytes).map(|found| damage.extend(found))
            } else {
                let is_ended = row.segment < self.base.head_segment;
                let proven = if is_ended { row.bytes } else { self.base.begin_of(row.segment) };
                open_or_absent(&source, row.segment, proven).map(|segment| {
                    let segment = Arc::new(segment);
                    headless::note(&segment, report);
                    segment.add_live(i64::try_from(row.live_bytes).unwrap_or_default());
                    known.insert(row.segment, Arc::clone(&segment));
                    segments.push((row.place, segment));
                })
            };
            result?;
        }
        let root = match Root::load(&self.base.root, &pages) {
            Err(Error::Corrupt(found)) if self.settings.repairs => {
                damage.push(*found);
                Root::load_what_is(&self.base.root, &pages, self.base.page_end)?
            }
            root => root?,
        };
        // Placeholders for unreadable pages have nothing to compare.
        if !root.has_damaged {
            bounds::check_beside(self.base, &root)?;
        }
        let reserved_end = bounds::check_others(self.base, &root, &self.loaded.entries)?;
        let mut unreadable = Vec::new();
        let mut root = Tree::new(root);
        // Older versions kept the floors of pages in rows of each snapshot.
        let page_end = self.base.page_end.max(root.root().page_end());
        for row in self.base.raised.iter().filter(|row| row.slot / to_u64(ENTRIES_PER_PAGE) < page_end) {
            root.raise_floor(row.slot / to_u64(ENTRIES_PER_PAGE), row.next_count)?;
        }
        let root = Arc::unwrap_or_clone(Arc::clone(root.root()));
        if self.settings.check_pages {
            unreadable = look_at_pages(&root)?;
        }
        let mut indexes = self.load_indexes(&pages)?;
        indexes.copy_up_to(self.settings.dirty_bytes_max / COPIED_LEAVES_PART);
        let catalogue = Catalogue::from_snapshot(self.base, Origin { store: uuid, lineage: self.settings.lineage });
        let heap = Heap::new(root, segments, catalogue, indexes, self.base.seq);
        for (page, damaged) in unreadable {
            heap.with_tree(|tree| tree.mark_damaged(page, DamagedLeaf::new(damaged)))?;
        }
        // What was known of damaged pages when the snapshot was saved.
        for (slot, entry) in self.base.known_entries() {
            heap.with_tree(|tree| tree.set(slot, entry).map(drop))?;
        }
        heap.with_indexes(|_| {});
        report.snapshot = Some(self.base.number);
        let entries = &self.loaded.entries;
        let past = replay::Past { manifest: entries, base: self.base, until: self.until, reserved_end, live: None };
        heap.begin_loading();
        let replayed = replay::replay(&source, &heap, &past, &known, &self.files.logs, report)?;
        damage.extend(heap.pin().root.damaged_pages().map(|(_, damaged)| damaged.clone()));
        damage.extend(check_absent(&heap, self.base.number, damage.is_empty() && !self.settings.repairs)?);
        let marked = self.base.damaged_indexes();
        let is_new = |number: IndexNumber| marked.iter().all(|(marked, _)| *marked != number);
        let catalogue = heap.catalogue();
        let found = catalogue.damaged_indexes().filter(|(index, _)| is_new(index.definition.number));
        damage.extend(found.map(|(_, damaged)| damaged.clone()));
        heap.drop_successors();
        heap.end_loading();
        report.last_seq = replayed.last;
        report.clean = self.base.kind == SnapshotKind::Close && !replayed.found_more;
        Ok(Based { source, pages, heap, replayed, damage })
    }
}

/// Checks all leaf pages. Returns those that are damaged.
fn look_at_pages(root: &Root) -> Result<Vec<(u64, Corruption)>> {
    let mut damaged = Vec::new();
    for (page, cell) in (0..).zip(root.mids.iter().flat_map(|mid| &mid.cells)) {
        match cell.entries() {
            Ok(_) => {}
            Err(Error::Corrupt(damage)) => damaged.push((page, *damage)),
            Err(error) => return Err(error),
        }
    }
    Ok(damaged)
}

/// Opens a log segment, or treats it as absent: a later commit or move may have emptied it before it was deleted.
fn open_or_absent(source: &SegmentSource, number: SegmentSeq, proven: u64) -> Result<Segment> {
    match source.open_proven(FileKind::Records, number, proven) {
        Err(Error::Io { source: why, .. }) if why.kind() == std::io::ErrorKind::NotFound => Ok(source.absent(number)),
        other => other,
    }
}

/// After replay, nothing may point into a segment without a file, as far as all pages can be read. Releases such
/// segments. Returns the damage of pages checked for this.
fn check_absent(heap: &Heap, snapshot: u64, all_is_known: bool) -> Result<Vec<Corruption>> {
    let table = heap.segments();
    let absent: Vec<&Arc<Segment>> = table.iter().map(|(_, segment)| segment).filter(|s| s.is_absent()).collect();
    let missing = absent.iter().find(|segment| segment.live_bytes() > 0);
    // It is unknown what a damaged page refers to: the segment may have been emptied by moves that could not be
    // followed.
    let mut damage = Vec::new();
    if missing.is_some() && all_is_known {
        for (page, damaged) in look_at_pages(&heap.pin().root)? {
            damage.push(damaged.clone());
            heap.with_tree(|tree| tree.mark_damaged(page, DamagedLeaf::new(damaged)))?;
        }
    }
    if let Some(missing) = missing.filter(|_| all_is_known && damage.is_empty()) {
        let what = format!("segment of snapshot {snapshot}");
        let expected = format!("the file, with {} live bytes", missing.live_bytes());
        return Err(Error::corrupt(missing.name(), 0, what, expected, "no file of this name"));
    }
    let numbers: Vec<SegmentSeq> = absent.iter().map(|segment| segment.number()).collect();
    // The opening has not ended, so no earlier state is in use.
    heap.release_places(heap.retire(&numbers).iter().map(|(place, _)| *place));
    Ok(damage)
}

impl Based {
    fn finish(self, attempt: &Attempt<'_>, unusable: &[u64], report: &mut RecoveryReport) -> Result<Engine> {
        let Self { source, pages, heap, replayed, damage } = self;
        report.damaged.extend(damage.iter().map(ToString::to_string));
        for line in heap
            .catalogue()
            .damaged_indexes()
            .map(|(index, damage)| format!("index {:?}: {damage}", index.definition.name))
        {
            report.damaged.push(line);
        }
        let read_only = attempt.settings.read_only;
        let is_whole = damage.is_empty() && !attempt.settings.repairs;
        let new_timeline = !report.clean && !read_only;
        let files = attempt.files;
        let highest = files.logs.iter().chain(&files.pages).max().copied().unwrap_or_default();
        // Above every cut as well: the segment that was to start with the cut may be gone.
        let cuts = attempt.loaded.entries.values();
        let begun = cuts.filter_map(|body| if let Body::Cut(cut) = body { Some(cut.first_segment) } else { None });
        let begun = begun.max().unwrap_or_default();
        let moved_to = SegmentSeq(replayed.moved_to.0.saturating_add(1));
        let next_segment = attempt.base.next_segment.max(SegmentSeq(highest.0 + 1)).max(begun).max(moved_to);
        if new_timeline && replayed.timeline + 1 >= NUMBER_END {
            return Err(Error::Exhausted { what: "timeline", limit: NUMBER_END });
        }
        let start = LogStart {
            timeline: replayed.timeline.saturating_add(u64::from(new_timeline)),
            last_seq: if read_only { replayed.last } else { replayed.durable.min(replayed.last) },
            durable: replayed.durable.min(replayed.last),
            previous: replayed.last_segment,
            next_segment,
        };
        let engine = Self { source, pages, heap, replayed: replayed.clone(), damage }.engine(
            attempt,
            start,
            report.bytes_replayed,
        );
        if new_timeline {
            begin_timeline(&engine, &replayed, start, report)
                .inspect_err(|error| forget_timeline(&engine, start, error))?;
        } else if !read_only && !attempt.loaded.proven {
            engine.manifest.renew()?;
        }
        if !read_only {
            for number in unusable {
                engine.manifest.append(|_| Body::Drop(*number))?;
            }
            settle::drop_what_was_left_behind(&engine, attempt)?;
            settle::drop_interrupted_copies(&engine)?;
        }
        leftovers::see_to(&engine, attempt, &replayed);
        if !read_only {
            settle::free_orphaned_chunks(&engine)?;
            if is_whole && settle::is_long(attempt, &replayed, report) {
                settle::save_what_was_replayed(&engine)?;
            }
        }
        Ok(engine)
    }

    /// Assembles the engine in this state.
    fn engine(self, attempt: &Attempt<'_>, start: LogStart, replay_bytes: u64) -> Engine {
        let Self { source, pages, heap, replayed, .. } = self;
        let poison = Arc::new(Poison::default());
        let next_stream = heap.pin().catalogue.next_stream();
        let followed =
            following::begin(&**attempt.backing, attempt.files, attempt.loaded, attempt.base.number, &replayed);
        let raised_end = attempt.base.raised.iter().map(|row| row.slot / to_u64(ENTRIES_PER_PAGE) + 1).max();
        let slots = Slots::load(&heap.pin().root, replayed.page_end, raised_end.unwrap_or_default());
        let settings = attempt.settings;
        Engine {
            read_only: settings.read_only,
            lineage: settings.lineage,
            transaction_bytes_max: settings.transaction_bytes_max,
            old_values: settings.old_values,
            backing: Arc::clone(attempt.backing),
            log: Log::new(source, start, Arc::clone(&poison)),
            heap,
            slots,
            manifest: Manifest::new(Arc::clone(attempt.backing), attempt.loaded, Arc::clone(&poison)),
            pages,
            page_writer: Mutex::new(PageWriter::new(attempt.base.root.page)),
            poison,
            commit: CommitLock::new(),
            history: History::default(),
            registry: Registry::default(),
            growth: Growth::new(replay_bytes, settings.snapshot_log_bytes),
            dirty: DirtyBudget::new(settings.dirty_bytes_max),
            reserve: ReserveUse::new(Arc::clone(attempt.backing)),
            announced: Announced::default(),
            streams: Streams::starting_with(next_stream),
            shipped: Shipped::default(),
            following: Following::from(followed),
            left: Left::default(),
        }
    }
}

/// Copies commits not proven durable to a new segment, syncs it, and declares the cut.
fn begin_timeline(engine: &Engine, replayed: &Replayed, start: LogStart, report: &mut RecoveryReport) -> Result<()> {
    copying::copy(engine, &replayed.unproven, report)?;
    engine.log.sync_to(replayed.last)?;
    let cut = Cut {
        timeline: start.timeline,
        seq: start.last_seq,
        first_segment: start.next_segment,
        resumed: replayed.last,
    };
    engine.manifest.append(|_| Body::Cut(cut)).map(drop)
}

/// A timeline for which there was no space is not in the manifest and leaves nothing behind: the next opening starts it
/// again.
fn forget_timeline(engine: &Engine, start: LogStart, error: &Error) {
    if matches!(error, Error::NoSpace { .. }) && engine.poison.check().is_ok() {
        for number in start.next_segment.0..engine.log.next_segment().0 {
            drop(engine.backing.delete(&FileKind::Records.file_name(SegmentSeq(number))));
        }
    }
}
