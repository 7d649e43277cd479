//! The collector: copies live records out of segments that hold little else, and deletes those segments.
//!
//! Owns: which segment is emptied when, survivors on their way, retired segments until their files are gone.
//! Never: decides what a record index entry says (the heap compares and sets), or holds the commit lock but for one
//! frame of moves. `docs/collector.md` tells the rules.
//! Invariants: 1. A copy is on the medium before an entry points at it. 2. A file is deleted only when every commit that
//! emptied it is on the medium, replay does not need it, and nothing in this process can read it any more. 3. A segment
//! that is being appended to is no victim. 4. Collecting ends. Take the sum of the bytes of all segments that hold live
//! records or are open for survivors, and that commits do not go to. A victim is emptied only if its copy is shorter than
//! the victim by a part of it, and by 256 bytes at least; the copy is counted by the same walk that makes it, with a header of
//! a new segment for each frame. So each victim lowers the sum by 256 bytes or more. Small segments are merged only if their copy is shorter than they are
//! together; it is counted by the same walk too, and takes one header, because all of it goes to one segment. So each merge
//! lowers the sum as well, by at least a byte, and there are three segments less afterwards. Only writers raise the sum: moves and
//! watermarks go where commits go, and a collection on request leaves alone what the log gets after it began. A record that dies
//! while it is copied may shift the frames behind it by a few bytes, but it dies once.

mod evacuate;
mod left;
mod merge;
mod policy;
mod retire;
mod room;
mod survivors;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::manifest::SnapshotKind;
use crate::gc::evacuate::{Targets, Work};
use crate::gc::left::Left;
use crate::gc::merge::{Tiers, Unmerged};
use crate::gc::policy::{Counted, Scope, Space};
use crate::gc::retire::Retired;
use crate::gc::room::Looked;
use crate::gc::survivors::Survivors;
use crate::id::{SegmentSeq, Seq};
use crate::manifest::Kept;
use crate::recovery::Keeper;
use crate::snapshot;

/// Survivors that are copied before they are synced and moved.
const SLICE_BYTES: u64 = 1 << 20;
/// How long a collection on request waits for readers that hold an emptied segment, at the most.
const PATIENCE_MILLIS: u32 = 20;
/// How full a segment may be to be worth copying in the background.
const WORTH_COPYING: f64 = 0.95;
/// The same when everything is to be gained that can be.
const WORTH_COMPACTING: f64 = 0.99;

/// No segment of the log is left alone.
const ALL: SegmentSeq = SegmentSeq(u64::MAX);

/// How the collector works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GcSettings {
    /// Bytes of record segments for each live byte.
    pub(crate) space_ratio: f64,
    /// Generations, the log included.
    pub(crate) generations: u8,
}

/// What the collector has done since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// Segments that were emptied.
    pub victims: u64,
    /// Records that were moved.
    pub records: u64,
    /// Bytes that were copied, with the headers of frames.
    pub bytes_copied: u64,
    /// Files of record segments that were deleted.
    pub files_deleted: u64,
    /// Bytes that went back with them.
    pub bytes_deleted: u64,
    /// Snapshots that were saved so that files could go.
    pub snapshots: u64,
}

impl Collected {
    /// What came since.
    fn since(self, before: Self) -> Self {
        Self {
            victims: self.victims - before.victims,
            records: self.records - before.records,
            bytes_copied: self.bytes_copied - before.bytes_copied,
            files_deleted: self.files_deleted - before.files_deleted,
            bytes_deleted: self.bytes_deleted - before.bytes_deleted,
            snapshots: self.snapshots - before.snapshots,
        }
    }
}

#[cfg(test)]
pub(crate) use policy::LOOKS;

#[derive(Debug, Default)]
struct Inner {
    targets: Targets,
    work: Option<Work>,
    retired: Vec<Retired>,
    left: Left,
    /// Segments that could not be emptied.
    damaged: BTreeSet<SegmentSeq>,
    looked: Looked,
    counted: Counted,
    unmerged: Unmerged,
    /// The next number of a file, and the snapshots, when there was nothing to merge. What is small comes with another number, and
    /// what replay needs no more with a snapshot.
    unmerged_at: Option<(SegmentSeq, u64)>,
    /// When there was nothing to do in the background.
    idle_at: Option<Moment>,
    collected: Collected,
}

