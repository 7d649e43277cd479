//! A leaf page in its directory page: where its entries are.
//!
//! Owns: reading an entry through the patches of a page, what of a page is on the heap, and whether a save writes it whole.
//! Never: changes an entry.

use std::sync::{Arc, OnceLock};

use byteorder::{ByteOrder, LittleEndian};

use crate::error::{Error, Result};
use crate::format::descriptor::{Descriptor, PageRef, Row};
use crate::format::entry::{ENTRIES_PER_PAGE, Entry};
use crate::format::page_patch::PagePatch;
use crate::format::segment::FileKind;
use crate::format::{Malformed, PAGE_BYTES};
use crate::pages::PageSegment;
use crate::record_index::damaged::DamagedLeaf;
use crate::record_index::leaf::{FREE_SLOTS, LEAF_HEAP_BYTES, Leaf, Patch};

/// A leaf page.
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

/// A page with a larger patch is written whole. The figures: `docs/decisions/0022-patches-on-disk.md`.
pub(crate) const PATCH_BYTES_MAX: usize = PAGE_BYTES / 4;

/// The patch of a page in the last snapshot.
#[derive(Debug)]
pub(crate) struct SavedPatch {
    pub(crate) page: PageRef,
    pub(crate) segment: Arc<PageSegment>,
}

impl SavedPatch {
    #[cold]
    fn at(&self, malformed: Malformed) -> Error {
        malformed.at(&FileKind::Pages.file_name(self.page.segment), self.page.offset())
    }

    /// An entry; none if the page below has it.
    fn entry(&self, index: usize) -> Result<Option<Entry>> {
        let found = self.segment.with(&self.page, |bytes| match PagePatch::open(bytes) {
            Some(patch) => patch.entry(index),
            None => PagePatch::parse(bytes).map(|_| None),
        })?;
        found.map_err(|malformed| self.at(malformed))
    }

    /// Runs `read` on the patch, once it is checked.
    fn with<T>(&self, read: impl FnOnce(&PagePatch<'_>) -> Result<T>) -> Result<T> {
        self.segment.with(&self.page, |bytes| {
            let patch = PagePatch::parse(bytes).map_err(|malformed| self.at(malformed))?;
            read(&patch)
        })?
    }
}

/// What a save writes of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is what its base says.
    Nothing,
    Patch,
    Whole,
}

/// A leaf page and its descriptor. The counts of a page on the heap are there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    /// Its page is the whole image in the last snapshot.
    pub(crate) descriptor: Descriptor,
    pub(crate) leaf: LeafRef,
    /// The patch of that image in the last snapshot. A clean page is read through it.
    pub(crate) saved: Option<Arc<SavedPatch>>,
    /// The next save must not refer to the image.
    pub(super) is_whole: bool,
    /// What has changed of it since it was written, or since a view took it. Only clean and dirty pages have one.
    pub(super) patch: Over,
}

/// The place of a patch. A writer fills an empty one once, while others read.
#[derive(Debug)]
pub(super) enum Over {
    Since(Arc<Patch>),
    // Copying a filled one would take its slow path for each page of a directory page.
    Later(OnceLock<Arc<Patch>>),
}

impl Over {
    #[inline]
    pub(super) fn get(&self) -> Option<&Arc<Patch>> {
        match self {
            Self::Since(patch) => Some(patch),
            Self::Later(patch) => patch.get(),
        }
    }

    /// Fills an empty place. Returns whether it was empty.
    pub(super) fn set(&self, patch: Arc<Patch>) -> bool {
        match self {
            Self::Since(_) => false,
            Self::Later(place) => place.set(patch).is_ok(),
        }
    }
}

impl Default for Over {
    fn default() -> Self {
        Self::Later(OnceLock::new())
    }
}

impl Clone for Over {
    fn clone(&self) -> Self {
        self.get().map_or_else(Self::default, |patch| Self::Since(Arc::clone(patch)))
    }
}

