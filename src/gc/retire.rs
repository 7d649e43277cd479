//! Retired segments: out of the table, and deleted when nothing can need them any more.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Result;
use crate::id::SegmentSeq;
use crate::id::Seq;
use crate::log::Segment;
use crate::manifest;
use crate::planted;
use crate::planted::Fault;

/// A segment that has left the table.
#[derive(Debug)]
pub(crate) struct Retired {
    place: u32,
    segment: Arc<Segment>,
    /// The last commit when it had no live bytes any more, or a later one.
    emptied_at: Seq,
    bytes: u64,
}

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
}

/// Takes segments without live bytes out of the table.
pub(crate) fn retire(engine: &Engine, numbers: &[SegmentSeq], into: &mut Vec<Retired>) {
    let retired = engine.heap.retire(numbers);
    // Read afterwards: every commit that took the last bytes counts.
    let emptied_at = engine.log.last_seq();
    into.extend(retired.into_iter().map(|(place, segment)| {
        let bytes = segment.len().unwrap_or_default();
        Retired { place, segment, emptied_at, bytes }
    }));
}

/// Deletes the files that nothing needs. Gives their number and bytes.
pub(crate) fn delete(engine: &Engine, retired: &mut Vec<Retired>) -> Result<(u64, u64)> {
    if retired.is_empty() {
        return Ok((0, 0));
    }
    engine.log.forget_synced();
    engine.heap.forget_pinned();
    engine.heap.reclaim();
    // What nobody holds nobody comes to hold. So a snapshot that was saved of a state with it is in the manifest by now, and
    // what views let go of later waits for the next time, as what emptied it may not be on the medium.
    let free = retired.iter().filter(|each| !is_held(&each.segment)).map(|each| each.segment.number());
    let free: BTreeSet<SegmentSeq> = free.collect();
    let kept = Kept::of(engine);
    let may_go = |retired: &Retired| free.contains(&retired.segment.number()) && !kept.keeps(retired);
    let Some(emptied_at) = retired.iter().filter(|each| may_go(each)).map(|each| each.emptied_at).max() else {
        return Ok((0, 0));
    };
    if !planted::is(Fault::DeletedBeforeSync) {
        engine.make_durable(emptied_at)?;
    }
    let (mut files, mut bytes, mut places, mut stay) = (0, 0, Vec::new(), Vec::new());
    for each in retired.drain(..) {
        // What cannot be deleted now is tried again.
        let is_gone = may_go(&each)
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

/// Whether a file is still there only because something in this process reads it, if only for a moment.
pub(crate) fn waits_for_readers(engine: &Engine, retired: &[Retired]) -> bool {
    if retired.is_empty() {
        return false;
    }
    let kept = Kept::of(engine);
    retired.iter().any(|each| !kept.keeps(each) && is_held(&each.segment))
}

/// What users have asked to be kept.
struct Kept {
    by_name: BTreeSet<SegmentSeq>,
    oldest_mark: Option<Seq>,
}

impl Kept {
    fn of(engine: &Engine) -> Self {
        Self { by_name: engine.manifest.with_entries(manifest::kept_by_name), oldest_mark: oldest_mark(engine) }
    }

    fn keeps(&self, retired: &Retired) -> bool {
        let by_name = self.by_name.contains(&retired.number()) && !planted::is(Fault::DeletedUnderNames);
        by_name || self.oldest_mark.is_some_and(|mark| mark < retired.emptied_at)
    }
}

/// Whether a state in this process has the segment.
fn is_held(segment: &Arc<Segment>) -> bool {
    let ours = 1 + usize::from(planted::is(Fault::OpenTargetsGo));
    Arc::strong_count(segment) > ours && !planted::is(Fault::DeletedUnderViews)
}

/// The oldest mark that one can still go back to.
pub(crate) fn oldest_mark(engine: &Engine) -> Option<Seq> {
    let base = engine.manifest.with_entries(manifest::oldest_automatic)?;
    engine.heap.catalogue().marks().map(|(_, seq)| seq).filter(|seq| *seq >= base).min()
}
