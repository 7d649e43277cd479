//! Segments into which the collector moved records.
//!
//! Owns: that the heap knows them before a move leads to them. Never: moves anything.

use std::io;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::entry::RECORD_BYTES_MAX;
use crate::format::segment::FileKind;
use crate::heap::Effect;
use crate::log::Segment;
use crate::recovery::headless;
use crate::recovery::replay::Replay;

impl Replay<'_> {
    /// Registers the segments into which records were moved. One that is gone, or has only begun, has been emptied by later moves or
    /// commits; otherwise it is found missing after replay.
    pub(super) fn adopt_targets(&mut self, effects: &[Effect]) -> Result<()> {
        for effect in effects {
            let Effect::Moves(_, to, moves) = effect else { continue };
            self.moved_to = self.moved_to.max(*to);
            if let Some(known) = self.heap.segment(*to) {
                let end = moves.iter().map(|each| each.to).max().unwrap_or_default() + RECORD_BYTES_MAX;
                self.follow_growth(&known, end)?;
                continue;
            }
            let segment = match self.source.open(FileKind::Records, *to) {
                Ok(segment) => segment,
                // Readers would look for records in it before the next commits lead elsewhere.
                Err(error) if !self.is_live && self.source.is_gone(*to, &error, true) => self.source.absent(*to),
                Err(error) => return Err(error),
            };
            headless::note(&segment, self.report);
            self.heap.adopt(&Arc::new(segment))?;
        }
        Ok(())
    }

    /// Beside a writer, a segment may have been opened before the moved records were written to it.
    fn follow_growth(&self, known: &Arc<Segment>, end: u64) -> Result<()> {
        if known.is_absent() || known.len()? >= end {
            return Ok(());
        }
        match self.source.open(FileKind::Records, known.number()) {
            Ok(now) if now.len()? > known.len()? => {
                self.heap.replace(&Arc::new(now));
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}
