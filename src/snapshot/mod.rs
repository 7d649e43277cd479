//! Saved snapshots: dirty pages to page segments, then one manifest entry.
//!
//! Owns: the freeze, the order log → pages → manifest, retention, replacing saved pages with clean ones. Never: holds
//! the commit lock longer than the freeze, or changes the contents of the state.
//! Invariants: 1. Everything below the head is durable before the manifest names it.
//! 2. A page is written before its parent.
//! 3. Page segments that a retained snapshot lists are not deleted.

mod damaged;
mod ended;
mod record_index;

use std::sync::Arc;

use crate::engine::{Engine, Need};
use crate::error::{Error, Result};
use crate::format::descriptor::{Descriptor, PageRef};
use crate::format::frame::FrameBuilder;
use crate::format::manifest::{Body, SegmentRow, Snapshot, SnapshotKind};
use crate::heap::{Effect, FrozenIndex, State};
use crate::id::{IndexNumber, SegmentSeq, Seq};
use crate::key_index::{NODE_HEAP_BYTES, Saved as SavedIndex};
use crate::log::{Segment, now_micros};
use crate::pages::{Adopted, PageWriter};
use crate::record_index::{Mid, Root};
use crate::snapshot::damaged::Unread;
use crate::snapshot::ended::lock_without_ended;
use crate::snapshot::record_index::write_pages;

/// The name of a snapshot that exists while it is copied. Users can neither assign nor see it.
pub(crate) const OF_A_COPY: &str = "\u{1}copy";

/// The result of a save.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    pub(crate) snapshot: Snapshot,
    pub(crate) pages: u64,
    pub(crate) bytes: u64,
}

/// The state at one moment, and the position of the log.
#[derive(Debug)]
struct Frozen {
    state: Arc<State>,
    seq: Seq,
    head: (SegmentSeq, u64),
    replay_bytes: u64,
    reserved: Vec<u64>,
    page_end: u64,
    reserved_from: u64,
    indexes: Vec<FrozenIndex>,
    /// Pages of dropped key indexes.
    released: Vec<PageRef>,
    /// Page segments of indexes that were built since the last snapshot.
    adopted: Vec<Adopted>,
    /// Record segments with their live bytes at this moment, which later commits change.
    rows: Vec<SegmentRow>,
}

/// Saves a snapshot. Callers wait for each other; writers continue.
pub(crate) fn save(engine: &Engine, kind: SnapshotKind, name: &str) -> Result<Saved> {
    engine.check_writable()?;
    let mut writer = engine.page_writer.lock();
    // Another handle may have closed the store while this one waited.
    engine.check_writable()?;
    // Under the lock that every save takes: if two save the same name, one fails.
    if !name.is_empty() && name != OF_A_COPY && is_taken(engine, name) {
        return Err(Error::BadName { what: "snapshot", name: name.to_owned(), why: "the name is taken" });
    }
    let panic = engine.poison.ends_with_panic("while a snapshot was saved");
    let result = save_alone(engine, &mut writer, kind, name);
    if name == OF_A_COPY {
        // Page segments listed by a copy must not grow.
        writer.end_segment();
    }
    drop(panic);
    engine.heap.end_saving();
    result
}

/// Saves a snapshot if one is still due once concurrent saves have ended.
pub(crate) fn save_if(engine: &Engine, is_wanted: impl FnOnce() -> bool) -> Result<()> {
    engine.check_writable()?;
    let mut writer = engine.page_writer.lock();
    engine.check_writable()?;
    if is_wanted() {
        let _panic = engine.poison.ends_with_panic("while a snapshot was saved");
        let result = save_alone(engine, &mut writer, SnapshotKind::Automatic, "");
        engine.heap.end_saving();
        result?;
    }
    Ok(())
}

/// Whether a snapshot of this name exists.
fn is_taken(engine: &Engine, name: &str) -> bool {
    engine.manifest.with_kept(|kept| kept.named(name).is_some())
}

