//! A second tree that goes on from the first, and taking its pages over.
//!
//! Owns: which page of the first may be replaced by that of the second. Never: decides what is done with a page that may not.
//! Invariant: a page is taken over only if what the second was made from is still there: a state that holds it keeps the writer
//! from changing it in place.

use std::sync::Arc;

use crate::error::Result;
use crate::record_index::cell::{Cell, LeafRef};
use crate::record_index::root::Root;
use crate::record_index::tree::Tree;

impl Tree {
    /// A tree of its own that goes on from this one. The caller has just pinned this one, and holds that state as long as there
    /// are both.
    pub(crate) fn fork(&self) -> Self {
        Self {
            root: Arc::clone(&self.root),
            epoch: self.epoch,
            held: self.epoch.saturating_sub(1),
            restructured: false,
            weight: self.weight,
            saving: None,
            had_record: false,
        }
    }

    /// Whether a page is still what it was when the fork was made, so that the fork's may replace it.
    pub(crate) fn is_as_before(&self, page: u64, before: &Root, fork: &Root) -> bool {
        let none = Cell::default();
        let of = |root: &Root| root.cell(page).map(|cell| (cell.descriptor.set, cell.descriptor.floor));
        let (now, was) = (self.root.cell(page).unwrap_or(&none), before.cell(page).unwrap_or(&none));
        let is_known = |cell: &Cell| !matches!(cell.leaf, LeafRef::Damaged(_));
        of(&self.root) == of(fork) && is_known(now) && fork.cell(page).is_some_and(is_known) && now.has_same_parts(was)
    }

    /// Replaces a page by that of a fork, or of the state that the fork was made from.
    pub(crate) fn take_over(&mut self, page: u64, fork: &Root) -> Result<()> {
        let none = Cell::default();
        let theirs = fork.cell(page).unwrap_or(&none);
        self.change_cell(page, |cell| {
            cell.leaf.clone_from(&theirs.leaf);
            cell.patch = theirs.patch.clone();
        })
    }
}
