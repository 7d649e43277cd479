//! What the manifest says before the first commit behind a close is acknowledged: that the log goes on.
//!
//! Owns: that entry. So a log segment that is gone is not taken for one that was never begun.

use std::sync::atomic::Ordering;

use crate::engine::{Engine, Need};
use crate::error::{Error, Result};
use crate::format::manifest::Body;
use crate::manifest::Kept;
use crate::reserve::Release;

impl Engine {
    /// A commit of so many bytes is to come. The segment for it is there first: where the entry stands and no segment does, that
    /// one is gone. The caller holds no lock.
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
