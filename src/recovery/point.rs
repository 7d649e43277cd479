//! Rolling back: to a saved snapshot, a mark, or a commit.
//!
//! Owns: which snapshot leads to a state, and what must never be reused after a rollback. Never: cuts the log: the
//! store gets a new snapshot, and the log after the old ones is not read again.
//! Invariants: 1. No commit number is assigned twice: the new state's number is after all earlier ones.
//! 2. No ID is assigned twice: the next count of each slot is at least what it was before.
//! 3. A rollback is one manifest entry, and so atomic.

use std::fmt;
use std::sync::Arc;

use crate::backing::Backing;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::entry::{ENTRIES_PER_PAGE, Entry, State as EntryState};
use crate::format::manifest::{Body, NUMBER_END, Snapshot, SnapshotKind};
use crate::heap::{Heap, State};
use crate::id::{SegmentSeq, Seq, reuse_max, to_u64};
use crate::log::{LAST_SEQ, LogStart, no_commit_left};
use crate::manifest::{Kept, Loaded};
use crate::recovery::attempt::{Attempt, Based};
use crate::recovery::files::{Files, list};
use crate::recovery::opening::beside_a_writer;
use crate::recovery::report::RecoveryReport;
use crate::recovery::settings::Settings;
use crate::reserve::Release;
use crate::{manifest, snapshot};

/// A past state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Point {
    /// A saved snapshot by its number.
    Snapshot(u64),
    /// A saved snapshot by its name.
    Name(String),
    /// A light snapshot by its name.
    Mark(String),
    /// The state after a commit.
    Seq(Seq),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot(number) => write!(f, "snapshot {number}"),
            Self::Name(name) => write!(f, "snapshot {name:?}"),
            Self::Mark(name) => write!(f, "mark {name:?}"),
            Self::Seq(seq) => write!(f, "commit {seq}"),
        }
    }
}

impl Point {
    fn gone(&self, why: impl Into<String>) -> Error {
        Error::PointGone { point: self.to_string(), why: why.into() }
    }
}

/// What is needed to look for a point.
struct Past<'a> {
    backing: &'a Arc<dyn Backing>,
    settings: &'a Settings,
    loaded: Loaded,
    kept: Kept,
    files: Files,
}

impl<'a> Past<'a> {
    fn load(backing: &'a Arc<dyn Backing>, settings: &'a Settings) -> Result<Self> {
        let files = list(&**backing)?;
        if files.manifests.is_empty() {
            return Err(Error::NotAStore { path: backing.location(), why: "it contains no manifest".to_owned() });
        }
        let loaded = manifest::load(&**backing, &files.manifests)?;
        let (files, kept) = (files.without_foreign(&loaded), loaded.kept());
        Ok(Self { backing, settings, loaded, kept, files })
    }

    /// The saved snapshots, oldest first.
    fn snapshots(&self) -> Vec<&Snapshot> {
        self.kept.snapshots().collect()
    }

    fn attempt<'s>(&'s self, base: &'s Snapshot, until: Option<Seq>) -> Attempt<'s> {
        Attempt {
            backing: self.backing,
            settings: self.settings,
            loaded: &self.loaded,
            files: &self.files,
            base,
            until,
        }
    }

    /// The newest state.
    fn newest(&self) -> Result<Based> {
        let snapshots = self.snapshots();
        let Some(base) = snapshots.last() else {
            let why = "its manifest contains no snapshot".to_owned();
            return Err(Error::NotAStore { path: self.backing.location(), why });
        };
        self.attempt(base, None).run(&mut RecoveryReport::default())
    }

    /// The snapshot from which a point can be reached, and the last commit to apply.
    fn find(&self, point: &Point) -> Result<(&Snapshot, Seq)> {
        let snapshots = self.snapshots();
        let by = |is: &dyn Fn(&Snapshot) -> bool| {
            let found = snapshots.iter().rev().find(|snapshot| is(snapshot)).copied();
            found.map(|snapshot| (snapshot, snapshot.seq)).ok_or_else(|| point.gone("there is no such snapshot"))
        };
        let seq = match point {
            Point::Snapshot(number) => return by(&|snapshot| snapshot.number == *number),
            Point::Name(name) => return by(&|snapshot| !name.is_empty() && snapshot.name == *name),
            Point::Mark(name) => {
                let newest = self.newest()?;
                let catalogue = newest.heap.catalogue();
                let found = catalogue.marks().find(|(mark, _)| mark == name);
                found.map(|(_, seq)| seq).ok_or_else(|| point.gone("there is no such mark"))?
            }
            Point::Seq(seq) => *seq,
        };
        let before = snapshots.iter().filter(|snapshot| snapshot.seq <= seq).max_by_key(|snapshot| snapshot.seq);
        before.map(|snapshot| (*snapshot, seq)).ok_or_else(|| point.gone("every snapshot that is kept is younger"))
    }

