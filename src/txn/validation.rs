//! Whether what a transaction has seen still holds when it commits.
//!
//! Owns: the comparison with the newest state, and with what commits since have changed. Never: decides what has to hold;
//! the transaction does by its isolation. The caller excludes commits.

use std::collections::HashMap;

use crate::engine::Engine;
use crate::error::Error;
use crate::error::Result;
use crate::heap::Answer;
use crate::history::Found;
use crate::id::NumberHash;
use crate::id::RecordId;
use crate::id::Seq;
use crate::txn::ranges::Ranges;

/// A part of the validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Versions of records that were read or replaced.
    Versions,
    /// Ranges of indexes that were read.
    Ranges,
}

/// Whether every version that was seen is still the newest.
pub(crate) fn check_versions(
    engine: &Engine,
    first_seq: Option<Seq>,
    seen: &HashMap<RecordId, Option<Seq>, NumberHash>,
    counts: impl Fn(&RecordId) -> bool,
) -> Result<()> {
    if seen.is_empty() || first_seq == Some(engine.heap.seq()) {
        return Ok(());
    }
    let state = engine.heap.pin();
    for (id, seq) in seen.iter().filter(|(id, _)| counts(id)) {
        let now = match state.lookup(*id)? {
            Answer::Live(found) => Some(found.seq),
            Answer::Deleted | Answer::NeverAllocated => None,
        };
        if now != *seq {
            return Err(Error::Conflict { what: format!("record {id}"), with: now.unwrap_or(state.seq) });
        }
    }
    Ok(())
}

/// Whether nothing has changed in the ranges since the state that they were read from.
pub(crate) fn check_ranges(engine: &Engine, read_at: Seq, ranges: &Ranges) -> Result<()> {
    let catalogue = engine.heap.catalogue();
    for read in ranges.by_index() {
        if catalogue.index(read.number()).is_none() {
            // From then on no commit has told which of its keys change.
            let what = format!("index {}, which has been dropped or made anew", read.name());
            return Err(Error::Conflict { what, with: engine.heap.seq() });
        }
        let with = match engine.history.find(read_at, read.number(), &|key| read.contain(key)) {
            Found::Nothing => continue,
            Found::Change(seq) => seq,
            Found::TooOld => engine.heap.seq(),
        };
        return Err(Error::Conflict { what: format!("a range of index {}", read.name()), with });
    }
    Ok(())
}
