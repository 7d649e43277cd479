//! Which segment is worth emptying, and how much space there may be.
//!
//! Source: the cost-benefit choice of Rosenblum and Ousterhout, "The design and implementation of a log-structured file
//! system", 1992.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Engine;
use crate::gc::GcSettings;
use crate::gc::WORTH_COMPACTING;
use crate::gc::evacuate::Work;
use crate::id::SegmentSeq;
use crate::log::Segment;
use crate::planted;
use crate::planted::Fault;

/// A segment is small when it is shorter than this part of the smallest that are full.
const SMALL_PART: u64 = 4;
/// So many small segments are left alone.
const SMALL_MAX: usize = 6;

/// How full a segment may be to be worth copying while room is what is scarce.
const WORTH_ON_A_FULL_DISK: f64 = 0.9;

/// Headers of a segment and its frames: dead bytes that copying does not gain.
const OVERHEAD_BYTES: u64 = 256;

/// Bytes of record segments.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Space {
    total: u64,
    live: u64,
    segment: u64,
}

impl Space {
    pub(crate) fn of(engine: &Engine) -> Self {
        let mut space = Self { segment: engine.log.source().segment_bytes, ..Self::default() };
        for (_, segment) in engine.heap.segments().iter() {
            space.total += segment.len().unwrap_or_default();
            space.live += segment.live_bytes();
        }
        space
    }

    /// Lets the next segments have the size that goes with what lives.
    pub(crate) fn note(&self, engine: &Engine) {
        engine.log.source().note_live(self.live);
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cap is no exact number, and bytes of a store stay far below 2^52"
    )]
    fn cap(&self, settings: &GcSettings) -> u64 {
        (self.live as f64 * settings.space_ratio) as u64
    }

    /// Whether the segments take more than the cap and `more` bytes. A store of a few segments never does.
    pub(crate) fn is_over(&self, settings: &GcSettings, more: u64) -> bool {
        self.total > self.cap(settings).max(2 * self.segment) + more
    }

    /// Bytes that may be dead.
    pub(crate) fn slack(&self, settings: &GcSettings) -> u64 {
        self.cap(settings).saturating_sub(self.live)
    }
}

/// What to do next.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// Segments without live bytes.
    pub(crate) dead: Vec<SegmentSeq>,
    /// The segment to empty.
    pub(crate) victim: Option<Work>,
    /// Whether there is something to gain that replay may still need.
    pub(crate) blocked: bool,
    /// Dead bytes of segments that replay may still need.
    pub(crate) blocked_bytes: u64,
}

/// Looks for what is worth emptying. `open` are segments that survivors are appended to.
///
/// When everything is to be gained that can be, also small segments are copied together, such as each closing and each
/// backup leaves one. While the reserve is in use, its room is all there is: a segment that is too large for it, as a large
/// transaction leaves one, would take the room and give nothing.
pub(crate) fn choose(engine: &Engine, open: &[SegmentSeq], damaged: &BTreeSet<SegmentSeq>, worth: f64) -> Choice {
    let table = engine.heap.segments();
    let small = engine.log.source().smallest_bytes() / SMALL_PART;
    let is_small = |segment: &Segment| segment.len().is_ok_and(|bytes| bytes < small);
    let merge = worth >= WORTH_COMPACTING && table.iter().filter(|(_, segment)| is_small(segment)).count() > SMALL_MAX;
    let (replay_from, head) = (engine.manifest.replay_from(), engine.log.head().0);
    let newest = engine.log.next_segment();
    let is_short = engine.reserve.is_short();
    let room = if is_short { engine.survivor_bytes() } else { u64::MAX };
    let worth = if is_short { worth.min(WORTH_ON_A_FULL_DISK) } else { worth };
    // Of these nothing comes back before their names are dropped.
    let is_kept = |number| is_short && engine.manifest.with_kept(|kept| kept.is_kept_by_name(number));
    let mut choice = Choice::default();
    let mut best: Option<(f64, u32, &Arc<Segment>)> = None;
    for (place, segment) in table.iter() {
        let (number, generation) = (segment.number(), segment.header().generation);
        let is_open = open.contains(&number) && !planted::is(Fault::OpenTargetsGo);
        if is_open || (generation == 0 && number >= head) {
            continue;
        }
        let (bytes, live) = (segment.len().unwrap_or_default(), segment.live_bytes());
        let used = part(live, bytes);
        let is_sparse = used < worth && live + OVERHEAD_BYTES < bytes;
        let gain = (is_sparse || (merge && is_small(segment))) && !damaged.contains(&number) && !is_kept(number);
        if generation == 0 && number >= replay_from {
            choice.blocked |= gain;
            choice.blocked_bytes += bytes.saturating_sub(live);
            continue;
        }
        if live == 0 {
            choice.dead.push(number);
        } else if gain && live <= room {
            let age = part(newest.0.saturating_sub(number.0), 1);
            let score = (1.0 - used) * age / used;
            if best.is_none_or(|(highest, ..)| score > highest) {
                best = Some((score, place, segment));
            }
        }
    }
    choice.victim = best.map(|(_, place, segment)| Work::new(place, Arc::clone(segment)));
    choice
}

/// Whether much of the segment is dead that commits go to.
pub(crate) fn has_dead_in_head(engine: &Engine) -> bool {
    engine.heap.segment(engine.log.head().0).is_some_and(|segment| {
        let (bytes, live) = (segment.len().unwrap_or_default(), segment.live_bytes());
        part(live, bytes) < WORTH_COMPACTING && live + OVERHEAD_BYTES < bytes
    })
}

#[expect(clippy::cast_precision_loss, reason = "a score is no exact number")]
fn part(bytes: u64, of: u64) -> f64 {
    bytes as f64 / of.max(1) as f64
}
