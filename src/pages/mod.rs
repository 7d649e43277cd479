//! Page segments: images of index pages, written by saved snapshots and verified against their parents.
//!
//! Owns: writing images, reading them, checking each on its first access (one bit per 64 bytes of a segment), and how
//! many bytes of each page segment the newest snapshot refers to. Never: knows the meaning of a page, or changes one;
//! the next snapshot writes a changed page elsewhere.
//! Invariants: 1. No image is returned before its checksum was compared with its parent's.
//! 2. Images start at multiples of 64 bytes, so that no two share a bit.

mod aside;
mod cache;
#[cfg(test)]
mod tests;
mod tiers;

pub(crate) use aside::{Adopted, Aside};

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bitvec::prelude::{BitSlice, Lsb0};
use bitvec::vec::BitVec;
use parking_lot::{Mutex, RwLock};

use crate::backing::ReadAt;
use crate::error::{Corruption, Error, Result};
use crate::format::descriptor::PageRef;
use crate::format::segment::{FileKind, SEGMENT_HEADER_BYTES};
use crate::format::{GRANULE_BYTES, checksum};
use crate::id::{SegmentSeq, low_u32, to_u64, to_usize};
use crate::log::{SEGMENT_BYTES_MIN, Segment, SegmentSource};
use crate::pages::cache::Cache;

/// Images start at multiples of this.
pub(crate) const PAGE_ALIGN_BYTES: u64 = 64;
/// Images are gathered up to this size before they are appended.
const WRITE_BYTES: usize = 128 << 10;
/// Bytes synced at once while no thread waits for a sync of the log. While such commits exist every piece is synced,
/// because their own syncs have to wait for everything that the file system has buffered.
const SYNC_BYTES: u64 = 4 << 20;

/// Bytes of pages that are read ahead at once.
const AHEAD_BYTES_MAX: u64 = 16 << 20;

/// Between the smallest and the largest size, the live bytes would fill this many segments.
const SEGMENTS: u64 = 16;
/// Segments are at least this many times smaller than the store's largest, unless the live bytes would not even fill a few.
const SMALLEST_PART: u64 = 16;
/// How many segments of less than that the live bytes would fill; none is below the minimum size.
const FEW_SEGMENTS: u64 = 4;

/// A readable page segment.
#[derive(Debug)]
pub(crate) struct PageSegment {
    segment: Segment,
    verified: BitVec<AtomicU64, Lsb0>,
    /// For segments without a map.
    cache: Arc<Cache>,
}

impl PageSegment {
    fn new(segment: Segment, capacity: u64, cache: &Arc<Cache>) -> Self {
        let bits = to_usize(capacity.div_ceil(PAGE_ALIGN_BYTES));
        let mut verified = BitVec::new();
        verified.resize(bits, false);
        Self { segment, verified, cache: Arc::clone(cache) }
    }

    fn damaged(&self, page: &PageRef, got: impl std::fmt::Display) -> Error {
        let expected = format!("{} bytes with check {:08x}", page.bytes, page.check);
        Error::corrupt(self.segment.name(), page.offset(), "index page", expected, got)
    }

    fn check(&self, page: &PageRef, bytes: &[u8]) -> Result<()> {
        let check = checksum(self.segment.seed().at(page.offset()), bytes);
        if check == page.check { Ok(()) } else { Err(self.damaged(page, format!("{check:08x}"))) }
    }

    /// Runs `read` on the image of a page.
    #[inline]
    pub(crate) fn with<T>(&self, page: &PageRef, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let Some(bytes) = self.segment.mapped(page.offset(), page.bytes as usize) else {
            return self.cached(page).map(|bytes| read(&bytes));
        };
        let bit = to_usize(page.offset() / PAGE_ALIGN_BYTES);
        if !self.verified.get(bit).is_some_and(|bit| *bit) {
            self.check(page, bytes)?;
            self.note_verified(bit);
        }
        Ok(read(bytes))
    }