impl Inner {
    fn scope(&self, worth: f64, until: SegmentSeq) -> Scope<'_> {
        Scope { open: self.targets.open(), damaged: &self.damaged, worth, until }
    }
}

/// The collector of one open store.
#[derive(Debug)]
pub(crate) struct Collector {
    settings: GcSettings,
    inner: Mutex<Inner>,
    paused: AtomicBool,
    /// Bytes appended to the log when space was last looked at by a writer.
    looked_at: AtomicU64,
}

/// What decides, beside what the collector itself does, whether it has anything to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    appended_bytes: u64,
    seq: Seq,
    /// Changes when a snapshot comes or goes.
    snapshots: u64,
}

impl Moment {
    fn now(engine: &Engine) -> Self {
        let (appended_bytes, seq) = (engine.log.appended_bytes(), engine.heap.seq());
        Self { appended_bytes, seq, snapshots: engine.manifest.with_kept(Kept::epoch) }
    }
}

/// What one slice came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slice {
    /// Bytes were copied, or segments retired.
    Progress(u64),
    /// Nothing can be gained before replay needs less of the log.
    Blocked,
    /// Nothing can be gained.
    Idle,
}

impl Collector {
    pub(crate) fn new(settings: GcSettings) -> Self {
        Self { settings, inner: Mutex::default(), paused: AtomicBool::new(false), looked_at: AtomicU64::new(0) }
    }

    /// Stops collecting in the background and in commits; `collect` still works.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    /// What was done since opening.
    pub(crate) fn collected(&self) -> Collected {
        self.inner.lock().collected
    }

    /// Retired segments whose files are still there: name, bytes.
    pub(crate) fn retired(&self) -> Vec<(String, u64)> {
        let inner = self.inner.lock();
        inner.retired.iter().map(|retired| (retired.name().to_owned(), retired.bytes())).collect()
    }

    /// Waits until no file is made or deleted here. After the handle was poisoned none will be.
    pub(crate) fn wait_idle(&self) {
        drop(self.inner.lock());
    }

    /// The next survivors go to other segments.
    pub(crate) fn end_segments(&self) {
        let mut inner = self.inner.lock();
        inner.targets.close();
        (inner.idle_at, inner.unmerged_at) = (None, None);
    }

    /// The oldest generation.
    fn oldest(&self) -> u8 {
        self.settings.generations.saturating_sub(1).max(1)
    }

    /// Lets the next segments have the size that goes with what lives.
    pub(crate) fn note_size(engine: &Engine) {
        Space::of(engine).note(engine);
    }

    /// Whether segments have come near the cap.
    pub(crate) fn is_due(&self, engine: &Engine) -> bool {
        !self.paused.load(Ordering::Acquire)
            && (engine.no_space.load(Ordering::Acquire) || Space::of(engine).is_over(&self.settings, 0))
    }

    /// Dead bytes that cannot be gained before the next snapshots.
    fn blocked_bytes(&self, engine: &Engine) -> u64 {
        let inner = self.inner.lock();
        policy::survey(engine, &inner.scope(WORTH_COPYING, ALL)).blocked_bytes
    }

    /// Whether a snapshot would free more of the log than it writes pages.
    fn is_worth_a_snapshot(engine: &Engine) -> bool {
        let dirty = engine.heap.dirty_bytes();
        engine.replay_bytes.load(Ordering::Relaxed) > 2 * dirty + engine.log.source().next_bytes()
    }

    /// One piece of work in the background. Whether there was any. This is asked two hundred times a second: where there was
    /// nothing to do and nothing has changed since, the segments are not looked at.
    pub(crate) fn work(&self, engine: &Engine) -> Result<bool> {
        self.keep_reserve(engine);
        let is_full = engine.no_space.load(Ordering::Acquire) || engine.reserve.is_short();
        let is_asked = !is_full && !self.paused.load(Ordering::Acquire);
        let moment = Moment::now(engine);
        if is_asked && self.inner.lock().idle_at == Some(moment) {
            return Ok(false);
        }
        let is_busy = self.work_if_due(engine)?;
        if is_asked && !is_busy {
            self.inner.lock().idle_at = Some(moment);
        }
        Ok(is_busy)
    }

