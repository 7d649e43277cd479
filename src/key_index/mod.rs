//! Key indexes: ordered sets of (key, record ID), as B-trees over page segments.
//!
//! Owns: the tree, its nodes on the heap, cursors, bulk builds, and which parts of a tree are written to page segments.
//! Never: knows the meaning of a key, decides whether it must be unique, or when a snapshot is saved. Never writes by
//! itself: images are passed to the caller, who returns their locations.
//! Invariants: 1. A published root never changes.
//! 2. Entries are sorted by key, then by ID; both kinds of index store them the same way, and a unique one has one ID
//!    per key because its owner ensures that.
//!
//! ```text
//! slotted   bytes of one node: insert, remove, split off, trim
//! node      nodes on the heap and in page segments
//! layers    an image of a leaf, and the entries that came and went since: what they mean together
//! changed   the same with those entries on the heap; patched: with them in a page segment, too
//! ledger    making a node the writer's own; what is on the heap because it changed; pages out of use
//! glance    loading what searches begin with into the cache, for several nodes at once
//! gathered  changes before they are applied
//! runs      which changes belong to which child
//! probe     a look at what changes will need, before they are applied
//! apply     sorted changes, from the root down and back
//! shape     splitting inner nodes, merging small ones
//! tree      the tree of the writer, the root of the readers; fork: a second tree of the writer
//! several   looking up several keys at once
//! cursor    positions in a root; range: entries between two of them
//! build     a tree from sorted entries
//! save      images of what changed; putting saved pages in place of heap
//! check     whether all nodes of a tree are whole and fit together; difference: what one state has and another has not
//! ```

mod apply;
mod build;
mod changed;
mod check;
mod cursor;
mod difference;
mod fork;
mod gathered;
mod glance;
mod layers;
mod ledger;
mod node;
mod patched;
mod probe;
mod range;
mod refresh;
mod runs;
mod save;
mod several;
mod shape;
mod slotted;
#[cfg(test)]
pub(crate) mod tests;
mod tree;

pub(crate) use apply::{Change, Changes};
pub(crate) use build::Builder;
pub(crate) use gathered::Gathered;
pub(crate) use ledger::Prepared;
pub(crate) use node::NODE_HEAP_BYTES;
pub(crate) use probe::Probed;
pub(crate) use range::Range;
pub(crate) use refresh::Passed;
pub(crate) use save::{Frozen, Saved};
pub(crate) use tree::{KeyRoot, KeyTree, Position};
