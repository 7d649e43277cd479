//! What a transaction has done to each record itself, and which versions it has seen.
//!
//! Owns: the newest own write of each record, as far as somebody has asked. Never: keeps what nobody asks for: a
//! transaction that only inserts looks for none of its records, and pays nothing.
//! Invariant: after `catch_up` the map has the newest write of every record that was written.

use std::collections::HashMap;

use crate::heap::Effect;
use crate::id::{NumberHash, RecordId, Seq, SetNumber};

/// The version of each record that was read or replaced; `None` where there was none.
pub(crate) type Seen = HashMap<RecordId, Option<Seq>, NumberHash>;

/// What the transaction has done to a record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Own {
    Put { offset: u64, set: SetNumber },
    Deleted,
}

/// The newest own write of each record.
#[derive(Debug, Default)]
pub(crate) struct OwnWrites {
    map: HashMap<RecordId, Own, NumberHash>,
    /// So many of the transaction's effects are in the map.
    taken: usize,
}

impl OwnWrites {
    /// Takes in the records that were put since the last time.
    #[inline]
    pub(crate) fn catch_up(&mut self, effects: &[Effect]) {
        for effect in effects.get(self.taken..).unwrap_or_default() {
            if let Effect::Put { id, set, offset, .. } = effect {
                self.map.insert(*id, Own::Put { offset: *offset, set: *set });
            }
        }
        self.taken = effects.len();
    }

    /// The newest write of a record. Everything has been taken in.
    pub(crate) fn get(&self, id: RecordId) -> Option<Own> {
        self.map.get(&id).copied()
    }

    /// The newest write of every record. Everything has been taken in.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (RecordId, Own)> {
        self.map.iter().map(|(id, own)| (*id, *own))
    }

    pub(crate) fn contains(&self, id: RecordId) -> bool {
        self.map.contains_key(&id)
    }

    /// A record was deleted, or is what it was before; gives what was known of it. Every put of it has been taken in.
    pub(crate) fn set(&mut self, id: RecordId, own: Option<Own>) -> Option<Own> {
        match own {
            Some(own) => self.map.insert(id, own),
            None => self.map.remove(&id),
        }
    }

    /// Effects from here on are gone; what they did to the map was taken back.
    pub(crate) fn go_back(&mut self, effects: usize) {
        self.taken = self.taken.min(effects);
    }

    pub(crate) fn clear(&mut self) {
        self.map.clear();
        self.taken = 0;
    }

    pub(crate) fn capacity(&self) -> usize {
        self.map.capacity()
    }
}
