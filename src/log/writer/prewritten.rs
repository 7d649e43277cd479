//! A large commit that is written before its turn, so that others need not wait for the write.
//!
//! Owns: its segment until the commit counts, and the number chosen for it. Never: makes it count by itself: the commit before
//! it, which names it, does that. Locks: the lock of such commits, then `tail`.
//! Invariant: its segment comes after the one that names it, and nothing else is appended in between.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use crate::error::{Error, Result};
use crate::format::entry::SEGMENT_BYTES_END;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameBuilder, FrameKind, PREWRITTEN, Stamp};
use crate::format::segment::{FileKind, SEGMENT_HEADER_BYTES};
use crate::id::{SegmentSeq, Seq, to_u64};
use crate::log::writer::numbers::are_few;
use crate::log::writer::{Active, Log, now_micros};
use crate::log::{Appended, Segment};

/// How many commits may come before it. With more, it is written in its turn.
const COMMITS_BEFORE: u64 = 1 << 18;
/// Bytes written at once: no commit waits for more than that behind a lock of the file system.
const PART_BYTES: usize = 4 << 20;

/// A commit that was written before its turn. Its segment is deleted if it is dropped.
#[derive(Debug)]
pub(crate) struct Prewritten<'l> {
    log: &'l Log,
    segment: Option<Arc<Segment>>,
    /// The segment that follows, so that the next commit need not create one.
    next: Option<Segment>,
    number: SegmentSeq,
    seq: Seq,
    bytes: u64,
    /// One at a time: each has a number of its own.
    _turn: MutexGuard<'l, ()>,
}

impl Prewritten<'_> {
    /// Its segment, and its number.
    pub(crate) fn place(&self) -> (SegmentSeq, Seq) {
        (self.number, self.seq)
    }

    /// Its segment as long as the commit does not count, and the offset of its frame there.
    pub(crate) fn written(&self) -> Option<(&Arc<Segment>, u64)> {
        self.segment.as_ref().map(|segment| (segment, to_u64(SEGMENT_HEADER_BYTES)))
    }
}

impl Drop for Prewritten<'_> {
    fn drop(&mut self) {
        let Some(segment) = self.segment.take() else { return };
        // If this fails the file stays, and replay ignores it: nothing names it.
        drop(self.log.source.backing.delete(segment.name()));
        if let Some(next) = self.next.take() {
            self.log.delete_spare(&next);
        }
        self.log.tail.lock().prewritten.clear();
    }
}

impl Log {
    /// Whether a frame needs a segment of its own.
    pub(crate) fn is_for_its_own_segment(&self, bytes: u64) -> bool {
        bytes + to_u64(SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES) > self.source.next_bytes()
    }

