//! Copying survivors: from a victim to the open segment of the next generation, then moving their entries.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Error;
use crate::error::Result;
use crate::format::entry::State as EntryState;
use crate::format::frame::FRAME_HEADER_BYTES;
use crate::format::frame::Frame;
use crate::format::frame::FrameBuilder;
use crate::format::frame::FrameHeader;
use crate::format::frame::FrameKind;
use crate::format::frame::Stamp;
use crate::format::item::FIRST_CONTROL_KIND;
use crate::format::item::Kind;
use crate::format::moves::Move;
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::heap::State;
use crate::id::RecordId;
use crate::id::SegmentSeq;
use crate::id::SetNumber;
use crate::id::to_u64;
use crate::log::Segment;
use crate::log::now_micros;
use crate::planted;
use crate::planted::Fault;

/// Survivors that one frame holds at most, more or less.
const FRAME_BYTES: u64 = 256 << 10;
/// Records that are moved with one commit.
const MOVES_PER_COMMIT: usize = 4_000;

/// A victim, and how far it has been emptied.
#[derive(Debug)]
pub(crate) struct Work {
    place: u32,
    segment: Arc<Segment>,
    offset: u64,
}

impl Work {
    pub(crate) fn new(place: u32, segment: Arc<Segment>) -> Self {
        Self { place, segment, offset: to_u64(SEGMENT_HEADER_BYTES) }
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }
}

#[derive(Debug)]
struct Target {
    generation: u8,
    segment: Arc<Segment>,
    len: u64,
    unsynced: bool,
}

/// Segments that survivors are appended to, one for each generation above the log.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    open: Vec<Target>,
    numbers: Vec<SegmentSeq>,
    /// Full ones that are not synced yet.
    full: Vec<Arc<Segment>>,
    batch: u64,
}

impl Targets {
    /// Numbers of the segments that are open.
    pub(crate) fn open(&self) -> &[SegmentSeq] {
        &self.numbers
    }

    /// Appends no more to any. All is synced by then.
    pub(crate) fn close(&mut self) {
        self.numbers.clear();
        for target in self.open.drain(..) {
            target.segment.close_file();
        }
    }

    /// A target that has room. It is known to the heap before anything is moved there.
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

    /// Puts everything on the medium.
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

    /// After a failure: what may be half written is not appended to. Where the heap does not know a segment nothing was
    /// moved to it: it is deleted, so that failing again and again does not fill the directory.
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

/// What a slice has done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    pub(crate) is_last: bool,
}

/// Survivors of one victim that lie in one target.
#[derive(Debug)]
struct Copied {
    to: Arc<Segment>,
    moves: Vec<Move>,
}

/// Copies survivors up to so many bytes, syncs the copies, and commits their moves.
pub(crate) fn slice(
    engine: &Engine,
    work: &mut Work,
    targets: &mut Targets,
    oldest: u8,
    bytes_max: u64,
) -> Result<Done> {
    let generation = work.segment.header().generation.saturating_add(1).min(oldest.max(1));
    let result = copy(engine, work, targets, generation, bytes_max).and_then(|copied| targets.sync().map(|()| copied));
    let (copied, mut done) = result.inspect_err(|error| {
        targets.give_up(engine);
        if !matches!(error, Error::NoSpace { .. }) {
            engine.poison.set(error);
        }
    })?;
    for part in copied {
        engine.heap.adopt(&part.to)?;
        if planted::is(Fault::RetiredBeforeMoves) {
            engine.heap.retire(&[part.to.number()]);
        }
        for moves in part.moves.chunks(MOVES_PER_COMMIT) {
            engine.commit_moves(work.segment.number(), part.to.number(), moves.to_vec())?;
            done.records += to_u64(moves.len());
        }
    }
    Ok(done)
}

