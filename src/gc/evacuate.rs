//! Copying survivors: from victims to the open segment of an older generation, then moving their entries.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::frame::{FrameBuilder, FrameKind, Stamp};
use crate::format::item::{Item, Kind};
use crate::format::moves::Move;
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::gc::survivors::{Batch, Survivors};
use crate::id::{SegmentSeq, to_u64};
use crate::log::{Segment, now_micros};
use crate::planted;
use crate::planted::Fault;

/// Records moved per commit.
const MOVES_PER_COMMIT: usize = 4_000;

/// Victims, and the progress of emptying them.
#[derive(Debug)]
pub(crate) struct Work {
    victims: Vec<Survivors>,
    /// The generation that their survivors go to.
    generation: u8,
    /// Maximum size of a frame.
    limit: u64,
    /// Bytes that go to one segment, for which the first frame finds room.
    together: u64,
    is_merge: bool,
}

impl Work {
    pub(crate) fn new(victims: Vec<Survivors>, generation: u8, limit: u64) -> Self {
        Self { victims, generation, limit, together: 0, is_merge: false }
    }

    /// Victims whose whole copy, with a segment header, has this size and goes to one segment.
    pub(crate) fn together(victims: Vec<Survivors>, generation: u8, limit: u64, bytes: u64) -> Self {
        Self { victims, generation, limit, together: bytes - to_u64(SEGMENT_HEADER_BYTES), is_merge: true }
    }

    /// Whether small segments are merged, however much of them is dead.
    pub(crate) fn is_merge(&self) -> bool {
        self.is_merge
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.victims.iter().map(|victim| &**victim.segment())
    }
}

#[derive(Debug)]
struct Target {
    generation: u8,
    segment: Arc<Segment>,
    len: u64,
    unsynced: bool,
}

/// Segments that survivors are appended to, one per generation above the log.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    open: Vec<Target>,
    numbers: Vec<SegmentSeq>,
    /// Full segments that are not synced yet.
    full: Vec<Arc<Segment>>,
    batch: u64,
}

impl Targets {
    /// Numbers of the open segments.
    pub(crate) fn open(&self) -> &[SegmentSeq] {
        &self.numbers
    }

    /// Numbers of all segments, including full ones that are not synced.
    pub(crate) fn all(&self) -> impl Iterator<Item = SegmentSeq> {
        self.numbers.iter().copied().chain(self.full.iter().map(|segment| segment.number()))
    }

    /// Stops appending to all of them. Everything is synced by then.
    pub(crate) fn close(&mut self) {
        self.numbers.clear();
        for target in self.open.drain(..) {
            target.segment.close_file();
        }
    }

    /// A target with room. The heap knows it before anything is moved there.
    fn with_room(&mut self, engine: &Engine, generation: u8, bytes: u64) -> Result<&mut Target> {
        let source = engine.log.source();
        let found = self.open.iter().position(|target| target.generation == generation);
        if let Some(index) = found
            .filter(|index| self.open.get(*index).is_some_and(|target| target.len + bytes > target.segment.capacity()))
        {
            let target = self.open.swap_remove(index);
            self.numbers.retain(|number| *number != target.segment.number());
            self.full.push(target.segment);
        }
        if self.open.iter().all(|target| target.generation != generation) {
            let capacity = source.next_bytes().max(to_u64(SEGMENT_HEADER_BYTES) + bytes);
            let number = engine.log.take_segment_number()?;
            let segment = source.create_older(generation, number, engine.log.timeline(), capacity)?;
            let segment = Arc::new(segment);
            self.numbers.push(number);
            self.open.push(Target { generation, segment, len: to_u64(SEGMENT_HEADER_BYTES), unsynced: false });
        }
        let target = self.open.iter_mut().find(|target| target.generation == generation);
        target.ok_or_else(|| Error::Poisoned { reason: "no segment for survivors".to_owned() })
    }

    /// Makes everything durable.
    fn sync(&mut self) -> Result<()> {
        let sync = |segment: &Segment| segment.sync().map_err(|source| Error::io("sync", segment.name(), source));
        for segment in self.full.drain(..) {
            sync(&segment)?;
            segment.close_file();
        }
        for target in self.open.iter_mut().filter(|target| target.unsynced) {
            sync(&target.segment)?;
            target.unsynced = false;
        }
        Ok(())
    }

    /// After a failure: nothing is appended after a possibly partial write. If the heap does not know a segment,
    /// nothing was moved to it: it is deleted, so that repeated failures do not fill the directory.
    fn give_up(&mut self, engine: &Engine) {
        let open = self.open.drain(..).map(|target| target.segment);
        for segment in open.chain(self.full.drain(..)) {
            if engine.heap.segment(segment.number()).is_none() {
                drop(engine.backing.delete(segment.name()));
            }
        }
        self.numbers.clear();
    }
}

