//! Cuts of earlier recoveries: what counts before each, and what it began.
//!
//! Owns: the last commit that counts in a segment, and timelines, declared or not. Never: cuts anything itself.

use crate::error::{Error, Result};
use crate::format::frame::FrameKind;
use crate::format::manifest::Cut;
use crate::format::segment::{FileKind, SEGMENT_HEADER_BYTES};
use crate::id::{SegmentSeq, Seq, to_u64};
use crate::log::{Scan, Segment};
use crate::recovery::replay::Replay;

/// A segment of an undeclared timeline holds only copies, unless the manifest lost its end.
pub(super) fn check_undeclared(segment: &Segment) -> Result<()> {
    let contents = segment.contents()?;
    let mut scan = Scan::new(segment, &contents, to_u64(SEGMENT_HEADER_BYTES));
    while let Some(frame) = scan.next_frame() {
        if frame.header.kind == FrameKind::Commit && frame.header.move_number == 0 {
            let expected = format!("a cut in the manifest that begins timeline {}", segment.header().timeline);
            return Err(Error::corrupt(segment.name(), frame.offset(), "timeline", expected, "none"));
        }
    }
    Ok(())
}

/// The last commit for which segments before cuts count.
pub(super) struct Limits(Vec<(SegmentSeq, Seq)>);

impl Limits {
    pub(super) fn of(cuts: &[(u64, Cut)]) -> Self {
        let mut limits: Vec<_> = cuts.iter().map(|(_, cut)| (cut.first_segment, cut.seq)).collect();
        limits.sort_unstable_by_key(|(first_segment, _)| *first_segment);
        // The lowest of all cuts that start there or later.
        let mut lowest = Seq(u64::MAX);
        for (_, seq) in limits.iter_mut().rev() {
            lowest = lowest.min(*seq);
            *seq = lowest;
        }
        Self(limits)
    }

    pub(super) fn of_segment(&self, number: SegmentSeq) -> Option<Seq> {
        let behind = self.0.partition_point(|(first_segment, _)| *first_segment <= number);
        self.0.get(behind).map(|(_, seq)| *seq)
    }
}

impl Replay<'_> {
    /// Work left unfinished when earlier crashes were recovered ends here.
    pub(super) fn begin_timelines(&mut self, cuts: &[(u64, Cut)]) -> Result<()> {
        for (_, cut) in cuts {
            if self.expected <= cut.seq {
                let (file, expected) = (FileKind::Records.file_name(cut.first_segment), self.expected);
                let what = format!("commits {expected} to {}", cut.seq);
                return Err(match self.broken.take() {
                    Some(broken) => Error::corrupt(broken.file, broken.offset, what, "durable commits", broken.why),
                    None => Error::corrupt(file, 0, what, "durable commits", "none"),
                });
            }
            self.watermark = self.watermark.max(cut.seq);
            self.unproven.clear();
            (self.broken, self.is_damaged, self.ended) = (None, false, false);
            self.found_more = true;
        }
        let entries: Vec<u64> = cuts.iter().map(|(entry, _)| *entry).collect();
        self.burn(&entries)
    }
}
