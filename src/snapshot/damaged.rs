//! What a save cannot read: it is marked as damaged, in memory and in the snapshot, and everything else is saved.
//!
//! Owns: these marks. Never: reads a page, or gives up a save. An image that was whole when changes were put beside it may be
//! damaged by the time both are written together.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::engine::Engine;
use crate::error::{Corruption, Result};
use crate::heap::State;
use crate::id::IndexNumber;
use crate::key_index::Saved as SavedIndex;
use crate::record_index::{Cell, DamagedLeaf};

/// Indexes that could not be read.
pub(super) type Unread = Vec<(IndexNumber, Arc<Corruption>)>;

/// A node of an index cannot be read: it loses its tree, and is rebuilt at its owner's request.
pub(super) fn mark_index(engine: &Engine, number: IndexNumber, damage: Corruption, unread: &mut Unread) {
    unread.push((number, Arc::new(damage.clone())));
    engine.heap.with_indexes(|trees| trees.damage(number, damage));
}

/// A leaf page cannot be read. What has changed of it is known in memory, and to the snapshot.
pub(super) fn mark_page(engine: &Engine, page: u64, damage: Corruption, cell: &mut Cell) -> Result<()> {
    let leaf = DamagedLeaf::new(damage);
    cell.set_damaged(leaf.clone());
    engine.heap.with_tree(|tree| tree.mark_damaged(page, leaf))
}

/// The catalogue of the snapshot: that of its state, in which no index counts as ready whose tree was not saved.
pub(super) fn catalogue_of(
    engine: &Engine,
    state: &State,
    saved: &[(IndexNumber, SavedIndex)],
    unread: &Unread,
) -> Catalogue {
    let mut catalogue = Catalogue::clone(&state.catalogue);
    let is_saved = |number: IndexNumber| saved.iter().any(|(saved, _)| *saved == number);
    let missing: Vec<IndexNumber> = catalogue.ready_indexes().filter(|number| !is_saved(*number)).collect();
    for number in missing {
        let found = unread.iter().find(|(unread, _)| *unread == number).map(|(_, damage)| Arc::clone(damage));
        // A commit may have found it damaged just before the freeze.
        let found = found.or_else(|| engine.heap.look_at_indexes(|trees| trees.damage_of(number).map(Arc::clone)));
        let damage = found.unwrap_or_else(|| {
            let (file, what) = ("memory".to_owned(), format!("key index {number}"));
            let (expected, got) = ("its nodes".to_owned(), "none".to_owned());
            Arc::new(Corruption { file, offset: 0, what, expected, got })
        });
        catalogue.damage_index(number, damage);
    }
    catalogue
}
