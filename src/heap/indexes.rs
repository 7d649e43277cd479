//! The key indexes of the writer: their trees, and the changes that an index under construction has missed.
//!
//! Owns: applying logged changes, freezing and installing for a snapshot. Never: looks into records, or decides what is
//! unique; a transaction does.
//! Invariants: 1. A tree holds exactly what the log's changes say. 2. While an index is built, every change that is
//! committed is kept for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Result;
use crate::format::descriptor::PageRef;
use crate::format::index;
use crate::format::node::KeyEntry;
use crate::id::IndexNumber;
use crate::key_index::Change;
use crate::key_index::Frozen;
use crate::key_index::KeyRoot;
use crate::key_index::KeyTree;
use crate::key_index::Saved;
use crate::pages::PageSegments;

/// Nodes that are put in place under the writer's lock in one go.
const INSTALL_NODES: usize = 512;

/// A tree that a snapshot saves.
#[derive(Debug)]
pub(crate) struct FrozenIndex {
    pub(crate) number: IndexNumber,
    pub(crate) tree: Frozen,
}

/// All key indexes that are complete or being built.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    trees: BTreeMap<IndexNumber, KeyTree>,
    missed: BTreeMap<IndexNumber, Vec<Vec<u8>>>,
    /// Pages of indexes that are gone, until a snapshot has let go of them.
    released: Vec<PageRef>,
}

impl Indexes {
    /// A tree that a snapshot has.
    pub(crate) fn insert(&mut self, number: IndexNumber, tree: KeyTree) {
        self.trees.insert(number, tree);
    }

    /// An index without entries.
    pub(crate) fn create(&mut self, number: IndexNumber) -> Result<()> {
        self.trees.insert(number, KeyTree::new()?);
        Ok(())
    }

    /// From now on changes of an index that has no tree yet are kept for it.
    pub(crate) fn begin_building(&mut self, number: IndexNumber) {
        self.missed.insert(number, Vec::new());
    }

    /// The changes that were kept so far.
    pub(crate) fn take_missed(&mut self, number: IndexNumber) -> Vec<Vec<u8>> {
        self.missed.get_mut(&number).map(std::mem::take).unwrap_or_default()
    }

    /// The tree of an index that is being built, with the changes that it has missed.
    pub(crate) fn publish(&mut self, number: IndexNumber, mut tree: KeyTree) -> Result<()> {
        for changes in self.missed.remove(&number).unwrap_or_default() {
            apply(&mut tree, &changes, "log")?;
        }
        self.trees.insert(number, tree);
        Ok(())
    }

    /// The index is gone.
    pub(crate) fn drop_index(&mut self, number: IndexNumber) {
        self.missed.remove(&number);
        if let Some(tree) = self.trees.remove(&number) {
            // Pages that cannot be read are not released: their segment stays, and does no harm.
            self.released.extend(tree.end().unwrap_or_default());
        }
    }

    /// Applies the logged changes of one index.
    pub(crate) fn apply(&mut self, number: IndexNumber, changes: &[u8], file: &str) -> Result<()> {
        if let Some(tree) = self.trees.get_mut(&number) {
            apply(tree, changes, file)
        } else {
            // Of an index that is being built, or that has to be.
            if let Some(missed) = self.missed.get_mut(&number) {
                missed.push(changes.to_vec());
            }
            Ok(())
        }
    }

    /// The tree as it is now.
    pub(crate) fn now(&self, number: IndexNumber) -> Option<&KeyRoot> {
        self.trees.get(&number).map(KeyTree::now)
    }

    /// All trees, for a view.
    pub(crate) fn roots(&self) -> BTreeMap<IndexNumber, KeyRoot> {
        self.trees.iter().map(|(number, tree)| (*number, tree.root())).collect()
    }

    /// Nodes on the heap because they changed, and the bytes that they take.
    pub(crate) fn dirty(&self) -> (u64, u64) {
        let dirty = self.trees.values().map(KeyTree::dirty);
        dirty.fold((0, 0), |(nodes, bytes), (more_nodes, more_bytes)| (nodes + more_nodes, bytes + more_bytes))
    }

    /// The trees of this moment, and pages of indexes that are gone.
    pub(crate) fn freeze(&mut self) -> (Vec<FrozenIndex>, Vec<PageRef>) {
        let frozen =
            |(number, tree): (&IndexNumber, &mut KeyTree)| FrozenIndex { number: *number, tree: tree.freeze() };
        (self.trees.iter_mut().map(frozen).collect(), std::mem::take(&mut self.released))
    }

    /// The save came to nothing.
    pub(crate) fn abandon(&mut self, frozen: Vec<FrozenIndex>, released: Vec<PageRef>) {
        self.released.extend(released);
        for index in frozen {
            if let Some(tree) = self.trees.get_mut(&index.number) {
                tree.abandon(index.tree);
            }
        }
    }

    /// Puts a part of what was saved in place of nodes on the heap. `true` when all is done.
    pub(crate) fn install(
        &mut self,
        number: IndexNumber,
        saved: &mut Saved,
        segments: &Arc<PageSegments>,
    ) -> Result<bool> {
        match self.trees.get_mut(&number) {
            Some(tree) => tree.install(saved, INSTALL_NODES, segments),
            None => Ok(true),
        }
    }
}

/// Applies logged changes to a tree.
pub(crate) fn apply(tree: &mut KeyTree, payload: &[u8], file: &str) -> Result<()> {
    let (_, changes) = index::changes(payload).map_err(|malformed| malformed.at(file, 0))?;
    let mut sorted = Vec::new();
    for change in changes {
        let change = change.map_err(|malformed| malformed.at(file, 0))?;
        sorted.push(Change { entry: KeyEntry { key: change.key, id: change.id.as_u64() }, insert: change.put });
    }
    // They were sorted when they were written, unless somebody else wrote them.
    if !sorted.is_sorted_by_key(|change| change.entry) {
        sorted.sort_by_key(|change| change.entry);
    }
    tree.apply_sorted(&sorted).map(drop)
}
