//! Page segments: images of index pages, written by saved snapshots and verified against their parents.
//!
//! Owns: writing images, reading them, checking each on its first access (one bit per 64 bytes of a segment), and how
//! many bytes of each page segment the newest snapshot refers to. Never: knows the meaning of a page, or changes one;
//! the next snapshot writes a changed page elsewhere.
//! Invariants: 1. No image is returned before its checksum was compared with its parent's.
//! 2. Images start at multiples of 64 bytes, so that no two share a bit.

mod ahead;
mod aside;
mod cache;
mod capacity;
mod dead;
mod replaced;
mod segment;
mod store;
#[cfg(test)]
mod tests;
mod tiers;
mod writer;

pub(crate) use aside::Aside;
pub(crate) use dead::Fate;
pub(crate) use replaced::Adopted;
pub(crate) use segment::{PAGE_ALIGN_BYTES, PageSegment, PageSegments};
pub(crate) use store::{PageStore, no_page_segment};
pub(crate) use writer::PageWriter;
