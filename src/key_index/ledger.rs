//! The ledger of one tree: pages no longer used, the number of changed nodes on the heap, and leaves read ahead of a
//! change.
//!
//! Owns: giving the writer a node of its own. Path copying (Driscoll et al. 1989), deferred until another reference to
//! the node exists: its reference count tells.
//! Invariants: 1. A node that anything but the writer may hold is never changed.
//! 2. A page that the newest tree no longer refers to is in `released`, once; those below nodes of a tree that has ended are in what is
//! left of it until the next save.
//! 3. `dirty` is the number of nodes of the newest tree that are on the heap because they changed.
//! 4. `heap_bytes` is never less than the bytes of nodes that the newest tree and a save keep on the heap.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::Result;
use crate::format::descriptor::PageRef;
use crate::id::{NumberHash, to_u64};
use crate::key_index::change::{Change, Effect};
use crate::key_index::changed::Changed;
use crate::key_index::image::{Base, Clean};
use crate::key_index::leaf::{Leaf, NODE_HEAP_BYTES, Origin, not_a_leaf};
use crate::key_index::node::{Child, Inner, Node, not_inner};
use crate::pages::PageSegments;

/// Leaves read ahead of a change, each with the number of its image; with a copy if the change will not fit beside it.
pub(crate) type Prepared = Vec<(u64, Option<Arc<Leaf>>)>;

/// Bytes of changed nodes of one tree from which on leaves are no longer copied for a few changes, unless told otherwise.
const COPIED_BYTES_MAX: u64 = 8 * NODE_HEAP_BYTES;

/// What a running save keeps on the heap.
#[derive(Debug, Clone, Copy)]
struct Saving {
    /// `dirty_bytes` at the freeze: the save has all of these.
    frozen: u64,
    /// `made` at the freeze.
    made: u64,
}

/// What waits until it is known which of two trees stays.
#[derive(Debug, Default)]
struct Forked {
    /// How many pages were out of use before.
    released: usize,
    let_go: Vec<Arc<Base>>,
}

/// The accounts of a tree.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) released: Vec<PageRef>,
    dirty: u64,
    dirty_bytes: u64,
    /// Bytes of nodes brought to the heap, minus those that left it before any save had them.
    made: u64,
    /// Incremented by each freeze. Nodes of an older round may be in a save.
    round: u32,
    saving: Option<Saving>,
    prepared: HashMap<u64, Option<Arc<Leaf>>, NumberHash>,
    has_clean: bool,
    copied_bytes_max: u64,
    forked: Option<Forked>,
}

impl Ledger {
    /// The accounts of a tree with this many nodes on the heap.
    pub(crate) fn new(dirty: u64) -> Self {
        Self {
            dirty,
            dirty_bytes: dirty * NODE_HEAP_BYTES,
            round: 1,
            has_clean: true,
            copied_bytes_max: COPIED_BYTES_MAX,
            ..Self::default()
        }
    }

    /// The accounts of an empty tree, which has one leaf.
    pub(crate) fn empty() -> Self {
        Self { has_clean: false, ..Self::new(1) }
    }

    /// Nodes of the newest tree that are on the heap because they changed.
    pub(crate) fn dirty(&self) -> u64 {
        self.dirty
    }

    #[cfg(test)]
    pub(crate) fn dirty_bytes(&self) -> u64 {
        self.dirty_bytes
    }

    /// Their bytes, including those of nodes that a save has and the tree has replaced.
    pub(crate) fn heap_bytes(&self) -> u64 {
        match self.saving {
            Some(saving) => (saving.frozen + self.made.saturating_sub(saving.made)).max(self.dirty_bytes),
            None => self.dirty_bytes,
        }
    }

    /// A save starts with the current nodes.
    pub(crate) fn begin_saving(&mut self) {
        self.round = self.round.wrapping_add(1).max(1);
        self.saving = Some(Saving { frozen: self.dirty_bytes, made: self.made });
    }

