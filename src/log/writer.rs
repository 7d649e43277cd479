//! Appending: the active segment, sealing, and what a sync covers.
//!
//! Owns: the tail of the log. `group` owns who syncs, and what is durable then. Locks: `tail`, then nothing; that of
//! `group`, then nothing. Neither is held over a sync.

mod copies;
mod prewritten;

pub(crate) use prewritten::Prewritten;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::format::FORMAT_VERSION;
use crate::format::entry::SEGMENT_BYTES_END;
use crate::format::frame::{COPIED, FRAME_HEADER_BYTES, FrameBuilder, FrameKind, Stamp};
use crate::format::manifest::NUMBER_END;
use crate::format::segment::{FileKind, SEGMENT_HEADER_BYTES, SEGMENT_NUMBER_END};
use crate::id::{SegmentSeq, Seq, to_u64};
use crate::log::group::GroupSync;
use crate::log::{Poison, Segment, SegmentSource};

const _: () = assert!(FORMAT_VERSION == 2, "the writer writes format version 2");

/// Microseconds since 1970, not used for ordering.
pub(crate) fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Where a frame was appended.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) segment: Arc<Segment>,
    pub(crate) offset: u64,
    /// The last commit at that time: its own, if it is one.
    pub(crate) seq: Seq,
}

/// Where the log continues after opening.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogStart {
    pub(crate) timeline: u64,
    pub(crate) last_seq: Seq,
    pub(crate) durable: Seq,
    pub(crate) previous: SegmentSeq,
    pub(crate) next_segment: SegmentSeq,
}

#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    len: u64,
    has_commits: bool,
}

#[derive(Debug)]
struct Tail {
    active: Option<Active>,
    spare: Option<Segment>,
    unsynced: Vec<Arc<Segment>>,
    /// Ended segments without a commit: nothing else refers to them.
    bare: Vec<SegmentSeq>,
    /// The segment that the manifest says was started: without its file a reader would report its contents as lost.
    announced: Option<SegmentSeq>,
    /// The segment of a commit that is being written before its turn, and the one after it.
    prewritten: Vec<SegmentSeq>,
    previous: SegmentSeq,
    next_segment: SegmentSeq,
    last_seq: Seq,
    watermark_written: Seq,
}

impl Tail {
    /// Nothing more is appended to the segment, but it is still synced.
    fn end(&mut self, active: Active) {
        active.segment.end_room();
        if !active.has_commits {
            self.bare.push(active.segment.number());
        }
        self.unsynced.push(active.segment);
    }
}

/// The log of generation 0, open for appending.
#[derive(Debug)]
pub(crate) struct Log {
    source: SegmentSource,
    timeline: u64,
    tail: Mutex<Tail>,
    /// Held while a commit is written before its turn, until it counts or is abandoned.
    prewriting: Mutex<()>,
    /// Outside the tail's lock: beginning a transaction reads it, and need not wait for another thread's append.
    appended_bytes: AtomicU64,
    /// How many of them are durable.
    synced_bytes: AtomicU64,
    /// How many of them the log itself records as durable.
    proven_bytes: AtomicU64,
    /// Few file numbers are left; they are reserved for closing and opening the store.
    numbers_are_few: AtomicBool,
    durable: GroupSync,
    poison: Arc<Poison>,
}

impl Log {
    pub(crate) fn new(source: SegmentSource, start: LogStart, poison: Arc<Poison>) -> Self {
        let tail = Tail {
            active: None,
            spare: None,
            unsynced: Vec::new(),
            bare: Vec::new(),
            announced: None,
            prewritten: Vec::new(),
            previous: start.previous,
            next_segment: start.next_segment,
            last_seq: start.last_seq,
            watermark_written: start.durable,
        };
        Self {
            source,
            timeline: start.timeline,
            tail: Mutex::new(tail),
            prewriting: Mutex::default(),
            appended_bytes: AtomicU64::new(0),
            synced_bytes: AtomicU64::new(0),
            proven_bytes: AtomicU64::new(0),
            numbers_are_few: AtomicBool::new(are_few(start.next_segment, start.last_seq)),
            durable: GroupSync::new(start.durable),
            poison,
        }
    }

    pub(crate) fn source(&self) -> &SegmentSource {
        &self.source
    }

    pub(crate) fn timeline(&self) -> u64 {
        self.timeline
    }

    pub(crate) fn last_seq(&self) -> Seq {
        self.tail.lock().last_seq
    }

