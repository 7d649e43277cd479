//! Making durable what was appended.
//!
//! Owns: what a sync covers, and the watermark that says so in the log. `group` owns who syncs, and what is durable then. Never: holds a
//! lock over a sync.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use crate::error::{Error, Result};
use crate::format::frame::{FrameBuilder, FrameKind};
use crate::id::Seq;
use crate::log::writer::{Log, Tail};

impl Log {
    /// Waits until `seq` is durable. Concurrent callers share one sync.
    pub(crate) fn sync_to(&self, seq: Seq) -> Result<()> {
        self.source.syncs_wanted.note();
        let mut synced = 0;
        self.durable.sync_to(seq, || self.poison.check(), || self.sync_all(&mut synced))?;
        self.synced_bytes.fetch_max(synced, Ordering::Release);
        Ok(())
    }

    /// Makes everything durable that was appended, watermarks and seals included.
    pub(crate) fn sync_whole(&self) -> Result<()> {
        let is_synced = self.unsynced_bytes() == 0 && self.tail.lock().unsynced.is_empty();
        if is_synced { Ok(()) } else { self.sync_to_end() }
    }

    fn sync_to_end(&self) -> Result<()> {
        let mut synced = 0;
        self.durable.sync_to(Seq(u64::MAX), || self.poison.check(), || self.sync_all(&mut synced))?;
        self.synced_bytes.fetch_max(synced, Ordering::Release);
        Ok(())
    }

    /// Nothing more is appended: leaves nothing that is not durable.
    pub(crate) fn finish(&self) -> Result<()> {
        self.give_up(&mut self.tail.lock());
        self.sync_whole()
    }

    /// Syncs everything appended; returns the last commit that this covers, and the bytes.
    fn sync_all(&self, bytes: &mut u64) -> Result<Seq> {
        let _panic = self.poison.ends_with_panic("while the log was synced");
        let (segments, active, reached) = {
            let mut tail = self.tail.lock();
            *bytes = self.appended_bytes();
            let active = tail.active.as_ref().map(|active| Arc::clone(&active.segment));
            (std::mem::take(&mut tail.unsynced), active, tail.last_seq)
        };
        for segment in segments.iter().chain(active.as_ref()) {
            if let Err(source) = segment.sync() {
                let error = Error::io("sync", segment.name(), source);
                self.poison.set(&error);
                return Err(error);
            }
        }
        // Another thread may have met a failure in a file that this one has synced since, or did not have to.
        self.poison.check()?;
        for segment in &segments {
            segment.close_file();
        }
        Ok(reached)
    }

    /// Syncs ended segments, each of which holds a descriptor until then. This does not advance the durable commit: a
    /// thread that syncs the log may already have taken other segments.
    #[cold]
    pub(super) fn sync_ended<'t>(&'t self, tail: MutexGuard<'t, Tail>) -> Result<MutexGuard<'t, Tail>> {
        let _panic = self.poison.ends_with_panic("while the log was synced");
        // They stay in the list meanwhile, so that a thread that syncs the log does not miss one.
        let ended = tail.unsynced.clone();
        drop(tail);
        for segment in &ended {
            if let Err(source) = segment.sync() {
                let error = Error::io("sync", segment.name(), source);
                self.poison.set(&error);
                return Err(error);
            }
        }
        self.poison.check()?;
        let mut tail = self.tail.lock();
        tail.unsynced.retain(|segment| ended.iter().all(|synced| !Arc::ptr_eq(segment, synced)));
        for segment in &ended {
            segment.close_file();
        }
        Ok(tail)
    }

    /// Releases ended segments whose commits are all durable, which a sync would keep if no thread requested another.
    pub(crate) fn forget_synced(&self) {
        let durable = self.durable_seq();
        let synced = {
            let mut tail = self.tail.lock();
            if durable >= tail.last_seq { std::mem::take(&mut tail.unsynced) } else { Vec::new() }
        };
        for segment in &synced {
            segment.close_file();
        }
    }

    /// Writes the durable watermark if no later frame carries it yet, and there is a segment for it.
    pub(crate) fn write_watermark(&self) -> Result<()> {
        if self.tail.lock().active.is_some() { self.prove() } else { Ok(()) }
    }

    /// The same, and starts a segment if there is none.
    pub(crate) fn prove(&self) -> Result<()> {
        let durable = self.durable_seq();
        let due = self.tail.lock().watermark_written < durable;
        if due {
            self.append(&mut FrameBuilder::new(), FrameKind::Watermark, None)?;
        }
        Ok(())
    }

    /// Whether anything is not durable yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.durable_seq() < self.last_seq()
    }
}
