//! Loading what searches will read into the processor's cache, for several nodes before the first of them is searched.
//!
//! Owns: which bytes of a node a search begins with. Never: searches, checks or changes anything: what it reads may be
//! damaged, and is thrown away.
//!
//! The slot that a search begins with may be four misses away: the node's counts, the image that it continues from, that
//! image's header, and the slot. Each step is done for all nodes before the next, so that the processor waits for all of
//! them at once.

use std::hint::black_box;

use crate::format::node::{KeyEntry, NodeView};
use crate::format::node_patch::LeafPatch;
use crate::key_index::image::{first_of, glance_at};
use crate::key_index::node::{Child, Node};

/// Loads what the search for each entry in its node will begin with.
#[inline]
pub(crate) fn look_ahead<'c, 'e>(all: impl Iterator<Item = (&'c Child, KeyEntry<'e>)> + Clone) {
    black_box(all.clone().fold(0, |sum, (child, _)| sum ^ child.touch()));
    black_box(all.clone().fold(0, |sum, (child, _)| sum ^ child.touch_further()));
    black_box(all.fold(0, |sum, (child, wanted)| sum ^ child.glance(&wanted)));
}

impl Child {
    /// Loads the node itself, or the beginning of its image.
    #[inline]
    fn touch(&self) -> u32 {
        match &self.node {
            Node::Leaf(leaf) => first_of(&leaf.bytes),
            Node::Inner(inner) => first_of(&inner.bytes),
            Node::Changed(changed) => changed.touch(),
            Node::CleanLeaf(clean) => clean.glance(first_of),
            Node::Patched(patched) => u32::from(patched.patch.is_mapped()),
            Node::CleanInner(_) => 0,
        }
    }

    /// Loads what that refers to.
    #[inline]
    fn touch_further(&self) -> u32 {
        match &self.node {
            Node::Changed(changed) => changed.touch_further(),
            Node::Patched(patched) => patched.patch.glance(first_of) ^ patched.base.clean.glance(first_of),
            Node::Leaf(_) | Node::Inner(_) | Node::CleanLeaf(_) | Node::CleanInner(_) => 0,
        }
    }

    #[inline]
    fn glance(&self, wanted: &KeyEntry<'_>) -> u32 {
        match &self.node {
            Node::Leaf(leaf) => glance_at(&leaf.bytes, wanted),
            Node::Inner(inner) => glance_at(&inner.bytes, wanted),
            Node::CleanLeaf(clean) => clean.glance(|bytes| glance_at(bytes, wanted)),
            Node::Changed(changed) => changed.glance(wanted),
            Node::Patched(patched) => {
                let of_list = |view: &Option<NodeView<'_>>| view.map_or(0, |view| view.glance(wanted));
                let of_lists = |patch: LeafPatch<'_>| of_list(&patch.came) ^ of_list(&patch.went);
                patched.base.clean.glance(|bytes| glance_at(bytes, wanted))
                    ^ patched.patch.glance(|bytes| LeafPatch::open(bytes).map_or(0, of_lists))
            }
            Node::CleanInner(_) => 0,
        }
    }
}
