//! Maps: bytes of a file read in place. One of the two rooms with `unsafe`.
//!
//! Invariants: 1. A slice lies below the published length, and below the capacity. 2. Bytes below the published length
//! never change and never go away while the map exists.
//! Invariant 2 holds because this crate appends only, never cuts off what was appended, and a deleted file stays readable
//! through its map. Room ahead, which is cut off, is in no published length: a writer publishes what it appended, and whoever
//! opens a file with room maps it up to the end of its content. It assumes that no other program truncates or overwrites the files of an open store: that would end the process
//! with SIGBUS, or show other bytes, as for every store that maps its files.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Mmap, MmapMut, MmapOptions, MmapRaw};

use crate::backing::allowance::MapPermit;
use crate::id::{to_u64, to_usize};

#[derive(Debug)]
enum Bytes {
    Mapped { map: MmapRaw, published: Arc<AtomicU64>, _permit: MapPermit },
    Held(Arc<[u8]>),
}

/// Bytes of a file, readable in place.
///
/// ```
/// let map = tenure::backing::Map::from_bytes(vec![1, 2, 3].into());
/// assert_eq!(map.slice(1, 2), Some(&[2, 3][..]));
/// assert_eq!(map.slice(2, 2), None);
/// ```
#[derive(Debug)]
pub struct Map {
    bytes: Bytes,
}

impl Map {
    /// Bytes that a backing store holds in memory.
    pub fn from_bytes(bytes: Arc<[u8]>) -> Self {
        Self { bytes: Bytes::Held(bytes) }
    }

    /// Maps `capacity` bytes of a file that may still be shorter; `published` is the number of existing bytes. `None`
    /// if stores have used up the maps of this process.
    pub(super) fn of_file(file: &File, capacity: u64, published: Arc<AtomicU64>) -> io::Result<Option<Self>> {
        let Some(permit) = MapPermit::take() else { return Ok(None) };
        // The operating system rejects an empty map, but not one with a byte that is never published.
        let map = MmapOptions::new().len(to_usize(capacity.max(1))).map_raw_read_only(file)?;
        Ok(Some(Self { bytes: Bytes::Mapped { map, published, _permit: permit } }))
    }

    /// `len` bytes from `offset`; `None` if not all of them were appended, or they exceed the capacity.
    #[inline]
    #[expect(unsafe_code, reason = "there is no other way to get a slice of mapped memory")]
    pub fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let end = offset.checked_add(to_u64(len))?;
        match &self.bytes {
            Bytes::Mapped { map, published, .. } => {
                if end > published.load(Ordering::Acquire) || end > to_u64(map.len()) {
                    return None;
                }
                // SAFETY: `offset <= end <= map.len()`, so the pointer stays within the mapping.
                let start = unsafe { map.as_ptr().add(to_usize(offset)) };
                // SAFETY: the `len` bytes from `start` lie within the mapping (checked above) and below the published
                // length, so the file has them, and they never change (invariant 2). The mapping lives as long as
                // `self`, to which the slice is tied.
                Some(unsafe { std::slice::from_raw_parts(start, len) })
            }
            Bytes::Held(bytes) => bytes.get(to_usize(offset)..to_usize(end)),
        }
    }
}

/// A memory page that is zeroed in a child forked from this process. Checking it takes no system call.
#[derive(Debug)]
pub(super) struct WipedByFork {
    page: Mmap,
}

impl WipedByFork {
    /// `None` if the system has no such pages.
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "the crate for maps has no such advice")]
    pub(super) fn new() -> Option<Self> {
        let mut page = MmapMut::map_anon(1).ok()?;
        *page.first_mut()? = 1;
        // SAFETY: the range is a private, anonymous mapping of our own, which is not changed in this process.
        let advised = unsafe { libc::madvise(page.as_mut_ptr().cast(), page.len(), libc::MADV_WIPEONFORK) };
        if advised == 0 { Some(Self { page: page.make_read_only().ok()? }) } else { None }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn new() -> Option<Self> {
        None
    }

    #[inline]
    pub(super) fn is_wiped(&self) -> bool {
        self.page.first().is_none_or(|byte| *byte == 0)
    }
}