/// The result of a slice.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    pub(crate) is_last: bool,
}

/// Survivors of one victim in one target.
#[derive(Debug)]
struct Copied {
    victim: usize,
    to: Arc<Segment>,
    moves: Vec<Move>,
}

/// Copies survivors up to this many bytes, syncs the copies, and commits their moves.
pub(crate) fn slice(engine: &Engine, work: &mut Work, targets: &mut Targets, bytes_max: u64) -> Result<Done> {
    let result = copy(engine, work, targets, bytes_max)
        .and_then(|copied| targets.sync().inspect_err(|error| stop(engine, error)).map(|()| copied));
    // If a file could not be opened or created, for example for lack of descriptors, that says nothing about what was
    // written.
    let (copied, mut done) = result.inspect_err(|_| targets.give_up(engine))?;
    for part in copied {
        let Some(from) = work.victims.get(part.victim).map(|victim| victim.segment().number()) else { continue };
        engine.heap.adopt(&part.to)?;
        if planted::is(Fault::RetiredBeforeMoves) {
            engine.heap.retire(&[part.to.number()]);
        }
        for moves in part.moves.chunks(MOVES_PER_COMMIT) {
            engine.commit_moves(from, part.to.number(), moves.to_vec())?;
            done.records += to_u64(moves.len());
        }
    }
    Ok(done)
}

/// Ends the handle after a failed write, unless it ran out of space.
fn stop(engine: &Engine, error: &Error) {
    if !matches!(error, Error::NoSpace { .. }) {
        engine.poison.set(error);
    }
}

fn copy(engine: &Engine, work: &mut Work, targets: &mut Targets, bytes_max: u64) -> Result<(Vec<Copied>, Done)> {
    let (mut copied, mut done) = (Vec::new(), Done::default());
    let mut batch = Batch::new(work.limit);
    let (mut next, count) = (0, work.victims.len());
    while let Some(victim) = work.victims.get_mut(next) {
        if victim.fill(engine, next, &mut batch)? {
            done.bytes += append(engine, work, &mut batch, targets, &mut copied)?;
            if done.bytes >= bytes_max {
                break;
            }
        } else {
            next += 1;
        }
    }
    if !batch.is_empty() {
        done.bytes += append(engine, work, &mut batch, targets, &mut copied)?;
    }
    done.is_last = next == count;
    Ok((copied, done))
}

/// Appends a frame of survivors. Returns its size.
fn append(
    engine: &Engine,
    work: &mut Work,
    batch: &mut Batch,
    targets: &mut Targets,
    copied: &mut Vec<Copied>,
) -> Result<u64> {
    let (mut frame, mut moves) = (FrameBuilder::new(), Vec::new());
    for (set, survivors) in batch.take() {
        let mut is_begun = false;
        for survivor in survivors {
            let Some(from) = work.victims.get(survivor.victim).map(Survivors::segment) else { continue };
            let bytes = from.read(survivor.offset, survivor.bytes)?;
            // A damaged record stays where it is, with its segment.
            let Ok(item) = Item::parse(&bytes) else { continue };
            if item.verify(from.seed().at(survivor.offset)).is_err() {
                continue;
            }
            if !is_begun {
                frame.control(Kind::Run, &set.0.to_le_bytes());
                is_begun = true;
            }
            let (to, _) = frame.copy(&item);
            moves.push((survivor.victim, Move { slot: survivor.slot, from: survivor.offset, to }));
        }
    }
    if moves.is_empty() {
        return Ok(0);
    }
    let bytes = frame.bytes();
    targets.batch += 1;
    let stamp = Stamp {
        kind: FrameKind::Survivors,
        seq: engine.log.last_seq(),
        durable: engine.log.durable_seq(),
        timeline: engine.log.timeline(),
        time_micros: now_micros(),
        move_number: targets.batch,
    };
    let target = targets.with_room(engine, work.generation, bytes.max(std::mem::take(&mut work.together)))?;
    let segment = &target.segment;
    let sealed = frame.seal(&stamp, segment.seed(), target.len);
    let appended = segment.append(sealed).map_err(|source| Error::io("append to", segment.name(), source));
    appended.inspect_err(|error| stop(engine, error))?;
    let base = target.len;
    target.len += bytes;
    target.unsynced = true;
    for (victim, each) in moves {
        let each = Move { to: base + each.to, ..each };
        let is_part = |part: &&mut Copied| part.victim == victim && part.to.number() == segment.number();
        match copied.iter_mut().rev().find(is_part) {
            Some(part) => part.moves.push(each),
            None => copied.push(Copied { victim, to: Arc::clone(segment), moves: vec![each] }),
        }
    }
    Ok(bytes)
}
