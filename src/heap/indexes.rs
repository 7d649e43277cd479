//! The writer's key indexes: their trees, and the changes that an index under construction has missed.
//!
//! Owns: applying logged changes, freezing and installing for a snapshot. Never: looks into records, or decides
//! uniqueness; a transaction does.
//! Invariants: 1. A tree contains exactly what the log's changes say.
//! 2. While an index is built, every committed change is kept for it.

mod forks;
mod gathering;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::shared::Map;

use crate::error::{Corruption, Error, Result};
use crate::format::descriptor::PageRef;
use crate::format::index;
use crate::format::node::KeyEntry;
use crate::heap::indexes::gathering::Gathering;
use crate::id::{IndexNumber, SegmentSeq};
use crate::key_index::{Change, Changes, Ended, Frozen, KeyRoot, KeyTree, Passed, Prepared, Saved};
use crate::pages::PageSegments;

/// Nodes installed, or moved out of page segments, per acquisition of the writer's lock.
pub(super) const INSTALL_NODES: usize = 512;
/// Progress of moving nodes out of page segments.
#[derive(Debug, Default)]
pub(crate) struct Refreshed {
    tree: IndexNumber,
    passed: Passed,
}

/// A tree that a snapshot saves.
#[derive(Debug)]
pub(crate) struct FrozenIndex {
    pub(crate) number: IndexNumber,
    pub(crate) tree: Frozen,
}

/// A tree to be looked at before it is changed.
#[derive(Debug)]
pub(crate) struct ToProbe {
    pub(crate) root: KeyRoot,
    pub(crate) version: u64,
    /// Whether a few changes of a leaf stay beside its image.
    pub(crate) keeps_beside: bool,
}

/// All key indexes that are complete or being built.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    trees: BTreeMap<IndexNumber, KeyTree>,
    /// What views have of the trees, but for those in `changed`, which have changed since.
    seen: Map<IndexNumber, KeyRoot>,
    changed: BTreeSet<IndexNumber>,
    /// Bytes of nodes that the trees, and a save of them, keep on the heap because they changed.
    bytes: u64,
    /// Up to so many bytes of a tree, leaves are copied for a few changes.
    copied_bytes_max: Option<u64>,
    /// The same for dropped trees that a save still holds.
    leaving: u64,
    is_saving: bool,
    missed: BTreeMap<IndexNumber, Vec<Vec<u8>>>,
    /// Changes that the second trees of indexes have missed.
    forks: BTreeMap<IndexNumber, Vec<Vec<u8>>>,
    /// Pages of dropped indexes, until a snapshot has released them.
    released: Vec<PageRef>,
    /// What is left of them in page segments, until a save looks through it.
    ended: Vec<Ended>,
    /// Indexes that cannot be read and have no tree.
    damaged: BTreeMap<IndexNumber, Arc<Corruption>>,
    /// Those of them that the catalogue does not know yet.
    newly_damaged: Vec<IndexNumber>,
    /// Changes waiting to be applied, while gathering.
    gathering: Option<Gathering>,
    /// A commit was applied only in part.
    is_lost: bool,
}

impl Indexes {
    /// Moves nodes out of page segments until roughly `left` have come to the heap. `true` when nothing is left to do.
    pub(crate) fn refresh(
        &mut self,
        from: &BTreeSet<SegmentSeq>,
        left: &mut usize,
        refreshed: &mut Refreshed,
    ) -> Result<bool> {
        let mut is_done = Ok(true);
        self.part_all();
        self.note_all_changed();
        for (number, tree) in self.trees.range_mut(refreshed.tree..) {
            if refreshed.tree != *number {
                *refreshed = Refreshed { tree: *number, ..Refreshed::default() };
            }
            is_done = match tree.refresh(from, left, &mut refreshed.passed) {
                // A damaged node stays where it is, with its segment; reads of it report the damage.
                Err(error) if error.is_corruption() => Ok(true),
                other => other,
            };
            if !matches!(is_done, Ok(true)) {
                break;
            }
        }
        self.count_again();
        is_done
    }

