//! Loading the tree of a snapshot: root and directory pages are read, leaf pages stay where they are.
//!
//! Owns: that no image has two parents. So no more is read than the files hold, and a record has one slot. Never: reads a leaf page.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::descriptor::{Descriptor, PageRef, Row, decode_directory_patch};
use crate::format::segment::FileKind;
use crate::format::{Malformed, PAGE_BYTES};
use crate::id::{SegmentSeq, to_usize};
use crate::pages::{PAGE_ALIGN_BYTES, PageSegment, PageStore, no_page_segment};
use crate::record_index::cell::{Cell, LeafRef, Over, SavedPatch};
use crate::record_index::cells::Cells;
use crate::record_index::mid::Mid;
use crate::record_index::mids::Mids;
use crate::record_index::root::Root;

/// Directory pages that are read ahead at once.
const MIDS_AT_ONCE: usize = 1024;

impl Root {
    /// Loads root and directory pages of a snapshot; leaf pages stay where they are.
    pub(crate) fn load(root: &Descriptor, pages: &PageStore) -> Result<Self> {
        if !root.page.is_written() {
            return Ok(Self::default());
        }
        let mut referred = Referred::new(pages);
        let segment = referred.meet(&root.page, "root page")?;
        let rows = segment.with_once(&root.page, Row::decode_all)?;
        let rows = rows.map_err(|malformed| malformed.at("root page", 0))?;
        let mut mids = Mids::default();
        for some in rows.chunks(MIDS_AT_ONCE) {
            pages.read_ahead(some.iter().flat_map(|row| [Some(row.descriptor.page), row.base]).flatten());
            for row in some {
                if !row.descriptor.page.is_written() {
                    mids.extend_to(mids.len() + 1);
                    continue;
                }
                mids.push(Arc::new(load_mid(row, pages, &mut referred)?));
            }
        }
        Ok(Self { mids, has_damaged: false })
    }
}

/// How much of a segment the bits of one piece stand for, and the words of these.
const PIECE_BYTES: u64 = 1 << 20;
const PIECE_WORDS: usize = (PIECE_BYTES / PAGE_ALIGN_BYTES / 64) as usize;

/// A page segment, and the images in it that were referred to: one bit each, in pieces that are made when one is met.
#[derive(Debug)]
struct Place {
    number: SegmentSeq,
    segment: Arc<PageSegment>,
    bytes: u64,
    seen: Vec<Option<Box<[u64; PIECE_WORDS]>>>,
}

impl Place {
    /// Records an image. Returns whether it is the first one there, at an offset that an image can have.
    fn meet(&mut self, offset: u64) -> bool {
        if !offset.is_multiple_of(PAGE_ALIGN_BYTES) {
            return false;
        }
        let Some(piece) = self.seen.get_mut(to_usize(offset / PIECE_BYTES)) else { return false };
        let words = piece.get_or_insert_with(|| Box::new([0; PIECE_WORDS]));
        let bit = offset % PIECE_BYTES / PAGE_ALIGN_BYTES;
        let Some(word) = words.get_mut(to_usize(bit / 64)) else { return false };
        let is_first = *word & (1 << (bit % 64)) == 0;
        *word |= 1 << (bit % 64);
        is_first
    }
}

/// The page segments of a snapshot, and the images that its tree refers to: none may have two parents. So no more is read
/// than the files hold, and a record has one slot.
#[derive(Debug)]
pub(super) struct Referred {
    /// By number.
    places: Vec<Place>,
    /// The one met last: neighbours are often in the same.
    last: usize,
}

impl Referred {
    pub(super) fn new(pages: &PageStore) -> Self {
        let place = |(number, segment): (&SegmentSeq, &Arc<PageSegment>)| {
            let bytes = segment.bytes();
            let mut seen = Vec::new();
            seen.resize_with(to_usize(bytes.div_ceil(PIECE_BYTES)), || None);
            Place { number: *number, segment: Arc::clone(segment), bytes, seen }
        };
        Self { places: pages.segments().iter().map(place).collect(), last: 0 }
    }

    /// Records an image, and returns its segment. An image past the end of that is found damaged when it is read.
    fn meet(&mut self, page: &PageRef, what: &str) -> Result<&Arc<PageSegment>> {
        if self.places.get(self.last).is_none_or(|place| place.number != page.segment) {
            let found = self.places.binary_search_by_key(&page.segment, |place| place.number);
            self.last = found.ok().ok_or_else(|| no_page_segment(page))?;
        }
        let place = self.places.get_mut(self.last).ok_or_else(|| no_page_segment(page))?;
        if page.offset() < place.bytes && !place.meet(page.offset()) {
            return Err(Error::corrupt(
                FileKind::Pages.file_name(page.segment),
                page.offset(),
                what,
                "each page once, at a multiple of 64 bytes",
                "one twice or elsewhere",
            ));
        }
        Ok(&place.segment)
    }
}

