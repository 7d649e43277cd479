//! One segment: a file of the backing store with its identity, its map and its live bytes.
//!
//! Owns: reading bytes of a segment, from a map if the process has one left for it. Never: appends (the writer does) or
//! decides when a segment is deleted.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use crate::backing::{Backing, BackingFile, Map, MapFor, Parts, asks_for_pages};
use crate::error::{Error, Result};
use crate::format::entry::Location;
use crate::format::item::Item;
use crate::format::segment::{FileKind, SegmentHeader};
use crate::format::{GRANULE_BYTES, Seed};
use crate::id::{SegmentSeq, to_u64, to_usize};
use crate::log::sizes::Sizes;

/// A readable segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) name: String,
    pub(super) header: SegmentHeader,
    /// The damage of the file's header, if the header was reconstructed from the frames.
    pub(super) header_damage: Option<String>,
    pub(super) seed: Seed,
    pub(super) backing: Arc<dyn Backing>,
    /// Dropped when nothing more is appended and everything is mapped: descriptors are scarce.
    pub(super) file: RwLock<Option<Arc<dyn BackingFile>>>,
    /// Whether a sync has failed. Held over each sync.
    pub(super) has_failed: Mutex<bool>,
    /// Whether nothing more is appended.
    pub(super) is_ended: AtomicBool,
    /// The length, once `file` is dropped or replaced by another handle.
    pub(super) final_bytes: AtomicU64,
    /// Where the contents of an opened file end: the rest is space that its writer preallocated.
    pub(super) content_end: u64,
    /// Empty if the backing cannot map, or the process has few maps left. Created when the segment is read often
    /// enough.
    pub(super) map: OnceLock<Map>,
    /// Reads without a map.
    pub(super) reads: AtomicU32,
    /// Its capacity, if this process created it.
    pub(super) capacity: u64,
    pub(super) live_bytes: AtomicI64,
    pub(super) sizes: Arc<Sizes>,
    /// Bytes counted in `sizes`, and whether any are.
    pub(super) sized_bytes: AtomicI64,
    pub(super) is_sized: AtomicBool,
    /// One bit per granule: whether the record that starts there was checked in this process. Created on the first read
    /// from the map; empty if every read is to be checked.
    pub(super) checked: OnceLock<Box<[AtomicU64]>>,
    /// Created by this process: its contents were checked when written.
    pub(super) is_own: bool,
    pub(super) is_absent: bool,
}

/// Maps a file if the process has maps left. Otherwise it is read with system calls.
pub(super) fn map_of(file: &dyn BackingFile, bytes: u64, wanted: MapFor) -> Option<Map> {
    if wanted.is_allowed() { file.map(bytes).ok().flatten() } else { None }
}

/// After this many reads a segment gets a map, if there is one. If not, it asks again after twice as many.
const READS_FOR_A_MAP: u32 = 32;

/// The pages of larger records are asked for before the first of them is read.
const LARGE_BYTES: u64 = 8 << 10;

/// Size of a cache line.
const LINE_BYTES: usize = 64;
/// Cache lines of a record that are prefetched; after those its reader proceeds sequentially.
const LINES_AHEAD: usize = 4;

