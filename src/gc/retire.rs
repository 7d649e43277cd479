//! Retired segments: out of the table, and deleted once nothing can need them any more.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Result;
use crate::id::{SegmentSeq, Seq};
use crate::log::Segment;
use crate::manifest::Kept;
use crate::planted;
use crate::planted::Fault;
use crate::recovery::{Keeper, oldest_mark, slowest};

/// A segment that has left the table.
#[derive(Debug)]
pub(crate) struct Retired {
    place: u32,
    segment: Arc<Segment>,
    /// The last commit when it had no live bytes any more, or a later one.
    emptied_at: Seq,
    bytes: u64,
    /// When it was last found to be kept by a name or a mark.
    kept_at: Option<Version>,
}

/// Changes when a snapshot is saved or dropped, or the oldest valid mark or the slowest consumer changes.
pub(super) type Version = (u64, Option<Seq>, Option<Seq>);

impl Retired {
    pub(crate) fn number(&self) -> SegmentSeq {
        self.segment.number()
    }

    pub(crate) fn name(&self) -> &str {
        self.segment.name()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Consumers that have acknowledged this commit do not need it.
    pub(super) fn emptied_at(&self) -> Seq {
        self.emptied_at
    }

    /// Whether consumers that have come this far, and not further, need it: it has later commits, or versions that later
    /// commits have replaced.
    pub(super) fn is_needed_after(&self, engine: &Engine, seq: Seq) -> bool {
        (engine.old_values || self.segment.header().generation == 0) && seq < self.emptied_at
    }
}

/// Removes segments without live bytes from the table.
pub(crate) fn retire(engine: &Engine, numbers: &[SegmentSeq], into: &mut Vec<Retired>) {
    let retired = engine.heap.retire(numbers);
    // Read afterwards: every commit that took the last bytes counts.
    let emptied_at = engine.log.last_seq();
    into.extend(retired.into_iter().map(|(place, segment)| {
        let bytes = segment.len().unwrap_or_default();
        Retired { place, segment, emptied_at, bytes, kept_at: None }
    }));
}

/// Deletes the files that nothing needs. Returns their number and size.
pub(crate) fn delete(engine: &Engine, retired: &mut Vec<Retired>) -> Result<(u64, u64)> {
    if retired.is_empty() {
        return Ok((0, 0));
    }
    let version = version(engine);
    // Kept segments need no second look. This runs two hundred times a second, and named snapshots may keep thousands.
    if retired.iter().all(|each| each.kept_at == Some(version)) {
        return Ok((0, 0));
    }
    engine.log.forget_synced();
    engine.heap.forget_pinned();
    engine.heap.reclaim();
    // A segment that is not held will never be held again. So a snapshot that was saved of a state with it is in the
    // manifest by now; segments that views release later wait for the next time, since the commits that emptied them
    // may not be durable.
    let free: Vec<bool> = retired.iter().map(|each| !is_held(&each.segment)).collect();
    let wanted = Wanted::of(engine);
    engine.manifest.with_kept(|kept| {
        for each in retired.iter_mut() {
            each.kept_at = wanted.keeps(engine, kept, each).then_some(version);
        }
    });
    let may_go = |(each, free): &(&Retired, &bool)| **free && each.kept_at.is_none();
    let going = retired.iter().zip(&free).filter(may_go);
    let Some(emptied_at) = going.map(|(each, _)| each.emptied_at).max() else {
        return Ok((0, 0));
    };
    if !planted::is(Fault::DeletedBeforeSync) {
        // What a consumer has acknowledged must not go back after a power cut.
        engine.make_durable(if wanted.slowest.is_some() { engine.log.last_seq() } else { emptied_at })?;
    }
    let (mut files, mut bytes, mut places, mut stay) = (0, 0, Vec::new(), Vec::new());
    for (each, free) in retired.drain(..).zip(&free) {
        // Files that cannot be deleted now are retried.
        let is_gone = may_go(&(&each, free))
            && match engine.backing.delete(each.segment.name()) {
                Ok(()) => true,
                Err(error) => error.kind() == std::io::ErrorKind::NotFound,
            };
        if is_gone {
            (files, bytes) = (files + 1, bytes + each.bytes);
            places.push(each.place);
        } else {
            stay.push(each);
        }
    }
    *retired = stay;
    engine.heap.release_places(places.into_iter());
    Ok((files, bytes))
}

/// Whether a file exists only because something in this process reads it, if only for a moment.
pub(crate) fn waits_for_readers(engine: &Engine, retired: &[Retired]) -> bool {
    if retired.is_empty() {
        return false;
    }
    let wanted = Wanted::of(engine);
    engine
        .manifest
        .with_kept(|kept| retired.iter().any(|each| !wanted.keeps(engine, kept, each) && is_held(&each.segment)))
}

/// What users have asked to keep.
struct Wanted {
    oldest_mark: Option<Seq>,
    slowest: Option<Seq>,
}

impl Wanted {
    fn of(engine: &Engine) -> Self {
        Self { oldest_mark: oldest_mark(engine), slowest: slowest(engine) }
    }

    fn keeps(&self, engine: &Engine, kept: &Kept, retired: &Retired) -> bool {
        let by_name = kept.is_kept_by_name(retired.number()) && !planted::is(Fault::DeletedUnderNames);
        by_name
            || self.oldest_mark.is_some_and(|mark| mark < retired.emptied_at)
            || self.slowest.is_some_and(|seq| retired.is_needed_after(engine, seq))
    }
}

/// What keeps the file of a segment that has left the table.
pub(super) fn keeper(engine: &Engine, retired: &Retired) -> Keeper {
    if engine.manifest.with_kept(|kept| kept.is_kept_by_name(retired.number())) {
        Keeper::Snapshot
    } else if oldest_mark(engine).is_some_and(|mark| mark < retired.emptied_at) {
        Keeper::Mark
    } else if slowest(engine).is_some_and(|seq| retired.is_needed_after(engine, seq)) {
        Keeper::Consumer
    } else {
        Keeper::Reader
    }
}

/// Whether a state in this process has the segment.
fn is_held(segment: &Arc<Segment>) -> bool {
    let ours = 1 + usize::from(planted::is(Fault::OpenTargetsGo));
    Arc::strong_count(segment) > ours && !planted::is(Fault::DeletedUnderViews)
}

pub(super) fn version(engine: &Engine) -> Version {
    (engine.manifest.with_kept(Kept::epoch), oldest_mark(engine), slowest(engine))
}
