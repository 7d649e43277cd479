//! The tree: persistent by copying, with leaves that one writer changes in place between two views.
//!
//! Owns: lookups, changes of entries, counts of live and free slots per page. Path copying as in Driscoll et al. 1989,
//! with the copy deferred until a view needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use bitvec::prelude::Lsb0;
use bitvec::vec::BitVec;
use byteorder::{ByteOrder, LittleEndian};

use crate::error::{Corruption, Error, Result};
use crate::format::PAGE_BYTES;
use crate::format::descriptor::{DESCRIPTOR_BYTES, DESCRIPTORS_PER_PAGE, Descriptor, PageRef};
use crate::format::entry::{ENTRIES_PER_PAGE, Entry};
use crate::format::segment::FileKind;
use crate::id::{SLOT_END, SegmentSeq, SetNumber, low_u16, to_u64, to_usize};
use crate::pages::{PAGE_ALIGN_BYTES, PageSegment, PageStore};
use crate::record_index::DamagedLeaf;

const FREE_SLOTS: u16 = low_u16(ENTRIES_PER_PAGE as u64);
/// Heap bytes of a leaf, including the allocator's share.
pub(crate) const LEAF_HEAP_BYTES: u64 = PAGE_BYTES as u64 + 64;
/// Maximum number of pages of a store.
pub(crate) const PAGES_END: u64 = SLOT_END / ENTRIES_PER_PAGE as u64;

/// A leaf on the heap.
#[derive(Debug)]
pub(crate) struct Leaf {
    epoch: u64,
    live: AtomicU16,
    free: AtomicU16,
    // In the leaf itself: saves a cache miss per read.
    entries: [AtomicU64; ENTRIES_PER_PAGE],
}

impl Leaf {
    fn new(epoch: u64) -> Self {
        let entries = [const { AtomicU64::new(0) }; ENTRIES_PER_PAGE];
        Self { epoch, live: AtomicU16::new(0), free: AtomicU16::new(FREE_SLOTS), entries }
    }

    fn copy(&self, epoch: u64) -> Self {
        let entry = |index: usize| self.entries.get(index).map_or(0, |entry| entry.load(Ordering::Relaxed));
        let entries = std::array::from_fn(|index| AtomicU64::new(entry(index)));
        let (live, free) = (self.live.load(Ordering::Relaxed), self.free.load(Ordering::Relaxed));
        Self { epoch, live: AtomicU16::new(live), free: AtomicU16::new(free), entries }
    }

    fn from_image(image: &[u8], epoch: u64, descriptor: &Descriptor) -> Self {
        let entry = |index: usize| image.get(index * 8..index * 8 + 8).map_or(0, LittleEndian::read_u64);
        let entries = std::array::from_fn(|index| AtomicU64::new(entry(index)));
        let (live, free) = (AtomicU16::new(descriptor.live), AtomicU16::new(descriptor.free));
        Self { epoch, live, free, entries }
    }

    #[inline]
    fn load(&self, index: usize) -> Entry {
        Entry(self.entries.get(index).map_or(0, |entry| entry.load(Ordering::Acquire)))
    }

    /// The page's image.
    pub(crate) fn image(&self, out: &mut Vec<u8>) {
        out.clear();
        for entry in &self.entries {
            out.extend_from_slice(&entry.load(Ordering::Relaxed).to_le_bytes());
        }
    }

    fn set(&self, index: usize, entry: Entry) -> Entry {
        let Some(cell) = self.entries.get(index) else { return Entry::NEVER };
        let old = Entry(cell.load(Ordering::Relaxed));
        let count = |counter: &AtomicU16, before: bool, after: bool| match (before, after) {
            // Only this thread changes it (invariant 1 of the module above), so it need not be atomic as a whole.
            (false, true) => counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed),
            (true, false) => counter.store(counter.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed),
            _ => {}
        };
        count(&self.live, old.is_live(), entry.is_live());
        count(&self.free, old.is_free(), entry.is_free());
        cell.store(entry.0, Ordering::Release);
        old
    }
}

