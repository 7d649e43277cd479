//! Marks of who is at work, so that nothing is deleted that a backup is about to name.
//!
//! Owns: who may begin, and the two kinds of marks. Never: relies on a clock where a lock says whether the owner of a mark lives.
//! Invariants: 1. A mark is put before its owner lists the others: of a backup and a pruning at once, at least one sees
//! the other. 2. Who takes another for dead deletes its mark first, and an owner without a mark stops, or puts another and checks again
//! all that it relies on.

use std::fs::File;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::id::to_u64;
use crate::repository::names::MARKS;
use crate::repository::place::{Object, Place};

/// The owner of a mark that is renewed and older than this is taken for dead. It renews the mark much sooner.
const MARK_MICROS_MAX: u64 = 60 * 60 * 1_000_000;

/// How often a mark is renewed where marks age.
const RENEWED_EVERY: Duration = Duration::from_mins(5);

/// How often a mark is put that others took for abandoned at once.
const ATTEMPTS: u32 = 3;

/// Between two attempts to put a mark beside something that excludes it.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Whether a mark of this name is one that its owner renews. It contains its own name; one that is kept by a lock is empty. A directory may
/// have both kinds, if some use it by its path and others as a bucket.
pub(super) fn is_renewed(name: &str, mark: &Object) -> bool {
    mark.bytes == to_u64(name.len())
}

/// Whether the owner of a mark that is renewed is to be taken for dead at this time.
pub(super) fn is_too_old(mark: &Object, now: u64) -> bool {
    now.saturating_sub(mark.micros) > MARK_MICROS_MAX
}

/// What is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Backup,
    Prune,
}

impl Work {
    fn prefix(self) -> &'static str {
        match self {
            Self::Backup => "backup-",
            Self::Prune => "prune-",
        }
    }

    /// Whether the two must not run at once.
    fn excludes(self, other: Self) -> bool {
        self == Self::Prune || other == Self::Prune
    }

    fn of(mark: &Object) -> Option<Self> {
        [Self::Backup, Self::Prune].into_iter().find(|work| mark.name.starts_with(work.prefix()))
    }
}

/// A mark of one's own. Dropped, it is deleted; if that fails, or the process dies, others find out that it is abandoned.
#[derive(Debug)]
pub(super) struct Mark<'p> {
    place: &'p dyn Place,
    work: Work,
    name: String,
    _lock: Option<File>,
    put: Instant,
    stays: bool,
}

impl<'p> Mark<'p> {
    /// Puts a mark, unless something is at work that must not run beside it.
    pub(super) fn put(place: &'p dyn Place, work: Work) -> Result<Self> {
        let mut attempts = 0;
        let (mark, listed, own) = loop {
            let mark = Self::put_one(place, work)?;
            let listed = place.list(MARKS)?;
            match listed.iter().find(|found| found.name == mark.name).cloned() {
                Some(own) => break (mark, listed, own),
                // Another found it before its lock was taken.
                None if attempts < ATTEMPTS => attempts += 1,
                None => return Err(mark.is_gone()),
            }
        };
        for other in listed.iter().filter(|found| found.name != mark.name) {
            if !Work::of(other).is_some_and(|kind| work.excludes(kind)) {
                continue;
            }
            let name = format!("{MARKS}/{}", other.name);
            if !place.is_abandoned(&name, other, own.micros)? {
                return Err(Error::Locked { path: format!("the repository {} ({name})", place.shown()) });
            }
            place.delete(&name)?;
        }
        Ok(mark)
    }

    fn put_one(place: &'p dyn Place, work: Work) -> Result<Self> {
        let name = format!("{}{}", work.prefix(), uuid::Uuid::new_v4().simple());
        let lock = place.hold(&format!("{MARKS}/{name}"))?;
        Ok(Self { place, work, name, _lock: lock, put: Instant::now(), stays: false })
    }

    fn is_gone(&self) -> Error {
        let by = format!("the mark {MARKS}/{} was deleted", self.name);
        Error::Fenced { location: self.place.shown(), by }
    }

    /// Renews the mark if it is due. Fails if others have taken its owner for dead.
    pub(super) fn renew(&mut self) -> Result<()> {
        if self.place.marks_age() && self.put.elapsed() >= RENEWED_EVERY {
            let next = Self::put_one(self.place, self.work)?;
            self.check()?;
            // The old one is deleted when it is dropped.
            *self = next;
        }
        Ok(())
    }

    /// Puts a mark anew, as if the work began now, if others may have taken its owner for dead meanwhile: nothing depends on it yet.
    pub(super) fn begin_anew(&mut self) -> Result<()> {
        if self.place.marks_age() && self.put.elapsed() >= RENEWED_EVERY {
            *self = Self::put(self.place, self.work)?;
        }
        Ok(())
    }

    /// Puts a mark anew for an owner that others have taken for dead, once nothing is at work that must not run beside it. `waits` is called
    /// before each pause, and may end it.
    pub(super) fn put_again(&mut self, mut waits: impl FnMut() -> Result<()>) -> Result<()> {
        let mut pause = PAUSE;
        loop {
            match Self::put(self.place, self.work) {
                Err(Error::Locked { .. }) => {
                    waits()?;
                    std::thread::sleep(pause);
                    pause = PAUSE_MAX.min(pause * 2);
                }
                put => return put.map(|mark| *self = mark),
            }
        }
    }

    /// Leaves the mark where it is, until it is taken for abandoned: what its owner asked for may still be carried out.
    pub(super) fn stay(&mut self) {
        self.stays = true;
    }

    /// Fails if others have taken its owner for dead.
    pub(super) fn check(&self) -> Result<()> {
        let listed = self.place.list(MARKS)?;
        if listed.iter().any(|found| found.name == self.name) { Ok(()) } else { Err(self.is_gone()) }
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        if !self.stays {
            // Left behind, it is found abandoned.
            drop(self.place.delete(&format!("{MARKS}/{}", self.name)));
        }
    }
}
