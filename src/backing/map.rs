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
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, Mmap, MmapMut, MmapOptions, MmapRaw};

use smallvec::SmallVec;

use crate::backing::allowance::MapPermit;
use crate::id::{to_u64, to_usize};

/// Size of a memory page, for which the system is asked; where pages are larger the answers are only less exact.
const PAGE_BYTES: u64 = 4_096;
/// Linux reads at most as much at once as the device's read-ahead, which is often this.
const ASKED_BYTES: usize = 128 << 10;
/// Pages whose presence is asked for at once.
const PAGES_AT_ONCE: usize = 256;

/// Parts of a file, in bytes.
pub(crate) type Parts = SmallVec<[Range<u64>; 4]>;

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
        // Records and pages are read here and there: what the system would read around them is rarely wanted.
        drop(map.advise(Advice::Random));
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

    /// The mapping, and a part of it that starts at a page and ends within published bytes.
    #[cfg(target_os = "linux")]
    fn pages_of(&self, part: &Range<u64>) -> Option<(&MmapRaw, usize, usize)> {
        let Bytes::Mapped { map, published, .. } = &self.bytes else { return None };
        let end = part.end.min(published.load(Ordering::Acquire)).min(to_u64(map.len()));
        let begin = part.start / PAGE_BYTES * PAGE_BYTES;
        (begin < end).then(|| (map, to_usize(begin), to_usize(end - begin)))
    }

    /// The parts of a part that reading would have to wait for. None if the system does not tell.
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "the crate for maps does not ask this")]
    pub(crate) fn missing(&self, part: &Range<u64>) -> Parts {
        let mut missing = Parts::new();
        let Some((map, begin, len)) = self.pages_of(part) else { return missing };
        let mut present = [0; PAGES_AT_ONCE];
        let page = to_usize(PAGE_BYTES);
        for from in (begin..begin + len).step_by(page * PAGES_AT_ONCE) {
            let bytes = (begin + len - from).min(page * PAGES_AT_ONCE);
            // SAFETY: `from + bytes` is at most the length of the mapping, so the pointer stays within it, and the call
            // changes nothing there. It writes one byte for each page of at least `PAGE_BYTES`: at most
            // `PAGES_AT_ONCE`, which `present` has.
            let told =
                unsafe { libc::mincore(map.as_mut_ptr().wrapping_add(from).cast(), bytes, present.as_mut_ptr()) };
            if told != 0 {
                return Parts::new();
            }
            for (number, _) in present.iter().take(bytes.div_ceil(page)).enumerate().filter(|(_, byte)| *byte & 1 == 0)
            {
                let at = to_u64(from + number * page);
                match missing.last_mut().filter(|last| last.end == at) {
                    Some(last) => last.end += PAGE_BYTES,
                    None => missing.push(at..at + PAGE_BYTES),
                }
            }
        }
        missing
    }

    /// Asks the system to read a part soon. Does not wait.
    #[cfg(target_os = "linux")]
    pub(crate) fn will_need(&self, part: &Range<u64>) {
        let Some((map, begin, len)) = self.pages_of(part) else { return };
        for from in (begin..begin + len).step_by(ASKED_BYTES) {
            drop(map.advise_range(Advice::WillNeed, from, (begin + len - from).min(ASKED_BYTES)));
        }
    }

    /// Lets the system drop a part from memory, before others. It is read again when it is needed.
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "the crate for maps does not have this advice")]
    pub(crate) fn let_go(&self, part: &Range<u64>) {
        let Some((map, begin, len)) = self.pages_of(part) else { return };
        // SAFETY: `begin + len` is at most the length of the mapping. The advice changes which pages of the file are in
        // memory, never their bytes: the mapping is shared, and reading brings a page back from the file.
        unsafe {
            libc::madvise(map.as_mut_ptr().wrapping_add(begin).cast(), len, libc::MADV_PAGEOUT);
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn missing(&self, _part: &Range<u64>) -> Parts {
        Parts::new()
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn will_need(&self, _part: &Range<u64>) {}

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn let_go(&self, _part: &Range<u64>) {}
}

/// How often this thread has waited for a page of a file, or of other memory, since it began.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "there is no safe call for it")]
pub(crate) fn waits_for_pages() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the call writes one `rusage`, for which there is space.
    let told = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
    // SAFETY: all of it was zeroed, and zeros are a valid `rusage`, whether or not the call wrote to it.
    let usage = unsafe { usage.assume_init() };
    if told == 0 { usage.ru_majflt.unsigned_abs() } else { 0 }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn waits_for_pages() -> u64 {
    0
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn advice_changes_no_byte_and_stays_within_what_was_published() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..1_200_001_u32).map(|number| number.to_le_bytes()[number as usize % 3]).collect();
        file.write_all(&bytes).unwrap();
        file.sync_all().unwrap();
        let published = Arc::new(AtomicU64::new(1_100_000));
        let map = Map::of_file(&file, 4 << 20, Arc::clone(&published)).unwrap().unwrap();
        for part in
            [0..0, 0..1, 4_095..4_097, 100_000..900_000, 1_099_999..u64::MAX, u64::MAX - 1..u64::MAX, 0..1 << 40]
        {
            for round in 0..3 {
                map.let_go(&part);
                let missing = map.missing(&part);
                assert!(
                    missing
                        .iter()
                        .all(|gap| gap.start % PAGE_BYTES == 0 && gap.start < 1_100_000 && gap.end <= 1_101_824),
                    "{part:?}, round {round}: {missing:?}"
                );
                assert!(missing.windows(2).all(|pair| pair[0].end < pair[1].start), "merged: {missing:?}");
                map.will_need(&part);
                assert!(map.slice(0, 1_100_000).unwrap() == &bytes[..1_100_000]);
                assert_eq!(map.missing(&part), Parts::new(), "what was just read is there");
            }
        }
    }
}
