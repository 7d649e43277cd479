//! The size of the reserve, and who may use it.
//!
//! Owns: the size according to the store, when a commit must check it, who may be using its space, whether space ran out since the
//! collector last acted, and retrying with the reserve what ran out of space. Never: lets an ordinary commit proceed while the reserve is not complete. `docs/full-disk.md` describes the
//! rules.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::backing::Backing;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::reserve::{Release, Reserve};

/// Space for small fixed needs: blocks of new files, a manifest entry, the pages of a small snapshot.
const SMALL_BYTES: u64 = 64 << 10;
/// Bytes of the log that may always be unsynced.
const UNSYNCED_BYTES: u64 = 1 << 20;
/// Bytes of the log that may be unproven while the reserve is not complete.
const UNPROVEN_BYTES: u64 = 16 << 10;
/// Minimum surplus with which the reserve is created.
const MORE_BYTES: u64 = 32 << 10;
/// The pause after checking an incomplete reserve, as a multiple of the time that the check took.
const PAUSE_FACTOR: u32 = 20;
/// Maximum number of segments examined individually.
const SEGMENTS_LOOKED_AT: usize = 1_024;
/// When to retry creating a reserve that cannot be created, in bytes of the log and of pages.
const HOPELESS_BYTES: u64 = 16 << 20;

/// The reserve, and its use.
#[derive(Debug)]
pub(crate) struct ReserveUse {
    files: Reserve,
    /// A commit ran out of disk space, and the collector has not acted on it yet.
    no_space: AtomicBool,
    /// Bytes of the log and of changed pages at which a commit must check the reserve.
    look_at: AtomicU64,
    /// How many threads may be using space of the reserve.
    users: AtomicU32,
    /// When a commit may next check whether there is space for the reserve.
    next: Mutex<Option<Instant>>,
    /// Bytes of survivors that fit into the reserve space given to the collector.
    survivors: AtomicU64,
}

/// A thread may be using the reserve's space until this is dropped, even by a panic in a backing store.
#[derive(Debug)]
pub(crate) struct AtWork<'e>(&'e AtomicU32);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl ReserveUse {
    /// Of a store whose lock is held.
    pub(crate) fn new(backing: Arc<dyn Backing>) -> Self {
        Self {
            files: Reserve::new(backing),
            no_space: AtomicBool::new(false),
            look_at: AtomicU64::new(0),
            users: AtomicU32::new(0),
            next: Mutex::new(None),
            survivors: AtomicU64::new(0),
        }
    }

    /// Whether it is smaller than it should be, as far as this process knows.
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        self.files.is_short()
    }

    /// The names of its files.
    pub(crate) fn files(&self) -> io::Result<Vec<String>> {
        self.files.files()
    }

    /// Tells the collector if space ran out.
    pub(crate) fn note_no_space(&self, error: &Error) {
        if matches!(error, Error::NoSpace { .. }) {
            self.ran_out();
        }
    }

    /// Tells the collector that space ran out.
    fn ran_out(&self) {
        self.no_space.store(true, Ordering::Release);
    }

    /// Whether space ran out, and the collector has not acted on it yet.
    #[inline]
    pub(crate) fn has_run_out(&self) -> bool {
        self.no_space.load(Ordering::Acquire)
    }

    /// The collector has acted on it.
    pub(crate) fn note_acted(&self) {
        self.no_space.store(false, Ordering::Release);
    }

    /// Whether space ran out, or may only be used to gain more.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.has_run_out() || self.is_short()
    }

    /// The caller may use the reserve's space until the result is dropped.
    pub(crate) fn enter(&self) -> AtWork<'_> {
        self.users.fetch_add(1, Ordering::AcqRel);
        AtWork(&self.users)
    }

    /// How many threads may be using the reserve's space.
    pub(crate) fn users(&self) -> u32 {
        self.users.load(Ordering::Acquire)
    }
}

impl Engine {
    /// Live bytes of the fullest record segment, not counting transactions larger than a segment. If there are many
    /// segments, one is assumed to be nearly full, without looking.
    fn fullest_bytes(&self) -> u64 {
        let (source, segments) = (self.log.source(), self.heap.segments());
        let most = source.segment_bytes.min(source.sizes.live_bytes());
        if segments.len() > SEGMENTS_LOOKED_AT {
            return most;
        }
        let live = segments.iter().map(|(_, segment)| segment.live_bytes()).max();
        live.unwrap_or_default().min(most)
    }

    /// Bytes that the reserve needs when this many more are added to the log: for the survivors of one segment or what
    /// an opening would copy of the log, whichever is more, with the frames that move them; for the pages of the next
    /// snapshot; and for a manifest.
    fn reserve_bytes(&self, fullest: u64, more: u64) -> u64 {
        let records = fullest.max(self.log.unproven_bytes() + more);
        SMALL_BYTES + records + records / 4 + self.heap.dirty_bytes() + 2 * self.manifest.bytes()
    }

    /// Bytes of survivors that fit if the collector was given this much of the reserve.
    fn survivors_in(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(SMALL_BYTES + self.heap.dirty_bytes() + 2 * self.manifest.bytes()) / 5 * 4
    }