    /// Writes a frame to a segment of its own; `None` if it must wait for its turn. The caller holds no lock. After an error
    /// nothing of it remains.
    pub(crate) fn prewrite(&self, frame: &mut FrameBuilder) -> Result<Option<Prewritten<'_>>> {
        let turn = self.prewriting.lock();
        self.poison.check_alive()?;
        let bytes = frame.bytes();
        let needed = to_u64(SEGMENT_HEADER_BYTES) + bytes + to_u64(FRAME_HEADER_BYTES);
        if needed >= SEGMENT_BYTES_END || self.check_numbers().is_err() {
            return Ok(None);
        }
        // First: who finds the segment finds everything that it says was durable.
        let durable = self.durable_seq();
        // The log may go on in it meanwhile: one with a higher number would come after this commit.
        drop(self.prepare_spare());
        let (number, following, previous, seq) = {
            let mut tail = self.tail.lock();
            let seq = Seq(tail.last_seq.0.saturating_add(COMMITS_BEFORE));
            if are_few(SegmentSeq(tail.next_segment.0 + 2), seq) {
                return Ok(None);
            }
            if tail.active.is_none() {
                // The one that names it comes before it.
                self.make_room(&mut tail, 0)?;
            }
            let previous = tail.active.as_ref().map_or(tail.previous, |active| active.segment.number());
            let (number, following) = (self.take_number(&mut tail)?, self.take_number(&mut tail)?);
            (number, following, previous, seq)
        };
        let create = |number, previous, capacity| {
            self.source.create(FileKind::Records, number, self.timeline, previous, capacity)
        };
        let segment = match create(number, previous, needed) {
            Ok(segment) => segment,
            // In its turn it can wait until others release their files, and takes another number.
            Err(error) if error.is_out_of_files() || self.source.is_obstructed(FileKind::Records, number, &error) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        self.tail.lock().prewritten.push(number);
        let mut prewritten =
            Prewritten { log: self, segment: Some(Arc::new(segment)), next: None, number, seq, bytes, _turn: turn };
        let (kind, timeline, time_micros) = (FrameKind::Commit, self.timeline, now_micros());
        let stamp = Stamp { kind, seq, durable, timeline, time_micros, move_number: PREWRITTEN };
        if let Some(segment) = &prewritten.segment {
            let sealed = frame.seal(&stamp, segment.seed(), to_u64(SEGMENT_HEADER_BYTES));
            if let Err(source) = sealed.chunks(PART_BYTES).try_for_each(|part| segment.append(part)) {
                let error = Error::io("append to", segment.name(), source);
                if !matches!(error, Error::NoSpace { .. }) {
                    self.poison.set(&error);
                }
                return Err(error);
            }
        }
        prewritten.next = create(following, number, self.source.next_bytes()).ok();
        if prewritten.next.is_some() {
            self.tail.lock().prewritten.push(following);
        }
        Ok(Some(prewritten))
    }

    /// Appends the frame that names a commit written before its turn, which makes that count. `None`, with nothing appended,
    /// if it is too late: the log has passed its number or its segment. The caller holds the commit lock.
    pub(crate) fn append_naming(
        &self,
        frame: &mut FrameBuilder,
        prewritten: &mut Prewritten<'_>,
    ) -> Result<Option<(Appended, Appended)>> {
        self.poison.check_alive()?;
        let proven = self.synced_bytes.load(Ordering::Acquire);
        let durable = self.durable_seq();
        let mut guard = self.room_for(self.tail.lock(), frame.bytes())?;
        let tail = &mut *guard;
        let Some((active, large)) = tail.active.as_ref().zip(prewritten.segment.clone()) else { return Ok(None) };
        let seq = tail.last_seq.next();
        if active.segment.number() > prewritten.number || seq >= prewritten.seq {
            return Ok(None);
        }
        let (kind, timeline, time_micros) = (FrameKind::Commit, self.timeline, now_micros());
        let stamp = Stamp { kind, seq, durable, timeline, time_micros, move_number: 0 };
        let offset = active.len;
        let bytes = frame.seal(&stamp, active.segment.seed(), offset);
        let segment = self.write(tail, bytes, kind)?;
        prewritten.segment = None;
        tail.last_seq = prewritten.seq;
        tail.watermark_written = tail.watermark_written.max(durable);
        self.appended_bytes.fetch_add(frame.bytes() + prewritten.bytes, Ordering::Relaxed);
        self.proven_bytes.fetch_max(proven, Ordering::Release);
        self.seal(tail);
        let len = to_u64(SEGMENT_HEADER_BYTES) + prewritten.bytes;
        tail.previous = prewritten.number;
        tail.active = Some(Active { segment: Arc::clone(&large), len, has_commits: true });
        // One with a lower number is of no use any more.
        let useless = match tail.spare.take() {
            Some(spare) if spare.number() > prewritten.number => {
                tail.spare = Some(spare);
                prewritten.next.take()
            }
            other => {
                tail.spare = prewritten.next.take();
                other
            }
        };
        tail.prewritten.clear();
        drop(guard);
        if let Some(useless) = useless {
            self.delete_spare(&useless);
        }
        let named = Appended { segment: large, offset: to_u64(SEGMENT_HEADER_BYTES), seq: prewritten.seq };
        Ok(Some((Appended { segment, offset, seq }, named)))
    }
}