    /// The save has released its nodes.
    pub(crate) fn end_saving(&mut self) {
        self.saving = None;
    }

    /// This many nodes came to the heap.
    pub(crate) fn came(&mut self, nodes: usize) {
        self.came_with(to_u64(nodes), to_u64(nodes) * NODE_HEAP_BYTES);
    }

    fn came_with(&mut self, nodes: u64, bytes: u64) {
        self.dirty += nodes;
        self.dirty_bytes += bytes;
        self.made += bytes;
    }

    /// A node on the heap has another size now.
    fn resized(&mut self, before: u64, now: u64) {
        self.dirty_bytes = (self.dirty_bytes + now).saturating_sub(before);
        self.made = (self.made + now).saturating_sub(before);
    }

    /// Whether nodes may have to be read from pages.
    pub(crate) fn has_clean(&self) -> bool {
        self.has_clean
    }

    /// This many nodes can be read from their pages again.
    pub(crate) fn cleaned(&mut self, nodes: u64, bytes: u64) {
        self.has_clean = true;
        self.dirty = self.dirty.saturating_sub(nodes);
        self.dirty_bytes = self.dirty_bytes.saturating_sub(bytes);
    }

    /// Offers leaves that the next changes may need. The caller withdraws them later.
    pub(crate) fn offer(&mut self, prepared: Prepared) {
        self.prepared.extend(prepared);
    }

    /// Withdraws leaves that were offered and not used.
    pub(crate) fn withdraw(&mut self, numbers: &[u64]) -> Prepared {
        numbers.iter().filter_map(|number| Some((*number, self.prepared.remove(number)?))).collect()
    }

    /// The accounts of a second tree that goes on from this one, until `join` or `part`; none while a save runs, which must not
    /// begin in between either.
    pub(crate) fn fork(&mut self) -> Option<Self> {
        if self.saving.is_some() || self.forked.is_some() {
            return None;
        }
        self.forked = Some(Forked { released: self.released.len(), let_go: Vec::new() });
        let Self { dirty, dirty_bytes, made, round, has_clean, copied_bytes_max, .. } = *self;
        let forked = Some(Forked::default());
        Some(Self { dirty, dirty_bytes, made, round, has_clean, copied_bytes_max, forked, ..Self::default() })
    }

    /// The second tree stays. What the first has let go of since is in use, unless the second has let go of it too.
    pub(crate) fn join(&mut self, second: Self) {
        let Some(first) = self.forked.take() else { return };
        self.released.truncate(first.released);
        self.released.extend(second.released);
        let let_go = second.forked.into_iter().flat_map(|forked| forked.let_go);
        self.released.extend(let_go.filter_map(|base| base.let_go()));
        (self.dirty, self.dirty_bytes, self.made) = (second.dirty, second.dirty_bytes, second.made);
        self.has_clean = second.has_clean;
    }

    /// The first tree stays.
    pub(crate) fn part(&mut self) {
        let let_go = self.forked.take().into_iter().flat_map(|forked| forked.let_go);
        self.released.extend(let_go.filter_map(|base| base.let_go()));
    }

    /// Nothing of this tree refers to a base any more.
    fn let_go(&mut self, base: Option<&Arc<Base>>) {
        match (base, &mut self.forked) {
            (Some(base), Some(forked)) => forked.let_go.push(Arc::clone(base)),
            (base, _) => self.released.extend(base.and_then(|base| base.let_go())),
        }
    }

    fn leave(&mut self, origin: &Origin, bytes: u64) {
        // Only a save that runs asks for it. Of two trees both may have the node.
        if self.saving.is_some() {
            origin.superseded.store(true, Ordering::Relaxed);
        }
        if let Some(image) = origin.page.get() {
            self.released.push(image.clean.page());
        }
        if origin.born == self.round {
            self.made = self.made.saturating_sub(bytes);
        }
    }

