//! Freeing the records of dropped sets, a commit at a time.
//!
//! Owns: how that work is divided into commits, how far it has come, and which sets cannot be emptied. Never: decides that a set
//! is dropped; its records cannot be found by then.
//! Invariants: 1. Each commit has a bounded size, and the next opening finds whatever a crash left: the chunks of a large value are
//! freed from the first to the last, and after them its lists and its head in one commit.
//! 2. No state is held from one commit to the next: what others retire meanwhile can be deleted.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::engine::{Engine, Need};
use crate::error::Result;
use crate::format::entry::{ENTRIES_PER_PAGE, Location, State as EntryState};
use crate::format::frame::FrameBuilder;
use crate::format::item::{Kind, UNASKED};
use crate::heap::{Effect, State, put_frees};
use crate::id::{RecordId, SetNumber, to_u64};
use crate::planted;
use crate::txn::{InChunks, make_room, pages_of};

/// Number of IDs that one commit frees. The lists of one value come on top, a four-thousandth of its chunks.
const FREES: usize = 16_384;
/// After this time a commit frees what was found.
const TIME: Duration = Duration::from_millis(20);

/// How far the dropped sets of a store are emptied.
#[derive(Debug)]
pub(super) struct Emptying {
    frees: usize,
    now: Option<Now>,
    /// Sets with damage, which the next opening tries again. They keep no other from being emptied.
    damaged: BTreeSet<SetNumber>,
}

/// The set that is being emptied.
#[derive(Debug)]
struct Now {
    set: SetNumber,
    place: Place,
    is_damaged: bool,
}

/// What comes next.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    page: u64,
    /// The record in the page.
    index: usize,
    /// The chunk of its value.
    chunk: u64,
    /// Some chunks of the value were freed before this process began with it.
    is_begun: bool,
    /// Of a chunk it is not known whether it is there: the head stays, which leads to it.
    keeps_head: bool,
}

impl Emptying {
    /// Nothing is known of an earlier process.
    pub(super) fn new() -> Self {
        Self { frees: planted::frees(FREES), now: None, damaged: BTreeSet::new() }
    }

    /// The same, with another number of IDs that a commit frees.
    #[cfg(test)]
    pub(super) fn of(frees: usize) -> Self {
        Self { frees, ..Self::new() }
    }

    /// Frees all records of dropped sets.
    ///
    /// # Errors
    /// Those of the log. Damage is none: it keeps a set from being emptied completely, but not its other records from being freed.
    pub(super) fn empty(&mut self, engine: &Engine) -> Result<()> {
        while self.go_on(engine)? {}
        Ok(())
    }

    /// Frees a part of the records. Returns whether there may be more. The caller holds no lock that a commit acquires.
    ///
    /// # Errors
    /// As `empty`.
    pub(super) fn go_on(&mut self, engine: &Engine) -> Result<bool> {
        if engine.heap.catalogue().dropped() == self.damaged.len() {
            return Ok(false);
        }
        let state = engine.heap.pin();
        let now = match &mut self.now {
            Some(now) => now,
            None => match state.catalogue.dropped_sets().find(|set| !self.damaged.contains(set)) {
                Some(set) => self.now.insert(Now { set, place: Place::default(), is_damaged: false }),
                None => return Ok(false),
            },
        };
        let (until, frees) = (Instant::now() + TIME, self.frees);
        let mut batch = Batch {
            state: &state,
            set: now.set,
            place: now.place,
            ids: Vec::new(),
            is_damaged: false,
            until,
            steps: 0,
            frees,
        };
        let is_last = batch.fill()?;
        let Batch { place, mut ids, is_damaged, .. } = batch;
        drop(state);
        if !ids.is_empty() {
            // In the order of their pages.
            ids.sort_unstable();
            let (mut frame, mut effects) = (FrameBuilder::new(), Vec::new());
            put_frees(&mut frame, UNASKED, ids.iter().copied());
            effects.extend(ids.into_iter().map(Effect::Free));
            commit(engine, &mut frame, &mut effects)?;
        }
        now.place = place;
        now.is_damaged |= is_damaged;
        if is_last {
            let set = now.set;
            if now.is_damaged {
                self.damaged.insert(set);
            } else {
                let (mut frame, mut effects) = (FrameBuilder::new(), vec![Effect::EndSet(set)]);
                frame.control(Kind::EndSet, &set.0.to_le_bytes());
                commit(engine, &mut frame, &mut effects)?;
            }
            self.now = None;
        }
        Ok(true)
    }
}

