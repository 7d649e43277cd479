//! How far the log may be shown: what is durable, or what the bucket has.
//!
//! Owns: the evidence for that beside another process, which is in the segments and in the manifest. Never: passes a frame.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::changes::reader::Reader;
use crate::changes::segments::is_gone;
use crate::error::{Error, Result};
use crate::format::manifest::Body;
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::id::{SegmentSeq, Seq, to_u64};
use crate::log::{Segment, SegmentSource};
use crate::manifest;
use crate::recovery::list;

/// How often a reader beside another process looks at the manifest and at segments that may have been begun.
const LOOK: Duration = Duration::from_millis(20);
/// The same where each look is a request.
const LOOK_AT_STATES: Duration = Duration::from_millis(500);

/// Opens a segment that may grow. Its writer may give back the room that it had ahead after its length was read; then it is looked at
/// again.
pub(super) fn open_growing(source: &SegmentSource, number: SegmentSeq, proven: u64) -> Result<(Segment, Seq)> {
    let is_cut =
        |error: &Error| matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof);
    match source.open_growing(number, proven) {
        Err(error) if is_cut(&error) => source.open_growing(number, proven),
        other => other,
    }
}

impl Reader {
    /// Shows only what the bucket has.
    pub(in crate::changes) fn show_shipped(&mut self) {
        self.shipped = Some(Seq::ZERO);
        self.known_limit = Seq::ZERO;
    }

    /// Whether the next commit may be shown. Asks for the limit once for all commits up to it: it only rises.
    #[inline]
    pub(super) fn may_show_next(&mut self) -> bool {
        if self.expected > self.known_limit {
            self.known_limit = self.limit();
        }
        self.expected <= self.known_limit
    }

    /// The last commit that may be shown.
    pub(super) fn limit(&self) -> Seq {
        let limit = match (self.engine.read_only, self.is_early) {
            (true, true) => Seq(u64::MAX),
            (true, false) => self.proven,
            (false, true) => self.engine.heap.seq(),
            (false, false) => self.engine.log.durable_seq().min(self.engine.heap.seq()),
        };
        self.shipped.map_or(limit, |shipped| shipped.min(limit))
    }

    /// Asks what the bucket has. Whether it is the next commit.
    pub(super) fn ask_shipped(&mut self) -> bool {
        if let Some((now, (reached, _))) = self.shipped.as_mut().zip(self.engine.backlog()) {
            *now = reached.max(*now);
        }
        self.expected <= self.limit()
    }

    /// Whether the segment has more than before.
    pub(super) fn grow(&mut self) -> Result<bool> {
        let Some(at) = self.at.as_mut().filter(|at| !at.is_over) else { return Ok(false) };
        let number = at.segment.number();
        if !self.engine.read_only {
            // One that this process writes shows what is appended by itself.
            let Some(own) = self.engine.heap.segment(number).filter(|own| !Arc::ptr_eq(own, &at.segment)) else {
                return Ok(false);
            };
            let has_more = own.len()? > at.segment.len()?;
            at.segment = own;
            return Ok(has_more);
        }
        match open_growing(&self.source, number, at.offset) {
            Ok((now, durable)) => {
                self.proven = self.proven.max(durable);
                let has_more = now.len()? > at.segment.len()?;
                if has_more {
                    at.segment = Arc::new(now);
                }
                Ok(has_more)
            }
            // It was deleted: nothing is appended to it any more.
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Learns which timelines the manifest declares, and what it proves durable.
    pub(super) fn read_manifest(&mut self) -> Result<()> {
        self.declared = self.declared.max(self.engine.timeline());
        if !self.engine.read_only {
            return Ok(());
        }
        let files = list(&*self.engine.backing)?;
        let loaded = match manifest::load(&*self.engine.backing, &files.manifests) {
            Ok(loaded) => loaded,
            // Its writer has just begun another file.
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        for body in loaded.entries.values() {
            let (timeline, proven) = match body {
                Body::Snapshot(snapshot) => (snapshot.timeline, snapshot.seq),
                Body::Cut(cut) => (cut.timeline, cut.resumed),
                _ => continue,
            };
            self.declared = self.declared.max(timeline);
            self.proven = self.proven.max(proven);
        }
        Ok(())
    }

    /// Beside another process: looks for evidence that the next commit is durable.
    pub(super) fn learn(&mut self) -> Result<bool> {
        if !self.engine.read_only || self.is_early {
            return Ok(false);
        }
        let before = (self.proven, self.at.as_ref().map(|at| at.segment.number()));
        self.grow()?;
        if self.expected <= self.proven {
            return Ok(true);
        }
        let pause = if self.shown.is_some() { LOOK_AT_STATES } else { LOOK };
        if self.looked_at.is_some_and(|at| at.elapsed() < pause) {
            return Ok(false);
        }
        self.looked_at = Some(Instant::now());
        let backing = &*self.engine.backing;
        let shown = backing.look_again().map_err(|source| Error::io("look at", backing.location(), source))?;
        if shown.is_some() {
            if shown == self.shown {
                return Ok(false);
            }
            self.grow()?;
        }
        for number in self.later(before.1.unwrap_or_default())? {
            if self.begin(number)?.is_none() {
                continue;
            }
            match open_growing(&self.source, number, to_u64(SEGMENT_HEADER_BYTES)) {
                Ok((_, durable)) => self.proven = self.proven.max(durable),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
            if self.expected <= self.proven {
                return Ok(true);
            }
        }
        self.read_manifest()?;
        self.shown = shown;
        self.has_more = shown.is_some();
        Ok(self.has_more || self.expected <= self.proven)
    }
}
