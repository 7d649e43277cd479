//! Creating a store.
//!
//! Owns: the first entry of its manifest. Never: opens it.

use std::sync::Arc;

use crate::backing::Backing;
use crate::catalogue::Catalogue;
use crate::error::Result;
use crate::format::manifest::{Body, Snapshot, SnapshotKind};
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::id::{SegmentSeq, to_u64};
use crate::log::now_micros;
use crate::manifest::{Loaded, Manifest};
use crate::recovery::settings::Settings;

/// Writes the first manifest entry of a new store: an empty snapshot. Deletes what an interrupted creation left.
pub(super) fn initialise(
    backing: &Arc<dyn Backing>,
    settings: &Settings,
    unfinished: Vec<SegmentSeq>,
    fill: impl FnOnce(&mut Snapshot),
) -> Result<()> {
    let uuid = *uuid::Uuid::new_v4().as_bytes();
    let (segment_bytes, files, ours) = (settings.segment_bytes, unfinished.clone(), unfinished);
    let loaded = Loaded { uuid, segment_bytes, files, ours, ..Loaded::default() };
    let manifest = Manifest::new(Arc::clone(backing), &loaded, Arc::default());
    let mut snapshot = Snapshot {
        timeline: 1,
        time_micros: now_micros(),
        head_segment: SegmentSeq(1),
        head_offset: to_u64(SEGMENT_HEADER_BYTES),
        next_segment: SegmentSeq(1),
        reserved_from: 2,
        ..Snapshot::empty(1, SnapshotKind::Close)
    };
    Catalogue::default().fill(&mut snapshot);
    fill(&mut snapshot);
    manifest.append(|_| Body::Snapshot(Box::new(snapshot)))?;
    manifest.prove();
    Ok(())
}
