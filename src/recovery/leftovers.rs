//! Files that an opening finds beside those of the state it opens.
//!
//! Owns: deleting unneeded files, and noting those that only a named snapshot, a mark or an older snapshot needs, so
//! that they are deleted with those. Never: touches a file that is not this store's, or deletes anything for a reader.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::engine::Engine;
use crate::format::segment::{FileKind, SEGMENT_HEADER_BYTES, is_torn_header};
use crate::id::{SegmentSeq, Seq, to_u64, to_usize};
use crate::manifest::Kept;
use crate::pages::Fate;
use crate::recovery::attempt::Attempt;
use crate::recovery::replayed::Replayed;

/// What keeps a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// The newest state, or an opening that replays.
    Newest,
    /// A retained snapshot.
    Snapshot,
    /// A mark that can be rolled back to.
    Mark,
    /// A consumer of the changes.
    Consumer,
    /// A reader in this process, or nothing any more.
    Reader,
    /// Work under way.
    Work,
}

impl Keeper {
    /// What keeps a record segment that existed at opening and is not part of the newest state, if anything does.
    pub(crate) fn of_left(engine: &Engine, number: SegmentSeq, emptied_at: Seq) -> Option<Self> {
        if engine.manifest.with_kept(|kept| kept.is_kept_by_name(number)) {
            return Some(Self::Snapshot);
        }
        // A mark that can be reached needs the segments that were live then, and it is unknown which they were.
        if oldest_mark(engine).is_some_and(|mark| mark < emptied_at) {
            return Some(Self::Mark);
        }
        if slowest(engine).is_some_and(|seq| seq < emptied_at) {
            return Some(Self::Consumer);
        }
        let is_late = number >= engine.manifest.replay_from();
        let is_log = is_late
            && match engine.log.source().open(FileKind::Records, number) {
                Ok(segment) => segment.header().generation == 0,
                Err(error) if error.is_corruption() => {
                    has_no_header(engine, &FileKind::Records.file_name(number)).unwrap_or(true)
                }
                // An unreadable segment may be part of the log.
                Err(_) => true,
            };
        is_log.then_some(Self::Newest)
    }
}

/// Whether a segment belongs to this store, as far as can be told: one that a crash left without a header does.
pub(crate) fn is_ours(engine: &Engine, kind: FileKind, number: SegmentSeq) -> bool {
    match engine.log.source().open(kind, number) {
        Ok(_) => true,
        Err(error) if error.is_corruption() => has_no_header(engine, &kind.file_name(number)).unwrap_or(false),
        Err(_) => false,
    }
}

/// Whether a file ends within its header, or contains only zeros from some point on. A read error proves neither.
fn has_no_header(engine: &Engine, name: &str) -> io::Result<bool> {
    let file = engine.backing.open(name)?;
    let mut header = [0; SEGMENT_HEADER_BYTES];
    let len = to_usize(file.len()?.min(to_u64(SEGMENT_HEADER_BYTES)));
    if let Some(part) = header.get_mut(..len) {
        file.read_at(0, part)?;
    }
    Ok(is_torn_header(&header, engine.log.source().uuid))
}

/// The oldest mark that can still be reached.
pub(crate) fn oldest_mark(engine: &Engine) -> Option<Seq> {
    let base = engine.manifest.with_kept(Kept::oldest_automatic)?;
    engine.heap.catalogue().oldest_mark_from(base)
}

/// What the slowest consumer of the changes has acknowledged.
pub(crate) fn slowest(engine: &Engine) -> Option<Seq> {
    engine.heap.catalogue().slowest().map(|(_, seq)| seq)
}

/// Deletes unreferenced files of this store. Files that cannot be deleted stay, and are retried next time.
pub(super) fn see_to(engine: &Engine, attempt: &Attempt<'_>, replayed: &Replayed) {
    if !engine.read_only {
        pages(engine, attempt);
    }
    records(engine, attempt, replayed);
}

fn pages(engine: &Engine, attempt: &Attempt<'_>) {
    // Including those of the opened snapshot, which may no longer be retained if it was being copied.
    let of_base = attempt.base.segments.iter().filter(|row| row.pages).map(|row| row.segment);
    let of_base: BTreeSet<SegmentSeq> = of_base.collect();
    let is_listed = |number: &SegmentSeq| {
        let is_listed = engine.manifest.with_kept(|kept| kept.is_listed(*number));
        // A file that reappears because its deletion failed may have the number of a current record segment.
        let is_shared = || attempt.files.logs.binary_search(number).is_ok();
        let is_page = || engine.manifest.with_kept(|kept| kept.listed_pages().contains(number));
        of_base.contains(number) || (is_listed && (!is_shared() || is_page()))
    };
    for number in attempt.files.pages.iter().filter(|number| !is_listed(number)) {
        if is_ours(engine, FileKind::Pages, *number) {
            drop(engine.backing.delete(&FileKind::Pages.file_name(*number)));
        }
    }
    // Files that only named snapshots list are deleted with the last of these.
    let is_waited_for = |number: &SegmentSeq| engine.manifest.with_kept(|kept| kept.fate(*number) == Fate::Stay);
    engine.pages.note_others(attempt.files.pages.iter().copied().filter(is_waited_for));
}

/// Emptied by the collector, or copied to without a move yet, or started by a recovery that never declared it.
fn records(engine: &Engine, attempt: &Attempt<'_>, replayed: &Replayed) {
    let mut left = BTreeMap::new();
    // States that a later mark leads to do not have them.
    let emptied_at = engine.log.last_seq();
    for number in attempt.files.logs.iter().filter(|number| engine.heap.segment(**number).is_none()) {
        if !replayed.undeclared.contains(number) && Keeper::of_left(engine, *number, emptied_at).is_some() {
            left.insert(*number, emptied_at);
        } else if !engine.read_only && is_ours(engine, FileKind::Records, *number) {
            drop(engine.backing.delete(&FileKind::Records.file_name(*number)));
        }
    }
    engine.left.replace(left);
}
