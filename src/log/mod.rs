//! The log: segments of frames, appended to and never changed.
//!
//! Owns: the active segment, sealing, group commit, the durable watermark, scanning, the meaning of a damaged tail.
//! Never: knows the meaning of a record index entry, or of a record.
//! Invariants: 1. No offset is written twice: after a failed append the segment is abandoned.
//! 2. The durable watermark rises only after a sync that covered every segment below it.
//! 3. Commit numbers are dense, except before a commit that was written ahead: the commit before it names it.

mod ahead;
mod group;
mod mend;
mod poison;
mod room;
mod scan;
mod segment;
mod sizes;
mod source;
mod writer;

pub(crate) use ahead::Ahead;
pub(crate) use poison::Poison;
pub(crate) use scan::{Scan, ScanEnd, highest_watermark};
pub(crate) use segment::Segment;
pub(crate) use source::{NextBytes, SEGMENT_BYTES_MIN, SegmentSource, SyncsWanted};
pub(crate) use writer::{Appended, LAST_SEQ, Log, LogStart, Prewritten, no_commit_left, now_micros};
