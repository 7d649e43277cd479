//! How much room the reserve has to have, and who may use it.
//!
//! Owns: the size that goes with the store, when a commit has to look, and doing again with the reserve's room what found none.
//! Never: lets an ordinary commit go on while the reserve is not whole. `docs/full-disk.md` tells the rules.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::reserve::Release;

/// Room for what is small and always there: blocks of new files, an entry of the manifest, the pages of a small snapshot.
const SMALL_BYTES: u64 = 64 << 10;
/// So much of the log may be without a sync in any store.
const UNSYNCED_BYTES: u64 = 1 << 20;
/// So much of the log may be without proof that it is durable while the reserve is not whole.
const UNPROVEN_BYTES: u64 = 16 << 10;
/// How much more than it needs the reserve is made to have, at least.
const MORE_BYTES: u64 = 32 << 10;
/// How many times longer than a look at a reserve that is not whole the pause is that follows.
const PAUSE_FACTOR: u32 = 20;
/// Of so many segments what is in each is looked at.
const SEGMENTS_LOOKED_AT: usize = 1_024;
/// When a reserve that cannot be made is tried again, in bytes of the log and of pages.
const HOPELESS_BYTES: u64 = 16 << 20;

impl Engine {
    /// Bytes that live in the fullest segment of records; those of a transaction that was larger than a segment do not count. Of
    /// many segments one is nearly full, and nobody looks which.
    fn fullest_bytes(&self) -> u64 {
        let (source, segments) = (self.log.source(), self.heap.segments());
        let most = source.segment_bytes.min(source.sizes.live_bytes());
        if segments.len() > SEGMENTS_LOOKED_AT {
            return most;
        }
        let live = segments.iter().map(|(_, segment)| segment.live_bytes()).max();
        live.unwrap_or_default().min(most)
    }

    /// Bytes that the reserve needs when so many more come to the log: for the survivors of one segment or for what an opening
    /// would copy of the log, whichever is more, with the frames that move them; for the pages of the next snapshot; and for
    /// a manifest.
    fn reserve_bytes(&self, fullest: u64, more: u64) -> u64 {
        let records = fullest.max(self.log.unproven_bytes() + more);
        SMALL_BYTES + records + records / 4 + self.heap.dirty_bytes() + 2 * self.manifest.bytes()
    }

    /// Bytes of survivors that there is room for when the collector was given so much of the reserve.
    fn survivors_in(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(SMALL_BYTES + self.heap.dirty_bytes() + 2 * self.manifest.bytes()) / 5 * 4
    }

    /// Bytes of survivors that there was room for when the collector was given the reserve; where only an earlier process gave it,
    /// and ended, bytes that there is room for in what the reserve has now.
    pub(crate) fn survivor_bytes(&self) -> u64 {
        match self.reserve_survivors.load(Ordering::Relaxed) {
            0 => self.survivors_in(self.reserve.held_bytes()),
            bytes => bytes,
        }
    }

    /// What grows when more is written: a measure for when the reserve is to be looked at.
    fn grown_bytes(&self) -> u64 {
        self.log.appended_bytes() + self.heap.dirty_bytes()
    }

    /// An ordinary commit of so many bytes is to come. Refused while the reserve is not whole. The caller holds no lock.
    #[inline]
    pub(crate) fn check_reserve(&self, more: u64) -> Result<()> {
        if self.reserve.is_short() {
            return self.try_again(more);
        }
        if self.grown_bytes() + more < self.reserve_look.load(Ordering::Relaxed) { Ok(()) } else { self.look(more) }
    }

    /// There may be room again for a reserve that is not whole. Looking for it takes time and wears the disk, so there are pauses
    /// in proportion to what it took; and what the collector is at work with is not taken from it.
    #[cold]
    fn try_again(&self, more: u64) -> Result<()> {
        let begun = Instant::now();
        let Some(mut next) = self.reserve_next.try_lock().filter(|next| next.is_none_or(|next| begun >= next)) else {
            return Err(self.refused());
        };
        if self.reserve_users.load(Ordering::Acquire) > 0 {
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
            // What the next opening has to copy would be more than the reserve has.
            self.make_durable(self.log.last_seq()).or_else(|error| self.check_writable().and(Err(error)))?;
        }
        if self.keep_reserve_for(more) { Ok(()) } else { Err(self.refused()) }
    }

    #[cold]
    pub(super) fn refused(&self) -> Error {
        self.no_space.store(true, Ordering::Release);
        let source = std::io::ErrorKind::StorageFull.into();
        Error::NoSpace { action: "append to", file: "the log".to_owned(), source }
    }

    /// Makes the reserve what the store needs, as far as there is room. Whether it is whole.
    pub(crate) fn keep_reserve(&self) -> bool {
        self.keep_reserve_for(0)
    }

    /// The same where this process has written, or has used the reserve.
    pub(crate) fn keep_reserve_if_used(&self) {
        if self.reserve.is_short() || self.log.appended_bytes() > 0 {
            self.keep_reserve();
        }
    }

    fn keep_reserve_for(&self, more: u64) -> bool {
        let _panic = self.poison.ends_with_panic("while the reserve was made");
        let bytes = self.reserve_bytes(self.fullest_bytes(), more);
        let grown = self.grown_bytes();
        let (kept, slack) = match self.reserve.keep(bytes, bytes + bytes / 4 + MORE_BYTES) {
            Ok(Some(held)) => (true, more + held.saturating_sub(bytes)),
            Ok(None) => (false, 0),
            // What cannot be made for another reason than want of room is nothing to wait for.
            Err(_) => (true, more + HOPELESS_BYTES),
        };
        self.reserve_look.store(grown + slack, Ordering::Relaxed);
        kept
    }

    /// Gives room of the reserve to what makes more. Whether there was any.
    pub(crate) fn release(&self, how: Release) -> bool {
        if how == Release::Most {
            // With the room goes what the next opening would need to copy what it cannot know to be durable.
            self.prove();
        }
        let released = self.reserve.release(how);
        if let Some(bytes) = released.filter(|_| how == Release::Most) {
            // Of a reserve that was not whole again meanwhile the rest may be given.
            let bytes = self.survivors_in(bytes.max(self.reserve.last_bytes()));
            self.reserve_survivors.store(bytes, Ordering::Relaxed);
        }
        released.is_some()
    }

    /// Sees to it that the next opening has little to copy: what was committed is made durable, and the log says so, for which it may
    /// need a block of the reserve. What fails here is tried again, or has poisoned the handle. The caller holds no lock.
    pub(crate) fn prove(&self) {
        if self.log.unproven_bytes() <= UNPROVEN_BYTES || self.make_durable(self.log.last_seq()).is_err() {
            return;
        }
        // Another thread's commit says it as well.
        if let Some(guard) = self.commit.try_lock() {
            drop(self.with_reserve(Release::Least, || self.log.prove()));
            drop(guard);
        }
    }

    /// Does something that leads to more room; where it finds none, again with the room of the reserve. It must not have left
    /// anything behind when it fails.
    pub(crate) fn with_reserve<T>(&self, how: Release, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match work() {
                Err(error @ Error::NoSpace { .. }) => {
                    if !self.release(how) && !self.release(Release::Least) {
                        return Err(error);
                    }
                    // The collector has to make more.
                    self.no_space.store(true, Ordering::Release);
                }
                result => return result,
            }
        }
    }
}