impl Segment {
    /// Whether the record at an offset was checked before in this process.
    #[inline]
    fn was_checked(&self, offset: u64) -> bool {
        if self.is_own {
            return true;
        }
        let bit = offset / GRANULE_BYTES;
        let word = self.checked.get().and_then(|words| words.get(to_usize(bit / 64)));
        word.is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (bit % 64)) != 0)
    }

    #[cold]
    fn note_checked(&self, offset: u64) {
        let words = self.checked.get_or_init(|| {
            let bytes = self.len().unwrap_or_default().max(self.capacity);
            let words = to_usize(bytes.div_ceil(GRANULE_BYTES * 64));
            (0..words).map(|_| AtomicU64::new(0)).collect()
        });
        let bit = offset / GRANULE_BYTES;
        if let Some(word) = words.get(to_usize(bit / 64)) {
            word.fetch_or(1 << (bit % 64), Ordering::Relaxed);
        }
    }

    /// Whether the frame at an offset was checked as a whole before in this process. No record starts within its header.
    #[inline]
    pub(crate) fn is_frame_checked(&self, offset: u64) -> bool {
        self.is_noted(offset)
    }

    /// Whether it was also found to be plain.
    #[inline]
    pub(crate) fn is_frame_plain(&self, offset: u64) -> bool {
        self.is_noted(offset + GRANULE_BYTES)
    }

    #[inline]
    fn is_noted(&self, offset: u64) -> bool {
        let bit = offset / GRANULE_BYTES;
        let word = self.checked.get().and_then(|words| words.get(to_usize(bit / 64)));
        self.is_mapped() && word.is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (bit % 64)) != 0)
    }

    /// The frame at an offset was checked as a whole. Its reader decides what is plain.
    pub(crate) fn note_frame_checked(&self, offset: u64, is_plain: bool) {
        if self.is_mapped() {
            self.note_checked(offset);
            if is_plain {
                self.note_checked(offset + GRANULE_BYTES);
            }
        }
    }

    /// The backing that it is in.
    pub(crate) fn backing(&self) -> &Arc<dyn Backing> {
        &self.backing
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn number(&self) -> SegmentSeq {
        self.header.segment
    }

    /// Whether it has no file any more.
    pub(crate) fn is_absent(&self) -> bool {
        self.is_absent
    }

    /// Its capacity in bytes.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// The damage of the file's header, if `header` was reconstructed.
    pub(crate) fn header_damage(&self) -> Option<&str> {
        self.header_damage.as_deref()
    }

    pub(crate) fn seed(&self) -> Seed {
        self.seed
    }

    fn file(&self) -> Option<Arc<dyn BackingFile>> {
        self.file.read().as_ref().map(Arc::clone)
    }

    /// Appends bytes; see `BackingFile::append`.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.file().ok_or(io::ErrorKind::PermissionDenied)?.append(bytes)?;
        if self.is_sized.load(Ordering::Relaxed) {
            self.add_sized(to_u64(bytes.len()));
        }
        Ok(())
    }

    /// Nothing more is appended.
    pub(crate) fn end_room(&self) {
        if let Some(file) = self.file() {
            // Preallocated space that stays is skipped by later openings.
            drop(file.preallocate(0));
        }
    }

    /// Makes everything appended durable. After a failure, even a panic, all later calls fail: a system reports lost writes once, and
    /// tells whoever syncs the file next that nothing is wrong.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut has_failed = self.has_failed.lock();
        if std::mem::replace(&mut *has_failed, true) {
            return Err(io::Error::other("an earlier sync of the file failed"));
        }
        let result = self.file().map_or(Ok(()), |file| file.sync());
        *has_failed = result.is_err();
        result
    }

    /// Releases the descriptor: nothing more is appended, and everything is synced.
    pub(crate) fn close_file(&self) {
        let was_ended = self.is_ended.swap(true, Ordering::AcqRel);
        // A capacity has what this process has created, and may have appended to.
        if self.capacity > 0
            && !was_ended
            && let Some(file) = self.file()
        {
            drop(file.seal());
        }
        if self.is_mapped() {
            self.drop_file();
        } else if let Some(file) = self.file() {
            // A read-only file needs no descriptor while it is not read. If it cannot be opened, the other one stays.
            if let (Ok(len), Ok(other)) = (file.len(), self.backing.open(&self.name)) {
                self.final_bytes.store(len.min(self.content_end), Ordering::Release);
                *self.file.write() = Some(other);
            }
        }
    }

    /// Releases the file of a segment that has ended and is mapped.
    pub(super) fn drop_file(&self) {
        if !self.is_mapped() || !self.is_ended.load(Ordering::Acquire) {
            return;
        }
        let Some(file) = self.file() else { return };
        if let Ok(len) = file.len() {
            self.final_bytes.store(len.min(self.content_end), Ordering::Release);
            *self.file.write() = None;
        }
    }

    /// Counts a read without a map. A segment that is read often gets one.
    #[cold]
    fn note_read(&self, file: &dyn BackingFile) {
        let reads = self.reads.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if reads < READS_FOR_A_MAP || !reads.is_power_of_two() {
            return;
        }
        let wanted = if self.header.kind == FileKind::Pages { MapFor::Pages } else { MapFor::HotRecords };
        let bytes = if self.capacity == 0 { self.content_end } else { self.capacity };
        if let Some(map) = map_of(file, bytes, wanted) {
            self.map.get_or_init(|| map);
            self.drop_file();
        }
    }

    /// Bytes in the file now.
    pub(crate) fn len(&self) -> Result<u64> {
        // First: once it is set, the file may be another handle, whose length may include preallocated space. Ended
        // segments need neither a lock nor a reference to the file for this: each read asks.
        let is_final = || Some(self.final_bytes.load(Ordering::Acquire)).filter(|bytes| *bytes > 0);
        if let Some(bytes) = is_final() {
            return Ok(bytes);
        }
        let Some(file) = self.file() else { return Ok(is_final().unwrap_or_default()) };
        let len = file.len().map_err(|source| Error::io("measure", &self.name, source))?;
        Ok(len.min(self.content_end))
    }

    /// Bytes that the record index points at.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Relaxed).max(0).unsigned_abs()
    }

    /// Counts bytes that the record index starts or stops pointing at.
    pub(crate) fn add_live(&self, bytes: i64) {
        self.live_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.is_sized.load(Ordering::Relaxed) {
            self.sizes.live.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Includes it in the sizes of all segments. The caller excludes changes of live bytes meanwhile.
    pub(crate) fn join_sizes(&self) {
        if !self.is_sized.swap(true, Ordering::Relaxed) {
            self.sizes.live.fetch_add(self.live_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
            self.add_sized(self.len().unwrap_or_default());
        }
    }

    /// Excludes it again.
    pub(crate) fn leave_sizes(&self) {
        if self.is_sized.swap(false, Ordering::Relaxed) {
            self.sizes.live.fetch_sub(self.live_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
            self.sizes.bytes.fetch_sub(self.sized_bytes.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn add_sized(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.sized_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.sizes.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn is_mapped(&self) -> bool {
        self.map.get().is_some()
    }

    /// Bytes in place, if the segment is mapped and they were appended.
    #[inline]
    pub(crate) fn mapped(&self, offset: u64, len: usize) -> Option<&[u8]> {
        self.map.get()?.slice(offset, len)
    }

    /// Bytes, in place if the segment is mapped and copied otherwise.
    pub(crate) fn read(&self, offset: u64, len: u64) -> Result<Cow<'_, [u8]>> {
        if let Some(bytes) = self.mapped(offset, to_usize(len)) {
            return Ok(Cow::Borrowed(bytes));
        }
        let end = self.len()?;
        if offset.checked_add(len).is_none_or(|wanted| wanted > end) {
            let expected = format!("{len} bytes");
            return Err(Error::corrupt(&self.name, offset, "segment", expected, format!("a file of {end} bytes")));
        }
        let file = self.file().ok_or_else(|| Error::io("read", &self.name, io::ErrorKind::UnexpectedEof.into()))?;
        let mut bytes = vec![0; to_usize(len)];
        file.read_at(offset, &mut bytes).map_err(|source| Error::io("read", &self.name, source))?;
        self.note_read(&*file);
        Ok(Cow::Owned(bytes))
    }

    /// The whole contents, header included.
    pub(crate) fn contents(&self) -> Result<Cow<'_, [u8]>> {
        self.read(0, self.len()?)
    }

    /// The whole contents, of which only what is at or after an offset is asked for. Without a map what is before it is not read, and
    /// zeros are in its place.
    pub(crate) fn contents_from(&self, offset: u64) -> Result<Cow<'_, [u8]>> {
        let len = self.len()?;
        if offset > len || self.mapped(0, to_usize(len)).is_some() {
            return self.contents();
        }
        let file = self.file().ok_or_else(|| Error::io("read", &self.name, io::ErrorKind::UnexpectedEof.into()))?;
        let mut bytes = vec![0; to_usize(len)];
        let wanted = bytes.get_mut(to_usize(offset)..).unwrap_or_default();
        file.read_at(offset, wanted).map_err(|source| Error::io("read", &self.name, source))?;
        self.note_read(&*file);
        Ok(Cow::Owned(bytes))
    }

    /// The record at a location whose bytes were checked before; `None` in any unusual case.
    #[inline]
    pub(crate) fn checked_record(&self, location: Location) -> Option<Item<'_>> {
        let offset = location.offset();
        let bytes = self.mapped(offset, to_usize(location.bytes()))?;
        let item = Item::parse_record(bytes)?;
        (self.was_checked(offset) && item.bytes() == location.bytes()).then_some(item)
    }

    /// The parts of a part that reading would wait for, as far as known.
    pub(crate) fn missing(&self, part: Range<u64>) -> Parts {
        self.map.get().map_or_else(Parts::new, |map| map.missing(&part))
    }

    /// Asks for a part that will be read soon.
    pub(crate) fn will_need(&self, part: &Range<u64>) {
        if let Some(map) = self.map.get() {
            map.will_need(part);
        }
    }

    /// Lets go of a part that was brought into memory for one walk.
    pub(crate) fn let_go(&self, part: &Range<u64>) {
        if let Some(map) = self.map.get() {
            map.let_go(part);
        }
    }

    /// Before a record of several pages is read whole.
    #[cold]
    pub(crate) fn ask_for_large(&self, location: Location) {
        if asks_for_pages() || !self.was_checked(location.offset()) {
            self.will_need(&(location.offset()..location.offset() + location.bytes()));
        }
    }

    /// Prefetches the first cache lines of a mapped record, and the bit that says whether it was checked.
    #[inline]
    pub(crate) fn glance(&self, location: Location) -> u8 {
        let Some(bytes) = self.mapped(location.offset(), to_usize(location.bytes())) else { return 0 };
        let lines = bytes.iter().step_by(LINE_BYTES).take(LINES_AHEAD).fold(0, |sum, byte| sum ^ byte);
        lines ^ u8::from(self.was_checked(location.offset()))
    }

    /// The item at a location, checked against its checksum and the entry's size.
    pub(crate) fn check_item<'a>(&self, location: Location, bytes: &'a [u8]) -> Result<Item<'a>> {
        let offset = location.offset();
        if location.bytes() > LARGE_BYTES {
            self.ask_for_large(location);
        }
        let item = Item::parse(bytes).map_err(|malformed| malformed.at(&self.name, offset))?;
        let is_mapped = self.is_mapped();
        if !is_mapped || !self.was_checked(offset) {
            item.verify(self.seed.at(offset)).map_err(|malformed| malformed.at(&self.name, offset))?;
            if is_mapped {
                self.note_checked(offset);
            }
        }
        if item.bytes() != location.bytes() {
            let (expected, got) = (location.bytes(), item.bytes());
            return Err(Error::corrupt(&self.name, offset, "size of a record", expected, got));
        }
        Ok(item)
    }
}