fn copy(
    engine: &Engine,
    work: &mut Work,
    targets: &mut Targets,
    generation: u8,
    bytes_max: u64,
) -> Result<(Vec<Copied>, Done)> {
    let (mut copied, mut done) = (Vec::new(), Done::default());
    let mut batch = Batch::default();
    let len = work.segment.len()?;
    while done.bytes + batch.frame.bytes() < bytes_max {
        let header = if work.offset + to_u64(FRAME_HEADER_BYTES) <= len {
            let bytes = work.segment.read(work.offset, to_u64(FRAME_HEADER_BYTES))?;
            FrameHeader::parse(&bytes, work.segment.seed(), work.offset).ok()
        } else {
            None
        };
        let Some(header) = header.filter(|header| work.offset + u64::from(header.bytes) <= len) else {
            done.is_last = true;
            break;
        };
        // One look at the newest state a frame: what changes meanwhile is found when the moves are committed.
        let state = engine.heap.current();
        let bytes = work.segment.read(work.offset, u64::from(header.bytes))?;
        if let Ok(frame) = Frame::parse_header(&bytes, work.segment.seed(), work.offset) {
            for item in frame.items() {
                let Ok((offset, item)) = item else { break };
                if item.kind >= FIRST_CONTROL_KIND || !is_live(&state, work.place, item.raw_id, offset) {
                    continue;
                }
                // A damaged record stays where it is, and its segment with it.
                let Some(id) = RecordId::from_u64(item.raw_id) else { continue };
                if item.verify(work.segment.seed().at(offset)).is_err() {
                    continue;
                }
                let set = state.root.set_of_slot(id.slot());
                if batch.set != Some(set) {
                    batch.frame.control(Kind::Run, &set.0.to_le_bytes());
                    batch.set = Some(set);
                }
                let (to, _) = batch.frame.copy(&item);
                batch.moves.push(Move { slot: id.slot(), from: offset, to });
                if batch.frame.bytes() >= FRAME_BYTES {
                    done.bytes += batch.append(engine, targets, generation, &mut copied)?;
                }
            }
        }
        work.offset += u64::from(header.bytes);
    }
    if !batch.moves.is_empty() {
        done.bytes += batch.append(engine, targets, generation, &mut copied)?;
    }
    Ok((copied, done))
}

fn is_live(state: &State, place: u32, raw_id: u64, offset: u64) -> bool {
    let Some(id) = RecordId::from_u64(raw_id) else { return false };
    let Ok(entry) = state.root.entry(id.slot()) else { return false };
    matches!(entry.state(), EntryState::Live(location) if location.place == place && location.offset() == offset)
}

/// Survivors that wait for their frame.
#[derive(Debug, Default)]
struct Batch {
    frame: FrameBuilder,
    moves: Vec<Move>,
    set: Option<SetNumber>,
}

impl Batch {
    /// Appends the frame. Gives its bytes.
    fn append(
        &mut self,
        engine: &Engine,
        targets: &mut Targets,
        generation: u8,
        copied: &mut Vec<Copied>,
    ) -> Result<u64> {
        let bytes = self.frame.bytes();
        targets.batch += 1;
        let stamp = Stamp {
            kind: FrameKind::Survivors,
            seq: engine.log.last_seq(),
            durable: engine.log.durable_seq(),
            timeline: engine.log.timeline(),
            time_micros: now_micros(),
            move_number: targets.batch,
        };
        let target = targets.with_room(engine, generation, bytes)?;
        let segment = &target.segment;
        let sealed = self.frame.seal(&stamp, segment.seed(), target.len);
        segment.append(sealed).map_err(|source| Error::io("append to", segment.name(), source))?;
        let base = target.len;
        target.len += bytes;
        target.unsynced = true;
        let moves = self.moves.drain(..).map(|each| Move { to: base + each.to, ..each });
        match copied.last_mut().filter(|part| part.to.number() == segment.number()) {
            Some(part) => part.moves.extend(moves),
            None => copied.push(Copied { to: Arc::clone(segment), moves: moves.collect() }),
        }
        self.frame.clear();
        self.set = None;
        Ok(bytes)
    }
}
