//! The tree as its one writer holds it.
//!
//! Owns: the root's growth and shrinking, and the end of a tree. Never: waits, or changes a root that a reader holds.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::descriptor::PageRef;
use crate::format::node::KeyEntry;
use crate::id::to_u64;
use crate::key::KEY_BYTES_MAX;
use crate::key_index::change::Change;
use crate::key_index::image::{Clean, Image};
use crate::key_index::leaf::{Leaf, NODE_HEAP_BYTES};
use crate::key_index::ledger::{Ledger, Prepared};
use crate::key_index::node::{Child, Node, level};
use crate::key_index::root::KeyRoot;
use crate::key_index::separator::Separator;
use crate::key_index::work::Work;
use crate::key_index::{apply, shape};
use crate::pages::PageSegments;

/// The tree of the writer.
#[derive(Debug)]
pub(crate) struct KeyTree {
    pub(crate) now: KeyRoot,
    pub(crate) ledger: Ledger,
    /// Incremented whenever entries may have changed.
    pub(super) version: u64,
}

impl KeyTree {
    pub(crate) fn of(now: KeyRoot, ledger: Ledger) -> Self {
        Self { now, ledger, version: 0 }
    }

    /// An empty tree.
    pub(crate) fn new() -> Result<Self> {
        let now = KeyRoot { root: Child::leaf(Leaf::empty())?, segments: Arc::default() };
        Ok(Self::of(now, Ledger::empty()))
    }

    /// The tree of a snapshot: its root page, which is read here, and its number of entries.
    pub(crate) fn load(root: &PageRef, entries: u64, segments: Arc<PageSegments>) -> Result<Self> {
        if !root.is_written() && entries == 0 {
            return Self::new();
        }
        let segment = segments.get(&root.segment).ok_or_else(|| {
            let got = format!("segment {}", root.segment);
            Error::corrupt("manifest", 0, "root of a key index", "a page segment of this snapshot", got)
        })?;
        let clean = Clean::new(root, Arc::clone(segment));
        let level = clean.level()?;
        let root = Child::clean(Image::whole(clean), level, entries);
        let now = KeyRoot { root, segments };
        // The count is compared with the root page's.
        now.leaf(&KeyEntry { key: &[], id: 0 })?.with_leaf(|_| Some(()))?;
        Ok(Self::of(now, Ledger::new(0)))
    }

    /// The current tree, for a view.
    pub(crate) fn root(&self) -> KeyRoot {
        self.now.clone()
    }

    /// The current tree, for the writer itself.
    pub(crate) fn now(&self) -> &KeyRoot {
        &self.now
    }

    /// A number that changes whenever entries have changed.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Nodes on the heap because they changed.
    pub(crate) fn dirty(&self) -> u64 {
        self.ledger.dirty()
    }

    /// Their heap bytes, including those of nodes that a save has and the tree has replaced. An empty tree has nothing
    /// worth saving.
    pub(crate) fn heap_bytes(&self) -> u64 {
        let bytes = self.ledger.heap_bytes();
        if self.now.root.entries == 0 && bytes <= NODE_HEAP_BYTES { 0 } else { bytes }
    }

    /// Whether any of its nodes may have to be read from a page.
    pub(crate) fn has_clean(&self) -> bool {
        self.ledger.has_clean()
    }

    /// Copies leaves for a few changes up to this many bytes of changed nodes.
    pub(crate) fn copy_up_to(&mut self, bytes: u64) {
        self.ledger.copy_up_to(bytes);
    }

    /// Whether a few changes of a leaf stay beside its image now.
    pub(crate) fn keeps_beside(&self) -> bool {
        self.ledger.keeps_beside()
    }

    /// Offers leaves that the next changes may need. The caller withdraws them later.
    pub(crate) fn offer(&mut self, prepared: Prepared) {
        self.ledger.offer(prepared);
    }

    /// Withdraws leaves that were offered and not used.
    pub(crate) fn withdraw(&mut self, numbers: &[u64]) -> Prepared {
        self.ledger.withdraw(numbers)
    }