/// What a page takes on the heap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) pages: u64,
    pub(crate) bytes: u64,
}

fn entry_of(image: &[u8], index: usize) -> Entry {
    Entry(image.get(index * 8..index * 8 + 8).map_or(0, LittleEndian::read_u64))
}

impl Cell {
    #[inline]
    pub(super) fn entry(&self, index: usize) -> Result<Entry> {
        if let Some(patch) = self.patch.get()
            && let Some(entry) = patch.load(index)
        {
            return Ok(entry);
        }
        match &self.leaf {
            LeafRef::Dirty(leaf) => Ok(leaf.load(index)),
            LeafRef::Clean(segment) if self.saved.is_none() => {
                segment.with(&self.descriptor.page, |image| entry_of(image, index))
            }
            LeafRef::Clean(segment) => self.entry_patched(segment, index),
            LeafRef::Absent => Ok(Entry::NEVER),
            LeafRef::Damaged(leaf) => leaf.entry(index),
        }
    }

    /// An entry of a clean page with a patch. Kept out of line: most pages have none, and reading those must not pay for this.
    #[cold]
    #[inline(never)]
    fn entry_patched(&self, segment: &PageSegment, index: usize) -> Result<Entry> {
        match self.saved.as_ref().map_or(Ok(None), |saved| saved.entry(index))? {
            Some(entry) => Ok(entry),
            None => segment.with(&self.descriptor.page, |image| entry_of(image, index)),
        }
    }

    /// Runs `read` on the entries below the patch on the heap.
    pub(super) fn below<T>(&self, read: impl FnOnce(&dyn Fn(usize) -> Entry) -> T) -> Result<T> {
        match &self.leaf {
            LeafRef::Dirty(leaf) => Ok(read(&|index| leaf.load(index))),
            LeafRef::Clean(segment) => match &self.saved {
                None => segment.with(&self.descriptor.page, |image| read(&|index| entry_of(image, index))),
                Some(saved) => saved.with(|patch| {
                    let here = |index| patch.entry(index).ok().flatten();
                    segment.with(&self.descriptor.page, |image| {
                        read(&|index| here(index).unwrap_or_else(|| entry_of(image, index)))
                    })
                }),
            },
            LeafRef::Absent => Ok(read(&|_| Entry::NEVER)),
            LeafRef::Damaged(leaf) => Err(leaf.error()),
        }
    }

    /// Runs `read` on the entries.
    pub(super) fn with_entries<T>(&self, read: impl FnOnce(&dyn Fn(usize) -> Entry) -> T) -> Result<T> {
        match self.patch.get() {
            Some(patch) => self.below(|below| read(&|index| patch.load(index).unwrap_or_else(|| below(index)))),
            None => self.below(read),
        }
    }

