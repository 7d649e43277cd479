//! Survivors: the live records of a segment, in the batches in which they are copied, and the length of a copy.
//!
//! Owns: the walk over the records of a victim, and how they are grouped. Never: writes, or checks a payload.
//! Invariant: the computed length is the actual one. `copy_bytes` and the copying use the same batches, so while
//! nothing dies a copy is never longer than computed, and what dies makes it shorter.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Result;
use crate::format::entry::{RECORD_BYTES_MAX, State as EntryState};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::format::item::{FIRST_CONTROL_KIND, Item, Kind, item_bytes};
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::heap::State;
use crate::id::{RecordId, SetNumber, to_u64, to_usize};
use crate::log::{Ahead, Segment};

/// Maximum size of a frame of survivors, unless segments are smaller.
const FRAME_BYTES: u64 = 256 << 10;
/// Bytes read at once. A record always fits.
const WINDOW_BYTES: u64 = 1 << 20;
/// The item that names the set of the records after it.
const RUN_BYTES: u64 = item_bytes(Kind::Run as u8, 4);

const _: () = assert!(RECORD_BYTES_MAX < WINDOW_BYTES, "a record fits a window");

/// The minimum overhead of a copy: a segment, a frame and a run.
pub(crate) const COPY_OVERHEAD_BYTES: u64 = to_u64(SEGMENT_HEADER_BYTES) + to_u64(FRAME_HEADER_BYTES) + RUN_BYTES;

/// Where a live record is, and in which victim.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Survivor {
    pub(crate) victim: usize,
    pub(crate) slot: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Survivors of one frame, grouped by set, so that each set takes one run.
#[derive(Debug)]
pub(crate) struct Batch {
    runs: BTreeMap<SetNumber, Vec<Survivor>>,
    bytes: u64,
    limit: u64,
}

