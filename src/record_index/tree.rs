//! The tree: persistent by copying, with parts that one writer changes in place between two views.
//!
//! Owns: lookups, changes of entries, what of it is on the heap. Path copying as in Driscoll et al. 1989, with the copy
//! deferred until a view needs it.

mod fork;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bitvec::prelude::Lsb0;
use bitvec::vec::BitVec;

use crate::error::{Corruption, Error, Result};
use crate::format::descriptor::{DESCRIPTORS_PER_PAGE, Descriptor, PageRef, Row, decode_directory_patch};
use crate::format::entry::{ENTRIES_PER_PAGE, Entry};
use crate::format::segment::FileKind;
use crate::format::{Malformed, PAGE_BYTES};
use crate::id::{SLOT_END, SegmentSeq, SetNumber, to_u64, to_usize};
use crate::pages::{PAGE_ALIGN_BYTES, PageSegment, PageStore};
use crate::record_index::DamagedLeaf;
use crate::record_index::cell::{Cell, LeafRef, Over, SavedPatch, Weight};
use crate::record_index::leaf::{BLOCK_HEAP_BYTES, Leaf, Patch};

/// Maximum number of pages of a store.
pub(crate) const PAGES_END: u64 = SLOT_END / ENTRIES_PER_PAGE as u64;
/// Directory pages that are read ahead at once.
const MIDS_AT_ONCE: usize = 1024;

/// A directory page: the cells of 128 leaf pages.
#[derive(Debug)]
pub(crate) struct Mid {
    pub(crate) cells: Vec<Cell>,
    /// The location of its whole image, if it has one.
    pub(crate) page: PageRef,
    /// The patch of that image.
    pub(crate) saved: Option<PageRef>,
    /// The next save must not refer to the image.
    pub(crate) is_whole: bool,
    /// The epoch in which it was made. If no view has it, patches are added in place.
    epoch: u64,
    /// Whether anything below it has changed since that image.
    dirty: AtomicBool,
}

impl Default for Mid {
    fn default() -> Self {
        let cells = vec![Cell::default(); DESCRIPTORS_PER_PAGE];
        let dirty = AtomicBool::new(true);
        Self { cells, page: PageRef::default(), saved: None, is_whole: false, epoch: 1, dirty }
    }
}

impl Clone for Mid {
    fn clone(&self) -> Self {
        let dirty = AtomicBool::new(self.is_dirty());
        let Self { page, saved, is_whole, epoch, .. } = *self;
        Self { cells: self.cells.clone(), page, saved, is_whole, epoch, dirty }
    }
}

impl Mid {
    /// Without leaf pages, and as on disk.
    pub(super) fn empty() -> Self {
        Self { dirty: AtomicBool::new(false), ..Self::default() }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Relaxed)
    }

    pub(crate) fn set_dirty(&self, is_dirty: bool) {
        self.dirty.store(is_dirty, Ordering::Relaxed);
    }

    /// What its leaf pages take on the heap.
    fn weight(&self) -> Weight {
        self.cells.iter().map(Cell::weight).fold(Weight::default(), |sum, cell| Weight {
            pages: sum.pages + cell.pages,
            bytes: sum.bytes + cell.bytes,
        })
    }

    /// As on disk: the rows of its pages, without the absent ones at the end.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let used = |cell: &Cell| {
            cell.descriptor.set != 0 || cell.descriptor.floor != 0 || !matches!(cell.leaf, LeafRef::Absent)
        };
        let len = self.cells.iter().rposition(used).map_or(0, |last| last + 1);
        self.cells.iter().take(len).map(Cell::row).collect()
    }

    /// As the root has it.
    fn row(&self) -> Row {
        let base = self.saved.map(|_| self.page);
        Row { descriptor: Descriptor { page: self.saved.unwrap_or(self.page), ..Descriptor::default() }, base }
    }
}

/// The root: all directory pages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Root {
    pub(crate) mids: Vec<Arc<Mid>>,
    /// Whether a damaged leaf page was found.
    pub(crate) has_damaged: bool,
}

impl Root {
    /// The entry of a slot.
    #[inline]
    pub(crate) fn entry(&self, slot: u64) -> Result<Entry> {
        let (page, index) = (to_usize(slot) / ENTRIES_PER_PAGE, to_usize(slot) % ENTRIES_PER_PAGE);
        match self.cell_at(page) {
            Some(cell) => cell.entry(index),
            None => Ok(Entry::NEVER),
        }
    }