    /// Adds a tree from a snapshot.
    pub(crate) fn insert(&mut self, number: IndexNumber, tree: KeyTree) {
        self.put(number, tree);
    }

    /// Sets up to how many bytes of each tree leaves are copied for a few changes.
    pub(crate) fn copy_up_to(&mut self, bytes: u64) {
        self.copied_bytes_max = Some(bytes);
        self.trees.values_mut().for_each(|tree| tree.copy_up_to(bytes));
    }

    fn put(&mut self, number: IndexNumber, mut tree: KeyTree) {
        self.damaged.remove(&number);
        self.part(number);
        if let Some(bytes) = self.copied_bytes_max {
            tree.copy_up_to(bytes);
        }
        self.bytes += tree.heap_bytes();
        self.note_changed(number);
        self.trees.insert(number, tree);
    }

    /// Lets go of the tree that views have seen, so that what only they would hold is changed in place.
    fn note_changed(&mut self, number: IndexNumber) {
        if self.changed.insert(number) {
            self.seen.remove_mut(&number);
        }
    }

    fn note_all_changed(&mut self) {
        self.seen = Map::default();
        self.changed.extend(self.trees.keys());
    }

    /// Runs `work` on a tree and updates the count of nodes.
    fn with_tree<T>(&mut self, number: IndexNumber, work: impl FnOnce(&mut KeyTree) -> T) -> Option<T> {
        self.note_changed(number);
        let tree = self.trees.get_mut(&number)?;
        let before = tree.heap_bytes();
        let result = work(tree);
        self.bytes = (self.bytes + tree.heap_bytes()).saturating_sub(before);
        Some(result)
    }

    fn count_again(&mut self) {
        self.bytes = self.trees.values().map(KeyTree::heap_bytes).sum();
    }

    /// Adds an index without entries.
    pub(crate) fn create(&mut self, number: IndexNumber) -> Result<()> {
        self.put(number, KeyTree::new()?);
        Ok(())
    }

    /// From now on changes are kept for an index that has no tree yet.
    pub(crate) fn begin_building(&mut self, number: IndexNumber) {
        self.missed.insert(number, Vec::new());
    }

    /// Changes are no longer kept for an index that was being built.
    pub(crate) fn end_building(&mut self, number: IndexNumber) {
        self.missed.remove(&number);
    }

    /// Whether changes are kept for an index that is being built.
    pub(crate) fn is_building(&self, number: IndexNumber) -> bool {
        self.missed.contains_key(&number)
    }

    /// An index has replaced another one. If no readable snapshot has its tree, it must be rebuilt, and until then it
    /// is unknown which keys are taken.
    pub(super) fn settle_successor(&mut self, number: IndexNumber) {
        if !self.trees.contains_key(&number) && !self.damaged.contains_key(&number) {
            let (what, expected) = (format!("key index {number}"), "a snapshot with its nodes".to_owned());
            let (file, got) = ("log".to_owned(), "an older one".to_owned());
            self.damage(number, Corruption { file, offset: 0, what, expected, got });
        }
    }

    /// Takes the changes kept so far.
    pub(crate) fn take_missed(&mut self, number: IndexNumber) -> Vec<Vec<u8>> {
        self.missed.get_mut(&number).map(std::mem::take).unwrap_or_default()
    }

    /// Publishes the tree of an index that was being built, with the changes that it has missed.
    pub(crate) fn publish(&mut self, number: IndexNumber, mut tree: KeyTree) -> Result<()> {
        for changes in self.missed.remove(&number).unwrap_or_default() {
            apply(&mut tree, &changes, "log")?;
        }
        self.put(number, tree);
        Ok(())
    }

    /// An index cannot be read. It loses its tree: the log still has its changes, and it is rebuilt from the records.
    pub(crate) fn damage(&mut self, number: IndexNumber, damage: Corruption) {
        self.remove_tree(number);
        self.damaged.insert(number, Arc::new(damage));
        self.newly_damaged.push(number);
    }

