//! The reserve: room on the medium that only the collector may use, so that it can make room when there is none.
//!
//! Owns: the file `reserve`. Never: makes a commit wait; one that comes before the reserve is there again is refused.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::engine::Engine;
use crate::error::is_no_space;
use crate::id::to_u64;
use crate::id::to_usize;

/// The file's name.
const RESERVE: &str = "reserve";
/// Bytes for snapshots, where segments are small.
const SMALL_SNAPSHOTS_BYTES: u64 = 512 << 10;
/// Bytes that are written at once.
const PIECE_BYTES: u64 = 1 << 20;

/// The first pause after a failure, and the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(10);

/// Whether the reserve is there, as far as this process knows.
#[derive(Debug, Default)]
pub(crate) struct Reserve {
    is_there: Option<bool>,
    /// When it is tried again after a failure, and how long that was.
    next: Option<(Instant, Duration)>,
    /// Bytes that the collector had deleted when it was last tried.
    deleted_before: u64,
}

impl Reserve {
    /// As `keep`; but where there was no room for it, not again for a while: trying takes the room that is left from
    /// commits for its moment, and wears the disk.
    pub(crate) fn keep_at_times(&mut self, engine: &Engine) {
        if self.next.is_some_and(|(at, _)| Instant::now() < at) {
            return;
        }
        self.keep(engine);
        let pause = self.next.map_or(PAUSE_MIN, |(_, pause)| (pause * 2).min(PAUSE_MAX));
        self.next = (self.is_there == Some(false)).then(|| (Instant::now() + pause, pause));
    }

    /// As `keep`, while commits are refused for want of it: at once when the collector has deleted more bytes since, and
    /// otherwise once a second.
    pub(crate) fn keep_after(&mut self, engine: &Engine, deleted: u64) -> bool {
        if deleted == self.deleted_before && self.next.is_some_and(|(at, _)| Instant::now() < at) {
            return false;
        }
        self.deleted_before = deleted;
        let is_there = self.keep(engine);
        self.next = (!is_there).then(|| (Instant::now() + PAUSE_MIN, PAUSE_MIN));
        is_there
    }

    /// Makes the reserve if it is not there. Whether it is there now: where there is no room for it, there is none.
    pub(crate) fn keep(&mut self, engine: &Engine) -> bool {
        let mut is_hopeless = false;
        if self.is_there != Some(true) && engine.check_writable().is_ok() {
            let bytes = Self::bytes(engine);
            let found = engine.backing.open(RESERVE).and_then(|file| file.len());
            let made = if found.is_ok_and(|len| len == bytes) { Ok(()) } else { Self::make(engine, bytes) };
            // What cannot be made for another reason is nothing to wait for.
            is_hopeless = made.as_ref().is_err_and(|error| !is_no_space(error));
            self.is_there = Some(made.is_ok());
        }
        if self.is_there == Some(true) || is_hopeless {
            engine.in_reserve.store(false, Ordering::Release);
        }
        self.is_there == Some(true)
    }

    /// Survivors of one segment, the frames that move them, and the pages and entries of small snapshots.
    pub(crate) fn bytes(engine: &Engine) -> u64 {
        engine.log.source().segment_bytes * 9 / 8 + SMALL_SNAPSHOTS_BYTES
    }

    /// The part of it that survivors may take.
    pub(crate) fn bytes_for_survivors(engine: &Engine) -> u64 {
        Self::bytes(engine) - SMALL_SNAPSHOTS_BYTES / 2
    }

    fn make(engine: &Engine, bytes: u64) -> io::Result<()> {
        match engine.backing.delete(RESERVE) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = engine.backing.create(RESERVE)?;
        let zeros = vec![0; to_usize(PIECE_BYTES.min(bytes))];
        let mut left = bytes;
        let mut result = Ok(());
        while left > 0 && result.is_ok() {
            let part = zeros.get(..to_usize(left.min(PIECE_BYTES))).unwrap_or_default();
            result = file.append(part);
            left -= to_u64(part.len());
        }
        result.and_then(|()| file.sync()).inspect_err(|_| {
            // Half a reserve would only take the room.
            drop(engine.backing.delete(RESERVE));
        })
    }

    /// Gives the room to the collector; until it is made anew, commits are refused. Whether there was any.
    pub(crate) fn give_up(&mut self, engine: &Engine) -> bool {
        if engine.in_reserve.swap(true, Ordering::AcqRel) {
            // It was given up before.
            return false;
        }
        self.is_there = Some(false);
        self.next = None;
        let is_given = engine.backing.delete(RESERVE).is_ok();
        if !is_given {
            engine.in_reserve.store(false, Ordering::Release);
        }
        is_given
    }
}
