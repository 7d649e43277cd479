//! Changes to the heap's key indexes, under the writer's lock.
//!
//! Owns: keeping the catalogue up to date with the trees. Never: changes what a record says.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::Result;
use crate::heap::{Heap, Indexes, Refreshed, State, Writer, indexes};
use crate::id::{IndexNumber, SegmentSeq, to_u64, to_usize};
use crate::key_index::KeyTree;

impl Heap {
    /// Treats pages as changed whose images are in these page segments, so that the next snapshot writes them
    /// elsewhere: so many at most, and one more of each kind. Their contents stay as they are.
    pub(crate) fn refresh_pages(&self, from: &BTreeSet<SegmentSeq>, pages_max: u64) -> Result<()> {
        let (mut mid, mut left) = (0, pages_max);
        // One directory page at a time, so that the lock is held only briefly.
        while self.with_tree(|tree| tree.refresh(mid, from, &mut left))? {
            mid += 1;
        }
        let mut refreshed = Refreshed::default();
        loop {
            let nodes = to_usize(left.clamp(1, to_u64(indexes::INSTALL_NODES)));
            let mut unused = nodes;
            let is_done = self.with_indexes(|indexes| indexes.refresh(from, &mut unused, &mut refreshed))?;
            left = left.saturating_sub(to_u64(nodes - unused));
            if is_done || left == 0 {
                return Ok(());
            }
        }
    }

    /// Runs `work` on the key indexes under the writer's lock. It must not change what they say about records.
    pub(crate) fn with_indexes<T>(&self, work: impl FnOnce(&mut Indexes) -> T) -> T {
        let mut writer = self.writer.lock();
        let result = work(&mut writer.indexes);
        let pinned = writer.note_damaged();
        self.note_dirty(&writer);
        drop(writer);
        drop(pinned);
        result
    }

    /// Reads the key indexes under the writer's lock.
    pub(crate) fn look_at_indexes<T>(&self, look: impl FnOnce(&Indexes) -> T) -> T {
        look(&self.writer.lock().indexes)
    }

    /// A key index that was being built is complete. A successor is maintained from now on, but not found before it
    /// replaces its predecessor.
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
    /// Successors that had not replaced their predecessors when the process ended are dropped: the predecessors exist.
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
    /// A successor replaces its predecessor.
    pub(super) fn publish_successor(&mut self, number: IndexNumber) {
        let replaced = Arc::make_mut(&mut self.catalogue).publish(number);
        if let Some(replaced) = replaced {
            self.indexes.drop_index(replaced);
            self.indexes.settle_successor(number);
        }
    }

    /// Records newly damaged indexes in the catalogue. The state shared by views then belongs only to them.
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
