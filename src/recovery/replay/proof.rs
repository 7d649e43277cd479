//! What is known to be durable before a frame is applied.
//!
//! Owns: what the manifest and the headers of frames prove. Never: applies anything.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::format::manifest::Body;
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::id::{Seq, to_u64, to_usize};
use crate::log::{Ahead, Scan, Segment};

/// What the manifest itself proves: a snapshot is saved, and a cut declared, only once its commits are durable.
pub(super) fn proven_by(manifest: &BTreeMap<u64, Body>) -> Seq {
    let proven = manifest.values().map(|body| match body {
        Body::Snapshot(snapshot) => snapshot.seq,
        Body::Cut(cut) => cut.resumed,
        _ => Seq::ZERO,
    });
    proven.max().unwrap_or_default()
}

/// What the frame headers of a segment say was durable, up to the first invalid one.
pub(super) fn durable_of(segment: &Segment) -> Result<Seq> {
    let contents = segment.contents()?;
    let (mut at, mut durable, mut ahead) = (to_u64(SEGMENT_HEADER_BYTES), Seq::ZERO, Ahead::default());
    while let Some(rest) = contents.get(to_usize(at)..)
        && let () = ahead.at(segment, at, 0)
        && let Ok(header) = FrameHeader::parse(rest, segment.seed(), at)
    {
        durable = durable.max(header.durable);
        at += u64::from(header.bytes);
    }
    Ok(durable)
}

/// Whether only a watermark is missing before the head: it was never synced, and the snapshot does not need it.
pub(super) fn lacks_a_watermark(segment: &Segment, contents: &[u8], head: u64) -> bool {
    let mut scan = Scan::new(segment, contents, to_u64(SEGMENT_HEADER_BYTES));
    while scan.next_frame().is_some() {}
    // No other frame is as short as its header, except a seal, which no head follows.
    scan.offset() + to_u64(FRAME_HEADER_BYTES) == head
}
