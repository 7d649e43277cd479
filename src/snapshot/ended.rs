//! What is left of dropped indexes in page segments.
//!
//! Owns: reading it before a freeze, so that a snapshot without an index releases all its pages. Never: drops an index.

use parking_lot::MutexGuard;

use crate::engine::Engine;
use crate::heap::Indexes;
use crate::key_index::Ended;

/// How often a save looks for it before it excludes commits meanwhile.
const ROUNDS: usize = 4;

/// Releases the pages of dropped indexes that have to be read for that.
fn release_ended(engine: &Engine) {
    let ended = engine.heap.with_indexes(Indexes::take_ended);
    if !ended.is_empty() {
        let pages = ended.into_iter().flat_map(Ended::released).collect();
        engine.heap.with_indexes(|indexes| indexes.release(pages));
    }
}

/// Excludes commits while nothing is left of dropped indexes: the snapshot will not have them, so their pages must be released with it.
/// No commit waits while those are read, unless others go on dropping indexes.
pub(super) fn lock_without_ended(engine: &Engine) -> MutexGuard<'_, ()> {
    for _ in 0..ROUNDS {
        release_ended(engine);
        let guard = engine.lock_commit();
        if !engine.heap.look_at_indexes(Indexes::has_ended) {
            return guard;
        }
    }
    let guard = engine.lock_commit();
    release_ended(engine);
    guard
}
