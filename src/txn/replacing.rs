//! What a write to a record replaces: its version, its keys, its chunks.
//!
//! Owns: which state that is read from. Never: records anything of the write itself.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::item::{AGAIN, Kind, REPLACES};
use crate::heap::{Answer, Place};
use crate::id::{RecordId, Seq, SetNumber};
use crate::txn::Transaction;
use crate::txn::large::chunks_of;
use crate::txn::own_keys::{NewValue, fill_keys};
use crate::txn::own_writes::Own;
use crate::txn::set_indexes::find_indexes;
use crate::txn::view::is_hidden;

/// What a write to a record replaces. Its keys are in the transaction's buffers for old keys. Recorded only after the
/// write succeeds.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) set: SetNumber,
    /// The chunks of a large value.
    pub(super) chunks: Vec<RecordId>,
    /// The transaction has written the record before.
    is_own: bool,
}

impl Replaced {
    /// Flags of the item that replaces it.
    #[inline]
    pub(super) fn flags(&self) -> u8 {
        if self.is_own { REPLACES | AGAIN } else { REPLACES }
    }
}

impl Transaction {
    /// Reads the current record before it is replaced: its version is validated at commit.
    pub(super) fn replaced(&mut self, id: RecordId, expected: Option<Seq>) -> Result<Replaced> {
        self.first_read.check(self.first_seq, self.engine.heap.seq())?;
        match self.own(id) {
            Some(Own::Deleted) => return Err(Error::Deleted { id }),
            Some(Own::Put { offset, set }) => {
                let found = self.own_record(id, offset)?;
                if let Some(expected) = expected {
                    self.check_own_version(id, expected, found.seq)?;
                }
                let indexes = find_indexes(&self.engine, &mut self.indexes, &mut self.epochs, set)?;
                let kind = if found.is_head { Kind::Head } else { Kind::Record };
                let payload = if let Place::Copied(bytes) = &found.place { Arc::clone(bytes) } else { Arc::from([]) };
                fill_keys(indexes, NewValue::of(kind, &payload), &mut self.parts.get().old_keys, || {
                    self.engine.heap.pin()
                })?;
                let head = found.is_head.then(|| chunks_of(&self.engine.heap.pin(), &payload));
                return Ok(Replaced { set, chunks: head.transpose()?.unwrap_or_default(), is_own: true });
            }
            None => {}
        }
        // What the caller learns, and the commit may not validate, must come from the same state as all other reads.
        if expected.is_some() || !self.savepoints.is_empty() || self.first_read.is_of_another(id) {
            self.view()?;
        }
        if self.view.is_none() {
            if let Some(replaced) = self.replaced_now(id)? {
                return Ok(replaced);
            }
            self.view()?;
        }
        self.replaced_in_view(id, expected)
    }

    /// A small record of the newest state. Anything else needs a view.
    fn replaced_now(&mut self, id: RecordId) -> Result<Option<Replaced>> {
        self.first_seq.get_or_insert_with(|| self.engine.heap.seq());
        // One lookup, not two: beside other commits a second one may find an entry newer than the state.
        let (state, answer) = self.engine.heap.lookup_now(id)?;
        let Answer::Live(found) = answer else { return Ok(None) };
        if found.is_head || is_hidden(&state, id) {
            return Ok(None);
        }
        self.parts.get().seen.entry(id).or_insert(Some(found.seq));
        let set = state.root.set_of_slot(id.slot());
        let indexes = find_indexes(&self.engine, &mut self.indexes, &mut self.epochs, set)?;
        let (old, keys) = (NewValue::of(Kind::Record, state.payload(&found.place)), &mut self.parts.get().old_keys);
        fill_keys(indexes, old, keys, || self.engine.heap.pin())?;
        Ok(Some(Replaced { set, chunks: Vec::new(), is_own: false }))
    }

    fn replaced_in_view(&mut self, id: RecordId, expected: Option<Seq>) -> Result<Replaced> {
        let state = &Arc::clone(self.view()?);
        let answer = state.lookup(id)?;
        // A failed call reveals the version to its caller, so it counts as read.
        let seq = if let Answer::Live(found) = &answer { Some(found.seq) } else { None };
        self.parts.get().seen.entry(id).or_insert(seq);
        let found = match answer {
            Answer::Live(found) if !is_hidden(state, id) => found,
            Answer::Deleted => return Err(Error::Deleted { id }),
            _ => return Err(Error::NeverAllocated { id }),
        };
        if let Some(expected) = expected.filter(|expected| *expected != found.seq) {
            return Err(Error::VersionMismatch { id, expected, got: found.seq });
        }
        let set = state.root.set_of_slot(id.slot());
        // The same indexes compute the new keys, or the commit is a conflict.
        let indexes = find_indexes(&self.engine, &mut self.indexes, &mut self.epochs, set)?;
        let (keys, payload) = (&mut self.parts.get().old_keys, state.payload(&found.place));
        let kind = if found.is_head { Kind::Head } else { Kind::Record };
        fill_keys(indexes, NewValue::of(kind, payload), keys, || Arc::clone(state))?;
        let chunks = if found.is_head { chunks_of(state, payload)? } else { Vec::new() };
        Ok(Replaced { set, chunks, is_own: false })
    }

    pub(super) fn check_exists(&mut self, id: RecordId) -> Result<()> {
        self.get(id).map(drop)
    }

    /// The version of a record that the transaction has changed itself is the one that it replaced: nobody else has changed the
    /// record. `own` is what reading it shows.
    fn check_own_version(&mut self, id: RecordId, expected: Seq, own: Seq) -> Result<()> {
        let replaced = self.parts.get().seen.get(&id).copied().flatten();
        if expected == own || replaced == Some(expected) {
            return Ok(());
        }
        Err(Error::VersionMismatch { id, expected, got: replaced.unwrap_or(own) })
    }

    pub(super) fn check_version(&mut self, id: RecordId, expected: Seq) -> Result<()> {
        if matches!(self.own(id), Some(Own::Put { .. })) {
            return self.check_own_version(id, expected, Seq::ZERO);
        }
        let got = self.get(id)?.seq();
        if got == expected { Ok(()) } else { Err(Error::VersionMismatch { id, expected, got }) }
    }
}
