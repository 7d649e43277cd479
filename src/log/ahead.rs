//! Reading a segment from front to back without waiting for each page, and without pushing out what others read.
//!
//! Owns: which parts a walk has brought into memory. Never: reads. Maps are advised for reading here and there, so the
//! system reads nothing ahead by itself. Parts that were in memory before the walk stay: others read them.

use crate::backing::{Parts, waits_for_pages};
use crate::log::Segment;

/// Asked for at once.
const STEP_BYTES: u64 = 2 << 20;
/// Where everything is in memory, this many steps are taken without looking, as long as the thread does not wait.
const UNSEEN_MAX: u32 = 16;

/// How far a walk over one segment has asked, and what it has brought into memory.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    asked: u64,
    brought: Parts,
    /// Steps in a row in which everything was in memory, and steps to take without looking.
    present: u32,
    unseen: u32,
    /// The waits of this thread when it last looked.
    waits: u64,
}

impl Ahead {
    /// The walk is about to read `bytes` at this offset, and then what follows.
    #[inline]
    pub(crate) fn at(&mut self, segment: &Segment, offset: u64, bytes: u64) {
        if offset.saturating_add(bytes).saturating_add(STEP_BYTES) > self.asked {
            self.ask(segment, offset, bytes);
        }
    }

    #[cold]
    fn ask(&mut self, segment: &Segment, offset: u64, bytes: u64) {
        self.let_go(segment, offset);
        let begin = self.asked.max(offset);
        let end = offset.saturating_add(bytes).saturating_add(2 * STEP_BYTES);
        let waits = waits_for_pages();
        if waits == self.waits && self.unseen > 0 {
            self.unseen -= 1;
            self.asked = end;
            return;
        }
        self.waits = waits;
        let missing = segment.missing(begin..end);
        missing.iter().for_each(|part| segment.will_need(part));
        self.present = if missing.is_empty() { (self.present + 1).min(UNSEEN_MAX) } else { 0 };
        self.unseen = self.present;
        self.brought.extend(missing);
        self.asked = end;
    }

    /// The walk has passed everything below this offset.
    fn let_go(&mut self, segment: &Segment, below: u64) {
        self.brought.retain(|part| {
            let is_passed = part.end <= below;
            if is_passed {
                segment.let_go(part);
            }
            !is_passed
        });
    }

    /// The walk is over.
    pub(crate) fn end(&mut self, segment: &Segment) {
        self.let_go(segment, u64::MAX);
        self.asked = 0;
    }
}