    /// The image, not checked, if it is mapped: to load its bytes into the cache before they are wanted.
    #[inline]
    pub(crate) fn glance(&self, page: &PageRef) -> Option<&[u8]> {
        black_box(self.verified.get(to_usize(page.offset() / PAGE_ALIGN_BYTES)).is_some_and(|bit| *bit));
        self.segment.mapped(page.offset(), page.bytes as usize)
    }

    fn note_verified(&self, bit: usize) {
        let verified: &BitSlice<AtomicU64, Lsb0> = &self.verified;
        if bit < verified.len() {
            verified.set_aliased(bit, true);
        }
    }

    /// Whether the image is read in place.
    pub(crate) fn is_mapped(&self, page: &PageRef) -> bool {
        self.segment.mapped(page.offset(), page.bytes as usize).is_some()
    }

    /// Compares a page with its checksum once more, before its bytes get a new one elsewhere.
    pub(crate) fn check_again(&self, page: &PageRef) -> Result<()> {
        match self.segment.mapped(page.offset(), page.bytes as usize) {
            Some(bytes) => {
                self.check(page, bytes)?;
                self.note_verified(to_usize(page.offset() / PAGE_ALIGN_BYTES));
                Ok(())
            }
            // Checked when it was read to the heap.
            None => Ok(()),
        }
    }

    #[cold]
    fn cached(&self, page: &PageRef) -> Result<Arc<[u8]>> {
        let key = (self.segment.number(), page.offset_granules);
        if let Some(bytes) = self.cache.get(key) {
            return Ok(bytes);
        }
        let bytes = self.segment.read(page.offset(), u64::from(page.bytes))?;
        self.check(page, &bytes)?;
        let bytes: Arc<[u8]> = Arc::from(bytes.as_ref());
        self.cache.put(key, &bytes);
        Ok(bytes)
    }

    pub(crate) fn number(&self) -> SegmentSeq {
        self.segment.number()
    }

    /// Bytes in its file; none if unknown.
    pub(crate) fn bytes(&self) -> u64 {
        self.segment.len().unwrap_or_default()
    }
}

/// Page segments by number, with which references to pages are resolved while it is held.
pub(crate) type PageSegments = BTreeMap<SegmentSeq, Arc<PageSegment>>;

/// What happens to a segment without live pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// An unnamed snapshot may still be opened.
    Stay,
    /// Named snapshots list it: its file stays.
    LetGo,
    /// Nothing lists it.
    Delete,
}

#[derive(Debug)]
struct Row {
    segment: Arc<PageSegment>,
    live_bytes: u64,
    /// It belongs to a tree that no snapshot has yet.
    is_held: bool,
}

/// The page segments of a store.
#[derive(Debug)]
pub(crate) struct PageStore {
    source: SegmentSource,
    cache: Arc<Cache>,
    rows: RwLock<BTreeMap<SegmentSeq, Row>>,
    /// Segments written aside, which the next snapshot lists.
    adopted: Mutex<Vec<Adopted>>,
    /// Segments without a file, or whose header is damaged.
    suspects: Mutex<BTreeSet<SegmentSeq>>,
    /// Files that only older unnamed snapshots needed when the store was opened.
    others: Mutex<BTreeSet<SegmentSeq>>,
    /// Files that no snapshot will list, until their owners delete them.
    scratch: Mutex<BTreeSet<SegmentSeq>>,
}

/// A page that replaces another in the next snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replaced {
    old: PageRef,
    new: PageRef,
}

impl Replaced {
    /// The changes of live bytes by segment.
    fn live_bytes(&self) -> [(SegmentSeq, i64); 2] {
        [(self.old.segment, -i64::from(self.old.bytes)), (self.new.segment, i64::from(self.new.bytes))]
    }
}

