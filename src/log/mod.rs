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
pub(crate) use scan::{Scan, ScanEnd, highest_watermark};
pub(crate) use segment::Segment;
pub(crate) use source::{NextBytes, SEGMENT_BYTES_MIN, SegmentSource, SyncsWanted};
pub(crate) use writer::{LAST_SEQ, Log, LogStart, no_commit_left, now_micros};
