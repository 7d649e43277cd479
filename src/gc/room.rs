//! Collecting on a full disk: with the reserve's space, and until the reserve is complete again.
//!
//! Owns: when the reserve is released to the collector, checked and recreated. Never: makes a commit wait; one that
//! arrives before the reserve is complete again is refused.

use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::gc::{Collector, Slice};
use crate::reserve::Release;

/// Maximum time that a thread without space waits for another that is freeing some.
const PATIENCE_MILLIS: u32 = 200;
/// Maximum number of retries for lack of space.
const ATTEMPTS: u32 = 4;
/// The pause between checks of the reserve while it is complete, or cannot be completed.
const PAUSE: Duration = Duration::from_secs(1);

/// When the reserve was checked.
#[derive(Debug, Default)]
pub(super) struct Looked {
    next: Option<Instant>,
    /// Bytes that the collector had deleted by then.
    deleted: u64,
}

impl Collector {
    /// Checks the reserve now and then: it follows the size of the store; if it was released and its space is no longer
    /// in use it is recreated, even while nothing is collected.
    pub(super) fn keep_reserve(&self, engine: &Engine) {
        if engine.reserve.users() == 0 && engine.check_writable().is_ok() {
            self.keep_at_times(engine);
        }
    }

    /// Resizes the reserve: at once if the collector has deleted bytes since there was no space for it, otherwise once
    /// a second. A store that was not written to needs none. Returns whether it is complete.
    fn keep_at_times(&self, engine: &Engine) -> bool {
        let mut inner = self.inner.lock();
        let is_short = engine.reserve.is_short();
        let deleted = inner.collected.bytes_deleted;
        let is_due = is_short && inner.looked.deleted != deleted;
        if !is_due && inner.looked.next.is_some_and(|next| Instant::now() < next) {
            return !is_short;
        }
        inner.looked = Looked { next: Some(Instant::now() + PAUSE), deleted };
        if !is_short && engine.log.appended_bytes() == 0 {
            return true;
        }
        engine.keep_reserve()
    }

    /// Gains this many bytes; without space even for that, uses the reserve while commits are refused.
    pub(super) fn gain_with_reserve(&self, engine: &Engine, bytes: u64) -> Result<Slice> {
        self.with_reserve(engine, || self.gain(engine, bytes))
    }

    /// Performs an operation and, if it runs out of space, retries it with the reserve. Until the reserve is complete
    /// again, available space belongs to the collector: otherwise the next full disk could be final.
    pub(super) fn with_reserve<T>(&self, engine: &Engine, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        let at_work = engine.reserve.enter();
        let mut seen = self.made_room(engine);
        let mut result = work();
        for _ in 0..ATTEMPTS {
            // Another thread may have released the reserve, or used its space first and freed more.
            let is_full = matches!(result, Err(Error::NoSpace { .. }));
            if is_full {
                Self::wait_for_others(engine, 1);
            }
            if !is_full || !(self.give_up_reserve(engine) || self.made_room(engine) != seen) {
                break;
            }
            seen = self.made_room(engine);
            result = work();
        }
        // The last thread to finish restores it.
        let is_last = || engine.reserve.users() == 1;
        while engine.reserve.is_short() && is_last() && engine.check_writable().is_ok() && !self.keep_at_times(engine) {
            let before = self.collected().bytes_deleted;
            let gained = self.gain(engine, engine.log.source().segment_bytes);
            if gained.is_err() || self.collected().bytes_deleted == before {
                break;
            }
        }
        drop(at_work);
        result
    }

    /// Another thread at work may be about to free space.
    pub(super) fn wait_for_others(engine: &Engine, own: u32) {
        for _ in 0..PATIENCE_MILLIS {
            if engine.reserve.users() <= own {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What changes when there is more space: whether the reserve was released, and what was deleted.
    fn made_room(&self, engine: &Engine) -> (bool, u64) {
        (engine.reserve.is_short(), self.collected().bytes_deleted)
    }

    /// Releases the reserve. Returns whether there was one.
    fn give_up_reserve(&self, engine: &Engine) -> bool {
        let mut inner = self.inner.lock();
        // The current victim may be larger than the space available now. What was copied of it stays copied.
        inner.work = None;
        let is_given = engine.release(Release::Most) || engine.release(Release::Least);
        if is_given {
            inner.looked.next = None;
        }
        is_given
    }
}