/// A page segment as a snapshot lists it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageSegmentRow {
    pub(crate) segment: SegmentSeq,
    pub(crate) bytes: u64,
    pub(crate) live_bytes: u64,
}

impl PageStore {
    pub(crate) fn new(source: SegmentSource) -> Self {
        Self {
            source,
            cache: Arc::default(),
            rows: RwLock::default(),
            adopted: Mutex::default(),
            suspects: Mutex::default(),
            others: Mutex::default(),
            scratch: Mutex::default(),
        }
    }

    /// Goes on with the segments of a new opening, for a reader.
    pub(crate) fn take_over(&self, next: Self) {
        *self.rows.write() = next.rows.into_inner();
        *self.suspects.lock() = next.suspects.into_inner();
        *self.others.lock() = next.others.into_inner();
    }

    /// Size of a new segment, given the bytes written since the last snapshot.
    fn capacity(&self, unsettled: u64) -> u64 {
        let rows = self.rows.read();
        self.capacity_for(rows.values().fold(unsettled, |sum, row| sum.saturating_add(row.live_bytes)))
    }

    /// Size of a new segment, given the live bytes. A segment is deleted as a whole, so it is small compared with all
    /// of them together; a small store would otherwise be one segment after another, each nearly empty when it is full.
    fn capacity_for(&self, live_bytes: u64) -> u64 {
        let most = self.source.segment_bytes;
        let of_small_store = (live_bytes / FEW_SEGMENTS).min(most / SMALLEST_PART);
        let least = of_small_store.max(SEGMENT_BYTES_MIN);
        (live_bytes / SEGMENTS).max(least).min(most).next_multiple_of(PAGE_ALIGN_BYTES)
    }

