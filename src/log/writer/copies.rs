//! Appending copies of commits at recovery, many with one write.
//!
//! Owns: how many share a write. Never: decides what is copied. They count once a cut in the manifest declares their
//! timeline, so a write that is torn between two of them leaves nothing behind.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::format::frame::{COPIED, FRAME_HEADER_BYTES, FrameBuilder, FrameKind, Stamp};
use crate::id::{Seq, to_u64};
use crate::log::writer::{Log, now_micros};
use crate::log::{Appended, Segment};

impl Log {
    /// Appends copies of commits, which keep their numbers. Returns the place of each.
    pub(crate) fn append_copies(&self, mut copies: &mut [(Seq, FrameBuilder)]) -> Result<Vec<Appended>> {
        self.poison.check_alive()?;
        let (durable, mut places, mut bytes) = (self.durable_seq(), Vec::with_capacity(copies.len()), Vec::new());
        while let Some((_, first)) = copies.first() {
            let mut tail = self.room_for(self.tail.lock(), first.bytes())?;
            let Some(active) = tail.active.as_ref() else {
                return Err(Error::Poisoned { reason: "no active segment".to_owned() });
            };
            let (segment, begin): (Arc<Segment>, u64) = (Arc::clone(&active.segment), active.len);
            bytes.clear();
            let (mut count, mut last) = (0, tail.last_seq);
            for (seq, frame) in copies.iter_mut() {
                let offset = begin + to_u64(bytes.len());
                // The first fits in any case.
                if count > 0 && offset + frame.bytes() + to_u64(FRAME_HEADER_BYTES) > segment.capacity() {
                    break;
                }
                let (kind, timeline, time_micros) = (FrameKind::Commit, self.timeline, now_micros());
                let stamp = Stamp { kind, seq: *seq, durable, timeline, time_micros, move_number: COPIED };
                bytes.extend_from_slice(frame.seal(&stamp, segment.seed(), offset));
                places.push(Appended { segment: Arc::clone(&segment), offset, seq: *seq });
                (count, last) = (count + 1, *seq);
            }
            self.write(&mut tail, &bytes, FrameKind::Commit)?;
            self.appended_bytes.fetch_add(to_u64(bytes.len()), Ordering::Relaxed);
            tail.watermark_written = tail.watermark_written.max(durable);
            tail.last_seq = last;
            copies = copies.get_mut(count..).unwrap_or_default();
        }
        Ok(places)
    }
}
