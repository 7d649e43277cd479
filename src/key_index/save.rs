//! Saving a tree: images of changed nodes, children first; afterwards saved pages replace nodes on the heap.
//!
//! Owns: which nodes are written, and which pages are no longer used. Never: appends or syncs; `write` does that.
//! Invariants: 1. The tree is untouched until `install`: a failed save leaves no trace.
//! 2. `install` is called once the images are durable.
//! 3. A page written for a node that has been replaced meanwhile is released by `install`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::Result;
use crate::format::descriptor::PageRef;
use crate::format::node::ChildRef;
use crate::key_index::image::{Base, Clean, Image, in_memory};
use crate::key_index::ledger::Ledger;
use crate::key_index::node::{Child, Inner, Node, level};
use crate::key_index::root::KeyRoot;
use crate::key_index::tree::KeyTree;
use crate::key_index::{patch, slotted};
use crate::pages::{PageSegment, PageSegments};

/// Takes an image and returns its future location.
pub(crate) type Write<'a> = dyn FnMut(&[u8]) -> Result<(PageRef, Arc<PageSegment>)> + 'a;

/// A tree at the moment of a freeze.
#[derive(Debug)]
pub(crate) struct Frozen {
    root: KeyRoot,
    released: Vec<PageRef>,
}

/// The result of a save.
#[derive(Debug)]
pub(crate) struct Saved {
    /// The root page; not written if the tree is empty.
    pub(crate) root: PageRef,
    /// Entries of the tree.
    pub(crate) entries: u64,
    written: Vec<(Node, Image)>,
    installed: usize,
}

#[cfg(test)]
impl Saved {
    /// Number of nodes that were written.
    pub(crate) fn nodes(&self) -> usize {
        self.written.len()
    }
}

impl Saved {
    /// Pages that were written and not installed. Nothing of them is installed afterwards.
    pub(crate) fn take_rest(&mut self) -> impl Iterator<Item = PageRef> {
        let installed = self.installed.min(self.written.len());
        self.written.drain(installed..).map(|(_, image)| image.clean.page())
    }
}

impl Frozen {
    /// Pages that the previous snapshot refers to, and this one does not.
    pub(crate) fn released(&self) -> &[PageRef] {
        &self.released
    }

    /// What the save was to release, if it failed and the tree is gone.
    pub(crate) fn into_released(self) -> Vec<PageRef> {
        self.released
    }

    /// Passes images of all nodes that have none to `write`, children first. After a failure too, the pages that it has
    /// let go of are those to release.
    pub(crate) fn save(&mut self, write: &mut Write<'_>) -> Result<Saved> {
        let mut pass = Pass { write, released: &mut self.released, written: Vec::new(), image: Vec::new() };
        let entries = self.root.len();
        let root = if entries == 0 {
            pass.released.extend(self.root.root.base().and_then(|base| base.let_go()));
            PageRef::default()
        } else {
            pass.save(&self.root.root, true)?.clean.page()
        };
        Ok(Saved { root, entries, written: pass.written, installed: 0 })
    }
}

struct Pass<'p, 'w> {
    write: &'p mut Write<'w>,
    released: &'p mut Vec<PageRef>,
    written: Vec<(Node, Image)>,
    image: Vec<u8>,
}

impl Pass<'_, '_> {
    fn save(&mut self, child: &Child, is_root: bool) -> Result<Image> {
        if let Some(image) = child.image() {
            return Ok(image);
        }
        // A snapshot names the root by one image.
        let base = child.base().filter(|base| !is_root && !base.is_let_go());
        // What is on the heap as a whole is not lost with its base. Lists are, and tell so below.
        let is_on_heap = matches!(child.node, Node::Leaf(_) | Node::Inner(_));
        let base = base.filter(|base| !is_on_heap || base.clean.check_again().is_ok());
        let out = &mut self.image;
        let is_patch = match &child.node {
            Node::Leaf(leaf) => {
                let is_patch = base.map_or(Ok(false), |base| patch::of_leaf(leaf, base, out))?;
                if !is_patch {
                    slotted::image(&leaf.bytes, &[], &[], out).map_err(in_memory)?;
                }
                is_patch
            }
            Node::Changed(changed) => {
                changed.check_again()?;
                let is_patch = base.is_some() && patch::of_changed(changed, out)?;
                if !is_patch {
                    slotted::image(&changed.merged()?.bytes, &[], &[], out).map_err(in_memory)?;
                }
                is_patch
            }
            Node::Inner(inner) => {
                let (references, bases) = self.save_children(inner)?;
                let out = &mut self.image;
                let patch = |base: &Arc<Base>| patch::of_inner(inner, base, &references, &bases, out);
                let is_patch = base.map_or(Ok(false), patch)?;
                if !is_patch {
                    slotted::image(&inner.bytes, &references, &bases, &mut self.image).map_err(in_memory)?;
                }
                is_patch
            }
            Node::CleanLeaf(_) | Node::Patched(_) | Node::CleanInner(_) => false,
        };
        let (page, segment) = (self.write)(&self.image)?;
        let base = base.filter(|_| is_patch).map(Arc::clone);
        if base.is_none() {
            self.released.extend(child.base().and_then(|base| base.let_go()));
        }
        let image = Image { clean: Clean::new(&page, segment), base };
        self.written.push((child.node.clone(), image.clone()));
        Ok(image)
    }

