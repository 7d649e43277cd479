//! The keys of the next records of a batch, looked up together in large unique indexes.
//!
//! Owns: the keys that were extracted before their turn. Never: extracts or looks up one; `looking_ahead` does.

use std::sync::Arc;

use crate::engine::SetIndexes;
use crate::extract::Keys;

/// The keys of some records, in order.
#[derive(Debug)]
pub(super) struct KeysAhead {
    pub(super) indexes: Arc<SetIndexes>,
    /// Of each record, those of each index.
    pub(super) keys: Vec<Vec<Keys>>,
    pub(super) extracted: usize,
    pub(super) given: usize,
}

impl KeysAhead {
    /// Exchanges the keys of the next record, if they are known, for the memory of others.
    pub(super) fn give(&mut self, to: &mut Vec<Keys>) -> bool {
        let next = self.keys.get_mut(self.given).filter(|_| self.given < self.extracted);
        self.given += 1;
        next.map(|keys| std::mem::swap(keys, to)).is_some()
    }
}