    /// The damage of an index that cannot be read.
    pub(crate) fn damage_of(&self, number: IndexNumber) -> Option<&Arc<Corruption>> {
        self.damaged.get(&number)
    }

    /// Whether indexes were found damaged that have not been recorded yet.
    pub(super) fn has_newly_damaged(&self) -> bool {
        !self.newly_damaged.is_empty()
    }

    /// Indexes that were found damaged since the last call.
    pub(super) fn take_newly_damaged(&mut self) -> Vec<(IndexNumber, Arc<Corruption>)> {
        let numbers = std::mem::take(&mut self.newly_damaged);
        numbers.into_iter().filter_map(|number| Some((number, Arc::clone(self.damaged.get(&number)?)))).collect()
    }

    /// Records damage of a tree; nothing else fails because of it.
    fn note(&mut self, number: IndexNumber, result: Result<()>) -> Result<()> {
        match result {
            Err(Error::Corrupt(damage)) => {
                self.damage(number, *damage);
                Ok(())
            }
            other => other,
        }
    }

    /// Drops an index.
    pub(crate) fn drop_index(&mut self, number: IndexNumber) {
        self.damaged.remove(&number);
        self.remove_tree(number);
    }

    fn remove_tree(&mut self, number: IndexNumber) {
        self.missed.remove(&number);
        self.part(number);
        self.gathering.as_mut().and_then(|gathering| gathering.changes.remove(&number));
        self.note_changed(number);
        if let Some(tree) = self.trees.remove(&number) {
            self.bytes = self.bytes.saturating_sub(tree.heap_bytes());
            self.leaving += if self.is_saving { tree.heap_bytes() } else { 0 };
            let (released, ended) = tree.end();
            self.released.extend(released);
            self.ended.push(ended);
        }
    }

    /// Applies the logged changes of one index.
    pub(crate) fn apply(&mut self, number: IndexNumber, changes: &[u8], file: &str) -> Result<()> {
        if self.gathering.is_some() && self.trees.contains_key(&number) {
            return self.gather(number, changes, file);
        }
        if self.trees.contains_key(&number) {
            if let Some(behind) = self.forks.get_mut(&number) {
                behind.push(changes.to_vec());
            }
            let sorted = sorted(changes, file)?;
            let result = self.with_tree(number, |tree| tree.apply_sorted(&sorted).map(drop)).unwrap_or(Ok(()));
            return self.note(number, result);
        }
        // The index is being built, or has to be.
        if let Some(missed) = self.missed.get_mut(&number) {
            missed.push(changes.to_vec());
        }
        Ok(())
    }

    /// The current tree.
    pub(crate) fn now(&self, number: IndexNumber) -> Option<&KeyRoot> {
        self.trees.get(&number).map(KeyTree::now)
    }

    /// A commit was applied only in part: no view sees the trees from now on.
    pub(crate) fn lose(&mut self) {
        self.is_lost = true;
    }

    /// All trees, for a view.
    pub(crate) fn roots(&mut self) -> Map<IndexNumber, KeyRoot> {
        if self.is_lost {
            return Map::default();
        }
        while let Some(number) = self.changed.pop_first() {
            if let Some(tree) = self.trees.get(&number) {
                self.seen.insert_mut(number, tree.root());
            }
        }
        self.seen.clone()
    }

    /// The current tree with its version, if probing it before it is changed is useful: because some of its leaves are
    /// not on the heap, or because keys may be taken.
    pub(crate) fn to_probe(&self, number: IndexNumber, is_unique: bool) -> Option<ToProbe> {
        let tree = self.trees.get(&number).filter(|tree| is_unique || tree.has_clean());
        tree.map(|tree| ToProbe { root: tree.root(), version: tree.version(), keeps_beside: tree.keeps_beside() })
    }

    /// A number that changes whenever entries of the index change.
    pub(crate) fn version(&self, number: IndexNumber) -> Option<u64> {
        self.trees.get(&number).map(KeyTree::version)
    }