    /// Opens a segment that a snapshot lists. If it has no file, or a damaged header, that is recorded but the segment
    /// still counts: each page has its own checksum.
    pub(crate) fn open_segment(&self, number: SegmentSeq, live_bytes: u64) -> Result<Option<Corruption>> {
        let (segment, damage) = match self.source.open(FileKind::Pages, number) {
            Ok(segment) => (segment, None),
            Err(Error::Corrupt(damage)) => (self.source.open_unchecked(FileKind::Pages, number)?, Some(*damage)),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let (file, what) = (FileKind::Pages.file_name(number), "page segment".to_owned());
                let (expected, got) = ("the file".to_owned(), "no file of this name".to_owned());
                let damage = Corruption { file, offset: 0, what, expected, got };
                (self.source.absent_of(FileKind::Pages, number), Some(damage))
            }
            Err(error) => return Err(error),
        };
        if damage.is_some() {
            self.suspects.lock().insert(number);
        }
        let capacity = segment.len()?;
        let segment = Arc::new(PageSegment::new(segment, capacity, &self.cache));
        self.rows.write().insert(number, Row { segment, live_bytes, is_held: false });
        Ok(damage)
    }

    /// Segments without a file, or whose header is damaged.
    pub(crate) fn suspects(&self) -> BTreeSet<SegmentSeq> {
        self.suspects.lock().clone()
    }

    /// Nothing refers to these segments any more, whatever the counts say.
    pub(crate) fn forget(&self, numbers: &BTreeSet<SegmentSeq>) {
        for (_, row) in self.rows.write().iter_mut().filter(|(number, _)| numbers.contains(number)) {
            row.live_bytes = 0;
        }
    }

    /// The segment that a descriptor names.
    pub(crate) fn segment(&self, page: &PageRef) -> Result<Arc<PageSegment>> {
        let rows = self.rows.read();
        let row = rows.get(&page.segment).ok_or_else(|| {
            let file = FileKind::Pages.file_name(page.segment);
            Error::corrupt(file, page.offset(), "index page", "a page segment of this snapshot", "none")
        })?;
        Ok(Arc::clone(&row.segment))
    }

    /// Brings pages that are not in memory to the cache, several at once, where each read is a request that is waited for. What cannot
    /// be read is left to whoever reads it.
    pub(crate) fn read_ahead(&self, pages: impl Iterator<Item = PageRef>) {
        let backing = &self.source.backing;
        if backing.reads_at_once() <= 1 {
            return;
        }
        let (mut wanted, mut sum) = (Vec::new(), 0);
        for page in pages.filter(PageRef::is_written) {
            let (offset, bytes) = (page.offset(), u64::from(page.bytes));
            let Ok(segment) = self.segment(&page) else { continue };
            if segment.is_mapped(&page) || offset.saturating_add(bytes) > segment.bytes() {
                continue;
            }
            sum += bytes;
            if sum > AHEAD_BYTES_MAX {
                break;
            }
            wanted.push((segment, page, vec![0; page.bytes as usize]));
        }
        let reads = wanted.iter_mut().map(|(segment, page, buffer)| ReadAt {
            name: segment.segment.name(),
            offset: page.offset(),
            buffer,
        });
        let mut reads: Vec<_> = reads.collect();
        if reads.len() < 2 || backing.read_many(&mut reads).is_err() {
            return;
        }
        for (segment, page, bytes) in wanted {
            if segment.check(&page, &bytes).is_ok() {
                segment.cache.put((segment.number(), page.offset_granules), &Arc::from(bytes));
            }
        }
    }

    /// All current segments.
    pub(crate) fn segments(&self) -> Arc<PageSegments> {
        let rows = self.rows.read();
        Arc::new(rows.iter().map(|(number, row)| (*number, Arc::clone(&row.segment))).collect())
    }

    /// Segments that the next snapshot will refer to, once these pages have replaced those.
    pub(crate) fn live_rows_after(&self, replaced: &[Replaced]) -> Vec<PageSegmentRow> {
        let rows = self.rows.read();
        let mut live: BTreeMap<SegmentSeq, u64> = rows.iter().map(|(number, row)| (*number, row.live_bytes)).collect();
        for pair in replaced {
            for (segment, bytes) in pair.live_bytes() {
                live.entry(segment).and_modify(|live| *live = live.saturating_add_signed(bytes));
            }
        }
        let bytes = |number: &SegmentSeq| rows.get(number).and_then(|row| row.segment.segment.len().ok());
        live.into_iter()
            .filter(|(_, live_bytes)| *live_bytes > 0)
            .map(|(segment, live_bytes)| {
                let bytes = bytes(&segment).unwrap_or_default();
                PageSegmentRow { segment, bytes, live_bytes }
            })
            .collect()
    }

    /// All segments with their sizes in bytes, for statistics.
    pub(crate) fn all_rows(&self) -> Vec<(String, u64, u64)> {
        let rows = self.rows.read();
        rows.values()
            .map(|row| {
                let segment = &row.segment.segment;
                (segment.name().to_owned(), segment.len().unwrap_or_default(), row.live_bytes)
            })
            .collect()
    }

    /// A snapshot in which these pages have replaced those is durable.
    pub(crate) fn settle(&self, replaced: &[Replaced]) {
        let mut rows = self.rows.write();
        for pair in replaced {
            for (segment, bytes) in pair.live_bytes() {
                rows.entry(segment).and_modify(|row| {
                    row.live_bytes = row.live_bytes.saturating_add_signed(bytes);
                    row.is_held &= bytes <= 0;
                });
            }
        }
    }

    /// Segments with few live bytes, if page segments take twice their live bytes: the emptiest, until they have so many
    /// live bytes together. The last one may have more: what is left in it after one snapshot the next ones move.
    pub(crate) fn emptiest(&self, writing: Option<SegmentSeq>, live_bytes_max: u64) -> BTreeSet<SegmentSeq> {
        let rows = self.rows.read();
        let all = rows.iter().filter(|(number, row)| row.live_bytes > 0 && Some(**number) != writing);
        let mut all: Vec<(SegmentSeq, u64, u64)> =
            all.map(|(number, row)| (*number, row.segment.segment.len().unwrap_or_default(), row.live_bytes)).collect();
        let mut bytes = all.iter().fold(0_u64, |sum, (_, bytes, _)| sum.saturating_add(*bytes));
        let live = all.iter().fold(0_u64, |sum, (.., live)| sum.saturating_add(*live));
        // By live share, in thousandths.
        all.sort_unstable_by_key(|(_, bytes, live)| live.saturating_mul(1_000) / (*bytes).max(1));
        let (mut chosen, mut moved) = (BTreeSet::new(), 0);
        for (number, in_all, in_use) in all {
            let is_enough = bytes <= live.saturating_mul(2).saturating_add(self.capacity_for(live));
            if is_enough || in_use > in_all / 2 || moved >= live_bytes_max {
                break;
            }
            chosen.insert(number);
            moved += in_use;
            bytes = bytes.saturating_sub(in_all) + in_use;
        }
        chosen
    }

    /// Segments that the newest state needs, and then others that are in use here.
    pub(crate) fn in_use(&self) -> (Vec<SegmentSeq>, Vec<SegmentSeq>) {
        let rows = self.rows.read();
        let (live, others): (Vec<_>, Vec<_>) = rows.iter().partition(|(_, row)| row.live_bytes > 0);
        let numbers = |rows: Vec<(&SegmentSeq, &Row)>| rows.into_iter().map(|(number, _)| *number).collect::<Vec<_>>();
        let mut others = numbers(others);
        others.extend(self.scratch.lock().iter());
        (numbers(live), others)
    }

    /// Deletes the segments that are not live and that no snapshot lists. Forgets those that only named snapshots list,
    /// so that the work here and in each snapshot does not grow with their number. Maps that readers hold stay
    /// readable.
    pub(crate) fn delete_dead(&self, fate: impl Fn(SegmentSeq) -> Fate, writing: Option<SegmentSeq>) -> Result<()> {
        let dead: Vec<SegmentSeq> = {
            let rows = self.rows.read();
            let is_dead = |row: &Row| row.live_bytes == 0 && !row.is_held;
            let dead = rows.iter().filter(|(_, row)| is_dead(row));
            dead.map(|(number, _)| *number).filter(|number| Some(*number) != writing).collect()
        };
        dead.into_iter().try_for_each(|number| match fate(number) {
            Fate::Stay => Ok(()),
            Fate::LetGo => {
                self.rows.write().remove(&number);
                Ok(())
            }
            Fate::Delete => self.discard(number),
        })?;
        // No lock is held while a file is deleted.
        let others: Vec<SegmentSeq> = self.others.lock().iter().copied().collect();
        for number in others {
            match fate(number) {
                Fate::Stay => continue,
                Fate::LetGo => {}
                Fate::Delete => self.delete_file(number)?,
            }
            self.others.lock().remove(&number);
        }
        Ok(())
    }

    /// Deletes the files of segments that a dropped snapshot listed and no other lists. One that is still known here is
    /// deleted once it is dead.
    pub(crate) fn delete_unlisted(&self, numbers: impl Iterator<Item = SegmentSeq>) {
        for number in numbers {
            if !self.rows.read().contains_key(&number) {
                // The next opening deletes what cannot be deleted.
                drop(self.delete_file(number));
            }
        }
    }

    /// Files kept for snapshots other than the opened one: they are deleted once no snapshot needs them.
    pub(crate) fn note_others(&self, kept: impl Iterator<Item = SegmentSeq>) {
        let rows = self.rows.read();
        self.others.lock().extend(kept.filter(|number| !rows.contains_key(number)));
    }

    /// Deletes a segment that nothing refers to.
    fn discard(&self, number: SegmentSeq) -> Result<()> {
        self.delete_file(number)?;
        self.rows.write().remove(&number);
        Ok(())
    }

    /// Segments that the next snapshot lists. The caller excludes its freeze.
    pub(crate) fn adopt(&self, adopted: Vec<Adopted>) {
        self.adopted.lock().extend(adopted);
    }

    /// What the current snapshot lists for the first time.
    pub(crate) fn take_adopted(&self) -> Vec<Adopted> {
        std::mem::take(&mut *self.adopted.lock())
    }

    /// A file that no snapshot will list, which its owner uses temporarily and then deletes. If the process ends before
    /// that, the next opening deletes it.
    pub(crate) fn create_scratch(&self, number: SegmentSeq, timeline: u64, capacity: u64) -> Result<Segment> {
        self.scratch.lock().insert(number);
        self.source.create(FileKind::Pages, number, timeline, SegmentSeq(0), capacity)
    }

    /// Deletes the file of a segment.
    pub(crate) fn delete_file(&self, number: SegmentSeq) -> Result<()> {
        let name = FileKind::Pages.file_name(number);
        match self.source.backing.delete(&name) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::io("delete", &name, source)),
            _ => {
                self.scratch.lock().remove(&number);
                Ok(())
            }
        }
    }

    /// Starts a page segment that the writer appends to.
    fn create_segment(
        &self,
        number: SegmentSeq,
        timeline: u64,
        capacity: u64,
        is_held: bool,
    ) -> Result<Arc<PageSegment>> {
        let segment = self.source.create(FileKind::Pages, number, timeline, SegmentSeq(0), capacity)?;
        let segment = Arc::new(PageSegment::new(segment, capacity, &self.cache));
        self.rows.write().insert(number, Row { segment: Arc::clone(&segment), live_bytes: 0, is_held });
        Ok(segment)
    }
}