fn commit(engine: &Engine, frame: &mut FrameBuilder, effects: &mut Vec<Effect>) -> Result<()> {
    let room = make_room(engine, Need::MakesRoom, pages_of(effects), 0)?;
    engine.commit_frame(frame, effects, Need::MakesRoom, &mut || Ok(()))?;
    drop(room);
    Ok(())
}

/// What one commit frees.
struct Batch<'s> {
    state: &'s State,
    set: SetNumber,
    /// What comes next.
    place: Place,
    ids: Vec<RecordId>,
    is_damaged: bool,
    until: Instant,
    /// Pages, records and parts of values that were passed: each commit passes one at least.
    steps: u64,
    frees: usize,
}

impl Batch<'_> {
    fn is_full(&self) -> bool {
        self.ids.len() >= self.frees || (self.steps > 0 && Instant::now() >= self.until)
    }

    /// Notes damage. Other errors end the work.
    fn pass(&mut self, passed: Result<bool>) -> Result<bool> {
        match passed {
            Err(error) if error.is_corruption() => {
                self.is_damaged = true;
                Ok(true)
            }
            passed => passed,
        }
    }

    /// Adds records up to the last one, or until it is full. Returns whether all were added.
    fn fill(&mut self) -> Result<bool> {
        while self.place.page < self.state.root.page_end() {
            if self.is_full() {
                return Ok(false);
            }
            let added = self.page();
            if !self.pass(added)? {
                return Ok(false);
            }
            self.place = Place { page: self.place.page + 1, ..Place::default() };
            self.steps += 1;
        }
        Ok(true)
    }

    /// Adds the records of a page if it belongs to the set.
    fn page(&mut self) -> Result<bool> {
        let (state, page, set) = (self.state, self.place.page, self.set.0);
        let Some(cell) = state.root.cell(page).filter(|cell| cell.descriptor.set == set) else { return Ok(true) };
        if usize::from(cell.descriptor_now().free) == ENTRIES_PER_PAGE {
            return Ok(true);
        }
        for (index, entry) in cell.entries()?.into_iter().enumerate().skip(self.place.index) {
            let EntryState::Live(location) = entry.state() else { continue };
            if index != self.place.index {
                self.place = Place { page, index, ..Place::default() };
            }
            if self.is_full() {
                return Ok(false);
            }
            let added = self.record(page * to_u64(ENTRIES_PER_PAGE) + to_u64(index), location);
            if !self.pass(added)? {
                return Ok(false);
            }
            self.steps += 1;
        }
        Ok(true)
    }

    /// Adds a record, after the chunks of its value.
    fn record(&mut self, slot: u64, location: Location) -> Result<bool> {
        let found = self.state.read(slot, location)?;
        if found.is_head {
            let value = InChunks::of(self.state, self.state.payload(&found.place))?;
            if !self.chunks(&value)? {
                return Ok(false);
            }
            if self.place.keeps_head {
                self.is_damaged = true;
                return Ok(true);
            }
            self.ids.extend_from_slice(value.lists());
        }
        self.ids.push(found.id);
        Ok(true)
    }

    /// Adds chunks of a value. If the first one is gone, so may others be, and their slots may have records of other values.
    fn chunks(&mut self, value: &InChunks) -> Result<bool> {
        if self.place.chunk == 0 {
            for first in value.chunks(self.state, 0, 1)? {
                self.place.is_begun = self.state.has(first)? != Some(true);
            }
        }
        loop {
            let room = self.frees.saturating_sub(self.ids.len());
            let part = value.chunks(self.state, self.place.chunk, room.max(1))?;
            if part.is_empty() {
                return Ok(true);
            }
            if self.is_full() {
                return Ok(false);
            }
            self.place.chunk += to_u64(part.len());
            for id in part {
                match if self.place.is_begun { self.state.has(id)? } else { Some(true) } {
                    Some(true) => self.ids.push(id),
                    Some(false) => {}
                    // It may be another record by now.
                    None => self.place.keeps_head = true,
                }
            }
            self.steps += 1;
        }
    }
}