    /// Whether commits up to `seq` are unreachable because the collector has deleted what they need. It deletes neither
    /// what a named snapshot lists nor the log after an automatic one: if these are missing, that is damage. Segments
    /// that an automatic snapshot lists may have been emptied; the log after it then tells where the records went.
    fn is_log_gone(&self, base: &Snapshot, seq: Seq) -> Result<bool> {
        if base.name.is_empty() {
            return Ok(self.attempt(base, None).run(&mut RecoveryReport::default()).is_ok());
        }
        if seq == base.seq || base.head_segment >= self.kept.replay_from() {
            return Ok(false);
        }
        self.attempt(base, Some(base.seq)).run(&mut RecoveryReport::default()).map(|_| true)
    }

    fn go_to(&self, point: &Point) -> Result<(Based, &Snapshot, RecoveryReport)> {
        let (base, seq) = self.find(point)?;
        let mut report = RecoveryReport::default();
        let based = match self.attempt(base, Some(seq)).run(&mut report) {
            Ok(based) => based,
            Err(error) if error.is_corruption() && self.is_log_gone(base, seq)? => {
                return Err(point.gone(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        if based.replayed.last != seq {
            let last = based.replayed.last;
            return Err(point.gone(format!("the log that is kept leads from commit {} to {last}", base.seq)));
        }
        report.clean = true;
        Ok((based, base, report))
    }
}

/// Opens a store read-only, as of a point.
pub(crate) fn open_at(
    backing: &Arc<dyn Backing>,
    settings: &Settings,
    point: &Point,
) -> Result<(Engine, RecoveryReport)> {
    open_past(backing, settings, point, |_, _| Ok(()))
}

/// Opens a store read-only at a point, with all IDs and numbers that were assigned since marked as used, so that a store
/// created from this state does not assign them again.
pub(crate) fn open_to_copy(backing: &Arc<dyn Backing>, settings: &Settings, point: &Point) -> Result<Engine> {
    let burn_later = |past: &Past<'_>, based: &mut Based| {
        let newest = past.newest()?;
        based.replayed.page_end = page_end(based, &newest);
        burn(&based.heap, &newest.heap)
    };
    open_past(backing, settings, point, burn_later).map(|(engine, _)| engine)
}

/// Opens a store read-only at a point, after changing the state in memory.
fn open_past(
    backing: &Arc<dyn Backing>,
    settings: &Settings,
    point: &Point,
    change: impl Fn(&Past<'_>, &mut Based) -> Result<()>,
) -> Result<(Engine, RecoveryReport)> {
    let settings = Settings { read_only: true, ..*settings };
    beside_a_writer(
        backing,
        true,
        |_| Vec::new(),
        || {
            let past = Past::load(backing, &settings)?;
            let (mut based, base, mut report) = past.go_to(point)?;
            change(&past, &mut based)?;
            let engine = based.finish(&past.attempt(base, None), &[], &mut report)?;
            Ok((engine, report))
        },
    )
}

/// One past the last page with an assigned ID in either state.
fn page_end(past: &Based, newest: &Based) -> u64 {
    past.replayed.page_end.max(newest.replayed.page_end).max(newest.heap.pin().root.page_end())
}

/// Rolls a closed store back to a point.
pub(crate) fn roll_back(backing: &Arc<dyn Backing>, settings: &Settings, point: &Point) -> Result<()> {
    let past = Past::load(backing, settings)?;
    let (based, base, _) = past.go_to(point)?;
    let newest = past.newest()?;
    let highest = past.files.logs.iter().chain(&past.files.pages).max().copied().unwrap_or_default();
    let snapshots = past.snapshots();
    let timelines = snapshots.iter().map(|snapshot| snapshot.timeline).chain([newest.replayed.timeline]);
    let page_end = page_end(&based, &newest);
    let next_segment = past.loaded.next_segment();
    let timeline = timelines.max().unwrap_or_default() + 1;
    if timeline >= NUMBER_END {
        return Err(Error::Exhausted { what: "timeline", limit: NUMBER_END });
    }
    // The past state gets a new commit number.
    if newest.replayed.last >= LAST_SEQ {
        return Err(no_commit_left());
    }
    let seq = newest.replayed.last.next();
    let start = LogStart {
        timeline,
        last_seq: seq,
        durable: seq,
        previous: newest.replayed.last_segment,
        next_segment: next_segment.max(SegmentSeq(highest.0 + 1)),
    };
    let mut based = based;
    based.replayed.page_end = page_end;
    burn(&based.heap, &newest.heap)?;
    let engine = based.engine(&past.attempt(base, None), start, 0);
    engine.with_reserve(Release::Most, || snapshot::save(&engine, SnapshotKind::Close, ""))?;
    // So that nothing is replayed from them into the abandoned state.
    for snapshot in past.snapshots().iter().filter(|snapshot| snapshot.name.is_empty()) {
        engine.with_reserve(Release::Least, || engine.manifest.append(|_| Body::Drop(snapshot.number)))?;
    }
    engine.manifest.prove();
    Ok(())
}

/// Raises next counts in the past state to those of the newest: in the entries of free slots, and in the floors of
/// pages for slots with live records.
fn burn(past: &Heap, newest: &Heap) -> Result<()> {
    let (before, now) = (past.pin(), newest.pin());
    past.with_catalogue(|catalogue| catalogue.begin_behind(&now.catalogue));
    let mut floors = Vec::new();
    for page in 0..now.root.page_end().max(before.root.page_end()) {
        let first = page * to_u64(ENTRIES_PER_PAGE);
        let of_a_set = |state: &State| {
            let cell = state.root.cell(page).filter(|cell| cell.descriptor.set != 0);
            cell.map(|cell| cell.entries().map(|entries| (first..).zip(entries))).transpose()
        };
        let mut floor = now.root.floor(page);
        match (of_a_set(&before)?, of_a_set(&now)?) {
            (Some(old), Some(new)) => {
                for ((slot, old), (_, new)) in old.zip(new) {
                    if !is_same(&before, old, &now, new) {
                        let next = next_count(&now, slot, new)?;
                        floor = floor.max(raise(past, &before, slot, old, next)?);
                    }
                }
            }
            // An earlier rollback went to a state without this page and kept one count for all its slots.
            (Some(old), None) => {
                for (slot, old) in old.filter(|_| floor > 0) {
                    raise(past, &before, slot, old, Some(floor))?;
                }
            }
            // A page that had no set then is not assigned to one again, but a rollback to a later state may restore its
            // set.
            (None, Some(new)) => {
                for (slot, new) in new {
                    floor = floor.max(next_count(&now, slot, new)?.unwrap_or(reuse_max() + 1));
                }
            }
            (None, None) => {}
        }
        if floor > before.root.floor(page) {
            floors.push((page, floor));
        }
    }
    past.with_tree(|tree| floors.into_iter().try_for_each(|(page, floor)| tree.raise_floor(page, floor)))
}

/// Whether two states have the same record in a slot, or the same count. Places mean other segments in other states.
fn is_same(before: &State, old: Entry, now: &State, new: Entry) -> bool {
    let number = |state: &State, place| state.table.get(place).map(|segment| segment.number());
    old == new
        && match old.state() {
            EntryState::Live(location) => number(before, location.place) == number(now, location.place),
            EntryState::Free { .. } | EntryState::Retired => true,
        }
}

/// Raises the next count of a free slot; `None` if there is none left. Returns the floor that the page needs for a slot
/// with a record.
fn raise(past: &Heap, before: &State, slot: u64, old: Entry, next: Option<u32>) -> Result<u32> {
    let next = next.unwrap_or(reuse_max() + 1);
    if next_count(before, slot, old)?.is_none_or(|before| before >= next) {
        return Ok(0);
    }
    if matches!(old.state(), EntryState::Live(_)) {
        return Ok(next);
    }
    past.with_tree(|tree| tree.set(slot, Entry::freed_after(next.saturating_sub(1))))?;
    Ok(0)
}

/// The reuse count that the next record in a slot gets; `None` if there will be none.
fn next_count(state: &State, slot: u64, entry: Entry) -> Result<Option<u32>> {
    Ok(match entry.state() {
        EntryState::Free { next_count } => Some(next_count),
        EntryState::Live(location) => {
            let count = state.read(slot, location)?.id.reuse_count().saturating_add(1);
            Some(count.max(state.root.floor(slot / to_u64(ENTRIES_PER_PAGE))))
        }
        EntryState::Retired => None,
    })
}
