//! What an opening does for later ones once it has its state: frees what was never committed, and saves a snapshot
//! after a long replay.
//!
//! Owns: leftover copies and values, and when a snapshot is saved. Never: changes the state.

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::manifest::{Body, SnapshotKind};
use crate::recovery::attempt::Attempt;
use crate::recovery::replayed::Replayed;
use crate::recovery::report::RecoveryReport;
use crate::snapshot;
use crate::snapshot::OF_A_COPY;

/// A snapshot is saved if more of the log than this was replayed.
const REPLAYED_BYTES_MAX: u64 = 256 << 10;
/// Likewise if it was in more segments, or was cut more often.
const REPLAYED_SEGMENTS_MAX: usize = 8;

/// Saves a snapshot if so much was replayed that the next opening should not have to repeat it: repeated crashes do not replay the
/// same commits. If only the log is long, a thread in the background does so at once, and the opening does not wait for it. Since each
/// crash leaves a cut, that thread cannot be too late for ever.
pub(super) fn save_if_long(
    engine: &Engine,
    attempt: &Attempt<'_>,
    replayed: &Replayed,
    report: &RecoveryReport,
) -> Result<()> {
    let cuts = attempt.loaded.entries.range(attempt.base.number..).filter(|(_, body)| matches!(body, Body::Cut(_)));
    if replayed.segments.max(cuts.count()) > REPLAYED_SEGMENTS_MAX {
        return save_what_was_replayed(engine);
    }
    match report.bytes_replayed > REPLAYED_BYTES_MAX {
        true if attempt.settings.has_background => {
            engine.growth.ask();
            Ok(())
        }
        true => save_what_was_replayed(engine),
        false => Ok(()),
    }
}

/// Without space for a snapshot, the log has what it would save.
fn save_what_was_replayed(engine: &Engine) -> Result<()> {
    match snapshot::save(engine, SnapshotKind::Automatic, "") {
        Err(Error::NoSpace { .. } | Error::Exhausted { .. }) => Ok(()),
        saved => saved.map(drop),
    }
}

/// Drops the automatic snapshots that an interrupted rollback left: nothing may replay from them, and the files that only they need
/// are deleted. A recovery writes a cut with its timeline; a rollback does not.
pub(super) fn drop_what_was_left_behind(engine: &Engine, attempt: &Attempt<'_>) -> Result<()> {
    let (entries, base) = (&attempt.loaded.entries, attempt.base);
    for (number, body) in entries.range(..base.number) {
        let Body::Snapshot(snapshot) = body else { continue };
        let cuts = entries.range(number..&base.number).map(|(_, body)| match body {
            Body::Cut(cut) => cut.timeline,
            _ => 0,
        });
        if snapshot.name.is_empty() && cuts.fold(snapshot.timeline, u64::max) < base.timeline {
            engine.manifest.append(|_| Body::Drop(*number))?;
        }
    }
    Ok(())
}

/// The snapshot of an unfinished copy is useless now.
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
        // The next opening frees what cannot be freed now.
        Err(Error::NoSpace { .. }) => Ok(()),
        result => result,
    }
}