/// Appends images for successive saved snapshots.
#[derive(Debug, Default)]
pub(crate) struct PageWriter {
    current: Option<(Arc<PageSegment>, u64, u64)>,
    unsynced: Vec<Arc<PageSegment>>,
    buffer: Vec<u8>,
    replaced: Vec<Replaced>,
    pages: u64,
    bytes: u64,
    root: PageRef,
    root_refreshed: bool,
    /// Whether its segments are held until a snapshot lists them.
    holds: bool,
    /// Bytes appended but not synced.
    unsynced_bytes: u64,
    /// The number of requested log syncs when pages were last appended.
    syncs_wanted: u64,
}

impl PageWriter {
    /// A writer that continues from a snapshot with this root page.
    pub(crate) fn new(root: PageRef) -> Self {
        Self { root, ..Self::default() }
    }

    /// The root page of the newest snapshot.
    pub(crate) fn root(&self) -> PageRef {
        self.root
    }

    /// The root page must be written again if it is in these segments.
    pub(crate) fn refresh_root(&mut self, from: &BTreeSet<SegmentSeq>) {
        self.root_refreshed |= self.root.is_written() && from.contains(&self.root.segment);
    }

    /// Whether the root page must be written although nothing below it has changed.
    pub(crate) fn is_root_refreshed(&self) -> bool {
        self.root_refreshed
    }