fn save_alone(engine: &Engine, writer: &mut PageWriter, kind: SnapshotKind, name: &str) -> Result<Saved> {
    if kind == SnapshotKind::Close {
        log_what_is_pending(engine)?;
    }
    empty_page_segments(engine, writer)?;
    let mut frozen = freeze(engine, kind, name == OF_A_COPY);
    let mut unsaved = Unsaved {
        indexes: std::mem::take(&mut frozen.indexes),
        released: std::mem::take(&mut frozen.released),
        adopted: std::mem::take(&mut frozen.adopted),
    };
    let mut unread = Unread::new();
    let written = write_all(engine, writer, &frozen, &mut unsaved, &mut unread);
    let ((saved_root, root_page), mut saved_indexes) = match written {
        Ok(written) => written,
        Err(error) => {
            give_up(engine, writer, unsaved, &error);
            return Err(error);
        }
    };
    let mut snapshot = Snapshot {
        number: 0,
        kind,
        name: name.to_owned(),
        seq: frozen.seq,
        timeline: engine.log.timeline(),
        time_micros: now_micros(),
        root: Descriptor { page: root_page, ..Descriptor::default() },
        page_end: frozen.page_end,
        head_segment: frozen.head.0,
        head_offset: frozen.head.1,
        next_segment: engine.log.next_segment(),
        next_set: 0,
        next_stream: 0,
        reserved_from: frozen.reserved_from,
        segments: frozen.rows.into_iter().chain(page_rows(engine, writer)).collect(),
        sets: Vec::new(),
        marks: Vec::new(),
        reserved: frozen.reserved,
        streams: Vec::new(),
        next_index: 0,
        indexes: Vec::new(),
        raised: Vec::new(),
        extensions: Vec::new(),
    };
    damaged::catalogue_of(engine, &frozen.state, &saved_indexes, &unread).fill(&mut snapshot);
    snapshot.note_known_entries(saved_root.known_entries());
    for row in &mut snapshot.indexes {
        if let Some((_, saved)) = saved_indexes.iter().find(|(number, _)| *number == row.definition.number) {
            (row.root, row.entries) = (saved.root, saved.entries);
        }
    }
    let appended = engine.manifest.append(|number| {
        snapshot.number = number;
        Body::Snapshot(Box::new(snapshot.clone()))
    });
    if let Err(error) = appended {
        give_up(engine, writer, unsaved, &error);
        return Err(error);
    }
    engine.pages.settle(writer.replaced());
    writer.saved(root_page);
    engine.growth.count_saved(frozen.replay_bytes);
    install(engine, &frozen.state.root, &saved_root);
    drop(unsaved);
    let segments = engine.pages.segments();
    for (number, saved) in &mut saved_indexes {
        while !engine.heap.with_indexes(|indexes| indexes.install(*number, saved, &segments))? {}
    }
    drop(saved_indexes);
    drop(frozen.state);
    engine.heap.forget_pinned();
    engine.heap.reclaim();
    drop_unneeded(engine, writer);
    let (pages, bytes) = writer.take_counts();
    engine.growth.pace(bytes);
    Ok(Saved { snapshot, pages, bytes })
}

/// The part of a snapshot that concerns key indexes.
struct Unsaved {
    indexes: Vec<FrozenIndex>,
    released: Vec<PageRef>,
    adopted: Vec<Adopted>,
}

/// A tree as it is on disk, and its root page.
type SavedRoot = (Root, PageRef);
type SavedIndexes = Vec<(IndexNumber, SavedIndex)>;

/// Writes everything that the manifest entry will refer to.
fn write_all(
    engine: &Engine,
    writer: &mut PageWriter,
    frozen: &Frozen,
    unsaved: &mut Unsaved,
    unread: &mut Unread,
) -> Result<(SavedRoot, SavedIndexes)> {
    engine.make_durable(frozen.seq)?;
    for segment in &unsaved.adopted {
        writer.adopt(segment);
    }
    for page in &unsaved.released {
        writer.release(page);
    }
    let indexes = write_indexes(engine, writer, &mut unsaved.indexes, unread)?;
    Ok((write_pages(engine, writer, &frozen.state.root)?, indexes))
}