/// A leaf page in its directory page.
#[derive(Debug, Clone, Default)]
pub(crate) enum LeafRef {
    /// None of its slots was ever used.
    #[default]
    Absent,
    /// An image in a page segment.
    Clean(Arc<PageSegment>),
    /// On the heap, and in no snapshot yet.
    Dirty(Arc<Leaf>),
    /// Its image cannot be read.
    Damaged(Arc<DamagedLeaf>),
}

/// A leaf page and its descriptor. The counts of a dirty leaf are in the leaf.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    pub(crate) descriptor: Descriptor,
    pub(crate) leaf: LeafRef,
}

impl Cell {
    #[inline]
    fn entry(&self, index: usize) -> Result<Entry> {
        match &self.leaf {
            LeafRef::Dirty(leaf) => Ok(leaf.load(index)),
            LeafRef::Clean(segment) => segment.with(&self.descriptor.page, |image| {
                Entry(image.get(index * 8..index * 8 + 8).map_or(0, LittleEndian::read_u64))
            }),
            LeafRef::Absent => Ok(Entry::NEVER),
            LeafRef::Damaged(leaf) => leaf.entry(index),
        }
    }

    /// The descriptor with the current counts.
    pub(crate) fn descriptor_now(&self) -> Descriptor {
        let mut descriptor = self.descriptor;
        match &self.leaf {
            LeafRef::Dirty(leaf) => {
                descriptor.live = leaf.live.load(Ordering::Relaxed);
                descriptor.free = leaf.free.load(Ordering::Relaxed);
            }
            LeafRef::Absent => descriptor.free = FREE_SLOTS,
            LeafRef::Clean(_) | LeafRef::Damaged(_) => {}
        }
        descriptor
    }

    /// All entries of the page.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>> {
        match &self.leaf {
            LeafRef::Dirty(leaf) => Ok((0..ENTRIES_PER_PAGE).map(|index| leaf.load(index)).collect()),
            LeafRef::Clean(segment) => segment.with(&self.descriptor.page, |image| {
                image.chunks_exact(8).map(|bytes| Entry(LittleEndian::read_u64(bytes))).collect()
            }),
            LeafRef::Absent => Ok(vec![Entry::NEVER; ENTRIES_PER_PAGE]),
            LeafRef::Damaged(leaf) => Err(leaf.error()),
        }
    }
}

/// A directory page: the cells of 128 leaf pages.
#[derive(Debug, Clone)]
pub(crate) struct Mid {
    pub(crate) cells: Vec<Cell>,
    /// The location of its image, if it has one.
    pub(crate) page: PageRef,
    /// Whether anything below it has changed since that image.
    pub(crate) dirty: bool,
}

impl Default for Mid {
    fn default() -> Self {
        Self { cells: vec![Cell::default(); DESCRIPTORS_PER_PAGE], page: PageRef::default(), dirty: true }
    }
}

impl Mid {
    /// Leaves on the heap.
    pub(crate) fn dirty_leaves(&self) -> u64 {
        to_u64(self.cells.iter().filter(|cell| matches!(cell.leaf, LeafRef::Dirty(_))).count())
    }