impl Batch {
    pub(crate) fn new(limit: u64) -> Self {
        Self { runs: BTreeMap::new(), bytes: to_u64(FRAME_HEADER_BYTES), limit }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Size of the frame.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes everything out, set by set.
    pub(crate) fn take(&mut self) -> BTreeMap<SetNumber, Vec<Survivor>> {
        self.bytes = to_u64(FRAME_HEADER_BYTES);
        std::mem::take(&mut self.runs)
    }

    /// Adds one, if there is room. One always fits.
    fn put(&mut self, set: SetNumber, survivor: Survivor) -> bool {
        let run = if self.runs.contains_key(&set) { 0 } else { RUN_BYTES };
        let bytes = self.bytes + run + survivor.bytes;
        if bytes > self.limit && !self.is_empty() {
            return false;
        }
        self.runs.entry(set).or_default().push(survivor);
        self.bytes = bytes;
        true
    }
}

/// A walk over the live records of one segment.
#[derive(Debug)]
pub(crate) struct Survivors {
    place: u32,
    segment: Arc<Segment>,
    /// Where the next frame starts, and the next item of the current frame, and where that ends.
    frame: u64,
    item: u64,
    ahead: Ahead,
}

impl Drop for Survivors {
    fn drop(&mut self) {
        self.ahead.end(&self.segment);
    }
}

impl Survivors {
    pub(crate) fn new(place: u32, segment: Arc<Segment>) -> Self {
        let begin = to_u64(SEGMENT_HEADER_BYTES);
        Self { place, segment, frame: begin, item: begin, ahead: Ahead::default() }
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Adds live records to the batch, as those of this victim. Returns whether the batch was full before the end.
    pub(crate) fn fill(&mut self, engine: &Engine, victim: usize, batch: &mut Batch) -> Result<bool> {
        let len = self.segment.len()?;
        loop {
            if self.item == self.frame {
                let Some(header) = self.header_at(self.frame, len)? else { return Ok(false) };
                self.item = self.frame + to_u64(FRAME_HEADER_BYTES);
                self.frame += u64::from(header.bytes);
            }
            while self.item < self.frame {
                if self.fill_from_window(engine, victim, batch)? {
                    return Ok(true);
                }
            }
        }
    }

    fn header_at(&self, offset: u64, len: u64) -> Result<Option<FrameHeader>> {
        if offset + to_u64(FRAME_HEADER_BYTES) > len {
            return Ok(None);
        }
        let bytes = self.segment.read(offset, to_u64(FRAME_HEADER_BYTES))?;
        let header = FrameHeader::parse(&bytes, self.segment.seed(), offset).ok();
        Ok(header.filter(|header| offset + u64::from(header.bytes) <= len))
    }

    fn fill_from_window(&mut self, engine: &Engine, victim: usize, batch: &mut Batch) -> Result<bool> {
        let (begin, left) = (self.item, self.frame - self.item);
        self.ahead.at(&self.segment, begin, left.min(WINDOW_BYTES));
        let window = self.segment.read(begin, left.min(WINDOW_BYTES))?;
        // The newest state is read once per window: committing the moves detects concurrent changes.
        let state = engine.heap.current();
        loop {
            let rest = window.get(to_usize(self.item - begin)..).unwrap_or_default();
            let item = Item::parse(rest).ok().filter(|item| item.bytes() <= to_u64(rest.len()));
            let Some(item) = item else {
                if self.item == begin {
                    // No item is longer than a window: this one is damaged, and what follows it cannot be found.
                    self.item = self.frame;
                }
                return Ok(false);
            };
            if let Some(slot) = live_slot(&state, self.place, &item, self.item) {
                let survivor = Survivor { victim, slot, offset: self.item, bytes: item.bytes() };
                if !batch.put(state.root.set_of_slot(slot), survivor) {
                    return Ok(true);
                }
            }
            self.item += item.bytes();
        }
    }
}

/// The slot of a record if its entry still points at it.
fn live_slot(state: &State, place: u32, item: &Item<'_>, offset: u64) -> Option<u64> {
    if item.kind >= FIRST_CONTROL_KIND {
        return None;
    }
    let slot = RecordId::from_u64(item.raw_id)?.slot();
    let entry = state.root.entry(slot).ok()?.state();
    let is_here = matches!(entry, EntryState::Live(location) if location.place == place && location.offset() == offset);
    is_here.then_some(slot)
}

/// Maximum size of a frame of survivors now.
pub(crate) fn frame_bytes(engine: &Engine) -> u64 {
    FRAME_BYTES.min(engine.log.source().next_bytes() - to_u64(SEGMENT_HEADER_BYTES))
}

/// Maximum length of a copy of a segment's live records: its frames, with a segment header for each of them.
pub(crate) fn copy_bytes(engine: &Engine, place: u32, segment: &Arc<Segment>, limit: u64) -> Result<u64> {
    let (frames, bytes) = frames_of(engine, &[(place, Arc::clone(segment))], limit)?;
    Ok(bytes + frames * to_u64(SEGMENT_HEADER_BYTES))
}

/// Maximum length of a copy of these segments' live records if all of it goes to one segment.
pub(crate) fn copy_bytes_together(engine: &Engine, victims: &[(u32, Arc<Segment>)], limit: u64) -> Result<u64> {
    let (_, bytes) = frames_of(engine, victims, limit)?;
    Ok(bytes + to_u64(SEGMENT_HEADER_BYTES))
}

/// Number of frames of survivors in a copy of these segments, and their length.
fn frames_of(engine: &Engine, victims: &[(u32, Arc<Segment>)], limit: u64) -> Result<(u64, u64)> {
    let (mut batch, mut frames, mut bytes) = (Batch::new(limit), 0, 0);
    let mut end_frame = |batch: &mut Batch| {
        if !batch.is_empty() {
            (frames, bytes) = (frames + 1, bytes + batch.bytes());
            drop(batch.take());
        }
    };
    for (index, (place, segment)) in victims.iter().enumerate() {
        let mut survivors = Survivors::new(*place, Arc::clone(segment));
        while survivors.fill(engine, index, &mut batch)? {
            end_frame(&mut batch);
        }
    }
    end_frame(&mut batch);
    Ok((frames, bytes))
}
