//! What one state of a tree has and another does not.
//!
//! Owns: the comparison, level by level. Never: reads more than the nodes above those that differ: shared nodes are
//! skipped with everything below them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::Result;
use crate::id::SegmentSeq;
use crate::key_index::image::Clean;
use crate::key_index::node::{Child, Node, level};
use crate::key_index::root::KeyRoot;

/// Nodes of a state that another does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Bytes of nodes on the heap.
    pub(crate) heap_bytes: u64,
    /// Bytes of images in page segments.
    pub(crate) page_bytes: u64,
}

/// The identity of a node on the heap, or of an image.
type HeapNode = *const ();
type Image = (SegmentSeq, u64);

fn heap_node(child: &Child) -> Option<HeapNode> {
    match &child.node {
        Node::Leaf(leaf) => Some(Arc::as_ptr(leaf).cast()),
        Node::Inner(inner) => Some(Arc::as_ptr(inner).cast()),
        Node::Changed(changed) => Some(Arc::as_ptr(changed).cast()),
        Node::CleanLeaf(_) | Node::Patched(_) | Node::CleanInner(_) => None,
    }
}

fn image(child: &Child) -> Option<Image> {
    child.saved().map(|clean| (clean.page().segment, clean.page().offset()))
}

fn place(clean: &Clean) -> (Image, u64) {
    let page = clean.page();
    ((page.segment, page.offset()), page.bytes.into())
}

/// The images that a node is read from, with their bytes.
fn read_from(child: &Child) -> impl Iterator<Item = (Image, u64)> {
    let is_read = child.has_layers() || matches!(child.node, Node::CleanInner(_));
    let base = child.base().filter(|_| is_read).map(|base| &base.clean);
    child.saved().into_iter().chain(base).map(place)
}

/// The images that a snapshot of a node may refer to.
fn referred_to(child: &Child) -> impl Iterator<Item = Image> {
    let base = child.base().filter(|base| !base.is_let_go()).map(|base| &base.clean);
    child.saved().into_iter().chain(base).map(|clean| place(clean).0)
}

/// Bytes of images that lists on the heap from this node down still read, and that a save has let go of.
fn let_go_below(child: &Child) -> u64 {
    match &child.node {
        Node::Changed(changed) if changed.base.is_let_go() => place(&changed.base.clean).1,
        Node::Inner(inner) => inner.children.iter().map(let_go_below).sum(),
        _ => 0,
    }
}

impl KeyRoot {
    /// What this state has and `now` does not. A changed node also has a changed parent, so that two states diverge
    /// from the root downwards; and a node has only one parent, so that levels can be compared one by one.
    pub(crate) fn kept_from(&self, now: Option<&Self>) -> Result<Kept> {
        let mut kept = Kept::default();
        let mut old = vec![&self.root];
        let mut new: Vec<&Child> = now.map(|now| &now.root).into_iter().collect();
        let top = |all: &[&Child]| all.first().map_or(Ok(0), |child| level(child));
        let (mut old_level, mut new_level) = (top(&old)?, top(&new)?);
        loop {
            if old_level == new_level {
                pass_shared(&mut old, &mut new, &mut kept);
            }
            if old.is_empty() {
                return Ok(kept);
            }
            let at = old_level.max(new_level);
            if old_level == at {
                let shared: HashSet<Image> = if new_level == at {
                    new.iter().flat_map(|child| referred_to(child)).collect()
                } else {
                    HashSet::new()
                };
                for child in &old {
                    kept.heap_bytes += child.own().map_or(0, |(_, bytes)| bytes);
                    let only_here = read_from(child).filter(|(at, _)| !shared.contains(at));
                    kept.page_bytes += only_here.map(|(_, bytes)| bytes).sum::<u64>();
                }
                old = below(self, &old)?;
                old_level = old_level.saturating_sub(1);
            }
            if new_level == at {
                new = match now {
                    Some(now) => below(now, &new)?,
                    None => Vec::new(),
                };
                new_level = new_level.saturating_sub(1);
            }
        }
    }
}

/// An entry: key and ID.
type Entry = (Box<[u8]>, u64);

impl KeyRoot {
    /// The keys of the entries that only one of two states has, ascending. Reads the leaves that differ.
    pub(crate) fn changed_keys(&self, now: &Self) -> Result<Vec<Box<[u8]>>> {
        let (mut old, mut new) = (vec![&self.root], vec![&now.root]);
        let (mut old_level, mut new_level) = (level(&self.root)?, level(&now.root)?);
        loop {
            if old_level == new_level {
                pass_shared(&mut old, &mut new, &mut Kept::default());
            }
            let at = old_level.max(new_level);
            if at == 0 {
                break;
            }
            if old_level == at {
                (old, old_level) = (below(self, &old)?, old_level - 1);
            }
            if new_level == at {
                (new, new_level) = (below(now, &new)?, new_level - 1);
            }
        }
        let (old, new) = (entries(&old)?, entries(&new)?);
        let mut changed = Vec::new();
        for (some, others) in [(&old, &new), (&new, &old)] {
            let only_here = some.iter().filter(|entry| others.binary_search(entry).is_err());
            changed.extend(only_here.map(|(key, _)| key.clone()));
        }
        changed.sort_unstable();
        changed.dedup();
        Ok(changed)
    }
}

/// The entries of leaves, ascending as the leaves do.
fn entries(leaves: &[&Child]) -> Result<Vec<Entry>> {
    let (mut all, mut key) = (Vec::new(), Vec::new());
    for leaf in leaves {
        if leaf.entries == 0 {
            continue;
        }
        leaf.with_leaf(|view| {
            for at in 0..view.count() {
                let id = view.read(at, &mut key)?;
                all.push((Box::from(key.as_slice()), id));
            }
            Some(())
        })?;
    }
    Ok(all)
}

/// Removes what both have, with everything below.
fn pass_shared(old: &mut Vec<&Child>, new: &mut Vec<&Child>, kept: &mut Kept) {
    let mut by_node = HashMap::new();
    let mut by_image = HashMap::new();
    for (index, child) in new.iter().enumerate() {
        by_node.extend(heap_node(child).map(|node| (node, index)));
        by_image.extend(image(child).map(|image| (image, index)));
    }
    let mut shared = vec![false; new.len()];
    old.retain(|child| {
        let same = heap_node(child).and_then(|node| by_node.get(&node));
        let found = same.or_else(|| {
            let found = image(child).and_then(|image| by_image.get(&image));
            // The same contents. What the old state still has of it on the heap is its own.
            kept.heap_bytes += found.map_or(0, |_| child.on_heap().1);
            kept.page_bytes += found.map_or(0, |_| let_go_below(child));
            found
        });
        if let Some(shared) = found.and_then(|index| shared.get_mut(*index)) {
            *shared = true;
        }
        found.is_none()
    });
    let mut shared = shared.into_iter();
    new.retain(|_| !shared.next().unwrap_or_default());
}

/// All children of these nodes.
fn below<'r>(root: &'r KeyRoot, nodes: &[&'r Child]) -> Result<Vec<&'r Child>> {
    let mut all = Vec::new();
    for child in nodes {
        if let Some(inner) = child.as_inner(&root.segments)? {
            all.extend(&inner.children);
        }
    }
    Ok(all)
}