    fn work_if_due(&self, engine: &Engine) -> Result<bool> {
        if !self.is_due(engine) {
            return self.merge_in_background(engine);
        }
        let slack = Space::of(engine).slack(&self.settings);
        let wanted = engine.no_space.load(Ordering::Acquire);
        // Where there is no room, a snapshot may need the reserve.
        let blocked = self.blocked_bytes(engine);
        // Right behind a snapshot a second one costs no pages, and replay needs nothing from before the first.
        let is_cheap = blocked > slack / 16 && blocked > 16 * engine.heap.dirty_bytes();
        if !wanted && (is_cheap || (blocked > slack / 2 && Self::is_worth_a_snapshot(engine))) {
            self.save_snapshot(engine)?;
        }
        let goal = (slack / 32).max(engine.log.source().next_bytes());
        let slice = if wanted {
            self.gain_with_reserve(engine, 3 * engine.log.source().segment_bytes)?
        } else {
            self.batch(engine, goal)?
        };
        if wanted {
            // Also where nothing was to be gained: who needs room asks again.
            engine.no_space.store(false, Ordering::Release);
        }
        match slice {
            Slice::Progress(_) => Ok(true),
            Slice::Blocked => Ok(self.save_snapshot(engine)? || self.merge_in_background(engine)?),
            Slice::Idle => self.merge_in_background(engine),
        }
    }

    /// Batches and snapshots until so many bytes are back, or nothing more is to be gained.
    fn gain(&self, engine: &Engine, bytes: u64) -> Result<Slice> {
        let before = self.collected().bytes_deleted;
        loop {
            let slice = self.batch(engine, bytes)?;
            let more = match slice {
                Slice::Progress(_) => true,
                Slice::Blocked => self.save_snapshot(engine)?,
                Slice::Idle => false,
            };
            if !more || self.collected().bytes_deleted - before >= bytes {
                return Ok(slice);
            }
        }
    }

    /// A writer's part: pays for what was appended, if the collector in the background does not keep up. What fails here is
    /// not the writer's concern: where it is of consequence, the commit finds it too.
    #[inline]
    pub(crate) fn pay(&self, engine: &Engine) {
        let more = engine.log.appended_bytes().saturating_sub(self.looked_at.load(Ordering::Relaxed));
        let is_full = engine.no_space.load(Ordering::Acquire) || engine.reserve.is_short();
        if more >= engine.log.source().segment_bytes / 8 || is_full {
            drop(self.try_to_pay(engine));
        }
    }

    #[cold]
    fn try_to_pay(&self, engine: &Engine) -> Result<()> {
        let segment = engine.log.source().segment_bytes;
        let (appended, looked_at) = (engine.log.appended_bytes(), self.looked_at.load(Ordering::Relaxed));
        let more = appended.saturating_sub(looked_at);
        let paused = self.paused.load(Ordering::Acquire);
        if engine.no_space.load(Ordering::Acquire) && !paused {
            self.work(engine)?;
        } else if engine.reserve.is_short() {
            self.keep_reserve(engine);
        }
        if more < segment / 8 {
            return Ok(());
        }
        self.looked_at.store(appended, Ordering::Relaxed);
        Self::note_size(engine);
        if paused {
            return Ok(());
        }
        self.keep_reserve(engine);
        let mut paid = 0;
        while Space::of(engine).is_over(&self.settings, segment) {
            match self.batch(engine, segment)? {
                Slice::Progress(bytes) => paid += bytes.max(1),
                Slice::Blocked => {
                    if !self.save_snapshot(engine)? {
                        break;
                    }
                }
                Slice::Idle => break,
            }
            // What one byte owes depends on how full the victims are; ten times what was appended is more than any.
            if paid > more.saturating_mul(10) {
                break;
            }
        }
        Ok(())
    }

    /// Collects until nothing is left to gain, or the time is over. Saves the snapshots that it needs.
    pub(crate) fn collect(
        &self,
        engine: &Engine,
        budget: Option<Duration>,
        progress: &mut dyn FnMut(Collected),
    ) -> Result<Collected> {
        let before = self.collected();
        let end = budget.map(|budget| Instant::now() + budget);
        let result = self.with_reserve(engine, || self.collect_until(engine, end, before, progress));
        if engine.check_writable().is_ok() {
            // It follows the store down, and is there again for who wants to write now.
            Self::wait_for_others(engine, 0);
            engine.keep_reserve_if_used();
        }
        result
    }

