//! The record index: a radix tree from slots to entries, and the free slots.
//!
//! Owns: the tree in memory (leaf pages of 512 entries, directory pages of 128 descriptors, one root), copying a page
//! or a block of one if a view may still read it, slot allocation. Never: reads a record, writes a file, or decides which version is the
//! newest.
//! Invariants: 1. Only the one writer changes a leaf, a patch or a directory page in place, and only if no view was taken
//! since it was made.
//! 2. A leaf or a patch on the heap is dirty; all else of a page is an image in a page segment.
//! 3. A slot is assigned only from a page whose reservation is durable, and never twice.

mod cell;
mod cells;
mod damaged;
mod difference;
mod leaf;
mod loading;
mod mid;
mod mids;
mod page_bits;
mod root;
mod slots;
mod tree;
mod unreadable;

pub(crate) use cell::{Cell, LeafRef, SavedPatch, Written};
pub(crate) use damaged::DamagedLeaf;
pub(crate) use leaf::LEAF_HEAP_BYTES;
pub(crate) use loading::directory_rows;
pub(crate) use mid::Mid;
pub(crate) use page_bits::PageBits;
pub(crate) use root::{PAGES_END, Root};
pub(crate) use slots::{PAGES_AHEAD_MAX, Pending, RESERVE_PAGES_MAX, Slots, by_page};
pub(crate) use tree::Tree;
