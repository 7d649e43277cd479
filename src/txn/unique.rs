//! Checking keys of unique indexes in each statement.
//!
//! Owns: which record has a key in what the transaction sees, its own writes included. Never: excludes concurrent
//! transactions; the commit does. A transaction that has read nothing takes no view for the check: it looks in the
//! newest state, and takes a view only to report a violation, so that the report comes from the same state as all other
//! reads.

use std::ops::Bound;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::engine::SetIndex;
use crate::error::{Error, Result};
use crate::heap::{Answer, State, ToProbe};
use crate::id::RecordId;
use crate::key::Key;
use crate::key_index::KeyRoot;
use crate::txn::Transaction;
use crate::txn::parts::Parts;
use crate::txn::postponed::Postponed;
use crate::txn::set_indexes::find_indexes;

/// A statement of several records. It ends when this is dropped, even by a panic.
struct Statement<'t>(&'t mut Transaction);

impl Drop for Statement<'_> {
    fn drop(&mut self) {
        self.0.postponed = None;
    }
}

impl Transaction {
    /// Refuses the new keys, which are in the transaction's buffers, if another record has one of them in a unique
    /// index. `id` is the record that gets them, if it already has an ID. With `replaces`, the keys it had are in the buffers
    /// too. The indexes are those found last.
    #[inline]
    pub(super) fn check_keys(&mut self, id: Option<RecordId>, replaces: bool) -> Result<()> {
        match &self.indexes {
            Some(indexes) if indexes.has_unique && !self.defers_unique => {}
            _ => return Ok(()),
        }
        if self.are_clear(id, replaces) { Ok(()) } else { self.check_unique_keys(id, replaces) }
    }

    /// Whether a quick check shows that no other record has any of the keys: the transaction has not changed them itself, and
    /// they are free in the newest state.
    fn are_clear(&mut self, id: Option<RecordId>, replaces: bool) -> bool {
        let Some(indexes) = self.indexes.as_deref() else { return true };
        let Parts { keys, new_keys, old_keys, .. } = self.parts.get();
        for (at, index) in indexes.all.iter().enumerate().filter(|(_, index)| index.is_unique) {
            let Some(new) = new_keys.get_mut(at) else { continue };
            if new.is_empty() || (replaces && old_keys.get(at).is_some_and(|old| old.is_same(new))) {
                continue;
            }
            if self.view.is_some() || !self.savepoints.is_empty() || self.first_read.is_done() {
                return false;
            }
            if new.clear_at.is_some() {
                // They were looked up together with others.
                if new.iter().any(|key| keys.may_concern(index.number, key)) {
                    return false;
                }
                continue;
            }
            let newest = self.engine.heap.look_at_indexes(|trees| trees.to_probe(index.number, true));
            let Some(ToProbe { root, version, .. }) = newest else { return false };
            let is_own = |holder: u64| id.is_some_and(|id| id.as_u64() == holder);
            for key in new.iter() {
                let is_free = !keys.may_concern(index.number, key)
                    && root.first(key).is_ok_and(|holder| holder.is_none_or(is_own));
                if !is_free {
                    return false;
                }
            }
            new.clear_at = Some(version);
        }
        true
    }

    fn check_unique_keys(&mut self, id: Option<RecordId>, replaces: bool) -> Result<()> {
        let Some(indexes) = self.indexes.clone() else { return Ok(()) };
        for (at, index) in indexes.all.iter().enumerate().filter(|(_, index)| index.is_unique) {
            let Parts { new_keys, old_keys, .. } = self.parts.get();
            // No other record can have a key that this one has.
            if replaces && new_keys.get(at).zip(old_keys.get(at)).is_some_and(|(new, old)| old.is_same(new)) {
                continue;
            }
            // Taken out while other parts of the transaction are used.
            let Some(keys) = self.parts.get().new_keys.get_mut(at).map(std::mem::take) else { continue };
            let checked = keys.iter().try_for_each(|key| {
                let Some(holder) = self.holder(index, key, id)? else { return Ok(()) };
                let key = Key::from_bytes(key)?;
                match &mut self.postponed {
                    Some(postponed) => {
                        postponed.push(Postponed { set: indexes.set, at, key, id });
                        Ok(())
                    }
                    None => Err(self.violation(index, key, holder)),
                }
            });
            if let Some(place) = self.parts.get().new_keys.get_mut(at) {
                *place = keys;
            }
            checked?;
        }
        Ok(())
    }

