//! Work on the key indexes of the heap, under the writer's lock.
//!
//! Owns: that the catalogue knows what became of a tree. Never: changes what a record says.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::Result;
use crate::heap::{Heap, Indexes, Refreshed, State, Writer, indexes};
use crate::id::{IndexNumber, SegmentSeq};
use crate::key_index::KeyTree;

impl Heap {
    /// Treats pages as changed whose images lie in these page segments, so that the next snapshot writes them elsewhere.
    /// What they say stays as it is.
    pub(crate) fn refresh_pages(&self, from: &BTreeSet<SegmentSeq>) -> Result<()> {
        let mut mid = 0;
        // A directory page at a time, so that nobody waits long for the lock.
        while self.with_tree(|tree| tree.refresh(mid, from))? {
            mid += 1;
        }
        let mut refreshed = Refreshed::default();
        while !self.with_indexes(|indexes| indexes.refresh(from, indexes::INSTALL_NODES, &mut refreshed))? {}
        Ok(())
    }

    /// Works on the key indexes under the writer's lock. What it says of records stays as it is.
    pub(crate) fn with_indexes<T>(&self, work: impl FnOnce(&mut Indexes) -> T) -> T {
        let mut writer = self.writer.lock();
        let result = work(&mut writer.indexes);
        let pinned = writer.note_damaged();
        self.note_dirty(&writer);
        drop(writer);
        drop(pinned);
        result
    }

    /// Looks at the key indexes under the writer's lock.
    pub(crate) fn look_at_indexes<T>(&self, look: impl FnOnce(&Indexes) -> T) -> T {
        look(&self.writer.lock().indexes)
    }

    /// A key index that was being built is complete. One that replaces another is kept from now on, and not found before it is
    /// put in its place.
    pub(crate) fn publish_index(&self, number: IndexNumber, tree: KeyTree) -> Result<bool> {
        self.change(|writer, _| {
            let Some(definition) = writer.catalogue.index(number).map(|index| Arc::clone(&index.definition)) else {
                return Ok(false);
            };
            writer.indexes.publish(number, tree)?;
            Arc::make_mut(&mut writer.catalogue).create_index(&definition, true);
            Ok(true)
        })
    }
}

impl Heap {
    /// Indexes that were to replace others when the process ended are gone: the others are there.
    pub(crate) fn drop_successors(&self) {
        let catalogue = self.catalogue();
        let left: Vec<IndexNumber> = catalogue.successors().map(|index| index.definition.number).collect();
        drop(catalogue);
        if !left.is_empty() {
            self.with_indexes(|indexes| left.iter().for_each(|number| indexes.drop_index(*number)));
            self.with_catalogue(|catalogue| left.iter().for_each(|number| catalogue.drop_index(*number)));
        }
    }
}

impl Writer {
    /// An index takes the place of the one that it replaces.
    pub(super) fn publish_successor(&mut self, number: IndexNumber) {
        let replaced = Arc::make_mut(&mut self.catalogue).publish(number);
        if let Some(replaced) = replaced {
            self.indexes.drop_index(replaced);
            self.indexes.settle_successor(number);
        }
    }

    /// The catalogue knows of indexes that were found damaged. The state that views share by then is theirs alone.
    pub(super) fn note_damaged(&mut self) -> Option<Arc<State>> {
        if !self.indexes.has_newly_damaged() {
            return None;
        }
        let damaged = self.indexes.take_newly_damaged();
        for (number, damage) in damaged {
            Arc::make_mut(&mut self.catalogue).damage_index(number, damage);
        }
        self.pinned.take()
    }
}
