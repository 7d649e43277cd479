//! Merging: small sealed segments are copied together, so that the number of files is bounded by the live data and not
//! by how often a store was opened.
//!
//! Owns: which small segments are merged, and when. Never: merges a segment that would stay when empty, because replay
//! or a named snapshot needs it.
//!
//! Small segments are sorted into tiers by their live bytes, each four times the one below. Four or more of one tier
//! become one segment of a higher tier. So while nothing dies, a record is merged at most as often as there are tiers,
//! and what dies pays for the records that it leaves in a lower tier. A close adds at most a few small segments and
//! merges each tier that has enough of them, so a tier keeps fewer than four, plus those of the last closes.
//!
//! Invariants: 1. A merge is made only if its copy, as computed by the walk that makes it, is shorter than the victims
//! together.
//! 2. All of the copy is in one segment. 3. A failed merge has no effect, and fails neither a close nor an opening.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::engine::Engine;
use crate::error::Result;
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::gc::evacuate::Work;
use crate::gc::policy::Scope;
use crate::gc::survivors::Survivors;
use crate::gc::{ALL, Collector, Inner, SLICE_BYTES, WORTH_COPYING, policy, retire, survivors};
use crate::id::{SegmentSeq, to_u64};
use crate::log::Segment;
use crate::manifest::Kept;

/// Minimum number of segments of one tier to merge.
const FEWEST: usize = 4;
/// A segment is small if it is shorter than this fraction of the smallest full segments. So a new segment has room for
/// `FEWEST` of them.
const SMALL_PART: u64 = to_u64(FEWEST);
/// Maximum number merged together.
const MOST: usize = 64;
/// Maximum size of a frame of a merge: as long as possible, so that a copy takes no more of them than there were.
const FRAME_BYTES: u64 = 4 << 20;

/// Which segments to merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tiers {
    /// Those of one size: for unrequested work.
    BySize,
    /// All small ones.
    One,
}

/// The victims of each tier whose copy was found to be no shorter, with their live bytes.
#[derive(Debug, Default)]
pub(super) struct Unmerged(BTreeMap<u32, (Vec<SegmentSeq>, u64)>);

type Victims = Vec<(u32, Arc<Segment>)>;

/// The small segments that would be gone after a merge, by tier, oldest first.
fn small(engine: &Engine, scope: &Scope<'_>, tiers: Tiers) -> BTreeMap<u32, Victims> {
    let mut found: BTreeMap<u32, Victims> = BTreeMap::new();
    if engine.reserve.is_short() {
        return found;
    }
    let small = engine.log.source().smallest_bytes() / SMALL_PART;
    let end = engine.manifest.replay_from().min(engine.log.head().0).min(scope.until);
    for (place, segment) in engine.heap.segments().iter() {
        let (number, live) = (segment.number(), segment.live_bytes());
        let is_needed = segment.header().generation == 0 && number >= end;
        let is_left = scope.open.contains(&number) || scope.damaged.contains(&number);
        if live > 0 && !is_needed && !is_left && segment.len().is_ok_and(|bytes| bytes < small) {
            found.entry(tier(live, tiers)).or_default().push((place, Arc::clone(segment)));
        }
    }
    found.retain(|_, all| all.len() >= FEWEST);
    for all in found.values_mut() {
        engine.manifest.with_kept(|kept| all.retain(|(_, segment)| !kept.is_kept_by_name(segment.number())));
        all.sort_unstable_by_key(|(_, segment)| segment.number());
    }
    found
}

fn tier(live: u64, tiers: Tiers) -> u32 {
    // The logarithm to the base of four.
    if tiers == Tiers::BySize { live.max(1).ilog2() / 2 } else { 0 }
}