    #[inline]
    fn cell_at(&self, page: usize) -> Option<&Cell> {
        self.mids.get(page / DESCRIPTORS_PER_PAGE)?.cells.get(page % DESCRIPTORS_PER_PAGE)
    }

    /// The cell of a leaf page.
    pub(crate) fn cell(&self, page: u64) -> Option<&Cell> {
        self.cell_at(to_usize(page))
    }

    /// The set that owns a slot's page; zero for none.
    #[inline]
    pub(crate) fn set_of_slot(&self, slot: u64) -> SetNumber {
        SetNumber(self.cell_at(to_usize(slot) / ENTRIES_PER_PAGE).map_or(0, |cell| cell.descriptor.set))
    }

    /// The minimum count that a slot of a page gets next when its record is deleted; zero if none was set.
    #[inline]
    pub(crate) fn floor(&self, page: u64) -> u32 {
        self.cell(page).map_or(0, |cell| cell.descriptor.floor)
    }

    /// One more than the highest page that the tree has room for.
    pub(crate) fn page_end(&self) -> u64 {
        to_u64(self.mids.len() * DESCRIPTORS_PER_PAGE)
    }

    /// What leaf pages take on the heap, counted one by one.
    fn weight(&self) -> Weight {
        let add = |sum: Weight, mid: Weight| Weight { pages: sum.pages + mid.pages, bytes: sum.bytes + mid.bytes };
        self.mids.iter().map(|mid| mid.weight()).fold(Weight::default(), add)
    }

    /// Heap bytes of the directory.
    pub(crate) fn directory_bytes(&self) -> u64 {
        to_u64(self.mids.len() * (DESCRIPTORS_PER_PAGE * size_of::<Cell>() + size_of::<Mid>() + 16))
    }

    /// Loads root and directory pages of a snapshot; leaf pages stay where they are.
    pub(crate) fn load(root: &Descriptor, pages: &PageStore) -> Result<Self> {
        if !root.page.is_written() {
            return Ok(Self::default());
        }
        let segment = pages.segment(&root.page)?;
        let image = segment.with(&root.page, <[u8]>::to_vec)?;
        let (mut mids, mut seen) = (Vec::new(), Seen::default());
        seen.meet(&root.page, &segment, "root page")?;
        let empty = Arc::new(Mid::empty());
        let rows = Row::decode_all(&image).map_err(|malformed| malformed.at("root page", 0))?;
        for some in rows.chunks(MIDS_AT_ONCE) {
            pages.read_ahead(some.iter().flat_map(|row| [Some(row.descriptor.page), row.base]).flatten());
            for row in some {
                if !row.descriptor.page.is_written() {
                    mids.push(Arc::clone(&empty));
                    continue;
                }
                mids.push(Arc::new(load_mid(row, pages, &mut seen)?));
            }
        }
        Ok(Self { mids, has_damaged: false })
    }

