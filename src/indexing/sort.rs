//! Sorting more items than fit on the heap.
//!
//! Owns: how many items are on the heap, when they become a run, which of several items of an entry counts. Never: runs
//! user code.
//! Invariants: 1. Items on the heap take no more than the limit, plus a bounded number of blocks.
//! 2. Entries come out ascending, each once.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::{low_u32, to_u64};
use crate::indexing::run::{Item, Run, RunWriter, merge};

/// This many runs of similar size are merged into one.
const FAN_IN: usize = 16;
/// The share of the limit on changed pages that items may take while they are gathered. Growing lists briefly take
/// three times their contents.
const SHARE: u64 = 12;
/// Positions are 32-bit.
const HEAP_BYTES_MAX: u64 = 1 << 30;

const PREFIX_BYTES: usize = 8;

/// The position of an item.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The first bytes of its key, as a number that sorts like them.
    prefix: u64,
    begin: u32,
}

/// Gathers items and sorts them.
#[derive(Debug)]
pub(super) struct Sorter<'e> {
    engine: &'e Engine,
    heap_bytes_max: usize,
    bytes: Vec<u8>,
    places: Vec<Place>,
    /// Runs by size: those of a tier were merged from sixteen of the previous one.
    tiers: Vec<Vec<Run<'e>>>,
}

impl<'e> Sorter<'e> {
    pub(super) fn new(engine: &'e Engine) -> Self {
        let heap_bytes_max = (engine.dirty.bytes_max() / SHARE).min(HEAP_BYTES_MAX);
        let heap_bytes_max = usize::try_from(heap_bytes_max).unwrap_or(usize::MAX);
        Self { engine, heap_bytes_max, bytes: Vec::new(), places: Vec::new(), tiers: Vec::new() }
    }

    /// Whether all items are on the heap.
    pub(super) fn is_small(&self) -> bool {
        self.tiers.is_empty()
    }

    pub(super) fn push(&mut self, item: &Item<'_>) -> Result<()> {
        let places = (self.places.len() + 1) * size_of::<Place>();
        if self.bytes.len() + item.bytes() + places > self.heap_bytes_max && !self.places.is_empty() {
            self.spill()?;
        }
        self.places.push(Place { prefix: prefix_of(item.key), begin: low_u32(to_u64(self.bytes.len())) });
        item.encode(&mut self.bytes);
        Ok(())
    }

    fn item(&self, place: Place) -> Option<Item<'_>> {
        Item::at(&self.bytes, place.begin as usize)
    }

    fn sort(&mut self) {
        let mut places = std::mem::take(&mut self.places);
        places.sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| self.item(*a).cmp(&self.item(*b))));
        self.places = places;
    }

    /// Writes the items on the heap as a run.
    fn spill(&mut self) -> Result<()> {
        self.sort();
        let mut writer = RunWriter::new(self.engine, to_u64(self.bytes.len()))?;
        self.places.iter().filter_map(|place| self.item(*place)).try_for_each(|item| writer.push(&item))?;
        self.places.clear();
        self.bytes.clear();
        self.keep(writer.finish()?, 0)
    }

    /// Adds a run to a tier, and merges the tier into the next one when it is full.
    fn keep(&mut self, mut run: Run<'e>, mut tier: usize) -> Result<()> {
        loop {
            self.tiers.resize_with(self.tiers.len().max(tier + 1), Vec::new);
            let Some(runs) = self.tiers.get_mut(tier) else { return Ok(()) };
            runs.push(run);
            if runs.len() < FAN_IN {
                return Ok(());
            }
            let runs = std::mem::take(runs);
            let mut writer = RunWriter::new(self.engine, runs.iter().map(Run::bytes).sum())?;
            merge(runs, &mut |item| writer.push(item))?;
            run = writer.finish()?;
            tier += 1;
        }
    }

    /// Passes on the resulting entries, ascending.
    pub(super) fn finish(mut self, entry: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        let mut net = Net { entry, key: Vec::new(), id: 0, is_there: false };
        if self.is_small() {
            self.sort();
            self.places.iter().filter_map(|place| self.item(*place)).try_for_each(|item| net.push(&item))?;
            return net.hand_out();
        }
        self.spill()?;
        (self.bytes, self.places) = (Vec::new(), Vec::new());
        let runs = std::mem::take(&mut self.tiers).into_iter().flatten().collect();
        merge(runs, &mut |item| net.push(item))?;
        net.hand_out()
    }
}

fn prefix_of(key: &[u8]) -> u64 {
    let mut prefix = [0; PREFIX_BYTES];
    prefix.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(prefix)
}

/// Whether an item with this stamp says that its entry exists.
fn is_put(stamp: u64) -> bool {
    stamp & 1 == 1
}

/// The stamp of a change, by its order: records found by the scan come first, with 0.
pub(super) fn stamp(order: u64, put: bool) -> u64 {
    order << 1 | u64::from(put)
}

/// Reduces several items of an entry to the last one.
struct Net<'f> {
    entry: &'f mut dyn FnMut(&[u8], u64) -> Result<()>,
    key: Vec<u8>,
    id: u64,
    is_there: bool,
}

impl Net<'_> {
    fn push(&mut self, item: &Item<'_>) -> Result<()> {
        if item.id != self.id || item.key != self.key {
            self.hand_out()?;
            self.key.clear();
            self.key.extend_from_slice(item.key);
            self.id = item.id;
        }
        self.is_there = is_put(item.stamp);
        Ok(())
    }

    fn hand_out(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_there) { (self.entry)(&self.key, self.id) } else { Ok(()) }
    }
}