    /// A node leaves the newest tree, with its base.
    pub(crate) fn retire(&mut self, child: &Child) {
        self.let_go(child.base());
        if let Some((origin, bytes)) = child.own() {
            self.leave(origin, bytes);
            self.dirty = self.dirty.saturating_sub(1);
            self.dirty_bytes = self.dirty_bytes.saturating_sub(bytes);
        } else if let Some(clean) = child.saved() {
            self.released.push(clean.page());
        }
    }

    /// Copies leaves for a few changes up to this many bytes.
    pub(crate) fn copy_up_to(&mut self, bytes: u64) {
        self.copied_bytes_max = bytes;
    }

    /// Whether so many nodes have changed that changes are kept beside images from now on. Changing copies of leaves is
    /// faster, as long as there is room for them.
    #[inline]
    pub(crate) fn keeps_beside(&self) -> bool {
        self.dirty_bytes >= self.copied_bytes_max
    }

    /// Makes a change beside the image of a leaf. `None` if the leaf itself must be changed.
    pub(crate) fn change_beside(&mut self, child: &mut Child, change: &Change<'_>) -> Result<Option<Effect>> {
        if let Node::Changed(changed) = &mut child.node {
            return self.change_lists(changed, change);
        }
        match &child.node {
            Node::CleanLeaf(_) | Node::Patched(_) if self.keeps_beside() && child.is_mapped() => {
                let Some(clean) = child.saved() else { return Ok(None) };
                let (number, patch) = (clean.number(), child.base().map(|_| clean.page()));
                let prepared = self.prepared.get(&number);
                if matches!(prepared, Some(Some(_))) {
                    return Ok(None);
                }
                if prepared.is_none() {
                    child.check_leaf()?;
                }
                let mut changed = child.to_changed()?;
                let effect = changed.change(change)?;
                if matches!(effect, Some(Effect::Inserted | Effect::Removed)) {
                    self.prepared.remove(&number);
                    self.put_changed(child, changed, patch);
                }
                Ok(effect)
            }
            _ => Ok(None),
        }
    }

    /// Makes a change in the lists of a leaf on the heap.
    fn change_lists(&mut self, changed: &mut Arc<Changed>, change: &Change<'_>) -> Result<Option<Effect>> {
        if Arc::strong_count(changed) > 1 {
            let bytes = changed.heap_bytes();
            self.leave(&changed.origin, bytes);
            self.made += bytes;
            Arc::make_mut(changed).origin = Origin { born: self.round, ..Origin::default() };
        }
        let own = Arc::get_mut(changed).ok_or_else(not_a_leaf)?;
        let before = own.heap_bytes();
        let effect = own.change(change)?;
        if !matches!(effect, Some(Effect::Nothing))
            && let Some(image) = own.origin.page.take()
        {
            self.released.push(image.clean.page());
        }
        let now = own.heap_bytes();
        self.resized(before, now);
        Ok(effect)
    }

    /// A leaf in a page segment is now one with lists on the heap.
    fn put_changed(&mut self, child: &mut Child, mut changed: Changed, patch: Option<PageRef>) {
        self.released.extend(patch);
        self.came_with(1, changed.heap_bytes());
        changed.origin.born = self.round;
        child.node = Node::Changed(Arc::new(changed));
    }

