//! Collecting on request: all that can be gained, or as much as the time allows.
//!
//! Owns: the order of segments, snapshots and deletions of one request. Never: goes on for ever; what writers append after it
//! has started is left to the next one.

use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::error::Result;
use crate::gc::{Collected, Collector, Slice, WORTH_COMPACTING, policy, retire};

/// Maximum time that a collection waits for readers that hold an emptied segment.
const PATIENCE_MILLIS: u32 = 20;

impl Collector {
    /// Collects until nothing is left to gain, or the time is over. Saves the snapshots that it needs.
    pub(crate) fn collect(
        &self,
        engine: &Engine,
        budget: Option<Duration>,
        progress: &mut dyn FnMut(Collected),
    ) -> Result<Collected> {
        let before = self.collected();
        let end = budget.map(|budget| Instant::now() + budget);
        let result = self.with_reserve(engine, || self.collect_until(engine, end, before, progress));
        if engine.check_writable().is_ok() {
            // The reserve shrinks with the store, and is complete again for the next writer.
            Self::wait_for_others(engine, 0);
            engine.keep_reserve_if_used();
        }
        result
    }

    fn collect_until(
        &self,
        engine: &Engine,
        end: Option<Instant>,
        before: Collected,
        progress: &mut dyn FnMut(Collected),
    ) -> Result<Collected> {
        let is_over = || end.is_some_and(|end| Instant::now() >= end);
        Self::note_size(engine);
        // Space freed earlier may be needed for what follows.
        self.sweep(engine)?;
        // Dead space in the segment being appended to can be gained only once appending continues in another.
        if policy::has_dead_in_head(engine) {
            let guard = engine.lock_commit();
            engine.log.end_segment();
            drop(guard);
        }
        // Twice, so that the older of the two automatic snapshots needs none of the log so far.
        for _ in 0..2 {
            if !is_over() {
                self.save(engine)?;
            }
        }
        // What writers append from here on is left to the next collection, so that this one terminates beside them.
        let until = engine.log.head().0;
        let mut idle = false;
        while !idle && !is_over() {
            let mut inner = self.inner.lock();
            let slice = self.slice(engine, &mut inner, WORTH_COMPACTING, until)?;
            idle = matches!(slice, Slice::Blocked | Slice::Idle);
            if inner.work.is_none() {
                // Now, so that there is never a second copy of everything.
                self.delete_retired(engine, &mut inner)?;
            }
            drop(inner);
            progress(self.collected().since(before));
        }
        self.end_segments();
        // Twice again: emptied log segments are deleted once replay does not need them, and pages once no snapshot
        // lists them.
        for _ in 0..2 {
            self.save(engine)?;
        }
        self.retire_dead(engine);
        self.sweep(engine)?;
        while self.sweep_patiently(engine)? {}
        Ok(self.collected().since(before))
    }

    /// Deletes what can be deleted, and waits briefly for segments that are only being read: reads and the other
    /// threads of the store hold a segment for microseconds. Returns whether anything was deleted.
    fn sweep_patiently(&self, engine: &Engine) -> Result<bool> {
        let before = self.collected().bytes_deleted;
        for _ in 0..PATIENCE_MILLIS {
            self.sweep(engine)?;
            if self.collected().bytes_deleted > before {
                return Ok(true);
            }
            if !retire::waits_for_readers(engine, &self.inner.lock().retired) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(false)
    }
}