/// The rows of a directory page.
pub(crate) fn directory_rows(row: &Row, pages: &PageStore) -> Result<Vec<Row>> {
    let at = |malformed: Malformed| malformed.at("directory page", 0);
    let whole = row.whole();
    let mut rows = pages.segment(&whole)?.with_once(&whole, Row::decode_all)?.map_err(at)?;
    if row.base.is_some() {
        let patch = row.descriptor.page;
        let changed = pages.segment(&patch)?.with_once(&patch, |image| decode_directory_patch(image, &rows))?;
        for (number, changed) in changed.map_err(at)? {
            let number = usize::from(number);
            if rows.len() <= number {
                rows.resize(number + 1, Row::default());
            }
            if let Some(row) = rows.get_mut(number) {
                *row = changed;
            }
        }
    }
    Ok(rows)
}

pub(super) fn load_mid(row: &Row, pages: &PageStore, referred: &mut Referred) -> Result<Mid> {
    for page in [Some(row.descriptor.page), row.base].into_iter().flatten() {
        referred.meet(&page, "directory page")?;
    }
    let cells = Cells::from_rows(&directory_rows(row, pages)?, |row| cell_of(row, referred))?;
    Ok(Mid::saved_at(cells, row))
}

/// The cell of a leaf page.
#[inline]
fn cell_of(row: &Row, referred: &mut Referred) -> Result<Cell> {
    let whole = row.whole();
    let patch = row.base.map(|_| row.descriptor.page);
    let descriptor = Descriptor { page: whole, ..row.descriptor };
    if !whole.is_written() {
        return Ok(Cell { descriptor, ..Cell::default() });
    }
    if whole.bytes as usize != PAGE_BYTES || patch.is_some_and(|patch| patch.bytes as usize > PAGE_BYTES) {
        let got = patch.map_or(whole.bytes, |patch| patch.bytes.max(whole.bytes));
        return Err(Error::corrupt("directory page", 0, "length of a leaf page", PAGE_BYTES, got));
    }
    let saved = match patch {
        Some(page) => {
            let segment = Arc::clone(referred.meet(&page, "leaf page")?);
            Some(Arc::new(SavedPatch { page, segment }))
        }
        None => None,
    };
    let leaf = LeafRef::Clean(Arc::clone(referred.meet(&whole, "leaf page")?));
    Ok(Cell { descriptor, leaf, saved, is_whole: false, patch: Over::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backing::{Backing, Memory};
    use crate::format::segment::SEGMENT_HEADER_BYTES;
    use crate::id::to_u64;
    use crate::log::{NextBytes, SegmentSource, SyncsWanted};

    #[test]
    fn an_image_is_met_once_wherever_it_is_in_its_segment() {
        let backing: Arc<dyn Backing> = Arc::new(Memory::new());
        let source = SegmentSource {
            backing,
            uuid: [7; 16],
            segment_bytes: 4 << 20,
            next_bytes: NextBytes::default(),
            syncs_wanted: SyncsWanted::default(),
            sizes: Arc::default(),
            check_every_read: false,
            beside_a_writer: false,
        };
        let pages = PageStore::new(source.clone());
        for number in [3, 9] {
            let made = source.create(FileKind::Pages, SegmentSeq(number), 1, SegmentSeq(0), 4 << 20).unwrap();
            made.append(&vec![0; to_usize(2 * PIECE_BYTES + 999) - SEGMENT_HEADER_BYTES]).unwrap();
            assert!(pages.open_segment(SegmentSeq(number), 1).unwrap().is_none());
        }
        let end = to_u64(to_usize(2 * PIECE_BYTES + 999));
        let mut referred = Referred::new(&pages);
        let mut meet = |segment, offset: u64| {
            let offset_granules = u32::try_from(offset / 16).unwrap();
            let page = PageRef { segment: SegmentSeq(segment), offset_granules, ..PageRef::default() };
            referred.meet(&page, "leaf page").map(|segment| segment.number().0).ok()
        };
        let offsets = [128, 192, PIECE_BYTES - 64, PIECE_BYTES, 2 * PIECE_BYTES + 64];
        for offset in offsets {
            assert_eq!([meet(3, offset), meet(9, offset), meet(3, offset)], [Some(3), Some(9), None], "at {offset}");
        }
        assert_eq!([meet(3, 256 + 16), meet(4, 320), meet(10, 320)], [None; 3], "elsewhere");
        assert_eq!(meet(3, 256), Some(3), "what was refused takes no other image's place");
        // What is past the end is found when it is read.
        assert_eq!([meet(9, end + 9), meet(9, end + 9)], [Some(9); 2]);
    }
}