    /// The root's image.
    pub(crate) fn image(&self, out: &mut Vec<u8>) {
        out.clear();
        for mid in &self.mids {
            mid.row().encode(out);
        }
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
        Some(base) => Mid { page: base, saved: Some(row.descriptor.page), ..Mid::empty() },
        None => Mid { page: row.descriptor.page, ..Mid::empty() },
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
    for (cell, row) in mid.cells.iter_mut().zip(directory_rows(row, pages)?) {
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

/// The tree as its only writer holds it.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    root: Arc<Root>,
    /// The epoch of new leaves.
    epoch: u64,
    /// Leaves of this epoch and earlier ones may be in a view.
    held: u64,
    restructured: bool,
    /// What its leaf pages take on the heap.
    weight: Weight,
    saving: Option<Saving>,
    /// Whether the entry set last replaced that of a record that a damaged page does not show.
    had_record: bool,
}

/// What a running save keeps on the heap.
#[derive(Debug, Clone, Copy)]
struct Saving {
    /// Bytes of leaf pages of the save: all that were on the heap then.
    frozen: u64,
    /// The highest epoch of these.
    epoch: u64,
    /// Bytes of leaf pages brought to the heap since.
    made: u64,
}

impl Tree {
    pub(crate) fn new(root: Root) -> Self {
        let root = Arc::new(root);
        let weight = Weight::default();
        Self { root, epoch: 1, held: 0, restructured: false, weight, saving: None, had_record: false }
    }

    pub(crate) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// From now on no existing leaf is changed in place: a view is being taken. Returns the epoch of the newest leaves it may have.
    pub(crate) fn pin(&mut self) -> u64 {
        self.held = self.epoch;
        self.epoch += 1;
        self.held
    }

    /// No existing view has leaves of later epochs.
    pub(crate) fn set_held(&mut self, epoch: u64) {
        self.held = epoch;
    }

    /// Whether the shape has changed since the last call, so that readers need the new root.
    pub(crate) fn take_restructured(&mut self) -> bool {
        std::mem::take(&mut self.restructured)
    }

    /// Leaf pages of the newest tree of which something is on the heap.
    pub(crate) fn dirty(&self) -> u64 {
        self.weight.pages
    }

    /// Bytes of leaf pages on the heap, including those of a save.
    pub(crate) fn heap_bytes(&self) -> u64 {
        self.saving.map_or(0, |saving| saving.frozen + saving.made).max(self.weight.bytes)
    }

    /// A save starts with what is on the heap. The caller has pinned it.
    pub(crate) fn begin_saving(&mut self) {
        self.saving = Some(Saving { frozen: self.weight.bytes, epoch: self.epoch.saturating_sub(1), made: 0 });
    }

    /// The save has released its pages.
    pub(crate) fn end_saving(&mut self) {
        self.saving = None;
        debug_assert_eq!(self.weight, self.root.weight(), "what leaf pages take on the heap");
    }

    /// Installs what a save has written of one directory page.
    pub(crate) fn install(&mut self, index: usize, merge: impl FnOnce(&Arc<Mid>) -> Arc<Mid>) {
        if let Some(now) = self.root_mut().mids.get_mut(index) {
            let before = now.weight();
            *now = merge(now);
            let after = now.weight();
            self.weight.pages = (self.weight.pages + after.pages).saturating_sub(before.pages);
            self.weight.bytes = (self.weight.bytes + after.bytes).saturating_sub(before.bytes);
        }
    }

    /// Changes what is on the heap of a page, and counts it.
    fn change_cell<T>(&mut self, page: u64, change: impl FnOnce(&mut Cell) -> T) -> Result<T> {
        let since = self.saving.map_or(0, |saving| saving.epoch);
        let cell = self.cell_mut(page)?;
        let before = (cell.weight(), cell.weight_since(since));
        let changed = change(cell);
        let after = (cell.weight(), cell.weight_since(since));
        self.weight.pages = (self.weight.pages + after.0.pages).saturating_sub(before.0.pages);
        self.weight.bytes = (self.weight.bytes + after.0.bytes).saturating_sub(before.0.bytes);
        if let Some(saving) = &mut self.saving {
            saving.made = (saving.made + after.1.bytes).saturating_sub(before.1.bytes);
        }
        Ok(changed)
    }

    /// Replaces a clean or copied part after a snapshot was saved.
    pub(crate) fn root_mut(&mut self) -> &mut Root {
        self.restructured = true;
        Arc::make_mut(&mut self.root)
    }

    /// Assigns a page to a set.
    pub(crate) fn assign(&mut self, page: u64, set: SetNumber) -> Result<()> {
        let cell = self.cell_mut(page)?;
        cell.descriptor.set = set.0;
        Ok(())
    }

    /// Slots of a page whose records are deleted from now on get at least this count next. For a page without a set
    /// this applies to all its slots if the store is rolled back to a state in which it has one.
    pub(crate) fn raise_floor(&mut self, page: u64, next_count: u32) -> Result<()> {
        if self.root.floor(page) < next_count {
            self.cell_mut(page)?.descriptor.floor = next_count;
        }
        Ok(())
    }

    /// Like `raise_floor`, but may lower it: for a store built from another one.
    pub(crate) fn set_floor(&mut self, page: u64, next_count: u32) -> Result<()> {
        if self.root.floor(page) != next_count {
            self.cell_mut(page)?.descriptor.floor = next_count;
        }
        Ok(())
    }

    fn cell_mut(&mut self, page: u64) -> Result<&mut Cell> {
        if page >= PAGES_END {
            return Err(Error::Exhausted { what: "slot", limit: SLOT_END });
        }
        self.restructured = true;
        let (mid, cell) = (to_usize(page) / DESCRIPTORS_PER_PAGE, to_usize(page) % DESCRIPTORS_PER_PAGE);
        let epoch = self.epoch;
        let root = Arc::make_mut(&mut self.root);
        if root.mids.len() <= mid {
            // All directory pages without a leaf are the same one: a high page number costs no memory for those before
            // it.
            root.mids.resize(mid + 1, Arc::new(Mid::empty()));
        }
        let found = root.mids.get_mut(mid).and_then(|mid| {
            let mid = Arc::make_mut(mid);
            mid.epoch = epoch;
            mid.set_dirty(true);
            mid.cells.get_mut(cell)
        });
        found.ok_or(Error::Exhausted { what: "slot", limit: SLOT_END })
    }

    /// Treats pages of one directory page, and the directory page itself, as changed if their images are in these
    /// segments, until `left` pages have been moved. Returns whether there is more to look at.
    pub(crate) fn refresh(&mut self, mid: usize, from: &BTreeSet<SegmentSeq>, left: &mut u64) -> Result<bool> {
        let Some(found) = self.root.mids.get(mid).map(Arc::clone) else { return Ok(false) };
        let first = to_u64(mid * DESCRIPTORS_PER_PAGE);
        for (page, cell) in (first..).zip(&found.cells) {
            if *left == 0 {
                return Ok(false);
            }
            let (own, base) = cell.images();
            let whole = base.unwrap_or(own);
            if whole.is_written() && from.contains(&whole.segment) {
                self.cell_mut(page)?.is_whole = true;
            }
            let is_there = [Some(own), base].into_iter().flatten().any(|image| from.contains(&image.segment));
            if is_there && cell.is_clean() {
                *left -= 1;
                let slot = page * to_u64(ENTRIES_PER_PAGE);
                match cell.entry(0).and_then(|entry| self.set(slot, entry)) {
                    // A damaged page stays where it is, with its segment; reads of it report the damage.
                    Err(error) if error.is_corruption() => {}
                    other => drop(other?),
                }
            }
        }
        let is_base_there = from.contains(&found.page.segment) && found.page.is_written();
        if is_base_there || found.saved.is_some_and(|saved| from.contains(&saved.segment)) {
            self.cell_mut(first)?;
            if let (true, Some(mid)) = (is_base_there, Arc::make_mut(&mut self.root).mids.get_mut(mid)) {
                Arc::make_mut(mid).is_whole = true;
            }
        }
        Ok(true)
    }

    /// Sets the entry of a slot whose page is now found damaged.
    #[cold]
    fn set_damaged(&mut self, page: u64, index: usize, entry: Entry, live: u16, damage: Corruption) -> Result<Entry> {
        let (leaf, old, had_record) = DamagedLeaf::new(damage).with(index, entry, live);
        self.mark_damaged(page, leaf)?;
        self.had_record = had_record;
        Ok(old)
    }

    /// A leaf page cannot be read. The directory page need not be written for that.
    pub(crate) fn mark_damaged(&mut self, page: u64, leaf: DamagedLeaf) -> Result<()> {
        if page >= self.root.page_end() {
            return Ok(());
        }
        let was_dirty = self.root.mids.get(to_usize(page) / DESCRIPTORS_PER_PAGE).is_some_and(|mid| mid.is_dirty());
        self.change_cell(page, |cell| cell.set_damaged(leaf))?;
        if let Some(mid) = self.root.mids.get(to_usize(page) / DESCRIPTORS_PER_PAGE) {
            mid.set_dirty(was_dirty);
        }
        Arc::make_mut(&mut self.root).has_damaged = true;
        Ok(())
    }

    /// Replaces an unreadable leaf page.
    pub(crate) fn replace_page(&mut self, page: u64, set: SetNumber, entries: &[Entry]) -> Result<()> {
        let leaf = Leaf::new(self.epoch);
        for (index, entry) in entries.iter().enumerate() {
            leaf.set(index, *entry);
        }
        self.change_cell(page, |cell| {
            cell.descriptor.set = set.0;
            (cell.leaf, cell.patch) = (LeafRef::Dirty(Arc::new(leaf)), Over::default());
            cell.is_whole = true;
        })
    }

    /// An unreadable page without records: it loses its set.
    pub(crate) fn clear_page(&mut self, page: u64) -> Result<()> {
        if page >= self.root.page_end() {
            return Ok(());
        }
        self.change_cell(page, |cell| {
            let floor = cell.descriptor.floor;
            *cell = Cell { descriptor: Descriptor { floor, ..Descriptor::default() }, ..Cell::default() };
        })
    }

    /// Every damaged page has been replaced.
    pub(crate) fn end_of_damage(&mut self) {
        Arc::make_mut(&mut self.root).has_damaged = false;
    }

    /// Whether the slot whose entry was set last held a record before, though the returned entry does not say so.
    pub(crate) fn had_record(&mut self) -> bool {
        std::mem::take(&mut self.had_record)
    }

    /// Sets a slot's entry and returns the previous one, which may be unknown for a damaged page: then it counts as
    /// never used.
    pub(crate) fn set(&mut self, slot: u64, entry: Entry) -> Result<Entry> {
        let (page, index) = (slot / to_u64(ENTRIES_PER_PAGE), to_usize(slot) % ENTRIES_PER_PAGE);
        self.had_record = false;
        if page >= self.root.page_end() {
            let expected = format!("a page below {}, or one already assigned to a set", self.root.page_end());
            return Err(Error::corrupt("record index", 0, format!("entry of slot {slot}"), expected, page));
        }
        if let Some(old) = self.set_in_place(page, index, entry) {
            return Ok(old);
        }
        let Some(cell) = self.root.cell(page) else { return Ok(Entry::NEVER) };
        let (descriptor, epoch) = (cell.descriptor_now(), self.epoch);
        if let LeafRef::Damaged(leaf) = &cell.leaf {
            let (leaf, old, had_record) = leaf.with(index, entry, descriptor.live);
            self.cell_mut(page)?.leaf = LeafRef::Damaged(Arc::new(leaf));
            self.had_record = had_record;
            return Ok(old);
        }
        let patch = match cell.patch.get() {
            Some(patch) => Some(patch.copy(epoch)),
            None => cell.takes_patch().then(|| Patch::new(epoch, &descriptor)),
        };
        let patched = match &patch {
            Some(patch) if patch.load(index).is_some() => Ok(true),
            Some(patch) => cell.below(|below| patch.add_block(index, below)),
            None => Ok(false),
        };
        let made = match (patched, patch) {
            (Ok(true), Some(patch)) => Ok(Made::Patch(Arc::new(patch))),
            (Ok(_), _) => cell
                .check_again()
                .and_then(|()| cell.with_entries(|entry| Made::Leaf(Arc::new(Leaf::with(epoch, &descriptor, entry))))),
            (Err(error), _) => Err(error),
        };
        match made {
            Ok(Made::Patch(patch)) => {
                let old = patch.set(index, entry).unwrap_or(Entry::NEVER);
                self.change_cell(page, |cell| cell.patch = Over::Since(patch))?;
                Ok(old)
            }
            Ok(Made::Leaf(leaf)) => {
                let old = leaf.set(index, entry);
                let leaf = LeafRef::Dirty(leaf);
                self.change_cell(page, |cell| (cell.leaf, cell.patch) = (leaf, Over::default()))?;
                Ok(old)
            }
            Err(Error::Corrupt(damage)) => self.set_damaged(page, index, entry, descriptor.live, *damage),
            Err(error) => Err(error),
        }
    }

    /// Sets an entry where no view sees it, if there is such a place. The shape that readers know stays.
    fn set_in_place(&mut self, page: u64, index: usize, entry: Entry) -> Option<Entry> {
        let mid = self.root.mids.get(to_usize(page) / DESCRIPTORS_PER_PAGE)?;
        let cell = mid.cells.get(to_usize(page) % DESCRIPTORS_PER_PAGE)?;
        match (cell.patch.get(), &cell.leaf) {
            (None, LeafRef::Dirty(leaf)) if leaf.epoch > self.held => Some(leaf.set(index, entry)),
            (Some(patch), _) if patch.epoch > self.held => {
                if let Some(old) = patch.set(index, entry) {
                    return Some(old);
                }
                if patch.is_full() || !cell.below(|below| patch.add_block(index, below)).ok()? {
                    return None;
                }
                let old = patch.set(index, entry);
                self.note_made(0, BLOCK_HEAP_BYTES);
                old
            }
            (None, _) if mid.epoch > self.held && cell.takes_patch() => {
                let patch = Patch::new(self.epoch, &cell.descriptor_now());
                if !cell.below(|below| patch.add_block(index, below)).ok()? {
                    return None;
                }
                let old = patch.set(index, entry);
                let bytes = patch.heap_bytes();
                let is_new = !cell.is_dirty();
                if !cell.patch.set(Arc::new(patch)) {
                    return None;
                }
                mid.set_dirty(true);
                self.note_made(u64::from(is_new), bytes);
                old
            }
            _ => None,
        }
    }

    fn note_made(&mut self, pages: u64, bytes: u64) {
        self.weight.pages += pages;
        self.weight.bytes += bytes;
        if let Some(saving) = &mut self.saving {
            saving.made += bytes;
        }
    }
}

/// What replaces a part of a page that a view may have.
enum Made {
    Patch(Arc<Patch>),
    Leaf(Arc<Leaf>),
}
