//! From a state that was loaded to an engine: a new timeline if one is needed, and cleaning up after a crash.
//!
//! Owns: the order of the first writes of an opening. Never: cuts anything proven durable, or writes when the store is opened read-only.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::commit_lock::CommitLock;
use crate::engine::{Announced, DirtyBudget, Engine, Following, Growth, Left, Registry, ReserveUse, Shipped, Streams};
use crate::error::{Error, Result};
use crate::format::entry::ENTRIES_PER_PAGE;
use crate::format::manifest::{Body, Cut, NUMBER_END};
use crate::format::segment::FileKind;
use crate::history::History;
use crate::id::{SegmentSeq, SetNumber, to_u64};
use crate::log::{Log, LogStart, Poison};
use crate::manifest::Manifest;
use crate::pages::PageWriter;
use crate::record_index::Slots;
use crate::recovery::attempt::{Attempt, Based};
use crate::recovery::replayed::Replayed;
use crate::recovery::report::RecoveryReport;
use crate::recovery::{copying, followed, leftovers, settle};

impl Based {
    pub(super) fn finish(self, attempt: &Attempt<'_>, unusable: &[u64], report: &mut RecoveryReport) -> Result<Engine> {
        let Self { source, pages, heap, replayed, damage } = self;
        report.damaged.extend(damage.iter().map(ToString::to_string));
        for line in heap
            .catalogue()
            .damaged_indexes()
            .map(|(index, damage)| format!("index {:?}: {damage}", index.definition.name))
        {
            report.damaged.push(line);
        }
        let read_only = attempt.settings.read_only;
        let is_whole = damage.is_empty() && !attempt.settings.repairs;
        let new_timeline = !report.clean && !read_only;
        let files = attempt.files;
        let highest = files.logs.iter().chain(&files.pages).max().copied().unwrap_or_default();
        // Above every cut as well: the segment that was to start with the cut may be gone.
        let cuts = attempt.loaded.entries.values();
        let begun = cuts.filter_map(|body| if let Body::Cut(cut) = body { Some(cut.first_segment) } else { None });
        let begun = begun.max().unwrap_or_default();
        let moved_to = SegmentSeq(replayed.moved_to.0.saturating_add(1));
        let next_segment = attempt.base.next_segment.max(SegmentSeq(highest.0 + 1)).max(begun).max(moved_to);
        if new_timeline && replayed.timeline + 1 >= NUMBER_END {
            return Err(Error::Exhausted { what: "timeline", limit: NUMBER_END });
        }
        let start = LogStart {
            timeline: replayed.timeline.saturating_add(u64::from(new_timeline)),
            last_seq: if read_only { replayed.last } else { replayed.durable.min(replayed.last) },
            durable: replayed.durable.min(replayed.last),
            previous: replayed.last_segment,
            next_segment,
        };
        let engine = Self { source, pages, heap, replayed: replayed.clone(), damage }.engine(
            attempt,
            start,
            report.bytes_replayed,
        );
        if new_timeline {
            begin_timeline(&engine, &replayed, start, report)
                .inspect_err(|error| forget_timeline(&engine, start, error))?;
        } else if !read_only && !attempt.loaded.proven {
            engine.manifest.renew()?;
        }
        if !read_only {
            for number in unusable {
                engine.manifest.append(|_| Body::Drop(*number))?;
            }
            settle::drop_what_was_left_behind(&engine, attempt)?;
            settle::drop_interrupted_copies(&engine)?;
        }
        leftovers::see_to(&engine, attempt, &replayed);
        if !read_only {
            settle::free_orphaned_chunks(&engine)?;
            if is_whole {
                settle::save_if_long(&engine, attempt, &replayed, report)?;
            }
        }
        Ok(engine)
    }

    /// Assembles the engine in this state.
    pub(super) fn engine(self, attempt: &Attempt<'_>, start: LogStart, replay_bytes: u64) -> Engine {
        let Self { source, pages, heap, replayed, .. } = self;
        let poison = Arc::new(Poison::default());
        let next_stream = heap.pin().catalogue.next_stream();
        let followed =
            followed::begin(&**attempt.backing, attempt.files, attempt.loaded, attempt.base.number, &replayed);
        let raised_end = attempt.base.raised.iter().map(|row| row.slot / to_u64(ENTRIES_PER_PAGE) + 1).max();
        let state = heap.pin();
        let is_there = |set| set == SetNumber::CHUNKS || state.catalogue.set(set).is_some();
        let slots = Slots::load(&state.root, replayed.page_end, raised_end.unwrap_or_default(), is_there);
        drop(state);
        let settings = attempt.settings;
        Engine {
            read_only: settings.read_only,
            lineage: settings.lineage,
            transaction_bytes_max: settings.transaction_bytes_max,
            old_values: settings.old_values,
            backing: Arc::clone(attempt.backing),
            log: Log::new(source, start, Arc::clone(&poison)),
            heap,
            slots,
            manifest: Manifest::new(Arc::clone(attempt.backing), attempt.loaded, Arc::clone(&poison)),
            pages,
            page_writer: Mutex::new(PageWriter::new(attempt.base.root.page)),
            poison,
            commit: CommitLock::new(),
            history: History::default(),
            registry: Registry::default(),
            growth: Growth::new(replay_bytes, settings.snapshot_log_bytes),
            dirty: DirtyBudget::new(settings.dirty_bytes_max),
            reserve: ReserveUse::new(Arc::clone(attempt.backing)),
            announced: Announced::default(),
            streams: Streams::starting_with(next_stream),
            shipped: Shipped::default(),
            following: Following::from(followed),
            left: Left::default(),
        }
    }
}

/// Copies commits not proven durable to a new segment, syncs it, and declares the cut.
fn begin_timeline(engine: &Engine, replayed: &Replayed, start: LogStart, report: &mut RecoveryReport) -> Result<()> {
    copying::copy(engine, &replayed.unproven, report)?;
    engine.log.sync_to(replayed.last)?;
    let cut = Cut {
        timeline: start.timeline,
        seq: start.last_seq,
        first_segment: start.next_segment,
        resumed: replayed.last,
    };
    engine.manifest.append(|_| Body::Cut(cut)).map(drop)
}

/// A timeline for which there was no space is not in the manifest and leaves nothing behind: the next opening starts it
/// again.
fn forget_timeline(engine: &Engine, start: LogStart, error: &Error) {
    if matches!(error, Error::NoSpace { .. }) && engine.poison.check().is_ok() {
        for number in start.next_segment.0..engine.log.next_segment().0 {
            drop(engine.backing.delete(&FileKind::Records.file_name(SegmentSeq(number))));
        }
    }
}
