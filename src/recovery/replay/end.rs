//! The end of the log: a tear, or corruption.
//!
//! Owns: telling them apart by what is known to be durable, and what the report says of the end. Never: cuts what was proven durable.

use crate::error::{Error, Result};
use crate::format::manifest::SnapshotKind;
use crate::format::segment::FileKind;
use crate::heap::Indexes;
use crate::id::{SegmentSeq, Seq};
use crate::recovery::replay::Replay;
use crate::recovery::replayed::Replayed;
use crate::recovery::report::LogEnd;

impl Replay<'_> {
    pub(super) fn finish(
        mut self,
        timeline: u64,
        last_segment: SegmentSeq,
        undeclared: Vec<SegmentSeq>,
    ) -> Result<Replayed> {
        if !self.is_live {
            self.heap.with_indexes(Indexes::end_gathering)?;
        }
        // On the way to a past commit the log may have been deleted, but not damaged.
        let wanted = self.until.map_or(self.watermark, |until| self.watermark.min(until));
        if wanted >= self.expected && (self.until.is_none() || self.is_damaged) {
            let what = format!("commits {} to {wanted}", self.expected);
            return Err(match self.broken.take() {
                Some(broken) => Error::corrupt(broken.file, broken.offset, what, "durable commits", broken.why),
                None => {
                    let file = FileKind::Records.file_name(last_segment);
                    Error::corrupt(file, 0, what, "durable commits", "the end of the log")
                }
            });
        }
        while self.unproven.front().is_some_and(|position| position.seq <= self.watermark) {
            self.unproven.pop_front();
        }
        let found_more = self.found_more || !self.reserves.is_empty() || !self.base.reserved.is_empty();
        if found_more && self.until.is_none() {
            self.burn(&[u64::MAX])?;
        }
        self.report.end = self.end();
        self.report.cut = self.broken;
        self.headless.report(self.watermark, self.report);
        let last = Seq(self.expected.0 - 1);
        let (durable, unproven, page_end) = (self.watermark, self.unproven, self.page_end);
        Ok(Replayed {
            last,
            durable,
            unproven,
            last_segment,
            undeclared,
            segments: self.segments,
            timeline,
            page_end,
            found_more,
            moved_to: self.moved_to,
            read_to: self.read_to,
            is_sealed: self.is_sealed,
            prewritten: self.prewritten,
            older: self.older,
        })
    }

    /// Where the log ends, if nothing was wrong with it there and the store was not closed after it.
    fn end(&self) -> Option<LogEnd> {
        let is_closed = self.base.kind == SnapshotKind::Close && !self.found_more && self.reserves.is_empty();
        if is_closed || self.broken.is_some() || self.until.is_some() {
            return None;
        }
        let (segment, offset) = self.read_to;
        let (last, proven) = (Seq(self.expected.0 - 1), self.watermark.min(Seq(self.expected.0 - 1)));
        // The segment of the first commit after a close is created before the manifest records that the log continues.
        let goes_on = self.reserves.iter().any(|(number, pages)| *number > self.base.number && pages.is_empty());
        let gone_from = Some(self.base.next_segment).filter(|_| goes_on && !self.has_later_segment);
        Some(LogEnd { file: FileKind::Records.file_name(segment), offset, last, proven, gone_from })
    }
}
