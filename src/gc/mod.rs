//! The collector: copies live records out of segments that hold little else, and deletes those segments.
//!
//! Owns: choosing victims, survivors on their way, retired segments until their files are deleted. Never: decides the
//! value of a record index entry (the heap compares and sets), or holds the commit lock for more than one frame of
//! moves. `docs/collector.md` describes the rules.
//! Invariants: 1. A copy is durable before an entry points at it.
//! 2. A file is deleted only when every commit that emptied it is durable, replay does not need it, and nothing in this
//!    process can read it any more.
//! 3. A segment that is being appended to is never a victim.
//! 4. Collecting terminates. Consider the total size of all segments that hold live records or are open for survivors,
//!    except those that commits append to. A victim is emptied only if its copy is shorter than the victim by a given
//!    fraction, and by at least 256 bytes; the same walk that makes the copy computes its length, with the header of a
//!    new segment for each frame. So each victim lowers the total by 256 bytes or more. Small segments are merged only
//!    if their copy is shorter than they are together; the same walk computes that too, with one header, because
//!    everything goes to one segment. So each merge lowers the total by at least a byte, and leaves three segments
//!    less. Only writers raise the total: moves and watermarks are appended where commits are, and a collection on
//!    request ignores what is appended to the log after it started. A record that dies while it is copied may shift the
//!    frames after it by a few bytes, but it dies only once.

mod background;
mod consumers;
mod evacuate;
mod left;
mod merge;
mod policy;
mod request;
mod retire;
mod room;
mod survivors;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::manifest::SnapshotKind;
use crate::gc::background::Moment;
use crate::gc::evacuate::{Targets, Work};
use crate::gc::left::Left;
use crate::gc::merge::{Tiers, Unmerged};
use crate::gc::policy::{Counted, Scope, Space};
use crate::gc::retire::{Retired, Version};
use crate::gc::room::Looked;
use crate::gc::survivors::Survivors;
use crate::id::SegmentSeq;
use crate::recovery::Keeper;
use crate::snapshot;

/// Bytes of survivors copied before they are synced and moved.
const SLICE_BYTES: u64 = 1 << 20;
/// Maximum fill of a segment worth copying in the background.
const WORTH_COPYING: f64 = 0.95;
/// The same when everything possible is to be gained.
const WORTH_COMPACTING: f64 = 0.99;

/// Collects all segments of the log.
const ALL: SegmentSeq = SegmentSeq(u64::MAX);

/// How the collector works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GcSettings {
    /// Bytes of record segments for each live byte.
    pub(crate) space_ratio: f64,
    /// Generations, the log included.
    pub(crate) generations: u8,
    /// Bytes of files that may be kept for consumers of the changes alone.
    pub(crate) consumer_bytes_max: Option<u64>,
}

/// What the collector has done since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// Segments emptied.
    pub victims: u64,
    /// Records moved.
    pub records: u64,
    /// Bytes copied, frame headers included.
    pub bytes_copied: u64,
    /// Record segment files deleted.
    pub files_deleted: u64,
    /// Bytes reclaimed by deleting them.
    pub bytes_deleted: u64,
    /// Snapshots saved so that files could be deleted.
    pub snapshots: u64,
}

impl Collected {
    /// The difference to an earlier value.
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

pub(crate) use consumers::ConsumerKeeps;
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
    /// The next file number, and the snapshots, when there was nothing to merge. New small segments change the former,
    /// and a snapshot that lets replay need less changes the latter.
    unmerged_at: Option<(SegmentSeq, u64)>,
    /// When there was no work in the background.
    idle_at: Option<Moment>,
    /// When no consumer of the changes was too far behind.
    consumers_at: Option<(Version, usize)>,
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
    /// Bytes appended to the log when a writer last checked the space.
    looked_at: AtomicU64,
}