    fn collect_until(
        &self,
        engine: &Engine,
        end: Option<Instant>,
        before: Collected,
        progress: &mut dyn FnMut(Collected),
    ) -> Result<Collected> {
        let is_over = || end.is_some_and(|end| Instant::now() >= end);
        Self::note_size(engine);
        // What was emptied before may be the room for what follows.
        self.sweep(engine)?;
        // What is dead in the segment that is being appended to can be gained only when appending goes on in another.
        if policy::has_dead_in_head(engine) {
            let guard = engine.lock_commit();
            engine.log.end_segment();
            drop(guard);
        }
        // Twice, so that the older of the two automatic snapshots needs nothing of the log so far.
        for _ in 0..2 {
            if !is_over() {
                self.save(engine)?;
            }
        }
        // What writers append from here on is the next collection's, so that this one ends beside them.
        let until = engine.log.head().0;
        let mut idle = false;
        while !idle && !is_over() {
            let mut inner = self.inner.lock();
            let slice = self.slice(engine, &mut inner, WORTH_COMPACTING, until)?;
            idle = matches!(slice, Slice::Blocked | Slice::Idle);
            if inner.work.is_none() {
                // Now, so that there is never a second copy of everything.
                Self::delete_retired(engine, &mut inner)?;
            }
            drop(inner);
            progress(self.collected().since(before));
        }
        self.end_segments();
        // Twice again: what was emptied of the log goes when replay does not need it, and pages when no snapshot lists them.
        for _ in 0..2 {
            self.save(engine)?;
        }
        self.retire_dead(engine);
        self.sweep(engine)?;
        while self.sweep_patiently(engine)? {}
        Ok(self.collected().since(before))
    }

    /// Deletes what can be deleted, and waits a while for what is only being looked at: reads that were under way, and the other
    /// threads of the store, hold a segment for microseconds. Whether anything went.
    fn sweep_patiently(&self, engine: &Engine) -> Result<bool> {
        let before = self.collected().bytes_deleted;
        for _ in 0..PATIENCE_MILLIS {
            self.sweep(engine)?;
            if self.collected().bytes_deleted > before {
                return Ok(true);
            }
            if !retire::waits_for_readers(engine, &self.inner.lock().retired) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(false)
    }

    /// Retires what is dead without copying anything.
    fn retire_dead(&self, engine: &Engine) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let survey = policy::survey(engine, &inner.scope(WORTH_COMPACTING, ALL));
        retire::retire(engine, &survey.dead, &mut inner.retired);
    }

    /// Slices until so many bytes have been gained.
    fn batch(&self, engine: &Engine, goal: u64) -> Result<Slice> {
        let mut inner = self.inner.lock();
        let (mut copied, mut found) = (0, Ok(Slice::Idle));
        let emptied =
            |inner: &Inner| inner.collected.bytes_deleted + inner.retired.iter().map(Retired::bytes).sum::<u64>();
        let (emptied_before, deleted_before) = (emptied(&inner), inner.collected.bytes_deleted);
        loop {
            match self.slice(engine, &mut inner, WORTH_COPYING, ALL) {
                Ok(Slice::Progress(bytes)) => copied += bytes,
                other => {
                    found = other;
                    break;
                }
            }
            if emptied(&inner) - emptied_before >= goal + copied || copied >= 8 * SLICE_BYTES {
                break;
            }
            if inner.work.is_none() && engine.reserve.is_short() {
                // The reserve has room for one segment.
                Self::delete_retired(engine, &mut inner)?;
            }
        }
        let gained = emptied(&inner) > emptied_before;
        // Also when there was no room for more: what has been emptied is the room for it.
        Self::delete_retired(engine, &mut inner)?;
        match found {
            Err(Error::NoSpace { .. }) if inner.collected.bytes_deleted > deleted_before => Ok(Slice::Progress(copied)),
            Ok(_) if gained || copied > 0 => Ok(Slice::Progress(copied)),
            found => found,
        }
    }

