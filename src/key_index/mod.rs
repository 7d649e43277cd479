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
//! position  a place between two entries; separator: the bound between two neighbours; change: of an entry
//! image     nodes in page segments, read in place; leaf: leaves on the heap
//! layers    an image of a leaf, and the entries that came and went since: what they mean together
//! changed   the same with those entries on the heap; patched: with them in a page segment, too
//! node      a node, wherever it is; inner nodes
//! ledger    making a node the writer's own; what is on the heap because it changed; pages out of use
//! glance    loading what searches begin with into the cache, for several nodes at once
//! gathered  changes before they are applied
//! runs      which changes belong to which child
//! work      what a walk that changes nodes carries along
//! shape     splitting inner nodes, merging small ones
//! apply     sorted changes, from the root down and back
//! probe     a look at what changes will need, before they are applied
//! root      the root of the readers
//! cursor    positions in a root; range: entries between two of them
//! lookup    looking up a key; several: several keys at once
//! tree      the tree of the writer; fork: a second tree of the writer
//! save      images of what changed; putting saved pages in place of heap; patch: patches of such images
//! build     a tree from sorted entries
//! check     whether all nodes of a tree are whole and fit together; difference: what one state has and another has not, with its keys in a key_list
//! ```

mod apply;
mod build;
mod change;
mod changed;
mod check;
mod cursor;
mod difference;
mod fork;
mod gathered;
mod glance;
mod image;
mod key_list;
mod layers;
mod leaf;
mod ledger;
mod lookup;
mod node;
mod patch;
mod patched;
mod position;
mod probe;
mod range;
mod refresh;
mod root;
mod runs;
mod save;
mod separator;
mod several;
mod shape;
mod slotted;
#[cfg(test)]
pub(crate) mod tests;
mod tree;
mod work;

pub(crate) use build::Builder;
pub(crate) use change::{Change, Changes};
pub(crate) use gathered::Gathered;
pub(crate) use key_list::KeyList;
pub(crate) use leaf::NODE_HEAP_BYTES;
pub(crate) use ledger::Prepared;
pub(crate) use position::Position;
pub(crate) use probe::Probed;
pub(crate) use range::Range;
pub(crate) use refresh::Passed;
pub(crate) use root::KeyRoot;
pub(crate) use save::{Frozen, Saved};
pub(crate) use tree::{Ended, KeyTree};