    /// All entries of the page.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>> {
        self.with_entries(|entry| (0..ENTRIES_PER_PAGE).map(entry).collect())
    }

    /// Compares the images below the patch on the heap with their checksums once more, before their entries get a new one elsewhere.
    pub(super) fn check_again(&self) -> Result<()> {
        match &self.leaf {
            LeafRef::Clean(segment) => {
                segment.check_again(&self.descriptor.page)?;
                self.saved.as_ref().map_or(Ok(()), |saved| saved.segment.check_again(&saved.page))
            }
            LeafRef::Absent | LeafRef::Dirty(_) | LeafRef::Damaged(_) => Ok(()),
        }
    }

    /// The page's image.
    pub(crate) fn image(&self, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        self.check_again()?;
        match (&self.leaf, &self.saved) {
            (LeafRef::Clean(segment), None) => {
                segment.with(&self.descriptor.page, |image| out.extend_from_slice(image))?;
            }
            _ => {
                let mut add = |entry: Entry| out.extend_from_slice(&entry.0.to_le_bytes());
                self.below(|entry| (0..ENTRIES_PER_PAGE).for_each(|index| add(entry(index))))?;
            }
        }
        for (index, entry) in self.patch.get().iter().flat_map(|patch| patch.entries()) {
            if let Some(bytes) = out.get_mut(index * 8..index * 8 + 8) {
                LittleEndian::write_u64(bytes, entry.0);
            }
        }
        Ok(())
    }

    /// What a save writes of the page, into `out`. `base` has its whole image, if there is one.
    pub(crate) fn to_write(&self, base: Option<&PageSegment>, out: &mut Vec<u8>) -> Result<Written> {
        if let Some(base) = base.filter(|_| !self.is_whole) {
            let made = self.check_again().and_then(|()| base.check_again(&self.descriptor.page)).and_then(|()| {
                base.with(&self.descriptor.page, |image| {
                    self.with_entries(|now| {
                        PagePatch::encode(|index| entry_of(image, index), now, PATCH_BYTES_MAX, out)
                    })
                })
            });
            match made {
                Ok(Ok(true)) => {
                    let is_empty = PagePatch::open(out).is_some_and(|patch| patch.is_empty());
                    return Ok(if is_empty { Written::Nothing } else { Written::Patch });
                }
                Err(error) | Ok(Err(error)) if !error.is_corruption() => return Err(error),
                // A damaged image that was replaced on the heap, or that the next line tells.
                _ => {}
            }
        }
        self.image(out)?;
        Ok(Written::Whole)
    }

    /// As its directory page has it.
    pub(crate) fn row(&self) -> Row {
        let mut descriptor = self.descriptor_now();
        match &self.saved {
            Some(saved) => {
                let base = std::mem::replace(&mut descriptor.page, saved.page);
                Row { descriptor, base: Some(base) }
            }
            None => Row { descriptor, base: None },
        }
    }

    /// The images that the last snapshot has of it: its own, and the one below a patch.
    pub(crate) fn images(&self) -> (PageRef, Option<PageRef>) {
        match &self.saved {
            Some(saved) => (saved.page, Some(self.descriptor.page)),
            None => (self.descriptor.page, None),
        }
    }

    /// The descriptor with the current counts.
    pub(crate) fn descriptor_now(&self) -> Descriptor {
        let mut descriptor = self.descriptor;
        match (&self.leaf, self.patch.get()) {
            (_, Some(patch)) => patch.put_counts(&mut descriptor),
            (LeafRef::Dirty(leaf), None) => leaf.put_counts(&mut descriptor),
            (LeafRef::Absent, None) => descriptor.free = FREE_SLOTS,
            (LeafRef::Clean(_) | LeafRef::Damaged(_), None) => {}
        }
        descriptor
    }

    /// Whether a page segment has all of it.
    pub(crate) fn is_clean(&self) -> bool {
        matches!(self.leaf, LeafRef::Clean(_)) && self.patch.get().is_none()
    }

    /// Whether no snapshot has all of it.
    pub(crate) fn is_dirty(&self) -> bool {
        matches!(self.leaf, LeafRef::Dirty(_)) || self.patch.get().is_some()
    }

    /// Whether a patch over it is smaller than a leaf and can be read without another read of the file.
    pub(super) fn takes_patch(&self) -> bool {
        match &self.leaf {
            LeafRef::Dirty(_) => true,
            LeafRef::Clean(segment) => {
                let is_mapped = |saved: &Arc<SavedPatch>| saved.segment.is_mapped(&saved.page);
                segment.is_mapped(&self.descriptor.page) && self.saved.as_ref().is_none_or(is_mapped)
            }
            LeafRef::Absent | LeafRef::Damaged(_) => false,
        }
    }

    /// Whether both have the same page below their patches.
    pub(super) fn is_over_same(&self, other: &Self) -> bool {
        match (&self.leaf, &other.leaf) {
            (LeafRef::Dirty(leaf), LeafRef::Dirty(other)) => Arc::ptr_eq(leaf, other),
            (LeafRef::Clean(_), LeafRef::Clean(_)) => self.images() == other.images(),
            _ => false,
        }
    }

    /// Whether both have the same patch, or none.
    pub(super) fn has_same_patch(&self, other: &Self) -> bool {
        match (self.patch.get(), other.patch.get()) {
            (Some(patch), Some(other)) => Arc::ptr_eq(patch, other),
            (None, None) => true,
            _ => false,
        }
    }

    /// Whether both have the same page, and the same patch over it.
    pub(super) fn has_same_parts(&self, other: &Self) -> bool {
        let is_absent = matches!((&self.leaf, &other.leaf), (LeafRef::Absent, LeafRef::Absent));
        (is_absent || self.is_over_same(other)) && self.has_same_patch(other)
    }

    /// What it takes on the heap in parts made after an epoch.
    pub(super) fn weight_since(&self, epoch: u64) -> Weight {
        let leaf = match &self.leaf {
            LeafRef::Dirty(leaf) if leaf.epoch > epoch => LEAF_HEAP_BYTES,
            _ => 0,
        };
        let patch = self.patch.get().filter(|patch| patch.epoch > epoch).map_or(0, |patch| patch.heap_bytes());
        Weight { pages: u64::from(self.is_dirty()), bytes: leaf + patch }
    }

    pub(super) fn weight(&self) -> Weight {
        self.weight_since(0)
    }

    /// Bytes on the heap, without a leaf or a patch that another has too.
    pub(super) fn bytes_besides(&self, has_leaf: bool, has_patch: bool) -> u64 {
        let leaf = if has_leaf || !matches!(self.leaf, LeafRef::Dirty(_)) { 0 } else { LEAF_HEAP_BYTES };
        let patch = self.patch.get().filter(|_| !has_patch);
        leaf + patch.map_or(0, |patch| patch.heap_bytes())
    }

    /// Its image cannot be read. What has changed of its slots stays known. Entries that blocks only have from the image are as
    /// doubtful as that: it may have been damaged before the block was made.
    pub(crate) fn set_damaged(&mut self, leaf: DamagedLeaf) {
        if matches!(self.leaf, LeafRef::Damaged(_)) {
            return;
        }
        let patch = std::mem::take(&mut self.patch);
        let mut entries: Vec<(usize, Entry)> = patch.get().into_iter().flat_map(|patch| patch.entries()).collect();
        if let LeafRef::Clean(segment) = &self.leaf {
            // All of them if the image cannot even be looked at.
            segment
                .with(&self.descriptor.page, |image| {
                    entries.retain(|(index, entry)| entry_of(image, *index) != *entry);
                })
                .unwrap_or_default();
        }
        let leaf = entries.into_iter().fold(leaf, DamagedLeaf::knowing);
        self.leaf = LeafRef::Damaged(Arc::new(leaf));
    }

    /// It was saved, with this descriptor of its whole image.
    pub(crate) fn set_clean(
        &mut self,
        descriptor: Descriptor,
        segment: Arc<PageSegment>,
        saved: Option<Arc<SavedPatch>>,
    ) {
        *self = Self { descriptor, leaf: LeafRef::Clean(segment), saved, ..Self::default() };
    }

    /// What a save has written of it is clean. `before` is the page that was saved, and `after` its image.
    pub(crate) fn install(&mut self, before: &Self, after: &Self) {
        if !before.is_dirty() {
            return;
        }
        if self.is_over_same(before) {
            if self.has_same_patch(before) {
                self.patch = Over::default();
            }
            // What has changed since the save began is in the patch, which has all that was in the one saved.
            self.leaf = after.leaf.clone();
            (self.descriptor.live, self.descriptor.free) = (after.descriptor.live, after.descriptor.free);
        }
        self.descriptor.page = after.descriptor.page;
        self.saved.clone_from(&after.saved);
        self.is_whole = false;
    }
}
