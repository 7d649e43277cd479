//! What must hold of the log beside what each frame says of itself.
//!
//! Owns: those checks. Never: applies anything.

use crate::error::{Error, Result};
use crate::format::Frame;
use crate::format::manifest::Snapshot;
use crate::format::segment::{FileKind, SEGMENT_HEADER_BYTES};
use crate::heap::Effect;
use crate::id::{SegmentSeq, to_u64};
use crate::log::Segment;
use crate::recovery::replay::Replay;

impl Replay<'_> {
    /// The segment with the head existed when the snapshot was saved, and is not deleted while its log is needed.
    pub(super) fn check_head(&self, files: &[SegmentSeq]) -> Result<()> {
        let Snapshot { number, head_segment, head_offset, .. } = *self.base;
        let is_there = head_offset <= to_u64(SEGMENT_HEADER_BYTES) || files.contains(&head_segment);
        if is_there || self.has_reached_its_end() {
            return Ok(());
        }
        let (name, what) = (FileKind::Records.file_name(head_segment), format!("segment of snapshot {number}"));
        Err(Error::corrupt(name, 0, what, format!("{head_offset} bytes of the log"), "no file of this name"))
    }

    /// A page is reserved before it is assigned to a set.
    pub(super) fn check_pages(&self, segment: &Segment, frame: &Frame<'_>, effects: &[Effect]) -> Result<()> {
        let pages =
            effects.iter().filter_map(|effect| if let Effect::Assign(page, _) = effect { Some(*page) } else { None });
        match pages.max().filter(|page| *page >= self.reserved_end) {
            None => Ok(()),
            Some(page) => {
                let expected = format!("one below {}, which the manifest has reserved", self.reserved_end);
                Err(Error::corrupt(segment.name(), frame.offset(), "page assigned to a set", expected, page))
            }
        }
    }

    /// Beside readers an index must not be used before it has its entries, which only a snapshot has.
    pub(super) fn check_indexes(&self, segment: &Segment, frame: &Frame<'_>, effects: &[Effect]) -> Result<()> {
        let published = effects.iter().find_map(|effect| match effect {
            Effect::PublishIndex(number) => Some(*number),
            _ => None,
        });
        match published.filter(|_| self.is_live) {
            None => Ok(()),
            Some(number) => {
                let (what, expected) = (format!("key index {number}"), "a snapshot with its nodes");
                Err(Error::corrupt(segment.name(), frame.offset(), what, expected, "an older one"))
            }
        }
    }
}