    /// Applies changes that ascend by entry; changes of the same entry one after another. Returns how many had an
    /// effect. After an error the changes before the failed one are applied.
    pub(crate) fn apply_sorted(&mut self, changes: &[Change<'_>]) -> Result<u64> {
        if let Some(change) = changes.iter().find(|change| change.entry.key.len() > KEY_BYTES_MAX) {
            let bytes = to_u64(change.entry.key.len());
            return Err(Error::TooLarge { what: "key", bytes, limit: to_u64(KEY_BYTES_MAX) });
        }
        if changes.is_empty() {
            return Ok(0);
        }
        debug_assert!(changes.is_sorted_by_key(|change| change.entry), "changes ascend");
        self.version += 1;
        let KeyRoot { root, segments } = &mut self.now;
        let mut work = Work { ledger: &mut self.ledger, segments, applied: 0, net: 0, failed: None };
        let mut grown = apply::apply(root, changes, &mut work);
        let (applied, failed) = (work.applied, work.failed.take());
        // Nodes that one change split off may have been emptied by others.
        grown.retain(|(_, child)| {
            if child.entries == 0 {
                self.ledger.retire(child);
            }
            child.entries > 0
        });
        if !grown.is_empty() && root.entries == 0 {
            self.ledger.retire(root);
            (_, *root) = grown.remove(0);
        }
        if !grown.is_empty() {
            let level = level(root)?;
            let full = changes.len() == 1 || grown.len() == 1;
            let old = std::mem::replace(root, Child::leaf(Leaf::empty())?);
            grown.insert(0, (Separator::default(), old));
            (_, *root) = shape::raise(level, grown, full, &mut self.ledger)?;
        }
        self.shrink()?;
        failed.map_or(Ok(applied), Err)
    }

    fn shrink(&mut self) -> Result<()> {
        while let Node::Inner(inner) = &self.now.root.node {
            let below = match inner.children.as_slice() {
                [] => {
                    self.ledger.came(1);
                    Child::leaf(Leaf::empty())?
                }
                [only] => only.clone(),
                _ => return Ok(()),
            };
            self.ledger.retire(&self.now.root);
            self.now.root = below;
            // A snapshot names the root by one image.
            if self.now.root.base().is_some() {
                self.ledger.leave_base(&mut self.now.root, &self.now.segments)?;
            }
        }
        Ok(())
    }
}

/// Single changes, for tests.
#[cfg(test)]
impl KeyTree {
    /// Number of entries.
    pub(crate) fn len(&self) -> u64 {
        self.now.len()
    }

    /// Inserts an entry. `false` if it exists.
    pub(crate) fn insert(&mut self, key: &[u8], id: u64) -> Result<bool> {
        Ok(self.apply_sorted(&[Change { entry: KeyEntry { key, id }, insert: true }])? == 1)
    }

    /// Removes an entry. `false` if it does not exist.
    pub(crate) fn remove(&mut self, key: &[u8], id: u64) -> Result<bool> {
        Ok(self.apply_sorted(&[Change { entry: KeyEntry { key, id }, insert: false }])? == 1)
    }
}

/// Nodes in page segments of a tree that has ended, whose pages have been released, with what is below them.
#[derive(Debug)]
pub(crate) struct Ended {
    nodes: Vec<Child>,
    segments: Arc<PageSegments>,
}

impl KeyTree {
    /// Ends the tree: releases the pages that a snapshot refers to for its nodes, as far as nothing has to be read. What is below them
    /// is left.
    pub(crate) fn end(self) -> (Vec<PageRef>, Ended) {
        let Self { now, mut ledger, .. } = self;
        ledger.part();
        let mut nodes = Vec::new();
        retire_on_heap(&now.root, &mut ledger, &mut nodes);
        (ledger.released, Ended { nodes, segments: now.segments })
    }
}

impl Ended {
    /// The pages below. Those below an unreadable one are not released: their segment stays, and does no harm.
    pub(crate) fn released(self) -> Vec<PageRef> {
        let mut ledger = Ledger::empty();
        for node in &self.nodes {
            retire_below(node, &self.segments, &mut ledger);
        }
        ledger.released
    }
}

fn retire_on_heap(child: &Child, ledger: &mut Ledger, nodes: &mut Vec<Child>) {
    match &child.node {
        Node::Inner(inner) => inner.children.iter().for_each(|below| retire_on_heap(below, ledger, nodes)),
        Node::CleanInner(_) => nodes.push(child.clone()),
        Node::Leaf(_) | Node::Changed(_) | Node::CleanLeaf(_) | Node::Patched(_) => {}
    }
    ledger.retire(child);
}

fn retire_below(child: &Child, segments: &PageSegments, ledger: &mut Ledger) {
    let Node::CleanInner(lazy) = &child.node else { return };
    let Ok(inner) = lazy.get(segments) else { return };
    for below in &inner.children {
        retire_below(below, segments, ledger);
        ledger.retire(below);
    }
}
