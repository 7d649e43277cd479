//! Numbers of files and commits: what is left of them is reserved for closing and opening the store.
//!
//! Owns: the highest of each, and when few are left. Never: gives one back.

use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::format::manifest::NUMBER_END;
use crate::format::segment::SEGMENT_NUMBER_END;
use crate::id::{SegmentSeq, Seq};
use crate::log::writer::{Log, Tail};

/// File and commit numbers that ordinary commits leave for closing and opening the store.
pub(super) const NUMBERS_LEFT_MIN: u64 = 1 << 20;
/// The highest commit number; counting on from it never overflows.
pub(crate) const LAST_SEQ: Seq = Seq(NUMBER_END - 16);

pub(super) fn are_few(next: SegmentSeq, last: Seq) -> bool {
    next.0 >= SEGMENT_NUMBER_END - NUMBERS_LEFT_MIN || last.0 >= LAST_SEQ.0 - NUMBERS_LEFT_MIN
}

/// The error instead of a commit after the last one.
pub(crate) fn no_commit_left() -> Error {
    Error::Exhausted { what: "number of a commit", limit: LAST_SEQ.0 }
}

fn exhausted() -> Error {
    Error::Exhausted { what: "number of a file", limit: SEGMENT_NUMBER_END }
}

impl Log {
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
    pub(super) fn take_number(&self, tail: &mut Tail) -> Result<SegmentSeq> {
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
}
