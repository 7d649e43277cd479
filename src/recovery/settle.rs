//! What an opening does for those to come, once it has its state: what came to nothing is freed, and what was replayed at
//! length is saved.
//!
//! Owns: copies and values that came to nothing, and when a snapshot is saved. Never: changes what the state says.

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::manifest::{Body, SnapshotKind};
use crate::recovery::replay::Replayed;
use crate::recovery::{Attempt, RecoveryReport};
use crate::snapshot;
use crate::snapshot::OF_A_COPY;

/// When more of the log was replayed, a snapshot is saved.
const REPLAYED_BYTES_MAX: u64 = 256 << 10;
/// When it lay in more segments, or was cut more often, too.
const REPLAYED_SEGMENTS_MAX: usize = 8;

/// Whether so much was replayed that the next opening shall not do it again.
pub(super) fn is_long(attempt: &Attempt<'_>, replayed: &Replayed, report: &RecoveryReport) -> bool {
    let cuts = attempt.loaded.entries.range(attempt.base.number..).filter(|(_, body)| matches!(body, Body::Cut(_)));
    report.bytes_replayed > REPLAYED_BYTES_MAX || replayed.segments.max(cuts.count()) > REPLAYED_SEGMENTS_MAX
}

/// Saves a snapshot, so that crash after crash does not replay the same commits. Where there is no room for it, the log has them.
pub(super) fn save_what_was_replayed(engine: &Engine) -> Result<()> {
    match snapshot::save(engine, SnapshotKind::Automatic, "") {
        Err(Error::NoSpace { .. } | Error::Exhausted { .. }) => Ok(()),
        saved => saved.map(drop),
    }
}

/// A snapshot of which a copy was being made is of no use any more.
pub(super) fn drop_interrupted_copies(engine: &Engine) -> Result<()> {
    let next = || engine.manifest.with_kept(|kept| kept.named(OF_A_COPY).map(|snapshot| snapshot.number));
    while let Some(number) = next() {
        engine.manifest.append(|_| Body::Drop(number))?;
    }
    Ok(())
}

/// Frees the chunks of values whose head was never committed.
pub(super) fn free_orphaned_chunks(engine: &Engine) -> Result<()> {
    let streams: Vec<u64> = engine.heap.pin().catalogue.streams().collect();
    match engine.drop_streams(&streams) {
        // What cannot be freed now is freed by the next opening.
        Err(Error::NoSpace { .. }) => Ok(()),
        result => result,
    }
}
