//! What a leaf page has on the heap: all of its entries, or blocks of those that have changed.
//!
//! Owns: the entries in memory, their counts, the size of a block. Never: knows the page below, or who may still read.
//! Invariants: 1. Only the one writer changes entries, while others may read them. 2. A block is complete before its
//! place is stored, and stays.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};

use crate::format::PAGE_BYTES;
use crate::format::descriptor::Descriptor;
use crate::format::entry::{ENTRIES_PER_PAGE, Entry};
use crate::id::{low_u16, to_u64};

pub(super) const FREE_SLOTS: u16 = low_u16(ENTRIES_PER_PAGE as u64);
/// Heap bytes of a leaf, including the allocator's share.
pub(crate) const LEAF_HEAP_BYTES: u64 = PAGE_BYTES as u64 + 64;

/// Entries of a block.
const BLOCK_ENTRIES: usize = 16;
const BLOCKS_PER_LEAF: usize = ENTRIES_PER_PAGE / BLOCK_ENTRIES;
/// A patch with more blocks would be worth a leaf.
const BLOCKS_MAX: usize = BLOCKS_PER_LEAF / 4;
/// Heap bytes of a block, including the allocator's share.
pub(super) const BLOCK_HEAP_BYTES: u64 = to_u64(BLOCK_ENTRIES * 8 + 16);
const PATCH_HEAP_BYTES: u64 = to_u64(size_of::<Patch>() + 32);

type Block = [AtomicU64; BLOCK_ENTRIES];

/// Slots of a page with a record, and free ones.
#[derive(Debug)]
struct Counts {
    live: AtomicU16,
    free: AtomicU16,
}

impl Counts {
    fn new(live: u16, free: u16) -> Self {
        Self { live: AtomicU16::new(live), free: AtomicU16::new(free) }
    }

    fn of(descriptor: &Descriptor) -> Self {
        Self::new(descriptor.live, descriptor.free)
    }

    fn put_into(&self, descriptor: &mut Descriptor) {
        descriptor.live = self.live.load(Ordering::Relaxed);
        descriptor.free = self.free.load(Ordering::Relaxed);
    }

