//! Places between the entries of a tree.
//!
//! Never: knows whether there are entries beside them.

use crate::format::node::KeyEntry;

/// A place between two entries: before an entry, or after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position<'a> {
    pub(crate) entry: KeyEntry<'a>,
    pub(crate) behind: bool,
}

impl<'a> Position<'a> {
    /// Before all entries of a key.
    pub(crate) fn before(key: &'a [u8]) -> Self {
        Self { entry: KeyEntry { key, id: 0 }, behind: false }
    }

    /// After all entries of a key.
    pub(crate) fn behind(key: &'a [u8]) -> Self {
        Self { entry: KeyEntry { key, id: u64::MAX }, behind: true }
    }
}
