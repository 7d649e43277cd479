//! Heap space for the pages that a commit changes, reserved before it takes any lock.
//!
//! Owns: how much is reserved, and waiting for it. Never: holds a lock while it waits, or waits for other waiting
//! commits. The wait is bounded: a snapshot, saved in the background or here, frees the space; the error of a failed
//! snapshot goes to the commit; and after a few snapshots that did not help, the commit proceeds.

use std::time::Duration;

use crate::engine::{Engine, Need, Room};
use crate::error::Result;
use crate::format::entry::ENTRIES_PER_PAGE;
use crate::heap::Effect;
use crate::id::{RecordId, to_u64};
use crate::key_index::NODE_HEAP_BYTES;
use crate::record_index::LEAF_HEAP_BYTES;
use crate::reserve::Release;
use crate::snapshot;

/// Maximum number of snapshots that a commit waits for.
const SNAPSHOTS_MAX: u32 = 8;
/// Inner nodes that a change of a key index may change.
const NODES_ABOVE: u64 = 8;
/// How long other commits hold the space that they reserved.
const OTHERS_TIME: Duration = Duration::from_micros(100);

/// Upper bound of the record index pages that the effects change.
pub(crate) fn pages_of(effects: &[Effect]) -> u64 {
    let page = |id: &RecordId| id.slot() / to_u64(ENTRIES_PER_PAGE);
    let (mut pages, mut last) = (0, None);
    for effect in effects {
        if let Effect::Put { id, .. } | Effect::Free(id) = effect {
            pages += u64::from(last != Some(page(id)));
            last = Some(page(id));
        }
    }
    pages
}

/// Waits until there is room for changing this many pages of the record index and nodes of key indexes. The caller
/// holds no lock.
pub(crate) fn make_room(engine: &Engine, need: Need, pages: u64, nodes: u64) -> Result<Room<'_>> {
    let limit = engine.dirty.commits_max();
    // Each leaf may split, and the inner nodes above change too.
    let nodes = if nodes == 0 { 0 } else { nodes + nodes / 8 + NODES_ABOVE };
    // More than that is never free while others write.
    let bytes = (pages * LEAF_HEAP_BYTES + nodes * NODE_HEAP_BYTES).min(limit / 2);
    let mut snapshots = 0;
    loop {
        if let Some(room) = engine.take_room(bytes) {
            return Ok(room);
        }
        let is_full = || engine.heap.dirty_bytes() + bytes > limit;
        if !is_full() {
            // Other commits return their space once they are applied.
            std::thread::sleep(OTHERS_TIME);
            engine.check_writable()?;
        } else if snapshots < SNAPSHOTS_MAX {
            let save = || snapshot::save_if(engine, is_full).inspect_err(|error| engine.reserve.note_no_space(error));
            match need {
                Need::Ordinary => {
                    // Before a snapshot takes the remaining space.
                    engine.check_reserve(0)?;
                    save()?;
                }
                Need::MakesRoom => engine.with_reserve(Release::Most, save)?,
            }
            snapshots += 1;
        } else {
            return Ok(engine.dirty.take_anyway(bytes));
        }
    }
}
