//! The segments that the log goes through: beginning one, ending one, and preparing the next.
//!
//! Owns: where the next frame has room. Never: writes a commit.

use std::sync::Arc;

use parking_lot::MutexGuard;

use crate::error::{Error, Result};
use crate::format::entry::SEGMENT_BYTES_END;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameBuilder, FrameKind, Stamp};
use crate::format::segment::{FileKind, SEGMENT_HEADER_BYTES};
use crate::id::to_u64;
use crate::log::Segment;
use crate::log::writer::{Active, Log, Tail, now_micros};

/// Maximum number of ended segments that wait for a sync of the log.
const UNSYNCED_MAX: usize = 64;
impl Log {
    /// Ensures that the active segment has room for a frame of this size.
    pub(super) fn room_for<'t>(&'t self, mut tail: MutexGuard<'t, Tail>, bytes: u64) -> Result<MutexGuard<'t, Tail>> {
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
    pub(super) fn make_room(&self, tail: &mut Tail, bytes: u64) -> Result<()> {
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
                let (capacity, previous) = (needed.max(self.source.next_bytes()), tail.previous);
                self.source.create_next(
                    FileKind::Records,
                    || self.take_number(tail),
                    |number| self.source.create(FileKind::Records, number, self.timeline, previous, capacity),
                )?
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
    pub(super) fn seal(&self, tail: &mut Tail) {
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
    pub(super) fn give_up(&self, tail: &mut Tail) {
        if let Some(active) = tail.active.take() {
            tail.end(active);
        }
    }

    /// Stops appending to a segment that ran out of space. If it has no frame it is deleted, so that failing commits do
    /// not fill the directory, unless the manifest refers to it.
    pub(super) fn give_up_full(&self, tail: &mut Tail) {
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
    pub(super) fn delete_spare(&self, spare: &Segment) {
        drop(self.source.backing.delete(spare.name()));
    }
}