    /// The last durable commit.
    pub(crate) fn durable_seq(&self) -> Seq {
        self.durable.seq()
    }

    /// For a reader: the writer has made this durable.
    pub(crate) fn note_followed(&self, durable: Seq) {
        self.durable.note(durable);
    }

    /// Waits until a commit is durable, without a sync, for this long at most.
    pub(crate) fn wait_for_durable(&self, seq: Seq, timeout: std::time::Duration) {
        #[cfg(not(all(test, loom)))]
        self.durable.wait_for(seq, timeout);
        #[cfg(all(test, loom))]
        drop((seq, timeout));
    }

    /// Bytes appended through this handle.
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.appended_bytes.load(Ordering::Relaxed)
    }

    /// Bytes appended through this handle that may not be durable.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.appended_bytes().saturating_sub(self.synced_bytes.load(Ordering::Acquire))
    }

    /// Bytes appended through this handle that the next opening would copy if the process were killed now.
    pub(crate) fn unproven_bytes(&self) -> u64 {
        self.appended_bytes().saturating_sub(self.proven_bytes.load(Ordering::Acquire))
    }

    /// The store is closing with a snapshot of its last commit, so the next opening copies nothing.
    pub(crate) fn closes_with_snapshot(&self) {
        self.proven_bytes.fetch_max(self.appended_bytes(), Ordering::AcqRel);
    }

    /// Takes the number for a new segment of any kind.
    pub(crate) fn take_segment_number(&self) -> Result<SegmentSeq> {
        let mut tail = self.tail.lock();
        self.take_number(&mut tail)
    }

    /// Fails if the remaining file numbers are reserved for closing and opening the store.
    #[inline]
    pub(crate) fn check_numbers(&self) -> Result<()> {
        if self.numbers_are_few.load(Ordering::Relaxed) { Err(self.few()) } else { Ok(()) }
    }

    #[cold]
    fn few(&self) -> Error {
        let is_commit = self.last_seq().0 >= LAST_SEQ.0 - NUMBERS_LEFT_MIN;
        if is_commit { no_commit_left() } else { exhausted() }
    }

    /// The next file number. A snapshot can still record the one after it.
    fn take_number(&self, tail: &mut Tail) -> Result<SegmentSeq> {
        let number = tail.next_segment;
        if number.0 >= SEGMENT_NUMBER_END - 1 {
            return Err(exhausted());
        }
        tail.next_segment.0 += 1;
        self.numbers_are_few.store(are_few(tail.next_segment, tail.last_seq), Ordering::Relaxed);
        Ok(number)
    }

    /// The number that the next segment will have.
    pub(crate) fn next_segment(&self) -> SegmentSeq {
        self.tail.lock().next_segment
    }

    /// Segments that are being appended to, prepared, or not synced yet.
    pub(crate) fn in_hand(&self) -> Vec<SegmentSeq> {
        let tail = self.tail.lock();
        let active = tail.active.as_ref().map(|active| active.segment.number());
        let spare = tail.spare.as_ref().map(Segment::number);
        active
            .into_iter()
            .chain(spare)
            .chain(tail.unsynced.iter().map(|segment| segment.number()))
            .chain(tail.bare.iter().copied())
            .chain(tail.prewritten.iter().copied())
            .collect()
    }

    /// Ended segments without a commit, since the last call. Replay may need the watermarks in them.
    pub(crate) fn take_bare(&self) -> Vec<SegmentSeq> {
        std::mem::take(&mut self.tail.lock().bare)
    }

    /// The earliest place of the next frame: replay of later commits starts here.
    pub(crate) fn head(&self) -> (SegmentSeq, u64) {
        let tail = self.tail.lock();
        match (&tail.active, &tail.spare) {
            (Some(active), _) => (active.segment.number(), active.len),
            (None, Some(spare)) => (spare.number(), to_u64(SEGMENT_HEADER_BYTES)),
            (None, None) => (tail.next_segment, to_u64(SEGMENT_HEADER_BYTES)),
        }
    }

    /// Seals the frame, appends it, and counts its commit. The caller holds the commit lock, so frames are appended in
    /// commit order. On `NoSpace`, or if a segment cannot be created, nothing of the frame remains; any other failure
    /// ends the handle.
    pub(crate) fn append(&self, frame: &mut FrameBuilder, kind: FrameKind, copied: Option<Seq>) -> Result<Appended> {
        self.poison.check_alive()?;
        // First, so that the watermark is not too high.
        let proven = self.synced_bytes.load(Ordering::Acquire);
        let durable = self.durable_seq();
        let mut guard = self.room_for(self.tail.lock(), frame.bytes())?;
        let tail = &mut *guard;
        let Some(active) = tail.active.as_mut() else {
            return Err(Error::Poisoned { reason: "no active segment".to_owned() });
        };
        if kind == FrameKind::Commit && copied.is_none() && tail.last_seq >= LAST_SEQ {
            return Err(no_commit_left());
        }
        let seq = match (kind, copied) {
            (_, Some(seq)) => seq,
            (FrameKind::Commit, None) => tail.last_seq.next(),
            _ => tail.last_seq,
        };
        let stamp = Stamp {
            kind,
            seq,
            durable,
            timeline: self.timeline,
            time_micros: now_micros(),
            move_number: if copied.is_some() { COPIED } else { 0 },
        };
        let offset = active.len;
        let bytes = frame.seal(&stamp, active.segment.seed(), offset);
        let segment = self.write(tail, bytes, kind)?;
        self.appended_bytes.fetch_add(frame.bytes(), Ordering::Relaxed);
        self.proven_bytes.fetch_max(proven, Ordering::Release);
        tail.watermark_written = tail.watermark_written.max(durable);
        if kind == FrameKind::Commit {
            tail.last_seq = seq;
            if seq.0 >= LAST_SEQ.0 - NUMBERS_LEFT_MIN {
                self.numbers_are_few.store(true, Ordering::Relaxed);
            }
        }
        Ok(Appended { segment, offset, seq: tail.last_seq })
    }

    /// Ensures that the active segment has room for a frame of this size.
    fn room_for<'t>(&'t self, mut tail: MutexGuard<'t, Tail>, bytes: u64) -> Result<MutexGuard<'t, Tail>> {
        if tail.unsynced.len() >= UNSYNCED_MAX {
            tail = self.sync_ended(tail)?;
        }
        if to_u64(SEGMENT_HEADER_BYTES) + bytes >= SEGMENT_BYTES_END {
            let limit = SEGMENT_BYTES_END - to_u64(SEGMENT_HEADER_BYTES) - 1;
            return Err(Error::TooLarge { what: "transaction", bytes, limit });
        }
        if let Err(error) = self.make_room(&mut tail, bytes) {
            if !error.is_out_of_files() || tail.unsynced.is_empty() {
                return Err(error);
            }
            // Ended segments hold a descriptor until they are synced.
            tail = self.sync_ended(tail)?;
            self.make_room(&mut tail, bytes)?;
        }
        Ok(tail)
    }

    /// Writes sealed frames to the end of the active segment.
    fn write(&self, tail: &mut Tail, bytes: &[u8], kind: FrameKind) -> Result<Arc<Segment>> {
        let Some(active) = tail.active.as_mut() else {
            return Err(Error::Poisoned { reason: "no active segment".to_owned() });
        };
        if let Err(source) = active.segment.append(bytes) {
            let error = Error::io("append to", active.segment.name(), source);
            let end = active.len + to_u64(bytes.len());
            let is_partial = active.segment.len().is_ok_and(|len| len < end);
            if matches!(error, Error::NoSpace { .. }) && is_partial {
                self.give_up_full(tail);
            } else {
                self.give_up(tail);
                self.poison.set(&error);
            }
            return Err(error);
        }
        active.len += to_u64(bytes.len());
        active.has_commits |= kind == FrameKind::Commit;
        Ok(Arc::clone(&active.segment))
    }

    /// Ensures a segment for a frame of this size, and that its file stays: the manifest is about to refer to it.
    pub(crate) fn begin_segment(&self, bytes: u64) -> Result<()> {
        self.poison.check()?;
        let mut tail = self.tail.lock();
        let is_too_large = to_u64(SEGMENT_HEADER_BYTES) + bytes >= SEGMENT_BYTES_END;
        if tail.active.is_none() && !is_too_large {
            self.make_room(&mut tail, bytes)?;
        }
        tail.announced = tail.active.as_ref().map(|active| active.segment.number());
        Ok(())
    }

    /// Ensures that the active segment has room, or starts the next one.
    fn make_room(&self, tail: &mut Tail, bytes: u64) -> Result<()> {
        let seal_bytes = to_u64(FRAME_HEADER_BYTES);
        if let Some(active) = &tail.active {
            if active.len + bytes + seal_bytes <= active.segment.capacity() {
                return Ok(());
            }
            self.seal(tail);
        }
        let needed = to_u64(SEGMENT_HEADER_BYTES) + bytes + seal_bytes;
        let segment = match tail.spare.take() {
            Some(spare) if needed <= spare.capacity() => spare,
            too_small => {
                if let Some(spare) = too_small {
                    // Segments are used in numerical order, so it is useless now. If deleting it fails it stays, empty.
                    drop(self.source.backing.delete(spare.name()));
                }
                let number = self.take_number(tail)?;
                let capacity = needed.max(self.source.next_bytes());
                self.source.create(FileKind::Records, number, self.timeline, tail.previous, capacity)?
            }
        };
        tail.previous = segment.number();
        tail.active =
            Some(Active { segment: Arc::new(segment), len: to_u64(SEGMENT_HEADER_BYTES), has_commits: false });
        Ok(())
    }

    /// The next frame goes to another segment. The caller holds the commit lock.
    pub(crate) fn end_segment(&self) {
        self.seal(&mut self.tail.lock());
    }

    /// Ends the active segment with a seal. If the seal cannot be written, it is not needed.
    fn seal(&self, tail: &mut Tail) {
        if let Some(active) = &tail.active {
            let stamp = Stamp {
                kind: FrameKind::Seal,
                seq: tail.last_seq,
                durable: tail.watermark_written,
                timeline: self.timeline,
                time_micros: now_micros(),
                move_number: 0,
            };
            let mut frame = FrameBuilder::new();
            let bytes = frame.seal(&stamp, active.segment.seed(), active.len);
            drop(active.segment.append(bytes));
        }
        self.give_up(tail);
    }

    /// Stops appending to the active segment, but still syncs it.
    #[expect(clippy::unused_self, reason = "reads like the other verbs of the log")]
    fn give_up(&self, tail: &mut Tail) {
        if let Some(active) = tail.active.take() {
            tail.end(active);
        }
    }

    /// Stops appending to a segment that ran out of space. If it has no frame it is deleted, so that failing commits do
    /// not fill the directory, unless the manifest refers to it.
    fn give_up_full(&self, tail: &mut Tail) {
        let Some(active) = tail.active.take() else { return };
        let header = active.segment.header();
        let is_empty = active.len == to_u64(SEGMENT_HEADER_BYTES);
        let is_announced = tail.announced == Some(active.segment.number());
        if is_empty && !is_announced && self.source.backing.delete(active.segment.name()).is_ok() {
            tail.previous = header.previous;
        } else {
            tail.end(active);
        }
    }

    /// Prepares a segment, so that no commit waits for a directory sync.
    pub(crate) fn prepare_spare(&self) -> Result<()> {
        self.poison.check()?;
        let (number, previous) = {
            let mut tail = self.tail.lock();
            let is_half_full = |active: &&Active| active.len > active.segment.capacity() / 2;
            let Some(active) = tail.active.as_ref().filter(is_half_full) else { return Ok(()) };
            let previous = active.segment.number();
            if tail.spare.is_some() {
                return Ok(());
            }
            (self.take_number(&mut tail)?, previous)
        };
        let capacity = self.source.next_bytes();
        let spare = self.source.create(FileKind::Records, number, self.timeline, previous, capacity)?;
        let mut tail = self.tail.lock();
        let still_next = tail.active.as_ref().is_some_and(|active| active.segment.number() < number);
        if still_next && tail.spare.is_none() {
            tail.spare = Some(spare);
            return Ok(());
        }
        drop(tail);
        // The log has passed it meanwhile.
        self.delete_spare(&spare);
        Ok(())
    }

    /// Abandons the prepared segment: nothing more is appended.
    pub(crate) fn give_up_spare(&self) {
        let spare = self.tail.lock().spare.take();
        if let Some(spare) = spare {
            self.delete_spare(&spare);
        }
    }

    /// Nothing refers to it. If this fails it stays, empty, until the next opening.
    fn delete_spare(&self, spare: &Segment) {
        drop(self.source.backing.delete(spare.name()));
    }

    /// Waits until `seq` is durable. Concurrent callers share one sync.
    pub(crate) fn sync_to(&self, seq: Seq) -> Result<()> {
        self.source.syncs_wanted.note();
        let mut synced = 0;
        self.durable.sync_to(seq, || self.poison.check(), || self.sync_all(&mut synced))?;
        self.synced_bytes.fetch_max(synced, Ordering::Release);
        Ok(())
    }

    /// Makes everything durable that was appended, watermarks and seals included.
    pub(crate) fn sync_whole(&self) -> Result<()> {
        let is_synced = self.unsynced_bytes() == 0 && self.tail.lock().unsynced.is_empty();
        if is_synced { Ok(()) } else { self.sync_to_end() }
    }

    fn sync_to_end(&self) -> Result<()> {
        let mut synced = 0;
        self.durable.sync_to(Seq(u64::MAX), || self.poison.check(), || self.sync_all(&mut synced))?;
        self.synced_bytes.fetch_max(synced, Ordering::Release);
        Ok(())
    }

    /// Nothing more is appended: leaves nothing that is not durable.
    pub(crate) fn finish(&self) -> Result<()> {
        self.give_up(&mut self.tail.lock());
        self.sync_whole()
    }

    /// Syncs everything appended; returns the last commit that this covers, and the bytes.
    fn sync_all(&self, bytes: &mut u64) -> Result<Seq> {
        let _panic = self.poison.ends_with_panic("while the log was synced");
        let (segments, active, reached) = {
            let mut tail = self.tail.lock();
            *bytes = self.appended_bytes();
            let active = tail.active.as_ref().map(|active| Arc::clone(&active.segment));
            (std::mem::take(&mut tail.unsynced), active, tail.last_seq)
        };
        for segment in segments.iter().chain(active.as_ref()) {
            if let Err(source) = segment.sync() {
                let error = Error::io("sync", segment.name(), source);
                self.poison.set(&error);
                return Err(error);
            }
        }
        for segment in &segments {
            segment.close_file();
        }
        Ok(reached)
    }

    /// Syncs ended segments, each of which holds a descriptor until then. This does not advance the durable commit: a
    /// thread that syncs the log may already have taken other segments.
    #[cold]
    fn sync_ended<'t>(&'t self, tail: MutexGuard<'t, Tail>) -> Result<MutexGuard<'t, Tail>> {
        let _panic = self.poison.ends_with_panic("while the log was synced");
        // They stay in the list meanwhile, so that a thread that syncs the log does not miss one.
        let ended = tail.unsynced.clone();
        drop(tail);
        for segment in &ended {
            if let Err(source) = segment.sync() {
                let error = Error::io("sync", segment.name(), source);
                self.poison.set(&error);
                return Err(error);
            }
        }
        let mut tail = self.tail.lock();
        tail.unsynced.retain(|segment| ended.iter().all(|synced| !Arc::ptr_eq(segment, synced)));
        for segment in &ended {
            segment.close_file();
        }
        Ok(tail)
    }

    /// Releases ended segments whose commits are all durable, which a sync would keep if no thread requested another.
    pub(crate) fn forget_synced(&self) {
        let durable = self.durable_seq();
        let synced = {
            let mut tail = self.tail.lock();
            if durable >= tail.last_seq { std::mem::take(&mut tail.unsynced) } else { Vec::new() }
        };
        for segment in &synced {
            segment.close_file();
        }
    }

    /// Writes the durable watermark if no later frame carries it yet, and there is a segment for it.
    pub(crate) fn write_watermark(&self) -> Result<()> {
        if self.tail.lock().active.is_some() { self.prove() } else { Ok(()) }
    }

    /// The same, and starts a segment if there is none.
    pub(crate) fn prove(&self) -> Result<()> {
        let durable = self.durable_seq();
        let due = self.tail.lock().watermark_written < durable;
        if due {
            self.append(&mut FrameBuilder::new(), FrameKind::Watermark, None)?;
        }
        Ok(())
    }

    /// Whether anything is not durable yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.durable_seq() < self.last_seq()
    }
}

/// Maximum number of ended segments that wait for a sync of the log.
const UNSYNCED_MAX: usize = 64;
/// File and commit numbers that ordinary commits leave for closing and opening the store.
const NUMBERS_LEFT_MIN: u64 = 1 << 20;
/// The highest commit number; counting on from it never overflows.
pub(crate) const LAST_SEQ: Seq = Seq(NUMBER_END - 16);

fn are_few(next: SegmentSeq, last: Seq) -> bool {
    next.0 >= SEGMENT_NUMBER_END - NUMBERS_LEFT_MIN || last.0 >= LAST_SEQ.0 - NUMBERS_LEFT_MIN
}

/// The error instead of a commit after the last one.
pub(crate) fn no_commit_left() -> Error {
    Error::Exhausted { what: "number of a commit", limit: LAST_SEQ.0 }
}

fn exhausted() -> Error {
    Error::Exhausted { what: "number of a file", limit: SEGMENT_NUMBER_END }
}