    /// Runs a statement of several records: only its final state must be free of duplicates.
    pub(super) fn as_one_statement<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.postponed = Some(Vec::new());
        let statement = Statement(self);
        let result = work(statement.0);
        let postponed = statement.0.postponed.take().unwrap_or_default();
        drop(statement);
        let value = result?;
        for Postponed { set, at, key, id } in postponed {
            let indexes = find_indexes(&self.engine, &mut self.indexes, &mut self.epochs, set)?;
            let index = indexes.all.get(at).cloned();
            let Some(index) = index else { continue };
            if self.has_given_up(&index, key.as_bytes(), id) {
                continue;
            }
            if let Some(holder) = self.holder(&index, key.as_bytes(), id)? {
                return Err(self.violation(&index, key, holder));
            }
        }
        Ok(value)
    }

    /// Whether the transaction has removed an entry and not put it back.
    fn has_given_up(&mut self, index: &SetIndex, key: &[u8], id: Option<RecordId>) -> bool {
        let mut has = false;
        let keys = &mut self.parts.get().keys;
        keys.look(index.number, key, &mut |other, put| has |= !put && Some(other) == id);
        has
    }

    fn violation(&mut self, index: &SetIndex, key: Key, id: RecordId) -> Error {
        let catalogue = self.engine.heap.catalogue();
        let known = catalogue.index(index.number);
        // What the caller learns counts as read.
        let bound = || Bound::Included(key.clone());
        if let Some(lost) = known.and_then(|known| self.note_range(&known.definition, (bound(), bound())).err()) {
            return lost;
        }
        let set = known.map_or("", |known| catalogue.name_of(known.definition.set)).to_owned();
        Error::UniqueViolation { set, index: index.name.to_string(), key, id }
    }

    /// The record other than `id` that has a key.
    fn holder(&mut self, index: &SetIndex, key: &[u8], id: Option<RecordId>) -> Result<Option<RecordId>> {
        let (mut own, mut gone) = (None, SmallVec::<[RecordId; 2]>::new());
        self.parts.get().keys.look(index.number, key, &mut |other, put| {
            if put && Some(other) != id {
                own = Some(other);
            } else if !put {
                gone.push(other);
            }
        });
        if own.is_some() {
            // An index that is still being built refuses nothing.
            let is_complete = self.engine.heap.look_at_indexes(|trees| trees.version(index.number).is_some());
            return Ok(own.filter(|_| is_complete));
        }
        if !self.savepoints.is_empty() {
            // This answer may be all that remains of the statement, so it counts as read.
            self.view()?;
            let catalogue = self.engine.heap.catalogue();
            if let Some(known) = catalogue.index(index.number) {
                let bound = Bound::Included(Key::from_bytes(key)?);
                self.note_range(&known.definition, (bound.clone(), bound))?;
            }
        }
        if self.first_read.is_done() {
            // Whether the key is free must hold in a state that has what was read.
            self.view()?;
        }
        let is_other = |other: &RecordId| Some(*other) != id && !gone.contains(other);
        if self.view.is_none() {
            let newest = self.engine.heap.look_at_indexes(|trees| trees.to_probe(index.number, true));
            let found = newest.map(|tree| self.first(index, &tree.root, key)).transpose()?.flatten();
            if found.is_none_or(|found| !is_other(&found)) {
                return Ok(None);
            }
        }
        let view = Arc::clone(self.view()?);
        let root = view.indexes.get(&index.number);
        let found = root.map(|root| self.first(index, root, key)).transpose()?.flatten();
        match found.filter(is_other) {
            Some(holder) if !self.is_outdated(holder, &view)? => Ok(Some(holder)),
            _ => Ok(None),
        }
    }

    /// Whether the transaction has replaced a different version of a record than the one in a state. Its key changes
    /// then do not apply to that state, and the commit will be a conflict.
    fn is_outdated(&mut self, id: RecordId, state: &State) -> Result<bool> {
        if self.own(id).is_none() {
            return Ok(false);
        }
        let now = if let Answer::Live(found) = state.lookup(id)? { Some(found.seq) } else { None };
        Ok(self.parts.get().seen.get(&id).is_some_and(|seen| *seen != now))
    }

    fn first(&self, index: &SetIndex, root: &KeyRoot, key: &[u8]) -> Result<Option<RecordId>> {
        let set = self.indexes.as_ref().map_or("", |indexes| &indexes.name);
        let found = root.first(key).map_err(|error| error.in_index(set, &index.name))?;
        Ok(found.and_then(RecordId::from_u64))
    }
}
