//! Writing what has changed of the record index, children first.
//!
//! Owns: which pages are written whole, and which as patches of their last whole images. Never: changes the state, or
//! lets go of a page that a retained snapshot needs.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::descriptor::{DESCRIPTORS_PER_PAGE, PageRef, Row, encode_directory_patch};
use crate::id::{SegmentSeq, low_u16, to_u64};
use crate::pages::PageWriter;
use crate::record_index::{Cell, Mid, Root, SavedPatch, Written, directory_rows};
use crate::snapshot::{SavedRoot, damaged};

/// A directory page with a larger patch is written whole.
const DIRECTORY_PATCH_BYTES_MAX: usize = 1_280;

struct Pass<'e> {
    engine: &'e Engine,
    writer: &'e mut PageWriter,
    image: Vec<u8>,
}

/// Writes every dirty page below the root. Returns the tree as it is on disk, and its root page.
pub(super) fn write_pages(engine: &Engine, writer: &mut PageWriter, root: &Root) -> Result<SavedRoot> {
    let mut saved = root.clone();
    let mut pass = Pass { engine, writer, image: Vec::new() };
    for (number, before) in root.mids.iter().enumerate().filter(|(_, mid)| mid.is_dirty()) {
        let Some(mid) = saved.mids.get_mut(number).map(Arc::make_mut) else { break };
        for (index, _) in before.cells.iter().enumerate().filter(|(_, cell)| cell.is_dirty()) {
            let Some(cell) = mid.cells.get_mut(index) else { break };
            let page = to_u64(number * DESCRIPTORS_PER_PAGE + index);
            match pass.leaf_page(cell) {
                Err(Error::Corrupt(damage)) => {
                    damaged::mark_page(engine, page, *damage, cell)?;
                    saved.has_damaged = true;
                }
                other => other?,
            }
        }
        pass.directory_page(mid)?;
        mid.is_whole = false;
        mid.set_dirty(false);
    }
    let old_root = pass.writer.root();
    let unchanged = root.mids.iter().all(|mid| !mid.is_dirty()) && !pass.writer.is_root_refreshed();
    if unchanged && old_root.is_written() {
        return Ok((saved, old_root));
    }
    saved.image(&mut pass.image);
    let page = if pass.image.is_empty() { PageRef::default() } else { pass.write(&old_root)? };
    pass.writer.sync()?;
    Ok((saved, page))
}

impl Pass<'_> {
    /// Writes the image in place of an old one.
    fn write(&mut self, old: &PageRef) -> Result<PageRef> {
        let engine = self.engine;
        let number = || -> Result<SegmentSeq> { engine.log.take_segment_number() };
        self.writer.write(&engine.pages, engine.log.timeline(), &number, &self.image, old)
    }

    fn release(&mut self, old: Option<PageRef>) {
        old.filter(PageRef::is_written).iter().for_each(|old| self.writer.release(old));
    }

    fn leaf_page(&mut self, cell: &mut Cell) -> Result<()> {
        let pages = &self.engine.pages;
        let mut descriptor = cell.descriptor_now();
        let whole = descriptor.page;
        let old = cell.saved.as_ref().map(|saved| saved.page);
        let base = if whole.is_written() { pages.segment(&whole).ok() } else { None };
        let (written, base) = (cell.to_write(base.as_deref(), &mut self.image)?, base);
        match (written, base) {
            (Written::Nothing, Some(base)) => {
                self.release(old);
                cell.set_clean(descriptor, base, None);
            }
            (Written::Patch, Some(base)) => {
                let page = self.write(&old.unwrap_or_default())?;
                let saved = SavedPatch { page, segment: pages.segment(&page)? };
                cell.set_clean(descriptor, base, Some(Arc::new(saved)));
            }
            _ => {
                self.release(old);
                descriptor.page = self.write(&whole)?;
                cell.set_clean(descriptor, pages.segment(&descriptor.page)?, None);
            }
        }
        Ok(())
    }

    fn directory_page(&mut self, mid: &mut Mid) -> Result<()> {
        let rows = mid.rows();
        if rows.is_empty() {
            self.release(Some(mid.page));
            self.release(mid.saved);
            (mid.page, mid.saved) = (PageRef::default(), None);
            return Ok(());
        }
        if let Some(before) = self.rows_before(mid, rows.len())? {
            let numbered = (0..).zip(&rows).filter(|(index, row)| before.get(*index) != Some(row));
            let changed: Vec<_> = numbered.map(|(index, row)| (low_u16(to_u64(index)), *row)).collect();
            encode_directory_patch(&changed, &before, &mut self.image);
            if self.image.len() <= DIRECTORY_PATCH_BYTES_MAX {
                mid.saved = if self.image.is_empty() {
                    self.release(mid.saved);
                    None
                } else {
                    Some(self.write(&mid.saved.unwrap_or_default())?)
                };
                return Ok(());
            }
        }
        self.image.clear();
        for row in &rows {
            row.encode(&mut self.image);
        }
        self.release(mid.saved);
        mid.page = self.write(&mid.page)?;
        mid.saved = None;
        Ok(())
    }

    /// The rows of its last whole image. `None` if it must be written whole.
    fn rows_before(&self, mid: &Mid, rows: usize) -> Result<Option<Vec<Row>>> {
        if mid.is_whole || !mid.page.is_written() {
            return Ok(None);
        }
        let mut whole = Row::default();
        whole.descriptor.page = mid.page;
        // Its image is checked once more.
        match directory_rows(&whole, &self.engine.pages) {
            Ok(before) => Ok(Some(before).filter(|before| before.len() <= rows)),
            // All of it is on the heap.
            Err(error) if error.is_corruption() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
