//! Looking up several keys at once.
//!
//! Owns: descending the tree for all of them level by level, so that their cache misses overlap. Never: reads more than
//! looking up each of them would.

use smallvec::SmallVec;

use crate::error::Result;
use crate::format::node::KeyEntry;
use crate::key_index::glance::look_ahead;
use crate::key_index::node::Child;
use crate::key_index::root::{KeyRoot, childless};
use crate::key_index::runs::AHEAD;

impl KeyRoot {
    /// Calls `found` with the lowest ID of each key, in their order.
    pub(crate) fn first_of_each(&self, keys: &[&[u8]], mut found: impl FnMut(Option<u64>)) -> Result<()> {
        let wanted = |key| KeyEntry { key, id: 0 };
        for part in keys.chunks(AHEAD) {
            let mut at: SmallVec<[&Child; AHEAD]> = part.iter().map(|_| &self.root).collect();
            // All leaves are at the same level.
            while at.first().is_some_and(|child| child.is_inner()) {
                for (child, key) in at.iter_mut().zip(part) {
                    let inner = child.as_inner(&self.segments)?.ok_or_else(childless)?;
                    *child = inner.children.get(inner.find(&wanted(key))?).ok_or_else(childless)?;
                }
                look_ahead(at.iter().zip(part).map(|(child, key)| (*child, wanted(key))));
            }
            for (leaf, key) in at.into_iter().zip(part) {
                found(self.first_in(leaf, key)?);
            }
        }
        Ok(())
    }
}
