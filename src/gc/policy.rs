//! Which segment is worth emptying, and how much space the store may take.
//!
//! Source: the cost-benefit choice of Rosenblum and Ousterhout, "The design and implementation of a log-structured file
//! system", 1992.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Result;
use crate::gc::survivors::COPY_OVERHEAD_BYTES;
use crate::gc::{GcSettings, WORTH_COMPACTING, survivors};
use crate::id::SegmentSeq;
use crate::log::Segment;
use crate::planted;
use crate::planted::Fault;

/// Maximum fill of a segment worth copying while space is scarce.
const WORTH_ON_A_FULL_DISK: f64 = 0.9;

/// The minimum gain from a segment.
const GAIN_BYTES_MIN: u64 = 256;

/// Bytes of record segments.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Space {
    total: u64,
    live: u64,
    segment: u64,
}

#[cfg(test)]
thread_local! {
    /// How often this thread has examined all segments.
    pub(crate) static LOOKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

impl Space {
    pub(crate) fn of(engine: &Engine) -> Self {
        #[cfg(test)]
        LOOKS.set(LOOKS.get() + 1);
        let source = engine.log.source();
        Self { total: source.sizes.bytes(), live: source.sizes.live_bytes(), segment: source.segment_bytes }
    }

    /// Sets the size of new segments according to the live bytes.
    pub(crate) fn note(&self, engine: &Engine) {
        engine.log.source().note_live(self.live);
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cap is not exact, and bytes of a store stay far below 2^52"
    )]
    fn cap(&self, settings: &GcSettings) -> u64 {
        (self.live as f64 * settings.space_ratio) as u64
    }

    /// Whether the segments exceed the cap plus `more` bytes. Never true for a store of a few segments.
    pub(crate) fn is_over(&self, settings: &GcSettings, more: u64) -> bool {
        self.total > self.cap(settings).max(2 * self.segment) + more
    }

    /// Maximum dead bytes.
    pub(crate) fn slack(&self, settings: &GcSettings) -> u64 {
        self.cap(settings).saturating_sub(self.live)
    }
}

/// The work to do.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Segments without live bytes.
    pub(crate) dead: Vec<SegmentSeq>,
    /// Candidates for emptying.
    candidates: Vec<Candidate>,
    /// Maximum fill of a segment worth copying.
    worth: f64,
    /// Whether there is something to gain that replay may still need.
    pub(crate) blocked: bool,
    /// Dead bytes of segments that replay may still need.
    pub(crate) blocked_bytes: u64,
}

#[derive(Debug)]
struct Candidate {
    place: u32,
    segment: Arc<Segment>,
    rank: f64,
}

/// What is examined, and what makes it worthwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// Segments that survivors are appended to.
    pub(crate) open: &'a [SegmentSeq],
    /// Segments that could not be emptied.
    pub(crate) damaged: &'a BTreeSet<SegmentSeq>,
    /// Maximum fill of a segment worth copying.
    pub(crate) worth: f64,
    /// Log segments from this one on are ignored.
    pub(crate) until: SegmentSeq,
}

/// Segments from which a copy would gain too little: the live bytes of each when that was computed, the gain, and the
/// maximum frame size. What dies later adds to the gain, so it need not be computed again for that.
#[derive(Debug, Default)]
pub(crate) struct Counted(BTreeMap<SegmentSeq, (u64, u64, u64)>);

impl Counted {
    /// Whether this much is known not to be gainable.
    fn excludes(&self, segment: &Segment, wanted: u64, limit: u64) -> bool {
        self.0.get(&segment.number()).is_some_and(|(live, gain, counted_with)| {
            *counted_with == limit && gain + live.saturating_sub(segment.live_bytes()) < wanted
        })
    }
}

