//! A change of a tree, and what it did.
//!
//! Never: knows where the entry is; `runs` and `apply` find that out.

use smallvec::SmallVec;

use crate::format::node::KeyEntry;

/// One entry to be inserted or removed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change<'a> {
    pub(crate) entry: KeyEntry<'a>,
    pub(crate) insert: bool,
}

/// Changes of one index. A small commit needs no heap for them.
pub(crate) type Changes<'a> = SmallVec<[Change<'a>; 4]>;

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Nothing,
    Inserted,
    Removed,
}