    /// Bytes of survivors that fit into what the collector was given; if only an earlier process, now gone, gave it the
    /// reserve, bytes that fit into the current reserve.
    pub(crate) fn survivor_bytes(&self) -> u64 {
        match self.reserve.survivors.load(Ordering::Relaxed) {
            0 => self.survivors_in(self.reserve.files.held_bytes()),
            bytes => bytes,
        }
    }

    /// A measure of growth that determines when to check the reserve.
    fn grown_bytes(&self) -> u64 {
        self.log.appended_bytes() + self.heap.dirty_bytes()
    }

    /// Called before an ordinary commit of this size. Fails while the reserve is not complete. The caller holds no
    /// lock.
    #[inline]
    pub(crate) fn check_reserve(&self, more: u64) -> Result<()> {
        if self.reserve.is_short() {
            return self.try_again(more);
        }
        if self.grown_bytes() + more < self.reserve.look_at.load(Ordering::Relaxed) { Ok(()) } else { self.look(more) }
    }

    /// There may be space again for an incomplete reserve. Checking takes time and wears the disk, so the pauses are
    /// proportional to its duration; space that the collector is using is not taken from it.
    #[cold]
    fn try_again(&self, more: u64) -> Result<()> {
        let begun = Instant::now();
        let Some(mut next) = self.reserve.next.try_lock().filter(|next| next.is_none_or(|next| begun >= next)) else {
            return Err(self.refused());
        };
        if self.reserve.users() > 0 {
            return Err(self.refused());
        }
        let result = self.look(more);
        *next = Some(Instant::now() + begun.elapsed() * PAUSE_FACTOR);
        result
    }

    #[cold]
    fn look(&self, more: u64) -> Result<()> {
        self.check_writable()?;
        let unsynced = self.log.unsynced_bytes();
        if unsynced > 0 && unsynced + more > self.fullest_bytes().max(UNSYNCED_BYTES) {
            // The next opening would have to copy more than the reserve has.
            self.make_durable(self.log.last_seq()).or_else(|error| self.check_writable().and(Err(error)))?;
        }
        if self.keep_reserve_for(more) { Ok(()) } else { Err(self.refused()) }
    }

    #[cold]
    pub(super) fn refused(&self) -> Error {
        self.reserve.ran_out();
        let source = io::ErrorKind::StorageFull.into();
        Error::NoSpace { action: "append to", file: "the log".to_owned(), source }
    }

    /// Resizes the reserve to what the store needs, as far as there is space. Returns whether it is complete.
    pub(crate) fn keep_reserve(&self) -> bool {
        self.keep_reserve_for(0)
    }

    /// The same, if this process has written or has used the reserve.
    pub(crate) fn keep_reserve_if_used(&self) {
        if self.reserve.is_short() || self.log.appended_bytes() > 0 {
            self.keep_reserve();
        }
    }

    fn keep_reserve_for(&self, more: u64) -> bool {
        let _panic = self.poison.ends_with_panic("while the reserve was being created");
        let bytes = self.reserve_bytes(self.fullest_bytes(), more);
        let grown = self.grown_bytes();
        let (kept, slack) = match self.reserve.files.keep(bytes, bytes + bytes / 4 + MORE_BYTES) {
            Ok(Some(held)) => (true, more + held.saturating_sub(bytes)),
            Ok(None) => (false, 0),
            // If it cannot be created for a reason other than lack of space, commits do not wait for it.
            Err(_) => (true, more + HOPELESS_BYTES),
        };
        self.reserve.look_at.store(grown + slack, Ordering::Relaxed);
        kept
    }

    /// Releases reserve space to an operation that frees more. Returns whether there was any.
    pub(crate) fn release(&self, how: Release) -> bool {
        if how == Release::Most {
            // The same space is what the next opening would need to copy commits not known to be durable.
            self.prove();
        }
        let released = self.reserve.files.release(how);
        if let Some(bytes) = released.filter(|_| how == Release::Most) {
            // If the reserve was not complete again meanwhile, this may be only the rest of it.
            let bytes = self.survivors_in(bytes.max(self.reserve.files.last_bytes()));
            self.reserve.survivors.store(bytes, Ordering::Relaxed);
        }
        released.is_some()
    }

    /// Leaves the next opening little to copy: makes commits durable and records that in the log, which may need a
    /// block of the reserve. An error here is either retried or has poisoned the handle. The caller holds no lock.
    pub(crate) fn prove(&self) {
        if self.log.unproven_bytes() <= UNPROVEN_BYTES || self.make_durable(self.log.last_seq()).is_err() {
            return;
        }
        // Another thread's commit records it as well.
        if let Some(guard) = self.commit.try_lock() {
            drop(self.with_reserve(Release::Least, || self.log.prove()));
            drop(guard);
        }
    }

    /// Performs an operation that leads to more free space; if it runs out of space, retries it with the reserve. The
    /// operation must leave nothing behind when it fails.
    pub(crate) fn with_reserve<T>(&self, how: Release, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match work() {
                Err(error @ Error::NoSpace { .. }) => {
                    if !self.release(how) && !self.release(Release::Least) {
                        return Err(error);
                    }
                    // The collector must free more.
                    self.reserve.ran_out();
                }
                result => return result,
            }
        }
    }
}