    /// The leaf, to be changed: copied if anything else may hold it.
    pub(crate) fn leaf_mut<'a>(&mut self, child: &'a mut Child) -> Result<&'a mut Leaf> {
        match &mut child.node {
            Node::Leaf(leaf) if Arc::strong_count(leaf) > 1 => {
                self.leave(&leaf.origin, NODE_HEAP_BYTES);
                self.made += NODE_HEAP_BYTES;
                // Copied to its final place. If the other holders have released it meanwhile it is not copied, but
                // counts as a new node all the same.
                let own = Arc::make_mut(leaf);
                own.origin = Origin { born: self.round, base: own.origin.base.take(), ..Origin::default() };
            }
            Node::Leaf(_) => {}
            Node::CleanLeaf(_) | Node::Patched(_) => {
                let number = child.saved().map(Clean::number).unwrap_or_default();
                let prepared = if self.prepared.is_empty() { None } else { self.prepared.remove(&number) };
                let mut leaf = match prepared.flatten() {
                    Some(leaf) => leaf,
                    None => child.load_leaf()?,
                };
                if let Node::Patched(patched) = &child.node {
                    self.released.push(patched.patch.page());
                }
                self.came(1);
                self.date(Arc::get_mut(&mut leaf).map(|leaf| &mut leaf.origin));
                child.node = Node::Leaf(leaf);
            }
            Node::Changed(changed) => {
                let mut leaf = changed.replacement()?;
                leaf.origin.born = self.round;
                leaf.origin.base = Some(Arc::clone(&changed.base));
                let bytes = changed.heap_bytes();
                self.leave(&changed.origin, bytes);
                self.made += NODE_HEAP_BYTES;
                self.dirty_bytes = (self.dirty_bytes + NODE_HEAP_BYTES).saturating_sub(bytes);
                child.node = Node::Leaf(Arc::new(leaf));
            }
            Node::Inner(_) | Node::CleanInner(_) => return Err(not_a_leaf()),
        }
        let Node::Leaf(leaf) = &mut child.node else { return Err(not_a_leaf()) };
        let own = Arc::get_mut(leaf).ok_or_else(not_a_leaf)?;
        if let Some(image) = own.origin.page.take() {
            self.released.push(image.clean.page());
        }
        Ok(own)
    }

    /// The inner node, to be changed.
    pub(crate) fn inner_mut<'a>(&mut self, child: &'a mut Child, segments: &PageSegments) -> Result<&'a mut Inner> {
        match &mut child.node {
            Node::Inner(inner) if Arc::strong_count(inner) > 1 => {
                self.leave(&inner.origin, NODE_HEAP_BYTES);
                self.made += NODE_HEAP_BYTES;
                let own = Arc::make_mut(inner);
                own.origin = Origin { born: self.round, base: own.origin.base.take(), ..Origin::default() };
            }
            Node::Inner(_) => {}
            Node::CleanInner(lazy) => {
                let mut inner = Arc::new(Inner::clone(lazy.get(segments)?));
                if lazy.image.base.is_some() {
                    self.released.push(lazy.image.clean.page());
                }
                self.came(1);
                self.date(Arc::get_mut(&mut inner).map(|inner| &mut inner.origin));
                child.node = Node::Inner(inner);
            }
            Node::Leaf(_) | Node::Changed(_) | Node::CleanLeaf(_) | Node::Patched(_) => return Err(not_inner()),
        }
        let Node::Inner(inner) = &mut child.node else { return Err(not_inner()) };
        let own = Arc::get_mut(inner).ok_or_else(not_inner)?;
        if let Some(image) = own.origin.page.take() {
            self.released.push(image.clean.page());
        }
        Ok(own)
    }

    /// Brings a node to the heap that must not refer to its base any more: the next save writes it whole.
    pub(crate) fn leave_base(&mut self, child: &mut Child, segments: &PageSegments) -> Result<()> {
        let base = match &child.node {
            Node::Inner(_) | Node::CleanInner(_) => self.inner_mut(child, segments)?.origin.base.take(),
            _ => self.leaf_mut(child)?.origin.base.take(),
        };
        self.let_go(base.as_ref());
        Ok(())
    }

    /// Brings a node to the heap that must not refer to its patch any more.
    pub(crate) fn leave_patch(&mut self, child: &mut Child, segments: &PageSegments) -> Result<()> {
        match &child.node {
            Node::Inner(_) | Node::CleanInner(_) => drop(self.inner_mut(child, segments)?),
            Node::Patched(patched) if child.is_mapped() => {
                let patch = patched.patch.page();
                let changed = child.to_changed()?;
                self.put_changed(child, changed, Some(patch));
            }
            _ => drop(self.leaf_mut(child)?),
        }
        Ok(())
    }

    fn date(&self, origin: Option<&mut Origin>) {
        if let Some(origin) = origin {
            origin.born = self.round;
        }
    }
}
