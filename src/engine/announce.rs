//! Recording in the manifest that the log continues, before the first commit after a close is acknowledged.
//!
//! Owns: that entry, and whether this handle has written it. It distinguishes a missing log segment from one that was never started.
//! Never: starts a log that does not follow a close.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::engine::{Engine, Need};
use crate::error::{Error, Result};
use crate::format::manifest::Body;
use crate::manifest::Kept;
use crate::reserve::Release;

/// Whether the manifest says that the log continues.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    is_announced: AtomicBool,
}

impl Announced {
    #[inline]
    fn is_announced(&self) -> bool {
        self.is_announced.load(Ordering::Relaxed)
    }

    fn note(&self) {
        self.is_announced.store(true, Ordering::Relaxed);
    }
}

impl Engine {
    /// Called before a commit of this size. Its segment is created first: if the entry exists but no segment does, the
    /// segment is missing. The caller holds no lock.
    #[inline]
    pub(crate) fn announce(&self, bytes: u64, need: Need) -> Result<()> {
        if self.announced.is_announced() { Ok(()) } else { self.announce_first(bytes, need) }
    }

    #[cold]
    fn announce_first(&self, bytes: u64, need: Need) -> Result<()> {
        let announce = || {
            if self.manifest.with_kept(Kept::ends_with_a_close) {
                self.log.begin_segment(bytes)?;
                self.manifest.append(|_| Body::Reserve(Vec::new()))?;
            }
            Ok::<(), Error>(())
        };
        match need {
            Need::Ordinary => announce().inspect_err(|error| self.reserve.note_no_space(error))?,
            Need::MakesRoom => self.with_reserve(Release::Least, announce)?,
        }
        self.announced.note();
        Ok(())
    }
}