    /// Offers leaves that the next changes of a tree may need. The caller withdraws them later.
    pub(crate) fn offer(&mut self, number: IndexNumber, prepared: Prepared) {
        if let Some(tree) = self.trees.get_mut(&number) {
            tree.offer(prepared);
        }
    }

    /// Withdraws leaves that were offered and not used.
    pub(crate) fn withdraw(&mut self, number: IndexNumber, numbers: &[u64]) -> Prepared {
        self.trees.get_mut(&number).map(|tree| tree.withdraw(numbers)).unwrap_or_default()
    }

    /// Nodes of the trees that no snapshot has.
    pub(crate) fn dirty(&self) -> u64 {
        self.trees.values().map(KeyTree::dirty).sum()
    }

    /// Heap bytes of changed nodes, including those of a save.
    pub(crate) fn heap_bytes(&self) -> u64 {
        self.bytes + self.leaving
    }

    /// Whether something is left of dropped indexes.
    pub(crate) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Takes what is left of dropped indexes, to be looked through beside others; `release` ends that.
    pub(crate) fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Pages of dropped indexes.
    pub(crate) fn release(&mut self, pages: Vec<PageRef>) {
        self.released.extend(pages);
    }

    /// The current trees, and pages of dropped indexes.
    pub(crate) fn freeze(&mut self) -> (Vec<FrozenIndex>, Vec<PageRef>) {
        self.is_saving = true;
        self.part_all();
        self.note_all_changed();
        let frozen =
            |(number, tree): (&IndexNumber, &mut KeyTree)| FrozenIndex { number: *number, tree: tree.freeze() };
        (self.trees.iter_mut().map(frozen).collect(), std::mem::take(&mut self.released))
    }

    /// The save has released its nodes.
    pub(crate) fn end_saving(&mut self) {
        (self.is_saving, self.leaving) = (false, 0);
        self.note_all_changed();
        self.trees.values_mut().for_each(KeyTree::end_saving);
        self.count_again();
    }

    /// The save failed.
    pub(crate) fn abandon(&mut self, frozen: Vec<FrozenIndex>, released: Vec<PageRef>) {
        self.released.extend(released);
        self.note_all_changed();
        for index in frozen {
            match self.trees.get_mut(&index.number) {
                Some(tree) => tree.abandon(index.tree),
                None => self.released.extend(index.tree.into_released()),
            }
        }
    }

    /// Replaces a part of the saved nodes on the heap. `true` when everything is done.
    pub(crate) fn install(
        &mut self,
        number: IndexNumber,
        saved: &mut Saved,
        segments: &Arc<PageSegments>,
    ) -> Result<bool> {
        if let Some(result) = self.with_tree(number, |tree| tree.install(saved, INSTALL_NODES, segments)) {
            return result;
        }
        // The index was dropped meanwhile. Nothing else refers to what was not installed by then.
        self.released.extend(saved.take_rest());
        Ok(true)
    }
}

/// Applies logged changes to a tree.
pub(crate) fn apply(tree: &mut KeyTree, payload: &[u8], file: &str) -> Result<()> {
    tree.apply_sorted(&sorted(payload, file)?).map(drop)
}

/// Logged changes in the order of their entries.
fn sorted<'p>(payload: &'p [u8], file: &str) -> Result<Changes<'p>> {
    let (_, changes) = index::changes(payload).map_err(|malformed| malformed.at(file, 0))?;
    let mut sorted = Changes::new();
    for change in changes {
        let change = change.map_err(|malformed| malformed.at(file, 0))?;
        sorted.push(Change { entry: KeyEntry { key: change.key, id: change.id.as_u64() }, insert: change.put });
    }
    // They were sorted when written, unless another program wrote them.
    if !sorted.is_sorted_by_key(|change| change.entry) {
        sorted.sort_by_key(|change| change.entry);
    }
    Ok(sorted)
}

#[cfg(test)]
mod tests;