/// Finds candidates for emptying.
///
/// While the reserve is in use, its space is all there is: a segment too large for it, such as one that a large
/// transaction leaves, would take the space and free nothing.
pub(crate) fn survey(engine: &Engine, scope: &Scope<'_>) -> Survey {
    let table = engine.heap.segments();
    let (replay_from, head) = (engine.manifest.replay_from(), engine.log.head().0.min(scope.until));
    let newest = engine.log.next_segment();
    let is_short = engine.reserve.is_short();
    let room = if is_short { engine.survivor_bytes() } else { u64::MAX };
    let worth = if is_short { scope.worth.min(WORTH_ON_A_FULL_DISK) } else { scope.worth };
    // Nothing of these is reclaimed before their named snapshots are dropped.
    let is_kept = |number| is_short && engine.manifest.with_kept(|kept| kept.is_kept_by_name(number));
    let mut found = Survey { worth, ..Survey::default() };
    for (place, segment) in table.iter() {
        let (number, generation) = (segment.number(), segment.header().generation);
        let is_open = scope.open.contains(&number) && !planted::is(Fault::OpenTargetsGo);
        if is_open || (generation == 0 && number >= head) {
            continue;
        }
        let (bytes, live) = (segment.len().unwrap_or_default(), segment.live_bytes());
        let is_left = scope.damaged.contains(&number) || is_kept(number);
        let is_candidate = may_gain(bytes, live, worth) && !is_left;
        if generation == 0 && number >= replay_from {
            found.blocked |= is_candidate;
            found.blocked_bytes += bytes.saturating_sub(live);
        } else if live == 0 {
            found.dead.push(number);
        } else if is_candidate && live <= room {
            let (used, age) = (part(live, bytes), part(newest.0.saturating_sub(number.0), 1));
            let rank = (1.0 - used) * age / used;
            found.candidates.push(Candidate { place, segment: Arc::clone(segment), rank });
        }
    }
    found
}

impl Survey {
    /// The best candidate from which a copy really gains enough: its place, the segment, and the maximum frame size.
    pub(crate) fn victim(mut self, engine: &Engine, counted: &mut Counted) -> Result<Option<(u32, Arc<Segment>, u64)>> {
        let limit = survivors::frame_bytes(engine);
        self.candidates.sort_by(|a, b| b.rank.total_cmp(&a.rank));
        for Candidate { place, segment, .. } in self.candidates {
            let bytes = segment.len()?;
            let wanted = wanted_gain(bytes, self.worth);
            if counted.excludes(&segment, wanted, limit) {
                continue;
            }
            // Read before the copy is computed: what dies meanwhile adds to the gain.
            let live = segment.live_bytes();
            let gain = bytes.saturating_sub(survivors::copy_bytes(engine, place, &segment, limit)?);
            if gain >= wanted {
                counted.0.remove(&segment.number());
                return Ok(Some((place, segment, limit)));
            }
            let table = engine.heap.segments();
            if counted.0.len() > 2 * table.len() {
                let numbers: BTreeSet<SegmentSeq> = table.iter().map(|(_, segment)| segment.number()).collect();
                counted.0.retain(|number, _| numbers.contains(number));
            }
            counted.0.insert(segment.number(), (live, gain, limit));
        }
        Ok(None)
    }
}

/// The minimum gain from copying a segment of this size.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a threshold is not exact, and bytes of a segment stay far below 2^52"
)]
fn wanted_gain(bytes: u64, worth: f64) -> u64 {
    ((bytes as f64 * (1.0 - worth)) as u64).max(GAIN_BYTES_MIN)
}

/// Whether this much may be gained, as far as can be told without looking inside.
fn may_gain(bytes: u64, live: u64, worth: f64) -> bool {
    let overhead = if live == 0 { 0 } else { COPY_OVERHEAD_BYTES };
    bytes >= live + overhead + wanted_gain(bytes, worth)
}

/// Whether much of the segment that commits append to may be dead.
pub(crate) fn has_dead_in_head(engine: &Engine) -> bool {
    engine.heap.segment(engine.log.head().0).is_some_and(|segment| {
        let (bytes, live) = (segment.len().unwrap_or_default(), segment.live_bytes());
        may_gain(bytes, live, WORTH_COMPACTING)
    })
}

#[expect(clippy::cast_precision_loss, reason = "a score is not exact")]
fn part(bytes: u64, of: u64) -> f64 {
    bytes as f64 / of.max(1) as f64
}