/// The oldest small segments of the lowest tier that has enough of them.
pub(super) fn choose(
    engine: &Engine,
    scope: &Scope<'_>,
    tiers: Tiers,
    oldest: u8,
    unmerged: &mut Unmerged,
) -> Result<Option<Work>> {
    let room = engine.log.source().smallest_bytes();
    let limit = FRAME_BYTES.min(room - to_u64(SEGMENT_HEADER_BYTES));
    for (tier, all) in small(engine, scope, tiers) {
        let (mut victims, mut bytes) = (Vec::new(), 0);
        for (place, segment) in all.into_iter().take(MOST) {
            let more = segment.len()?;
            if bytes + more > room {
                break;
            }
            bytes += more;
            victims.push((place, segment));
        }
        if victims.len() < FEWEST {
            continue;
        }
        let numbers: Vec<SegmentSeq> = victims.iter().map(|(_, segment)| segment.number()).collect();
        let live = victims.iter().map(|(_, segment)| segment.live_bytes()).sum();
        if unmerged.0.get(&tier) == Some(&(numbers.clone(), live)) {
            continue;
        }
        let copy = survivors::copy_bytes_together(engine, &victims, limit)?;
        if copy >= bytes {
            unmerged.0.insert(tier, (numbers, live));
            continue;
        }
        let generation = victims.iter().map(|(_, segment)| segment.header().generation).max().unwrap_or_default();
        let victims = victims.into_iter().map(|(place, segment)| Survivors::new(place, segment)).collect();
        return Ok(Some(Work::together(victims, generation.clamp(1, oldest), limit, copy)));
    }
    Ok(None)
}

impl Collector {
    fn may_merge(&self, engine: &Engine) -> bool {
        let is_full = engine.reserve.is_full();
        !self.paused.load(Ordering::Acquire) && !is_full && engine.log.check_numbers().is_ok()
    }

    /// A slice of merging. Returns whether there was anything to merge.
    pub(super) fn merge_slice(&self, engine: &Engine, inner: &mut Inner) -> Result<bool> {
        if !inner.work.as_ref().is_some_and(Work::is_merge) {
            let scope = Scope { open: inner.targets.open(), damaged: &inner.damaged, worth: WORTH_COPYING, until: ALL };
            let chosen = choose(engine, &scope, Tiers::BySize, self.oldest(), &mut inner.unmerged)?;
            let Some(work) = chosen else { return Ok(false) };
            inner.work = Some(work);
        }
        self.slice(engine, inner, WORTH_COPYING, ALL)?;
        Ok(true)
    }

    /// Background merging of what this process has written or found. Returns whether there was anything to merge.
    pub(super) fn merge_in_background(&self, engine: &Engine) -> Result<bool> {
        if engine.log.appended_bytes() == 0 || !self.may_merge(engine) {
            return Ok(false);
        }
        let now = (engine.log.next_segment(), engine.manifest.with_kept(Kept::epoch));
        let mut inner = self.inner.lock();
        if inner.unmerged_at == Some(now) {
            return Ok(false);
        }
        let is_merged = self.merge_slice(engine, &mut inner)?;
        inner.unmerged_at = (!is_merged).then_some(now);
        if inner.work.is_none() {
            self.delete_retired(engine, &mut inner)?;
        }
        Ok(is_merged)
    }

    /// What a process does before it closes the store, and after it has recovered it: deletes what is dead, and merges
    /// what is small. No merge starts after a slice of copying, and a started merge is completed: at most one that
    /// copies as many bytes as the smallest full segments have.
    ///
    /// The store is complete without it, so if there is no space, or a segment cannot be read, that is left to the next
    /// time. A failure that leaves the state of the disk in doubt has poisoned the handle.
    pub(crate) fn tidy(&self, engine: &Engine) {
        if !self.may_merge(engine) {
            return;
        }
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        // What was copied of a victim stays copied, and nothing more goes to the segments that were open.
        inner.work = None;
        inner.targets.close();
        let survey = policy::survey(engine, &inner.scope(WORTH_COPYING, ALL));
        retire::retire(engine, &survey.dead, &mut inner.retired);
        let (before, mut result) = (inner.collected.bytes_copied, Ok(true));
        while matches!(result, Ok(true))
            && (inner.work.is_some() || inner.collected.bytes_copied - before < SLICE_BYTES)
        {
            result = self.merge_slice(engine, inner);
        }
        inner.targets.close();
        if result.is_err() {
            inner.work = None;
        }
        // What cannot be deleted now is deleted later.
        drop(self.delete_retired(engine, inner));
    }
}
