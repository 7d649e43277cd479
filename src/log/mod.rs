//! The log: segments of frames, appended to and never changed.
//!
//! Owns: the active segment, sealing, group commit, the durable watermark, scanning, what a damaged tail means.
//! Never: knows what an entry of the record index says, or what a record means.
//! Invariants: 1. No offset is written twice: after a failed append the segment is given up. 2. The durable
//! watermark rises only after a sync that covered every segment below it. 3. Commit numbers are dense.

mod group;
mod mend;
mod poison;
mod room;
mod scan;
mod segment;
mod sizes;
mod source;
mod writer;

pub(crate) use poison::Poison;
pub(crate) use scan::Scan;
pub(crate) use scan::ScanEnd;
pub(crate) use scan::highest_watermark;
pub(crate) use segment::Segment;
pub(crate) use source::NextBytes;
pub(crate) use source::SEGMENT_BYTES_MIN;
pub(crate) use source::SegmentSource;
pub(crate) use source::SyncsWanted;
pub(crate) use writer::LAST_SEQ;
pub(crate) use writer::Log;
pub(crate) use writer::LogStart;
pub(crate) use writer::no_commit_left;
pub(crate) use writer::now_micros;
