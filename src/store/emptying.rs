//! Freeing the records of dropped sets, a commit at a time.
//!
//! Owns: how that work is divided into commits, and how far it has come. Never: decides that a set is dropped; its
//! records cannot be found by then.
//! Invariants: 1. Each commit has a bounded size, and the next opening finds whatever a crash left.
//! 2. No state is held from one commit to the next: what others retire meanwhile can be deleted.

use std::time::{Duration, Instant};

use crate::engine::{Engine, Need};
use crate::error::{Error, Result};
use crate::format::entry::{ENTRIES_PER_PAGE, State as EntryState};
use crate::format::frame::FrameBuilder;
use crate::format::item::{Kind, UNASKED};
use crate::heap::{Effect, State, put_frees};
use crate::id::{RecordId, SetNumber, to_u64};
use crate::planted;
use crate::txn::{chunks_of, make_room, pages_of};

/// Approximate number of IDs that one commit frees; the chunks of large values come on top.
const FREES: usize = 16_384;
/// After this time a commit frees what was found.
const TIME: Duration = Duration::from_millis(20);

/// How far the dropped sets of a store are emptied.
#[derive(Debug)]
pub(super) struct Emptying {
    frees: usize,
    now: Option<Now>,
}

/// The set that is being emptied.
#[derive(Debug)]
struct Now {
    set: SetNumber,
    /// The first page that was not looked at.
    page: u64,
    damage: Option<Error>,
}

impl Emptying {
    /// Nothing is known of an earlier process.
    pub(super) fn new() -> Self {
        Self { frees: planted::frees(FREES), now: None }
    }

    /// Frees all records of dropped sets.
    ///
    /// # Errors
    /// Those of the log. Damage keeps a set from being emptied completely; its other records are freed.
    pub(super) fn empty(&mut self, engine: &Engine) -> Result<()> {
        while self.go_on(engine)? {}
        Ok(())
    }

    /// Frees a part of the records. Returns whether there may be more. The caller holds no lock that a commit acquires.
    ///
    /// # Errors
    /// As `empty`.
    pub(super) fn go_on(&mut self, engine: &Engine) -> Result<bool> {
        let state = engine.heap.pin();
        let now = match &mut self.now {
            Some(now) => now,
            None => match state.catalogue.dropped_sets().next() {
                Some(set) => self.now.insert(Now { set, page: 0, damage: None }),
                None => return Ok(false),
            },
        };
        let (until, mut page, mut ids) = (Instant::now() + TIME, now.page, Vec::new());
        while page < state.root.page_end() && ids.len() < self.frees && (page == now.page || Instant::now() < until) {
            match records_of_page(&state, now.set, page, &mut ids) {
                Err(error) if error.is_corruption() => now.damage = now.damage.take().or(Some(error)),
                result => result?,
            }
            page += 1;
        }
        let is_last = page >= state.root.page_end();
        drop(state);
        if !ids.is_empty() {
            // In the order of their pages.
            ids.sort_unstable();
            let (mut frame, mut effects) = (FrameBuilder::new(), Vec::new());
            put_frees(&mut frame, UNASKED, ids.iter().copied());
            effects.extend(ids.into_iter().map(Effect::Free));
            commit(engine, &mut frame, &mut effects)?;
        }
        now.page = page;
        if is_last {
            let (set, damage) = (now.set, now.damage.take());
            if let Some(damage) = damage {
                self.now = None;
                return Err(damage);
            }
            let (mut frame, mut effects) = (FrameBuilder::new(), vec![Effect::EndSet(set)]);
            frame.control(Kind::EndSet, &set.0.to_le_bytes());
            commit(engine, &mut frame, &mut effects)?;
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

/// Adds the records of a page if it belongs to the set, and the chunks of its large values.
fn records_of_page(state: &State, set: SetNumber, page: u64, ids: &mut Vec<RecordId>) -> Result<()> {
    let Some(cell) = state.root.cell(page).filter(|cell| cell.descriptor.set == set.0) else { return Ok(()) };
    if usize::from(cell.descriptor_now().free) == ENTRIES_PER_PAGE {
        return Ok(());
    }
    let mut damage: Option<Error> = None;
    for (index, entry) in (0..).zip(cell.entries()?) {
        let EntryState::Live(location) = entry.state() else { continue };
        let slot = page * to_u64(ENTRIES_PER_PAGE) + index;
        let freed = state.read(slot, location).and_then(|found| {
            if found.is_head {
                ids.extend(chunks_of(state, state.payload(&found.place))?);
            }
            ids.push(found.id);
            Ok(())
        });
        match freed {
            Err(error) if error.is_corruption() => damage = damage.or(Some(error)),
            result => result?,
        }
    }
    damage.map_or(Ok(()), Err)
}