/// The result of one slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slice {
    /// Bytes were copied, or segments retired.
    Progress(u64),
    /// Nothing can be gained until replay needs less of the log.
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

    /// Retired segments whose files still exist: name, bytes.
    pub(crate) fn retired(&self) -> Vec<(String, u64)> {
        let inner = self.inner.lock();
        inner.retired.iter().map(|retired| (retired.name().to_owned(), retired.bytes())).collect()
    }

    /// Waits until no file is being created or deleted here. Once the handle is poisoned, none will be.
    pub(crate) fn wait_idle(&self) {
        drop(self.inner.lock());
    }

    /// Further survivors go to other segments.
    pub(crate) fn end_segments(&self) {
        let mut inner = self.inner.lock();
        inner.targets.close();
        (inner.idle_at, inner.unmerged_at) = (None, None);
    }

    /// The oldest generation.
    fn oldest(&self) -> u8 {
        self.settings.generations.saturating_sub(1).max(1)
    }

    /// Sets the size of new segments according to the live bytes.
    pub(crate) fn note_size(engine: &Engine) {
        Space::of(engine).note(engine);
    }

    /// Retires dead segments without copying anything.
    fn retire_dead(&self, engine: &Engine) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let survey = policy::survey(engine, &inner.scope(WORTH_COMPACTING, ALL));
        retire::retire(engine, &survey.dead, &mut inner.retired);
    }

    /// Moves what can be moved without a snapshot.
    #[cfg(test)]
    pub(crate) fn move_all(&self, engine: &Engine) -> Result<()> {
        while matches!(self.batch(engine, 1 << 40)?, Slice::Progress(_)) {}
        Ok(())
    }

    /// Runs slices until this many bytes have been gained.
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
                self.delete_retired(engine, &mut inner)?;
            }
        }
        let gained = emptied(&inner) > emptied_before;
        // Even if there was no room for more: what has been emptied is the room for it.
        self.delete_retired(engine, &mut inner)?;
        match found {
            Err(Error::NoSpace { .. }) if inner.collected.bytes_deleted > deleted_before => Ok(Slice::Progress(copied)),
            Ok(_) if gained || copied > 0 => Ok(Slice::Progress(copied)),
            found => found,
        }
    }

    /// Continues with the current victim, or takes the next. Ignores log segments from `until` on.
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

    /// Deletes what nothing needs, then drops consumers for which too much is kept, and deletes what they kept. In this order: on a
    /// full disk the commit that drops one may need the space of the first files.
    fn delete_retired(&self, engine: &Engine, inner: &mut Inner) -> Result<()> {
        engine.check_writable()?;
        Self::delete_unneeded(engine, inner)?;
        let mut is_any_dropped = false;
        let result = self.drop_slowest(engine, inner, &mut is_any_dropped);
        // This runs two hundred times a second.
        if is_any_dropped {
            Self::delete_unneeded(engine, inner)?;
        }
        result
    }

    fn delete_unneeded(engine: &Engine, inner: &mut Inner) -> Result<()> {
        for (files, bytes) in [retire::delete(engine, &mut inner.retired)?, inner.left.delete(engine)?] {
            inner.collected.files_deleted += files;
            inner.collected.bytes_deleted += bytes;
        }
        Ok(())
    }

    /// Deletes what can be deleted by now.
    pub(crate) fn sweep(&self, engine: &Engine) -> Result<()> {
        let mut inner = self.inner.lock();
        self.delete_retired(engine, &mut inner)
    }

    /// At close: deletes dead segments that nothing waits for, as the next opening would.
    pub(crate) fn end(&self, engine: &Engine) -> Result<()> {
        self.inner.lock().targets.close();
        self.retire_dead(engine);
        self.sweep(engine)
    }

    /// Record segments outside the newest state whose files exist, and what keeps each of them.
    pub(crate) fn kept(&self, engine: &Engine) -> Vec<(SegmentSeq, Keeper)> {
        let inner = self.inner.lock();
        let retired = inner.retired.iter().map(|retired| (retired.number(), retire::keeper(engine, retired)));
        let targets = inner.targets.all().map(|number| (number, Keeper::Work));
        let left = engine.left.all().into_iter();
        // What nothing keeps any more is deleted at the next check, unless this handle deletes nothing.
        let waits = (!engine.read_only).then_some(Keeper::Reader);
        let left = left.filter_map(|(number, emptied_at)| {
            Keeper::of_left(engine, number, emptied_at).or(waits).map(|keeper| (number, keeper))
        });
        retired.chain(targets).chain(left).collect()
    }

    /// Saves a snapshot if that lets replay need less of the log. Returns whether it did.
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
