//! The root of a tree as readers hold it.
//!
//! Owns: the way from it to a leaf, and counts. Never: waits, or changes: a reader's root is immutable.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::node::KeyEntry;
use crate::id::to_u64;
use crate::key_index::node::Child;
use crate::key_index::position::Position;
use crate::pages::PageSegments;

/// An immutable tree.
#[derive(Debug, Clone)]
pub(crate) struct KeyRoot {
    pub(crate) root: Child,
    /// With which lazily loaded nodes find their children; keeps the maps of those segments.
    pub(crate) segments: Arc<PageSegments>,
}

impl KeyRoot {
    /// Number of entries.
    pub(crate) fn len(&self) -> u64 {
        self.root.entries
    }

    /// The leaf that an entry belongs to.
    #[inline]
    pub(super) fn leaf(&self, wanted: &KeyEntry<'_>) -> Result<&Child> {
        let mut child = &self.root;
        while let Some(inner) = child.as_inner(&self.segments)? {
            let index = inner.find(wanted)?;
            child = inner.children.get(index).ok_or_else(childless)?;
        }
        Ok(child)
    }

    /// Whether an entry exists.
    #[cfg(test)]
    pub(crate) fn contains(&self, key: &[u8], id: u64) -> Result<bool> {
        let wanted = KeyEntry { key, id };
        self.leaf(&wanted)?.with_leaf(|view| {
            let at = view.search(&wanted, false)?;
            Some(at < view.count() && view.has_key(at, key)? && view.id(at)? == id)
        })
    }

    /// Number of entries before a position.
    pub(crate) fn rank(&self, position: &Position<'_>) -> Result<u64> {
        let mut child = &self.root;
        let mut before = 0;
        while let Some(inner) = child.as_inner(&self.segments)? {
            let index = inner.find(&position.entry)?;
            before += inner.children.iter().take(index).map(|child| child.entries).sum::<u64>();
            child = inner.children.get(index).ok_or_else(childless)?;
        }
        let within = match child.with_layers(|layers| layers.rank(position)) {
            Some(within) => within?,
            None => child.with_leaf(|view| view.search(&position.entry, position.behind))?,
        };
        Ok(before + to_u64(within))
    }

    /// Number of entries between two positions; `None` means an end of the tree.
    pub(crate) fn count(&self, from: Option<&Position<'_>>, to: Option<&Position<'_>>) -> Result<u64> {
        let to = to.map_or(Ok(self.len()), |to| self.rank(to))?;
        Ok(to.saturating_sub(from.map_or(Ok(0), |from| self.rank(from))?))
    }
}

#[cold]
pub(crate) fn childless() -> Error {
    Error::corrupt("memory", 0, "node of a key index", "children", "none")
}