    /// The image: descriptors, without the absent ones at the end.
    pub(crate) fn image(&self, out: &mut Vec<u8>) {
        out.clear();
        let used = |cell: &Cell| {
            cell.descriptor.set != 0 || cell.descriptor.floor != 0 || !matches!(cell.leaf, LeafRef::Absent)
        };
        let len = self.cells.iter().rposition(used).map_or(0, |last| last + 1);
        for cell in self.cells.iter().take(len) {
            cell.descriptor_now().encode(out);
        }
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

    /// Dirty leaves, counted one by one.
    pub(crate) fn count_dirty(&self) -> u64 {
        self.mids.iter().map(|mid| mid.dirty_leaves()).sum()
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
        let empty = Arc::new(Mid { dirty: false, ..Mid::default() });
        for bytes in image.chunks(DESCRIPTOR_BYTES) {
            let descriptor = Descriptor::decode(bytes).map_err(|malformed| malformed.at("root page", 0))?;
            if !descriptor.page.is_written() {
                mids.push(Arc::clone(&empty));
                continue;
            }
            mids.push(Arc::new(load_mid(&descriptor, pages, &mut seen)?));
        }
        Ok(Self { mids, has_damaged: false })
    }

    /// The root's image.
    pub(crate) fn image(&self, out: &mut Vec<u8>) {
        out.clear();
        for mid in &self.mids {
            Descriptor { page: mid.page, ..Descriptor::default() }.encode(out);
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

pub(super) fn load_mid(descriptor: &Descriptor, pages: &PageStore, seen: &mut Seen) -> Result<Mid> {
    let segment = pages.segment(&descriptor.page)?;
    seen.meet(&descriptor.page, &segment, "directory page")?;
    let mut mid = Mid { page: descriptor.page, dirty: false, ..Mid::default() };
    let image = segment.with(&descriptor.page, <[u8]>::to_vec)?;
    let mut last: Option<Arc<PageSegment>> = None;
    for (cell, bytes) in mid.cells.iter_mut().zip(image.chunks(DESCRIPTOR_BYTES)) {
        cell.descriptor = Descriptor::decode(bytes).map_err(|malformed| malformed.at("directory page", 0))?;
        let page = cell.descriptor.page;
        if !page.is_written() {
            continue;
        }
        if page.bytes as usize != PAGE_BYTES {
            return Err(Error::corrupt("directory page", 0, "length of a leaf page", PAGE_BYTES, page.bytes));
        }
        let segment = match last.take_if(|segment| segment.number() == page.segment) {
            Some(segment) => segment,
            None => pages.segment(&page)?,
        };
        seen.meet(&page, &segment, "leaf page")?;
        last = Some(Arc::clone(&segment));
        cell.leaf = LeafRef::Clean(segment);
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
    /// Leaves of the newest tree on the heap.
    dirty: u64,
    saving: Option<Saving>,
    /// Whether the entry set last replaced that of a record that a damaged page does not show.
    had_record: bool,
}

/// What a running save keeps on the heap.
#[derive(Debug, Clone, Copy)]
struct Saving {
    /// Leaves of the save: all that were dirty then.
    frozen: u64,
    /// The highest epoch of these.
    epoch: u64,
    /// Leaves brought to the heap since.
    made: u64,
}

impl Tree {
    pub(crate) fn new(root: Root) -> Self {
        Self { root: Arc::new(root), epoch: 1, held: 0, restructured: false, dirty: 0, saving: None, had_record: false }
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

    /// Leaves of the newest tree on the heap.
    pub(crate) fn dirty(&self) -> u64 {
        self.dirty
    }

    /// Heap bytes of dirty leaves, including those of a save.
    pub(crate) fn heap_bytes(&self) -> u64 {
        let leaves = self.saving.map_or(0, |saving| saving.frozen + saving.made).max(self.dirty);
        leaves * LEAF_HEAP_BYTES
    }

    /// A save starts with the current leaves. The caller has pinned them.
    pub(crate) fn begin_saving(&mut self) {
        self.saving = Some(Saving { frozen: self.dirty, epoch: self.epoch.saturating_sub(1), made: 0 });
    }

    /// The save has released its leaves.
    pub(crate) fn end_saving(&mut self) {
        self.saving = None;
        debug_assert_eq!(self.dirty, self.root.count_dirty(), "the count of dirty leaves");
    }

    /// This many leaves can be read from their pages again.
    pub(crate) fn cleaned(&mut self, leaves: u64) {
        self.dirty = self.dirty.saturating_sub(leaves);
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
        let root = Arc::make_mut(&mut self.root);
        if root.mids.len() <= mid {
            // All directory pages without a leaf are the same one: a high page number costs no memory for those before
            // it.
            root.mids.resize(mid + 1, Arc::new(Mid { dirty: false, ..Mid::default() }));
        }
        let found = root.mids.get_mut(mid).and_then(|mid| {
            let mid = Arc::make_mut(mid);
            mid.dirty = true;
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
            if matches!(&cell.leaf, LeafRef::Clean(segment) if from.contains(&segment.number())) {
                *left -= 1;
                let slot = page * to_u64(ENTRIES_PER_PAGE);
                match cell.entry(0).and_then(|entry| self.set(slot, entry)) {
                    // A damaged page stays where it is, with its segment; reads of it report the damage.
                    Err(error) if error.is_corruption() => {}
                    other => drop(other?),
                }
            }
        }
        if from.contains(&found.page.segment) && found.page.is_written() {
            self.cell_mut(first)?;
        }
        Ok(true)
    }

    /// Sets the entry of a slot whose page is now found damaged.
    #[cold]
    fn set_damaged(&mut self, page: u64, index: usize, entry: Entry, live: u16, damage: Corruption) -> Entry {
        let (leaf, old, had_record) = DamagedLeaf::new(damage).with(index, entry, live);
        self.mark_damaged(page, leaf);
        self.had_record = had_record;
        old
    }

    /// A leaf page cannot be read.
    pub(crate) fn mark_damaged(&mut self, page: u64, leaf: DamagedLeaf) {
        self.restructured = true;
        let root = Arc::make_mut(&mut self.root);
        root.has_damaged = true;
        let (mid, cell) = (to_usize(page) / DESCRIPTORS_PER_PAGE, to_usize(page) % DESCRIPTORS_PER_PAGE);
        if let Some(cell) = root.mids.get_mut(mid).and_then(|mid| Arc::make_mut(mid).cells.get_mut(cell)) {
            // What is known of its slots stays known.
            if !matches!(cell.leaf, LeafRef::Damaged(_)) {
                cell.leaf = LeafRef::Damaged(Arc::new(leaf));
            }
        }
    }

    /// Replaces an unreadable leaf page.
    pub(crate) fn replace_page(&mut self, page: u64, set: SetNumber, entries: &[Entry]) -> Result<()> {
        let epoch = self.epoch;
        let cell = self.cell_mut(page)?;
        let leaf = Leaf::new(epoch);
        for (index, entry) in entries.iter().enumerate() {
            leaf.set(index, *entry);
        }
        cell.descriptor.set = set.0;
        let before = std::mem::replace(&mut cell.leaf, LeafRef::Dirty(Arc::new(leaf)));
        self.dirty += u64::from(!matches!(before, LeafRef::Dirty(_)));
        Ok(())
    }

    /// An unreadable page without records: it loses its set.
    pub(crate) fn clear_page(&mut self, page: u64) {
        self.restructured = true;
        let (mid, cell) = (to_usize(page) / DESCRIPTORS_PER_PAGE, to_usize(page) % DESCRIPTORS_PER_PAGE);
        if let Some(mid) = Arc::make_mut(&mut self.root).mids.get_mut(mid).map(Arc::make_mut) {
            mid.dirty = true;
            if let Some(cell) = mid.cells.get_mut(cell) {
                let floor = cell.descriptor.floor;
                *cell = Cell { descriptor: Descriptor { floor, ..Descriptor::default() }, ..Cell::default() };
            }
        }
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
        if let Some(LeafRef::Dirty(leaf)) = self.root.cell(page).map(|cell| &cell.leaf)
            && leaf.epoch > self.held
        {
            return Ok(leaf.set(index, entry));
        }
        let epoch = self.epoch;
        let cell = self.cell_mut(page)?;
        let leaf = match &cell.leaf {
            LeafRef::Absent => Leaf::new(epoch),
            LeafRef::Dirty(leaf) => leaf.copy(epoch),
            LeafRef::Clean(segment) => {
                let descriptor = cell.descriptor;
                match segment.with(&descriptor.page, |image| Leaf::from_image(image, epoch, &descriptor)) {
                    Ok(leaf) => leaf,
                    Err(Error::Corrupt(damage)) => {
                        return Ok(self.set_damaged(page, index, entry, descriptor.live, *damage));
                    }
                    Err(error) => return Err(error),
                }
            }
            LeafRef::Damaged(leaf) => {
                let (leaf, old, had_record) = leaf.with(index, entry, cell.descriptor.live);
                cell.leaf = LeafRef::Damaged(Arc::new(leaf));
                self.had_record = had_record;
                return Ok(old);
            }
        };
        let old = leaf.set(index, entry);
        let before = std::mem::replace(&mut cell.leaf, LeafRef::Dirty(Arc::new(leaf)));
        // A copy of a leaf that the save does not have replaces that leaf.
        let replaces = |saving: &Saving| matches!(&before, LeafRef::Dirty(leaf) if leaf.epoch > saving.epoch);
        if let Some(saving) = self.saving.as_mut().filter(|saving| !replaces(saving)) {
            saving.made += 1;
        }
        self.dirty += u64::from(!matches!(before, LeafRef::Dirty(_)));
        Ok(old)
    }
}
