//! What an opening does for those to come, once it has its state: what nothing refers to goes, and what was replayed at length is
//! saved.
//!
//! Owns: which files are left over, when a snapshot is saved. Never: changes what the state says.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Error;
use crate::error::Result;
use crate::format::manifest::Body;
use crate::format::manifest::SnapshotKind;
use crate::format::segment::FileKind;
use crate::id::SegmentSeq;
use crate::manifest::Kept;
use crate::pages::Fate;
use crate::recovery::Attempt;
use crate::recovery::RecoveryReport;
use crate::recovery::replay::Replayed;
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

/// Deletes files of this store that nothing refers to. What cannot be deleted stays, and is tried again next time.
pub(super) fn remove_leftovers(engine: &Engine, attempt: &Attempt<'_>, replayed: &Replayed) {
    let source = engine.log.source();
    // Also those of the snapshot that was opened: it is not retained any more if a copy was being made of it.
    let of_base = attempt.base.segments.iter().filter(|row| row.pages).map(|row| row.segment);
    let of_base: BTreeSet<SegmentSeq> = of_base.collect();
    let is_listed =
        |number: &SegmentSeq| of_base.contains(number) || engine.manifest.with_kept(|kept| kept.is_listed(*number));
    for number in attempt.files.pages.iter().filter(|number| !is_listed(number)) {
        if source.open(FileKind::Pages, *number).is_ok() {
            drop(engine.backing.delete(&FileKind::Pages.file_name(*number)));
        }
    }
    // Those that only names list are deleted with the last of these.
    let is_waited_for = |number: &SegmentSeq| engine.manifest.with_kept(|kept| kept.fate(*number) == Fate::Stay);
    engine.pages.note_others(attempt.files.pages.iter().copied().filter(is_waited_for));
    let replay_from = engine.manifest.replay_from();
    // A mark that one can go back to needs what lived then, and nothing tells what that was.
    let keeps_all = reaches_a_mark(engine);
    for number in &attempt.files.logs {
        let is_kept = engine.manifest.with_kept(|kept| kept.is_kept_by_name(*number));
        if is_kept || engine.heap.segment(*number).is_some() {
            continue;
        }
        // Emptied by the collector, or copied to and not moved to yet, or begun by a recovery that never declared it.
        let Ok(segment) = source.open(FileKind::Records, *number) else { continue };
        let is_log = segment.header().generation == 0 && *number >= replay_from;
        if (!is_log && !keeps_all) || replayed.undeclared.contains(number) {
            drop(engine.backing.delete(segment.name()));
        } else if !is_log {
            // A program that marks each of its runs would have one mark or another at every opening.
            engine.left_behind.lock().push(Arc::new(segment));
        }
    }
}

/// Whether there is a mark that one can go back to.
fn reaches_a_mark(engine: &Engine) -> bool {
    let base = engine.manifest.with_kept(Kept::oldest_automatic);
    base.is_some_and(|base| engine.heap.catalogue().oldest_mark_from(base).is_some())
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
