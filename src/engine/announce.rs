//! Recording in the manifest that the log continues, before the first commit after a close is acknowledged.
//!
//! Owns: that entry. It distinguishes a missing log segment from one that was never started.

use std::sync::atomic::Ordering;

use crate::engine::{Engine, Need};
use crate::error::{Error, Result};
use crate::format::manifest::Body;
use crate::manifest::Kept;
use crate::reserve::Release;

impl Engine {
    /// Called before a commit of this size. Its segment is created first: if the entry exists but no segment does, the
    /// segment is missing. The caller holds no lock.
    #[inline]
    pub(crate) fn announce(&self, bytes: u64, need: Need) -> Result<()> {
        if self.is_announced.load(Ordering::Relaxed) { Ok(()) } else { self.announce_first(bytes, need) }
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
            Need::Ordinary => announce().inspect_err(|error| self.note_no_space(error))?,
            Need::MakesRoom => self.with_reserve(Release::Least, announce)?,
        }
        self.is_announced.store(true, Ordering::Relaxed);
        Ok(())
    }
}