/// Rewrites pages in segments with few live pages, or in many small ones, with this snapshot.
fn empty_page_segments(engine: &Engine, writer: &mut PageWriter) -> Result<()> {
    if engine.reserve.is_short() {
        // A snapshot on a full disk takes as little space as possible.
        return Ok(());
    }
    // What is moved takes room on the heap until it is saved: what is kept for it, and as much again if commits leave it.
    let bytes_max = engine.dirty.moves_left(engine.heap.dirty_bytes());
    if bytes_max < NODE_HEAP_BYTES {
        return Ok(());
    }
    let mut emptied = engine.pages.emptiest(writer.writing(), bytes_max);
    let stays = |number| engine.manifest.with_kept(|kept| kept.is_kept_by_name(number));
    emptied.append(&mut engine.pages.small(writer.writing(), bytes_max, stays));
    if !emptied.is_empty() {
        let room = engine.take_room(bytes_max);
        let bytes_max = if room.is_some() { 2 * bytes_max } else { bytes_max };
        engine.heap.refresh_pages(&emptied, bytes_max / NODE_HEAP_BYTES)?;
        writer.refresh_root(&emptied);
    }
    Ok(())
}

/// If a snapshot ran out of space, on disk or in the manifest, or could open no file, it is abandoned, and the previous
/// one stays. Any other failure ends the handle.
fn give_up(engine: &Engine, writer: &mut PageWriter, unsaved: Unsaved, error: &Error) {
    writer.abandon();
    engine.pages.adopt(unsaved.adopted);
    engine.heap.with_indexes(|trees| trees.abandon(unsaved.indexes, unsaved.released));
    if engine.poison.check().is_err() {
        // A sync failed: the manifest may name the snapshot, and the next opening may find it there. All of it stays.
        return;
    }
    if matches!(error, Error::NoSpace { .. } | Error::Exhausted { .. }) || error.is_out_of_files() {
        // What was written of it takes space that others need.
        drop_unneeded(engine, writer);
    } else {
        engine.poison.set(error);
    }
}

/// Whether there is anything that a snapshot at close would save from being replayed.
pub(crate) fn is_needed_at_close(engine: &Engine) -> bool {
    let closed_at = engine.manifest.with_kept(|kept| match kept.newest() {
        Some(Body::Snapshot(snapshot)) if snapshot.kind == SnapshotKind::Close => Some(snapshot.seq),
        _ => None,
    });
    closed_at != Some(engine.log.last_seq()) || engine.slots.has_outstanding()
}

/// At close, burned IDs are logged, so that nothing stays reserved.
fn log_what_is_pending(engine: &Engine) -> Result<()> {
    if engine.slots.has_outstanding() {
        let (mut frame, mut effects) = (FrameBuilder::new(), Vec::<Effect>::new());
        // Not refused for an incomplete reserve: the caller may be the collector, or this may be the last operation of
        // the store.
        let guard = engine.lock_commit();
        engine.append_and_apply(&guard, &mut frame, &mut effects, Need::MakesRoom)?;
    }
    Ok(())
}

fn freeze(engine: &Engine, kind: SnapshotKind, is_copied: bool) -> Frozen {
    let guard = lock_without_ended(engine);
    if is_copied {
        // Log segments listed by a copy must not grow.
        engine.log.end_segment();
    }
    // Before the reservations are settled: a reservation made in between is counted twice, not missed.
    let reserved_from = engine.manifest.next_number();
    let closing = kind == SnapshotKind::Close;
    // A transaction that outlives its store holds IDs that nothing else records.
    let (reserved, page_end) = if closing { engine.slots.settle_for_close() } else { engine.slots.settle_reserved() };
    let (indexes, released, state) = engine.heap.freeze();
    let frozen = Frozen {
        indexes,
        released,
        adopted: engine.pages.take_adopted(),
        rows: record_rows(&state),
        state,
        seq: engine.log.last_seq(),
        head: engine.log.head(),
        replay_bytes: engine.growth.replay_bytes(),
        reserved,
        page_end,
        reserved_from,
    };
    drop(guard);
    frozen
}

