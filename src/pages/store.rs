//! The page segments of a store, and what the newest snapshot refers to in each.
//!
//! Owns: the table of segments, their live bytes, and what the next snapshot lists. Never: writes a page, which `writer` does; or
//! deletes a file, which `dead` does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::error::{Corruption, Error, Result};
use crate::format::descriptor::PageRef;
use crate::format::segment::FileKind;
use crate::id::SegmentSeq;
use crate::log::SegmentSource;
use crate::pages::cache::Cache;
use crate::pages::replaced::{Adopted, Replaced};
use crate::pages::segment::{PageSegment, PageSegments};

#[derive(Debug)]
pub(super) struct Row {
    pub(super) segment: Arc<PageSegment>,
    pub(super) live_bytes: u64,
    /// It belongs to a tree that no snapshot has yet.
    pub(super) is_held: bool,
}

/// The page segments of a store.
#[derive(Debug)]
pub(crate) struct PageStore {
    pub(super) source: SegmentSource,
    cache: Arc<Cache>,
    pub(super) rows: RwLock<BTreeMap<SegmentSeq, Row>>,
    /// Segments written aside, which the next snapshot lists.
    adopted: Mutex<Vec<Adopted>>,
    /// Segments without a file, or whose header is damaged.
    suspects: Mutex<BTreeSet<SegmentSeq>>,
    /// Files that only older unnamed snapshots needed when the store was opened.
    pub(super) others: Mutex<BTreeSet<SegmentSeq>>,
    /// Files that no snapshot will list, until their owners delete them.
    pub(super) scratch: Mutex<BTreeSet<SegmentSeq>>,
}

/// A descriptor names a segment that the snapshot does not list.
#[cold]
pub(crate) fn no_page_segment(page: &PageRef) -> Error {
    let file = FileKind::Pages.file_name(page.segment);
    Error::corrupt(file, page.offset(), "index page", "a page segment of this snapshot", "none")
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

    /// Opens a segment that a snapshot lists. If it has no file, or a damaged header, that is recorded but the segment
    /// still counts: each page has its own checksum.
    pub(crate) fn open_segment(&self, number: SegmentSeq, live_bytes: u64) -> Result<Option<Corruption>> {
        let (segment, damage) = match self.source.open(FileKind::Pages, number) {
            Ok(segment) => (segment, None),
            Err(Error::Corrupt(damage)) => (self.source.open_unchecked(FileKind::Pages, number)?, Some(*damage)),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
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
        let row = rows.get(&page.segment).ok_or_else(|| no_page_segment(page))?;
        Ok(Arc::clone(&row.segment))
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

    /// Segments that the newest state needs, and then others that are in use here.
    pub(crate) fn in_use(&self) -> (Vec<SegmentSeq>, Vec<SegmentSeq>) {
        let rows = self.rows.read();
        let (live, others): (Vec<_>, Vec<_>) = rows.iter().partition(|(_, row)| row.live_bytes > 0);
        let numbers = |rows: Vec<(&SegmentSeq, &Row)>| rows.into_iter().map(|(number, _)| *number).collect::<Vec<_>>();
        let mut others = numbers(others);
        others.extend(self.scratch.lock().iter());
        (numbers(live), others)
    }

    /// Segments that the next snapshot lists. The caller excludes its freeze.
    pub(crate) fn adopt(&self, adopted: Vec<Adopted>) {
        self.adopted.lock().extend(adopted);
    }

    /// What the current snapshot lists for the first time.
    pub(crate) fn take_adopted(&self) -> Vec<Adopted> {
        std::mem::take(&mut *self.adopted.lock())
    }

    /// Starts a page segment that the writer appends to, with the next number.
    pub(super) fn create_segment(
        &self,
        next: &dyn Fn() -> Result<SegmentSeq>,
        timeline: u64,
        capacity: u64,
        is_held: bool,
    ) -> Result<Arc<PageSegment>> {
        let create = |number| self.source.create(FileKind::Pages, number, timeline, SegmentSeq(0), capacity);
        let segment = self.source.create_next(FileKind::Pages, next, create)?;
        let number = segment.number();
        let segment = Arc::new(PageSegment::new(segment, capacity, &self.cache));
        self.rows.write().insert(number, Row { segment: Arc::clone(&segment), live_bytes: 0, is_held });
        Ok(segment)
    }
}