    /// Bytes written since the last snapshot that succeeded or was abandoned.
    pub(crate) fn replaced(&self) -> &[Replaced] {
        &self.replaced
    }

    /// A snapshot with this root page was saved.
    pub(crate) fn saved(&mut self, root: PageRef) {
        self.root = root;
        self.root_refreshed = false;
        self.replaced.clear();
    }

    /// The snapshot failed. What was written of it is dead in its segments, and nothing is appended after a possibly
    /// partial write.
    pub(crate) fn abandon(&mut self) {
        self.replaced.clear();
        (self.pages, self.bytes) = (0, 0);
        self.buffer.clear();
        self.unsynced.clear();
        self.unsynced_bytes = 0;
        self.current = None;
    }

    /// The next pages go to another segment.
    pub(crate) fn end_segment(&mut self) {
        if let Some((segment, ..)) = self.current.take() {
            segment.segment.close_file();
        }
    }

    /// The segment being appended to.
    pub(crate) fn writing(&self) -> Option<SegmentSeq> {
        self.current.as_ref().map(|(segment, ..)| segment.number())
    }

    /// Pages and bytes written since the last call.
    pub(crate) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.pages), std::mem::take(&mut self.bytes))
    }

    /// Appends an image in place of `old` and returns its location.
    pub(crate) fn write(
        &mut self,
        store: &PageStore,
        timeline: u64,
        number: &dyn Fn() -> Result<SegmentSeq>,
        image: &[u8],
        old: &PageRef,
    ) -> Result<PageRef> {
        let padded = to_u64(image.len()).next_multiple_of(PAGE_ALIGN_BYTES);
        let full = self.current.as_ref().is_none_or(|(_, len, capacity)| len + padded > *capacity);
        if full {
            self.flush()?;
            let capacity = store.capacity(self.bytes).max(to_u64(SEGMENT_HEADER_BYTES) + padded);
            let segment = store.create_segment(number()?, timeline, capacity, self.holds)?;
            if let Some((before, ..)) = self.current.replace((segment, to_u64(SEGMENT_HEADER_BYTES), capacity)) {
                self.unsynced.push(before);
            }
        }
        let Some((segment, len, _)) = self.current.as_mut() else {
            return Err(Error::Poisoned { reason: "no page segment".to_owned() });
        };
        let offset = *len;
        let page = PageRef {
            segment: segment.number(),
            offset_granules: low_u32(offset / GRANULE_BYTES),
            bytes: low_u32(to_u64(image.len())),
            check: checksum(segment.segment.seed().at(offset), image),
        };
        *len += padded;
        self.buffer.extend_from_slice(image);
        let end = self.buffer.len() + to_usize(padded) - image.len();
        self.buffer.resize(end, 0);
        self.pages += 1;
        self.bytes += padded;
        self.replaced.push(Replaced { old: *old, new: page });
        if self.buffer.len() >= WRITE_BYTES {
            self.unsynced_bytes += to_u64(self.buffer.len());
            self.flush()?;
            let before = std::mem::replace(&mut self.syncs_wanted, store.source.syncs_wanted.count());
            if before != self.syncs_wanted || self.unsynced_bytes >= SYNC_BYTES {
                self.sync()?;
            }
        }
        Ok(page)
    }

    /// The next snapshot no longer refers to a page, and nothing replaces it.
    pub(crate) fn release(&mut self, old: &PageRef) {
        self.replaced.push(Replaced { old: *old, new: PageRef::default() });
    }

    /// The next snapshot refers to the pages of a segment that was written aside. Called before any of them is
    /// released.
    pub(crate) fn adopt(&mut self, adopted: &Adopted) {
        self.replaced.push(Replaced { old: PageRef::default(), new: adopted.0 });
    }

    fn flush(&mut self) -> Result<()> {
        if let Some((segment, ..)) = self.current.as_ref().filter(|_| !self.buffer.is_empty()) {
            let segment = &segment.segment;
            segment.append(&self.buffer).map_err(|source| Error::io("append to", segment.name(), source))?;
        }
        self.buffer.clear();
        Ok(())
    }

    /// What was written since `replaced` had this length is dead in its segments: no snapshot refers to it.
    pub(crate) fn forget_since(&mut self, replaced: usize) {
        self.replaced.truncate(replaced);
    }

    /// Makes everything durable.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.flush()?;
        for segment in self.unsynced.iter().chain(self.current.as_ref().map(|(segment, ..)| segment)) {
            let segment = &segment.segment;
            segment.sync().map_err(|source| Error::io("sync", segment.name(), source))?;
        }
        for full in self.unsynced.drain(..) {
            full.segment.close_file();
        }
        self.unsynced_bytes = 0;
        Ok(())
    }
}