    /// Goes on with the victim in hand, or takes the next. Segments of the log from `until` on are left alone.
    fn slice(&self, engine: &Engine, inner: &mut Inner, worth: f64, until: SegmentSeq) -> Result<Slice> {
        engine.check_writable()?;
        let _panic = engine.poison.ends_with_panic("while space was collected");
        if inner.work.is_none() {
            let survey = policy::survey(engine, &inner.scope(worth, until));
            if !survey.dead.is_empty() {
                retire::retire(engine, &survey.dead, &mut inner.retired);
                return Ok(Slice::Progress(0));
            }
            let blocked = survey.blocked;
            inner.work = match survey.victim(engine, &mut inner.counted)? {
                Some((place, segment, limit)) => {
                    let generation = segment.header().generation.saturating_add(1).min(self.oldest());
                    Some(Work::new(vec![Survivors::new(place, segment)], generation, limit))
                }
                None if worth >= WORTH_COMPACTING => {
                    let scope = Scope { open: inner.targets.open(), damaged: &inner.damaged, worth, until };
                    merge::choose(engine, &scope, Tiers::One, self.oldest(), &mut inner.unmerged)?
                }
                None => None,
            };
            if inner.work.is_none() {
                return Ok(if blocked { Slice::Blocked } else { Slice::Idle });
            }
        }
        let Some(mut work) = inner.work.take() else { return Ok(Slice::Idle) };
        let slice = evacuate::slice(engine, &mut work, &mut inner.targets, SLICE_BYTES)?;
        inner.collected.bytes_copied += slice.bytes;
        inner.collected.records += slice.records;
        if slice.is_last {
            let emptied: Vec<(SegmentSeq, u64)> =
                work.segments().map(|victim| (victim.number(), victim.live_bytes())).collect();
            drop(work);
            for (number, live_bytes) in emptied {
                inner.collected.victims += 1;
                if live_bytes > 0 {
                    inner.damaged.insert(number);
                } else {
                    retire::retire(engine, &[number], &mut inner.retired);
                }
            }
        } else {
            inner.work = Some(work);
        }
        Ok(Slice::Progress(slice.bytes))
    }

    fn delete_retired(engine: &Engine, inner: &mut Inner) -> Result<()> {
        engine.check_writable()?;
        for (files, bytes) in [retire::delete(engine, &mut inner.retired)?, inner.left.delete(engine)?] {
            inner.collected.files_deleted += files;
            inner.collected.bytes_deleted += bytes;
        }
        Ok(())
    }

    /// Deletes what can be deleted by now.
    pub(crate) fn sweep(&self, engine: &Engine) -> Result<()> {
        let mut inner = self.inner.lock();
        Self::delete_retired(engine, &mut inner)
    }

    /// At close: what is dead and waits for nobody goes, as the next opening would have it.
    pub(crate) fn end(&self, engine: &Engine) -> Result<()> {
        self.inner.lock().targets.close();
        self.retire_dead(engine);
        self.sweep(engine)
    }

    /// Record segments that are no part of the newest state and whose files are there: who keeps each of them.
    pub(crate) fn kept(&self, engine: &Engine) -> Vec<(SegmentSeq, Keeper)> {
        let inner = self.inner.lock();
        let retired = inner.retired.iter().map(|retired| (retired.number(), retire::keeper(engine, retired)));
        let targets = inner.targets.all().map(|number| (number, Keeper::Work));
        let left = engine.left.lock().clone().into_iter();
        // What nothing keeps any more is deleted when that is looked at next, unless nobody here deletes.
        let waits = (!engine.read_only).then_some(Keeper::Reader);
        let left = left.filter_map(|(number, emptied_at)| {
            Keeper::of_left(engine, number, emptied_at).or(waits).map(|keeper| (number, keeper))
        });
        retired.chain(targets).chain(left).collect()
    }

    /// Saves a snapshot if that lets replay need less of the log. Whether it did.
    fn save_snapshot(&self, engine: &Engine) -> Result<bool> {
        let before = engine.manifest.replay_from();
        if engine.log.head().0 <= before {
            return Ok(false);
        }
        self.save(engine)?;
        Ok(engine.manifest.replay_from() > before)
    }

    fn save(&self, engine: &Engine) -> Result<()> {
        snapshot::save(engine, SnapshotKind::Automatic, "")?;
        self.inner.lock().collected.snapshots += 1;
        Ok(())
    }
}
