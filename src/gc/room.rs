//! Collecting on a full disk: with the room of the reserve, and until that is there again.
//!
//! Owns: when the reserve is given to the collector, when it is looked at and made anew. Never: makes a commit wait; one that
//! comes before the reserve is whole again is refused.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::gc::{Collector, Slice};
use crate::reserve::Release;

/// How long who finds no room waits for another who is making some, at the most.
const PATIENCE_MILLIS: u32 = 200;
/// How often something is tried again for which there was no room, at the most.
const ATTEMPTS: u32 = 4;
/// The pause after a look at the reserve while it is whole, or cannot be made so.
const PAUSE: Duration = Duration::from_secs(1);

/// When the reserve was looked at.
#[derive(Debug, Default)]
pub(super) struct Looked {
    next: Option<Instant>,
    /// Bytes that the collector had deleted by then.
    deleted: u64,
}

/// Somebody may be at work with the room of the reserve until this is dropped, also by a panic in a backing store.
struct AtWork<'c>(&'c AtomicU32);

impl<'c> AtWork<'c> {
    fn of(count: &'c AtomicU32) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Collector {
    /// Sees to the reserve now and then: it follows the size of the store, and where it was given up and nobody is at work with
    /// its room any more it is made anew, also while nothing is collected.
    pub(super) fn keep_reserve(&self, engine: &Engine) {
        if engine.reserve_users.load(Ordering::Acquire) == 0 && engine.check_writable().is_ok() {
            self.keep_at_times(engine);
        }
    }

    /// Makes the reserve what it should be: at once when the collector has deleted bytes since somebody found no room for it,
    /// and otherwise once a second. A store that was not written to needs none. Whether it is whole.
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

    /// Gains so many bytes; where there is no room even for that, with the room of the reserve, while commits are refused.
    pub(super) fn gain_with_reserve(&self, engine: &Engine, bytes: u64) -> Result<Slice> {
        self.with_reserve(engine, || self.gain(engine, bytes))
    }

    /// Does something, and where there is no room for it again with the room of the reserve. Until the reserve is whole again,
    /// what room there is belongs to the collector: the next full disk could be the last one otherwise.
    pub(super) fn with_reserve<T>(&self, engine: &Engine, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        let at_work = AtWork::of(&engine.reserve_users);
        let mut seen = self.made_room(engine);
        let mut result = work();
        for _ in 0..ATTEMPTS {
            // Another thread may have given the reserve up, or taken its room first and made more.
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
        // Who comes last gives it back.
        let is_last = || engine.reserve_users.load(Ordering::Acquire) == 1;
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

    /// Another thread that is at work may be about to make room.
    pub(super) fn wait_for_others(engine: &Engine, own: u32) {
        for _ in 0..PATIENCE_MILLIS {
            if engine.reserve_users.load(Ordering::Acquire) <= own {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What changes when there is more room: whether the reserve was given up, and what was deleted.
    fn made_room(&self, engine: &Engine) -> (bool, u64) {
        (engine.reserve.is_short(), self.collected().bytes_deleted)
    }

    /// Gives the reserve up. Whether there was one.
    fn give_up_reserve(&self, engine: &Engine) -> bool {
        let mut inner = self.inner.lock();
        // The victim in hand may be larger than the room that there is now. What was copied of it stays so.
        inner.work = None;
        let is_given = engine.release(Release::Most) || engine.release(Release::Least);
        if is_given {
            inner.looked.next = None;
        }
        is_given
    }
}
