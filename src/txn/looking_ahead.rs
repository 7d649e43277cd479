//! Looking up the keys of the next records of a batch together.
//!
//! Owns: extracting keys before their turn, and whether other records have them. Never: refuses a record: one whose keys
//! cannot be extracted, or are not known to be free, is looked at on its own when its turn comes.

use std::sync::Arc;

use crate::extract::Keys;
use crate::heap::ToProbe;
use crate::txn::Transaction;
use crate::txn::keys_ahead::KeysAhead;
use crate::txn::own_keys::{NewValue, fill_keys};

/// With fewer entries than this an index stays in the cache, so that nothing is won.
const ENTRIES_MIN: u64 = 1 << 14;

impl Transaction {
    /// Room for keys, if looking them up ahead pays for inserts into the set of the indexes found last.
    pub(super) fn room_ahead(&self) -> Option<KeysAhead> {
        let indexes = self.indexes.as_ref().filter(|indexes| indexes.has_unique && !self.defers_unique)?;
        let large = indexes.all.iter().filter(|index| index.is_unique).any(|index| {
            let len = self.engine.heap.look_at_indexes(|trees| Some(trees.to_probe(index.number, true)?.root.len()));
            len.is_some_and(|len| len >= ENTRIES_MIN)
        });
        large.then(|| KeysAhead { indexes: Arc::clone(indexes), keys: Vec::new(), extracted: 0, given: 0 })
    }

    /// Extracts the keys of the next records, and looks them up.
    pub(super) fn look_up_ahead<'v>(&self, values: impl Iterator<Item = NewValue<'v>>, ahead: &mut KeysAhead) {
        let KeysAhead { indexes, keys, extracted, given } = ahead;
        (*extracted, *given) = (0, 0);
        if self.view.is_some() || !self.savepoints.is_empty() {
            return;
        }
        for value in values {
            if keys.len() <= *extracted {
                keys.push(Vec::new());
            }
            let Some(keys) = keys.get_mut(*extracted) else { break };
            if fill_keys(indexes, value, keys, || self.engine.heap.pin()).is_err() {
                break;
            }
            *extracted += 1;
        }
        let known = keys.get_mut(..*extracted).unwrap_or_default();
        for (at, index) in indexes.all.iter().enumerate().filter(|(_, index)| index.is_unique) {
            let newest = self.engine.heap.look_at_indexes(|trees| trees.to_probe(index.number, true));
            let Some(ToProbe { root, version, .. }) = newest else { continue };
            let mut are_free = Vec::new();
            let all: Vec<&[u8]> = known.iter().filter_map(|keys| keys.get(at)).flat_map(Keys::iter).collect();
            if root.first_of_each(&all, |holder| are_free.push(holder.is_none())).is_err() {
                continue;
            }
            let mut are_free = are_free.into_iter();
            for keys in known.iter_mut().filter_map(|keys| keys.get_mut(at)) {
                let count = keys.iter().count();
                if count > 0 && are_free.by_ref().take(count).filter(|is_free| *is_free).count() == count {
                    keys.clear_at = Some(version);
                }
            }
        }
    }
}
