//! Collecting without being asked: by the collector's thread, and by writers if it falls behind.
//!
//! Owns: when there is work, and how much of it a writer does. Never: makes a writer fail; what matters to a commit, the
//! commit meets too.

use std::sync::atomic::Ordering;

use crate::engine::Engine;
use crate::error::Result;
use crate::gc::policy::Space;
use crate::gc::{ALL, Collector, Slice, WORTH_COPYING, policy};
use crate::id::Seq;
use crate::manifest::Kept;

/// What determines, besides the collector's own actions, whether it has work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    appended_bytes: u64,
    seq: Seq,
    /// Changes when a snapshot is saved or dropped.
    snapshots: u64,
}

impl Moment {
    fn now(engine: &Engine) -> Self {
        let (appended_bytes, seq) = (engine.log.appended_bytes(), engine.heap.seq());
        Self { appended_bytes, seq, snapshots: engine.manifest.with_kept(Kept::epoch) }
    }
}

impl Collector {
    /// Whether segments have approached the cap.
    pub(crate) fn is_due(&self, engine: &Engine) -> bool {
        !self.paused.load(Ordering::Acquire)
            && (engine.reserve.has_run_out() || Space::of(engine).is_over(&self.settings, 0))
    }

    /// Dead bytes that cannot be gained before the next snapshots.
    fn blocked_bytes(&self, engine: &Engine) -> u64 {
        let inner = self.inner.lock();
        policy::survey(engine, &inner.scope(WORTH_COPYING, ALL)).blocked_bytes
    }

    /// Whether a snapshot would free more of the log than it writes in pages.
    fn is_worth_a_snapshot(engine: &Engine) -> bool {
        let dirty = engine.heap.dirty_bytes();
        engine.growth.replay_bytes() > 2 * dirty + engine.log.source().next_bytes()
    }

    /// One piece of background work. Returns whether there was any. Called two hundred times a second: if there was no
    /// work and nothing has changed since, the segments are not examined.
    pub(crate) fn work(&self, engine: &Engine) -> Result<bool> {
        self.keep_reserve(engine);
        let is_full = engine.reserve.is_full();
        let is_asked = !is_full && !self.paused.load(Ordering::Acquire);
        let moment = Moment::now(engine);
        if is_asked && self.inner.lock().idle_at == Some(moment) {
            return Ok(false);
        }
        let is_busy = self.work_if_due(engine)?;
        if is_asked && !is_busy {
            self.inner.lock().idle_at = Some(moment);
        }
        Ok(is_busy)
    }

    fn work_if_due(&self, engine: &Engine) -> Result<bool> {
        if !self.is_due(engine) {
            return self.merge_in_background(engine);
        }
        let slack = Space::of(engine).slack(&self.settings);
        let wanted = engine.reserve.has_run_out();
        // Without free space, a snapshot may need the reserve.
        let blocked = self.blocked_bytes(engine);
        // Right after a snapshot a second one costs no pages, and replay then needs nothing from before the first.
        let is_cheap = blocked > slack / 16 && blocked > 16 * engine.heap.dirty_bytes();
        if !wanted && (is_cheap || (blocked > slack / 2 && Self::is_worth_a_snapshot(engine))) {
            self.save_snapshot(engine)?;
        }
        let goal = (slack / 32).max(engine.log.source().next_bytes());
        let slice = if wanted {
            self.gain_with_reserve(engine, 3 * engine.log.source().segment_bytes)?
        } else {
            self.batch(engine, goal)?
        };
        if wanted {
            // Even if nothing could be gained: a thread that needs space asks again.
            engine.reserve.note_acted();
        }
        match slice {
            Slice::Progress(_) => Ok(true),
            Slice::Blocked => Ok(self.save_snapshot(engine)? || self.merge_in_background(engine)?),
            Slice::Idle => self.merge_in_background(engine),
        }
    }

    /// Runs batches and saves snapshots until this many bytes are reclaimed, or nothing more can be gained.
    pub(super) fn gain(&self, engine: &Engine, bytes: u64) -> Result<Slice> {
        let before = self.collected().bytes_deleted;
        loop {
            let slice = self.batch(engine, bytes)?;
            let more = match slice {
                Slice::Progress(_) => true,
                Slice::Blocked => self.save_snapshot(engine)?,
                Slice::Idle => false,
            };
            if !more || self.collected().bytes_deleted - before >= bytes {
                return Ok(slice);
            }
        }
    }

    /// A writer's share: pays for what was appended if the background collector falls behind. Errors here do not
    /// concern the writer; if they matter, the commit meets them too.
    #[inline]
    pub(crate) fn pay(&self, engine: &Engine) {
        let more = engine.log.appended_bytes().saturating_sub(self.looked_at.load(Ordering::Relaxed));
        let is_full = engine.reserve.is_full();
        if more >= engine.log.source().segment_bytes / 8 || is_full {
            drop(self.try_to_pay(engine));
        }
    }

    #[cold]
    fn try_to_pay(&self, engine: &Engine) -> Result<()> {
        let segment = engine.log.source().segment_bytes;
        let (appended, looked_at) = (engine.log.appended_bytes(), self.looked_at.load(Ordering::Relaxed));
        let more = appended.saturating_sub(looked_at);
        let paused = self.paused.load(Ordering::Acquire);
        if engine.reserve.has_run_out() && !paused {
            self.work(engine)?;
        } else if engine.reserve.is_short() {
            self.keep_reserve(engine);
        }
        if more < segment / 8 {
            return Ok(());
        }
        self.looked_at.store(appended, Ordering::Relaxed);
        Self::note_size(engine);
        if paused {
            return Ok(());
        }
        self.keep_reserve(engine);
        let mut paid = 0;
        while Space::of(engine).is_over(&self.settings, segment) {
            match self.batch(engine, segment)? {
                Slice::Progress(bytes) => paid += bytes.max(1),
                Slice::Blocked => {
                    if !self.save_snapshot(engine)? {
                        break;
                    }
                }
                Slice::Idle => break,
            }
            // The debt per byte depends on how full the victims are; ten times the appended bytes exceeds any.
            if paid > more.saturating_mul(10) {
                break;
            }
        }
        Ok(())
    }
}
