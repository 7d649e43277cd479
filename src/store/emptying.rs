//! Freeing the records of dropped sets.
//!
//! Owns: how that work is divided into commits. Never: decides that a set is dropped; its records cannot be found by
//! then.
//! Invariant: each commit has a bounded size, and the next call finds whatever a crash left.

use crate::engine::{Engine, Need};
use crate::error::{Error, Result};
use crate::format::entry::{ENTRIES_PER_PAGE, State as EntryState};
use crate::format::frame::FrameBuilder;
use crate::format::item::{Kind, UNASKED};
use crate::heap::{Effect, State, put_frees};
use crate::id::{RecordId, SetNumber, to_u64};
use crate::txn::chunks_of;

/// Approximate number of IDs that one commit frees; the chunks of large values come on top.
const FREES: usize = 16_384;

/// Frees all records of dropped sets, until told to stop.
///
/// # Errors
/// Those of the log. Damage keeps a set from being emptied completely; its other records are freed.
pub(super) fn empty(engine: &Engine, stop: &dyn Fn() -> bool) -> Result<()> {
    let state = engine.heap.pin();
    let dropped: Vec<SetNumber> = state.catalogue.dropped_sets().collect();
    for set in dropped {
        let (mut page, mut damage) = (0, None);
        while page < state.root.page_end() {
            if stop() {
                return Ok(());
            }
            let mut ids = Vec::new();
            while page < state.root.page_end() && ids.len() < FREES {
                match records_of_page(&state, set, page, &mut ids) {
                    Err(error) if error.is_corruption() => damage = damage.or(Some(error)),
                    result => result?,
                }
                page += 1;
            }
            if !ids.is_empty() {
                let (mut frame, mut effects) = (FrameBuilder::new(), Vec::new());
                put_frees(&mut frame, UNASKED, ids.iter().copied());
                effects.extend(ids.into_iter().map(Effect::Free));
                commit(engine, &mut frame, &mut effects)?;
            }
        }
        damage.map_or(Ok(()), Err)?;
        let (mut frame, mut effects) = (FrameBuilder::new(), vec![Effect::EndSet(set)]);
        frame.control(Kind::EndSet, &set.0.to_le_bytes());
        commit(engine, &mut frame, &mut effects)?;
    }
    Ok(())
}

fn commit(engine: &Engine, frame: &mut FrameBuilder, effects: &mut Vec<Effect>) -> Result<()> {
    engine.commit_frame(frame, effects, Need::MakesRoom, &mut || Ok(())).map(drop)
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
