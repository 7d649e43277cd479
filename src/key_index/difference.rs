//! What one state of a tree has and another does not.
//!
//! Owns: the comparison, level by level. Never: reads more than the nodes above those that differ: shared nodes are
//! skipped with everything below them.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::Result;
use crate::format::node::KeyEntry;
use crate::id::SegmentSeq;
use crate::key_index::image::Clean;
use crate::key_index::key_list::KeyList;
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

/// Walks over the entries of leaves, ascending as the leaves do. Holds those of one leaf.
struct Entries<'r> {
    leaves: std::slice::Iter<'r, &'r Child>,
    keys: Vec<u8>,
    /// The end of each key, and the ID.
    read: Vec<(usize, u64)>,
    begin: usize,
    at: usize,
}

impl<'r> Entries<'r> {
    fn of(leaves: &'r [&'r Child]) -> Self {
        Self { leaves: leaves.iter(), keys: Vec::new(), read: Vec::new(), begin: 0, at: 0 }
    }

    /// Reads leaves up to the next entry.
    fn load(&mut self) -> Result<()> {
        while self.at == self.read.len() {
            let Some(leaf) = self.leaves.next() else { break };
            self.keys.clear();
            self.read.clear();
            (self.begin, self.at) = (0, 0);
            if leaf.entries == 0 {
                continue;
            }
            leaf.with_leaf(|view| {
                let mut key = Vec::new();
                for at in 0..view.count() {
                    let id = view.read(at, &mut key)?;
                    self.keys.extend_from_slice(&key);
                    self.read.push((self.keys.len(), id));
                }
                Some(())
            })?;
        }
        Ok(())
    }

    /// The entry that was loaded; `None` at the end.
    fn entry(&self) -> Option<KeyEntry<'_>> {
        let (end, id) = *self.read.get(self.at)?;
        Some(KeyEntry { key: self.keys.get(self.begin..end)?, id })
    }

    fn pass(&mut self) {
        self.begin = self.read.get(self.at).map_or(self.begin, |(end, _)| *end);
        self.at += 1;
    }
}

impl KeyRoot {
    /// The keys of the entries that only one of two states has, ascending; `None` if they take more than so many bytes. Reads the
    /// leaves that differ, one of each state at a time.
    pub(crate) fn changed_keys(&self, now: &Self, bytes_max: usize) -> Result<Option<KeyList>> {
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
        let (mut old, mut new, mut changed) = (Entries::of(&old), Entries::of(&new), KeyList::default());
        loop {
            old.load()?;
            new.load()?;
            let order = match (old.entry(), new.entry()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.cmp(&new),
            };
            let only_here = match order {
                Ordering::Less => old.entry(),
                Ordering::Equal => None,
                Ordering::Greater => new.entry(),
            };
            if only_here.is_some_and(|entry| !changed.push(entry.key, bytes_max)) {
                return Ok(None);
            }
            if order.is_le() {
                old.pass();
            }
            if order.is_ge() {
                new.pass();
            }
        }
        changed.close();
        Ok(Some(changed))
    }
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
