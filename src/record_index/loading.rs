//! Loading the tree of a snapshot: root and directory pages are read, leaf pages stay where they are.
//!
//! Owns: that no image has two parents. So no more is read than the files hold, and a record has one slot. Never: reads a leaf page.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitvec::prelude::Lsb0;
use bitvec::vec::BitVec;

use crate::error::{Error, Result};
use crate::format::descriptor::{Descriptor, PageRef, Row, decode_directory_patch};
use crate::format::segment::FileKind;
use crate::format::{Malformed, PAGE_BYTES};
use crate::id::{SegmentSeq, to_usize};
use crate::pages::{PAGE_ALIGN_BYTES, PageSegment, PageStore};
use crate::record_index::cell::{LeafRef, SavedPatch};
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
        let segment = pages.segment(&root.page)?;
        let image = segment.with(&root.page, <[u8]>::to_vec)?;
        let (mut mids, mut seen) = (Mids::default(), Seen::default());
        seen.meet(&root.page, &segment, "root page")?;
        let rows = Row::decode_all(&image).map_err(|malformed| malformed.at("root page", 0))?;
        for some in rows.chunks(MIDS_AT_ONCE) {
            pages.read_ahead(some.iter().flat_map(|row| [Some(row.descriptor.page), row.base]).flatten());
            for row in some {
                if !row.descriptor.page.is_written() {
                    mids.extend_to(mids.len() + 1);
                    continue;
                }
                mids.push(Arc::new(load_mid(row, pages, &mut seen)?));
            }
        }
        Ok(Self { mids, has_damaged: false })
    }
}

/// Images referred to, one bit each: none may have two parents. So no more is read than the files hold, and a record
/// has one slot.
#[derive(Debug, Default)]
pub(super) struct Seen {
    last: Option<(SegmentSeq, BitVec<u64, Lsb0>)>,
    others: BTreeMap<SegmentSeq, BitVec<u64, Lsb0>>,
}

impl Seen {
    /// Records an image in a segment of this size. An image past its end is found damaged when it is read.
    fn meet(&mut self, page: &PageRef, segment: &PageSegment, what: &str) -> Result<()> {
        if page.offset() >= segment.bytes() {
            return Ok(());
        }
        if self.last.as_ref().is_none_or(|(segment, _)| *segment != page.segment) {
            self.others.extend(self.last.take());
            self.last = Some((page.segment, self.others.remove(&page.segment).unwrap_or_default()));
        }
        let Some((_, bits)) = &mut self.last else { return Ok(()) };
        let bit = to_usize(page.offset() / PAGE_ALIGN_BYTES);
        if bits.len() <= bit {
            bits.resize(bit + 1, false);
        }
        if page.offset().is_multiple_of(PAGE_ALIGN_BYTES) && !bits.replace(bit, true) {
            return Ok(());
        }
        let file = FileKind::Pages.file_name(page.segment);
        Err(Error::corrupt(
            file,
            page.offset(),
            what,
            "each page once, at a multiple of 64 bytes",
            "one twice or elsewhere",
        ))
    }
}

/// The rows of a directory page.
pub(crate) fn directory_rows(row: &Row, pages: &PageStore) -> Result<Vec<Row>> {
    let read = |page: &PageRef| pages.segment(page)?.with(page, <[u8]>::to_vec);
    let at = |malformed: Malformed| malformed.at("directory page", 0);
    let image = read(&row.whole())?;
    let mut rows = Row::decode_all(&image).map_err(at)?;
    if row.base.is_some() {
        for (number, changed) in decode_directory_patch(&read(&row.descriptor.page)?, &rows).map_err(at)? {
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

pub(super) fn load_mid(row: &Row, pages: &PageStore, seen: &mut Seen) -> Result<Mid> {
    for page in [Some(row.descriptor.page), row.base].into_iter().flatten() {
        seen.meet(&page, &*pages.segment(&page)?, "directory page")?;
    }
    let mut mid = match row.base {
        Some(base) => Mid::saved_at(base, Some(row.descriptor.page)),
        None => Mid::saved_at(row.descriptor.page, None),
    };
    let mut last: Option<Arc<PageSegment>> = None;
    let mut segment_of = |page: &PageRef, seen: &mut Seen| {
        let segment = match last.take_if(|segment| segment.number() == page.segment) {
            Some(segment) => segment,
            None => pages.segment(page)?,
        };
        seen.meet(page, &segment, "leaf page")?;
        last = Some(Arc::clone(&segment));
        Ok(segment)
    };
    for (index, row) in directory_rows(row, pages)?.into_iter().enumerate() {
        let Some(cell) = mid.cells.get_mut(index) else { break };
        let (whole, patch) = match row.base {
            Some(base) => (base, Some(row.descriptor.page)),
            None => (row.descriptor.page, None),
        };
        cell.descriptor = Descriptor { page: whole, ..row.descriptor };
        if !whole.is_written() {
            continue;
        }
        if whole.bytes as usize != PAGE_BYTES || patch.is_some_and(|patch| patch.bytes as usize > PAGE_BYTES) {
            let got = patch.map_or(whole.bytes, |patch| patch.bytes.max(whole.bytes));
            return Err(Error::corrupt("directory page", 0, "length of a leaf page", PAGE_BYTES, got));
        }
        if let Some(page) = patch {
            cell.saved = Some(Arc::new(SavedPatch { page, segment: segment_of(&page, seen)? }));
        }
        cell.leaf = LeafRef::Clean(segment_of(&whole, seen)?);
    }
    Ok(mid)
}
