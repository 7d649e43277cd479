//! Record segments that have no file, or that a repair does without.
//!
//! Owns: when that is damage. Never: lets go of a segment in which anything lives.

use std::sync::Arc;

use crate::error::Error;
use crate::error::Result;
use crate::format::segment::FileKind;
use crate::heap::Heap;
use crate::id::SegmentSeq;
use crate::log::Segment;
use crate::log::SegmentSource;

/// A segment of the log, or its absence: a later commit or move may have emptied it before it was deleted. One that is `given_up` is
/// absent also when it is there and nothing in it proves which one it is.
pub(super) fn open_or_absent(
    source: &SegmentSource,
    number: SegmentSeq,
    proven: u64,
    given_up: bool,
) -> Result<Segment> {
    match source.open_proven(FileKind::Records, number, proven) {
        Err(Error::Io { source: why, .. }) if why.kind() == std::io::ErrorKind::NotFound => Ok(source.absent(number)),
        Err(Error::Corrupt(_)) if given_up => Ok(source.absent(number)),
        other => other,
    }
}

/// When replay has ended, nothing may point into a segment that has no file, as far as all pages can be read. Such segments are
/// let go.
pub(super) fn check_absent(heap: &Heap, snapshot: u64, all_is_known: bool) -> Result<()> {
    let table = heap.segments();
    let absent: Vec<&Arc<Segment>> = table.iter().map(|(_, segment)| segment).filter(|s| s.is_absent()).collect();
    let missing = absent.iter().find(|segment| segment.live_bytes() > 0);
    // What a damaged page says of it, nobody knows: it may have been emptied by moves that could not be followed.
    if let Some(missing) = missing.filter(|_| all_is_known) {
        let what = format!("segment of snapshot {snapshot}");
        let expected = format!("the file, with {} live bytes", missing.live_bytes());
        return Err(Error::corrupt(missing.name(), 0, what, expected, "no file of this name"));
    }
    let numbers: Vec<SegmentSeq> = absent.iter().map(|segment| segment.number()).collect();
    // Opening has not ended: nobody holds a state of before.
    heap.release_places(heap.retire(&numbers).iter().map(|(place, _)| *place));
    Ok(())
}