    /// Stores an entry and returns the one before.
    fn set(&self, cell: &AtomicU64, entry: Entry) -> Entry {
        let old = Entry(cell.load(Ordering::Relaxed));
        let count = |counter: &AtomicU16, before: bool, after: bool| match (before, after) {
            // Only this thread changes it, so it need not be atomic as a whole.
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

/// A leaf on the heap.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(super) epoch: u64,
    counts: Counts,
    // In the leaf itself: saves a cache miss per read.
    entries: [AtomicU64; ENTRIES_PER_PAGE],
}

impl Leaf {
    pub(super) fn new(epoch: u64) -> Self {
        let entries = [const { AtomicU64::new(0) }; ENTRIES_PER_PAGE];
        Self { epoch, counts: Counts::new(0, FREE_SLOTS), entries }
    }

    /// With these entries, of which a descriptor has the counts.
    pub(super) fn with(epoch: u64, descriptor: &Descriptor, entry: impl Fn(usize) -> Entry) -> Self {
        let entries = std::array::from_fn(|index| AtomicU64::new(entry(index).0));
        Self { epoch, counts: Counts::of(descriptor), entries }
    }

    #[inline]
    pub(super) fn load(&self, index: usize) -> Entry {
        Entry(self.entries.get(index).map_or(0, |entry| entry.load(Ordering::Acquire)))
    }

    pub(super) fn set(&self, index: usize, entry: Entry) -> Entry {
        self.entries.get(index).map_or(Entry::NEVER, |cell| self.counts.set(cell, entry))
    }

    pub(super) fn put_counts(&self, descriptor: &mut Descriptor) {
        self.counts.put_into(descriptor);
    }
}

/// Blocks of a leaf page that have changed. All its other entries are those of the page below.
#[derive(Debug)]
pub(crate) struct Patch {
    pub(super) epoch: u64,
    counts: Counts,
    used: AtomicU8,
    /// For each block of the page one more than its place here; zero if it is not here.
    places: [AtomicU8; BLOCKS_PER_LEAF],
    blocks: [OnceLock<Box<Block>>; BLOCKS_MAX],
}

impl Patch {
    /// Without blocks, over a page with these counts.
    pub(super) fn new(epoch: u64, descriptor: &Descriptor) -> Self {
        Self {
            epoch,
            counts: Counts::of(descriptor),
            used: AtomicU8::new(0),
            places: [const { AtomicU8::new(0) }; BLOCKS_PER_LEAF],
            blocks: [const { OnceLock::new() }; BLOCKS_MAX],
        }
    }

    /// The same blocks, for changes that the readers of this one must not see.
    pub(super) fn copy(&self, epoch: u64) -> Self {
        let number = |number: &AtomicU8| AtomicU8::new(number.load(Ordering::Relaxed));
        let block = |block: &OnceLock<Box<Block>>| match block.get() {
            Some(block) => OnceLock::from(Box::new(std::array::from_fn(|index| {
                AtomicU64::new(block.get(index).map_or(0, |entry| entry.load(Ordering::Relaxed)))
            }))),
            None => OnceLock::new(),
        };
        Self {
            epoch,
            counts: Counts::new(self.counts.live.load(Ordering::Relaxed), self.counts.free.load(Ordering::Relaxed)),
            used: number(&self.used),
            places: std::array::from_fn(|index| self.places.get(index).map_or(AtomicU8::new(0), number)),
            blocks: std::array::from_fn(|index| self.blocks.get(index).map_or_else(OnceLock::new, block)),
        }
    }

    #[inline]
    fn find(&self, index: usize) -> Option<&AtomicU64> {
        let place = usize::from(self.places.get(index / BLOCK_ENTRIES)?.load(Ordering::Acquire));
        self.blocks.get(place.checked_sub(1)?)?.get()?.get(index % BLOCK_ENTRIES)
    }

    /// An entry; none if the page below has it.
    #[inline]
    pub(super) fn load(&self, index: usize) -> Option<Entry> {
        self.find(index).map(|entry| Entry(entry.load(Ordering::Acquire)))
    }

    /// Sets an entry and returns the one before; none if its block is not here.
    pub(super) fn set(&self, index: usize, entry: Entry) -> Option<Entry> {
        self.find(index).map(|cell| self.counts.set(cell, entry))
    }

    pub(super) fn is_full(&self) -> bool {
        usize::from(self.used.load(Ordering::Relaxed)) >= BLOCKS_MAX
    }

    /// Adds the block of an entry, with the entries of the page below. Returns whether there was room.
    pub(super) fn add_block(&self, index: usize, below: impl Fn(usize) -> Entry) -> bool {
        let (first, used) = (index - index % BLOCK_ENTRIES, self.used.load(Ordering::Relaxed));
        let (Some(place), Some(room)) = (self.places.get(index / BLOCK_ENTRIES), self.blocks.get(usize::from(used)))
        else {
            return false;
        };
        let block = Box::new(std::array::from_fn(|offset| AtomicU64::new(below(first + offset).0)));
        if room.set(block).is_err() {
            return false;
        }
        self.used.store(used + 1, Ordering::Relaxed);
        place.store(used + 1, Ordering::Release);
        true
    }

    /// The entries that are here, with their indexes in the page.
    pub(super) fn entries(&self) -> impl Iterator<Item = (usize, Entry)> {
        (0..ENTRIES_PER_PAGE).filter_map(|index| self.load(index).map(|entry| (index, entry)))
    }

    pub(super) fn heap_bytes(&self) -> u64 {
        PATCH_HEAP_BYTES + u64::from(self.used.load(Ordering::Relaxed)) * BLOCK_HEAP_BYTES
    }

    pub(super) fn put_counts(&self, descriptor: &mut Descriptor) {
        self.counts.put_into(descriptor);
    }
}