    fn save_children(&mut self, inner: &Inner) -> Result<(Vec<ChildRef>, Vec<ChildRef>)> {
        let (mut references, mut bases) = (Vec::with_capacity(inner.children.len()), Vec::new());
        for child in &inner.children {
            let (reference, base) = self.save(child, false)?.references(child.entries);
            references.push(reference);
            bases.extend(base);
        }
        Ok((references, bases))
    }
}

impl KeyTree {
    /// The current tree, to be saved. One save at a time: `install` or `abandon` ends it, and `end_saving` once
    /// everything it held is released.
    pub(crate) fn freeze(&mut self) -> Frozen {
        self.ledger.begin_saving();
        Frozen { root: self.now.clone(), released: std::mem::take(&mut self.ledger.released) }
    }

    /// The save failed.
    pub(crate) fn abandon(&mut self, frozen: Frozen) {
        self.ledger.released.extend(frozen.released);
    }

    /// The save has released its nodes.
    pub(crate) fn end_saving(&mut self) {
        self.ledger.end_saving();
    }

    /// Replaces nodes that have not changed since with saved pages: at most this many nodes per call. `true` when
    /// everything is done. `segments` must contain those that were written to.
    pub(crate) fn install(&mut self, saved: &mut Saved, nodes: usize, segments: &Arc<PageSegments>) -> Result<bool> {
        let end = saved.installed.saturating_add(nodes).min(saved.written.len());
        for (node, image) in saved.written.get(saved.installed..end).unwrap_or_default() {
            let origin = match node {
                Node::Leaf(leaf) => &leaf.origin,
                Node::Inner(inner) => &inner.origin,
                Node::Changed(changed) => &changed.origin,
                Node::CleanLeaf(_) | Node::Patched(_) | Node::CleanInner(_) => continue,
            };
            if origin.superseded.load(Ordering::Relaxed) {
                self.ledger.released.push(image.clean.page());
            } else {
                origin.page.get_or_init(|| image.clone());
            }
        }
        saved.installed = end;
        if end < saved.written.len() {
            return Ok(false);
        }
        self.now.segments = Arc::clone(segments);
        evict(&mut self.now.root, &mut self.ledger)?;
        Ok(true)
    }
}

/// Whether this node, or one of its children, can be read from its page.
fn can_go(child: &Child) -> bool {
    child.own().is_some() && child.saved().is_some()
}

/// Replaces heap nodes that have an image with clean nodes.
fn evict(child: &mut Child, ledger: &mut Ledger) -> Result<()> {
    if can_go(child) {
        let (nodes, bytes) = child.on_heap();
        if let Some(image) = child.image() {
            *child = Child::clean(image, level(child)?, child.entries);
            ledger.cleaned(nodes, bytes);
        }
        return Ok(());
    }
    let Node::Inner(inner) = &mut child.node else { return Ok(()) };
    if let Some(own) = Arc::get_mut(inner) {
        return own.children.iter_mut().try_for_each(|child| evict(child, ledger));
    }
    // A view holds it. The copy has the same entries, and fewer of them on the heap.
    let mut copy = Inner::clone(inner);
    copy.children.iter_mut().try_for_each(|child| evict(child, ledger))?;
    inner.origin.superseded.store(true, Ordering::Relaxed);
    *inner = Arc::new(copy);
    Ok(())
}