/// Writes the nodes of key indexes that have no image yet.
fn write_indexes(
    engine: &Engine,
    writer: &mut PageWriter,
    indexes: &mut [FrozenIndex],
    unread: &mut Unread,
) -> Result<SavedIndexes> {
    let timeline = engine.log.timeline();
    let number = || engine.log.take_segment_number();
    let mut all = Vec::new();
    for index in indexes {
        let begin = writer.replaced().len();
        let mut write = |image: &[u8]| {
            let page = writer.write(&engine.pages, timeline, &number, image, &PageRef::default())?;
            Ok((page, engine.pages.segment(&page)?))
        };
        let saved = index.tree.save(&mut write);
        if saved.is_err() {
            writer.forget_since(begin);
        }
        index.tree.released().iter().for_each(|page| writer.release(page));
        match saved {
            Err(Error::Corrupt(damage)) => damaged::mark_index(engine, index.number, *damage, unread),
            saved => all.push((index.number, saved?)),
        }
    }
    if !all.is_empty() {
        writer.sync()?;
    }
    Ok(all)
}

fn record_rows(state: &State) -> Vec<SegmentRow> {
    let row = |(place, segment): (u32, &Arc<Segment>)| SegmentRow {
        place,
        segment: segment.number(),
        generation: segment.header().generation,
        pages: false,
        bytes: segment.len().unwrap_or_default(),
        live_bytes: segment.live_bytes(),
    };
    // A segment without live bytes is not needed, and may never have been synced if a recovery has copied all of it.
    state.table.iter().filter(|(_, segment)| segment.live_bytes() > 0).map(row).collect()
}

fn page_rows(engine: &Engine, writer: &PageWriter) -> impl Iterator<Item = SegmentRow> {
    engine.pages.live_rows_after(writer.replaced()).into_iter().map(|row| SegmentRow {
        place: 0,
        segment: row.segment,
        generation: 0,
        pages: true,
        bytes: row.bytes,
        live_bytes: row.live_bytes,
    })
}

/// Replaces dirty pages with the saved ones, directory page by directory page.
fn install(engine: &Engine, frozen: &Root, saved: &Root) {
    for (index, (before, after)) in frozen.mids.iter().zip(saved.mids.iter()).enumerate() {
        if before.is_dirty() {
            engine.heap.with_tree(|tree| tree.install(index, |now| merge(now, before, after)));
        }
    }
}

/// A directory page in which everything that was saved and has not changed since is clean.
fn merge(now: &Arc<Mid>, before: &Arc<Mid>, after: &Arc<Mid>) -> Arc<Mid> {
    if Arc::ptr_eq(now, before) {
        return Arc::clone(after);
    }
    let mut merged = Mid::clone(now);
    (merged.page, merged.saved, merged.is_whole) = (after.page, after.saved, false);
    merged.cells.install(&before.cells, &after.cells);
    Arc::new(merged)
}

/// After dropping a named snapshot that listed these page segments: deletes those that only it needed.
pub(crate) fn drop_unneeded_pages(engine: &Engine, listed: &[SegmentRow]) {
    let writer = engine.page_writer.lock();
    let pages = listed.iter().filter(|row| row.pages).map(|row| row.segment);
    let unlisted = pages.filter(|number| engine.manifest.with_kept(|kept| !kept.is_listed(*number)));
    engine.pages.delete_unlisted(unlisted);
    drop_unneeded(engine, &writer);
}

/// Deletes page segments that no retained snapshot needs. The snapshot is valid whether or not this succeeds, and the
/// next one retries.
fn drop_unneeded(engine: &Engine, writer: &PageWriter) {
    drop(engine.pages.delete_dead(|number| engine.manifest.with_kept(|kept| kept.fate(number)), writer.writing()));
}
