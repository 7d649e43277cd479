//! Slot allocation: which IDs can be assigned to new records.
//!
//! Owns: open pages, durable reservations, slots handed out but never committed. Never: a second source of truth about
//! free slots: they are read from the pages. The lock is not held while a reservation is made durable. Invariant: one
//! reservation of a page lets each of its slots be handed out once. So recovery, which cannot know what was lost,
//! raises the counts of a page's free slots once per reservation, and no ID is reused.

use std::collections::{BTreeSet, HashMap};
use std::iter::Peekable;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, Result};
use crate::format::entry::{ENTRIES_PER_PAGE, State};
use crate::id::{NumberHash, RecordId, Seq, SetNumber, to_u64, to_usize};
use crate::record_index::page_bits::PageBits;
use crate::record_index::root::{PAGES_END, Root};

/// A page is reopened only if it has this many free slots, so that one reservation serves many records.
const FREE_SLOTS_MIN: u16 = 32;
/// Maximum number of pages per reservation.
pub(crate) const RESERVE_PAGES_MAX: u64 = 256;
/// How far pages may be reserved beyond those assigned to sets. Only pages that were reserved and lost are there, at
/// most `RESERVE_PAGES_MAX` per crash. So a page number cannot exceed what existed by more.
pub(crate) const PAGES_AHEAD_MAX: u64 = 1 << 26;

#[derive(Debug)]
struct OpenPage {
    page: u64,
    free: PageBits,
    from: usize,
    /// Next reuse counts; empty while every slot of the page is new.
    counts: Vec<u32>,
}

/// Effects that the next frame must carry.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Pages assigned to sets.
    pub(crate) assigned: Vec<(u64, SetNumber)>,
    /// IDs handed out but never committed: the counts of their slots increase.
    pub(crate) burned: Vec<RecordId>,
}

impl OpenPage {
    fn give_back(&mut self, index: usize, next_count: u32) {
        if self.counts.is_empty() {
            self.counts.resize(ENTRIES_PER_PAGE, 1);
        }
        if let Some(count) = self.counts.get_mut(index) {
            *count = next_count;
        }
        self.free.set(index, true);
        self.from = self.from.min(index);
    }
}

impl OpenPage {
    /// The first free ID.
    #[inline]
    fn take(&mut self) -> Option<RecordId> {
        let index = self.free.first_from(self.from)?;
        self.free.set(index, false);
        self.from = index + 1;
        let count = self.counts.get(index).copied().unwrap_or(1);
        RecordId::from_parts(self.page * to_u64(ENTRIES_PER_PAGE) + to_u64(index), count)
    }
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.assigned.is_empty() && self.burned.is_empty()
    }
}

#[derive(Debug, Default)]
struct Inner {
    open: HashMap<SetNumber, OpenPage, NumberHash>,
    /// The pages of each set that can be opened again.
    with_free: HashMap<SetNumber, BTreeSet<u64>, NumberHash>,
    outstanding: HashMap<u64, PageBits, NumberHash>,
    fresh: BTreeSet<u64>,
    page_end: u64,
    /// Pages below this one were assigned to sets in a state that was rolled back.
    raised_end: u64,
    reserved: BTreeSet<u64>,
    reserve_next: u64,
    reserving: Vec<u64>,
    pending: Pending,
    /// The last commit that freed a slot of a page.
    freed_by: HashMap<u64, Seq, NumberHash>,
    closed: bool,
}

/// The slots of a store.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    inner: Mutex<Inner>,
    reserved: Condvar,
}

fn page_of(slot: u64) -> u64 {
    slot / to_u64(ENTRIES_PER_PAGE)
}

fn index_of(slot: u64) -> usize {
    to_usize(slot) % ENTRIES_PER_PAGE
}

impl Slots {
    /// Reads from the directory which pages have free slots. Those of sets that are gone stay theirs, and nobody needs them.
    pub(crate) fn load(root: &Root, page_end: u64, raised_end: u64, is_there: impl Fn(SetNumber) -> bool) -> Self {
        let mut inner = Inner { page_end, raised_end, reserve_next: 1, ..Inner::default() };
        let cells = root.cells().enumerate();
        // Pages of one set mostly follow each other.
        let mut known = (SetNumber::default(), false);
        for (page, cell) in cells {
            let descriptor = cell.descriptor_now();
            if descriptor.set != 0 {
                inner.page_end = inner.page_end.max(to_u64(page) + 1);
                let set = SetNumber(descriptor.set);
                if descriptor.free < FREE_SLOTS_MIN {
                    continue;
                }
                if known.0 != set {
                    known = (set, is_there(set));
                }
                if known.1 {
                    note_free(&mut inner, to_u64(page), set, descriptor.free);
                }
            }
        }
        Self { inner: Mutex::new(inner), reserved: Condvar::new() }
    }

    /// Takes an ID of an open page, which nearly always exists.
    #[inline]
    pub(crate) fn take_plain(&self, set: SetNumber) -> Option<RecordId> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return None;
        }
        let id = take_open(&mut inner, set)?;
        note_outstanding(&mut inner, id);
        Some(id)
    }

    /// Takes up to this many IDs from the open page of the set.
    pub(crate) fn take_plain_many(&self, set: SetNumber, count: usize, into: &mut Vec<RecordId>) {
        let mut inner = self.inner.lock();
        let Inner { open, outstanding, closed: false, .. } = &mut *inner else { return };
        let Some(page) = open.get_mut(&set) else { return };
        let before = into.len();
        into.extend(std::iter::from_fn(|| page.take()).take(count));
        if into.len() > before {
            let outstanding = outstanding.entry(page.page).or_default();
            into.iter().skip(before).for_each(|id| outstanding.set(index_of(id.slot()), true));
        }
    }

    /// Takes an ID. `root` returns the newest root, `reserve` makes a reservation of pages durable.
    pub(crate) fn take(
        &self,
        set: SetNumber,
        root: &dyn Fn() -> std::sync::Arc<Root>,
        reserve: &dyn Fn(&[u64]) -> Result<()>,
        durable: &dyn Fn() -> Seq,
    ) -> Result<RecordId> {
        let mut inner = self.inner.lock();
        loop {
            if inner.closed {
                return Err(Error::Closed);
            }
            if let Some(id) = take_open(&mut inner, set) {
                note_outstanding(&mut inner, id);
                return Ok(id);
            }
            if let Some(page) = next_page(&mut inner, set, durable) {
                match open_page(&inner, page, &root()) {
                    Ok(open) => drop(inner.open.insert(set, open)),
                    // It is unknown which of its slots are free: it is skipped until it is repaired.
                    Err(error) if error.is_corruption() => {}
                    Err(error) => return Err(error),
                }
                continue;
            }
            if !inner.reserving.is_empty() {
                self.reserved.wait(&mut inner);
                continue;
            }
            let pages = pages_to_reserve(&mut inner, set, durable(), root().page_end())?;
            inner.reserving.clone_from(&pages);
            drop(inner);
            let result = reserve(&pages);
            inner = self.inner.lock();
            inner.reserving.clear();
            self.reserved.notify_all();
            result?;
            inner.reserve_next = (inner.reserve_next * 2).min(RESERVE_PAGES_MAX);
            for page in pages {
                if page >= inner.page_end {
                    inner.fresh.insert(page);
                } else {
                    inner.reserved.insert(page);
                }
            }
            if let Some(last) = inner.fresh.last().copied() {
                inner.page_end = inner.page_end.max(last + 1);
            }
        }
    }

    /// The records of a commit are published: their slots are no longer outstanding.
    pub(crate) fn committed(&self, ids: impl Iterator<Item = RecordId>) {
        let mut inner = self.inner.lock();
        let mut slots = slots_of(ids);
        while let Some((page, indexes)) = next_of_page(&mut slots) {
            forget_outstanding(&mut inner, page, indexes);
        }
    }

    /// Likewise for slots that were gathered by page.
    pub(crate) fn committed_pages(&self, pages: &[(u64, PageBits)]) {
        let mut inner = self.inner.lock();
        for (page, committed) in pages {
            if let Some(slots) = inner.outstanding.get_mut(page) {
                slots.clear_all(committed);
                if slots.is_empty() {
                    inner.outstanding.remove(page);
                }
            }
        }
    }

    /// A commit that was appended but not applied yet frees these slots. They are not reused before it is durable: if a
    /// power cut undid the commit, recovery would find them live and raise no count.
    pub(crate) fn freeing(&self, ids: impl Iterator<Item = RecordId>, seq: Seq) {
        let mut inner = self.inner.lock();
        let mut slots = slots_of(ids);
        while let Some((page, indexes)) = next_of_page(&mut slots) {
            indexes.for_each(drop);
            inner.freed_by.insert(page, seq);
        }
    }

    /// A commit has freed slots; the root has the number of free slots per page.
    pub(crate) fn freed(&self, ids: impl Iterator<Item = RecordId>, root: &Root) {
        let mut inner = self.inner.lock();
        let mut slots = slots_of(ids);
        while let Some((page, indexes)) = next_of_page(&mut slots) {
            forget_outstanding(&mut inner, page, indexes);
            let Some(descriptor) = root.cell(page).map(super::cell::Cell::descriptor_now) else { continue };
            let set = SetNumber(descriptor.set);
            // Not into an open page: under one reservation a slot is handed out once.
            note_free(&mut inner, page, set, descriptor.free);
        }
    }

    /// All records of a dropped set have been freed: none will follow.
    pub(crate) fn end_set(&self, set: SetNumber) {
        let mut inner = self.inner.lock();
        inner.open.remove(&set);
        for page in inner.with_free.remove(&set).into_iter().flatten() {
            inner.freed_by.remove(&page);
        }
    }

    /// IDs handed out but never committed.
    pub(crate) fn abandon(&self, ids: impl Iterator<Item = RecordId>) {
        self.inner.lock().pending.burned.extend(ids);
    }

    /// What the next frame must carry.
    pub(crate) fn take_pending(&self) -> Pending {
        std::mem::take(&mut self.inner.lock().pending)
    }

    /// The frame could not be written.
    pub(crate) fn put_back(&self, pending: Pending) {
        let mut inner = self.inner.lock();
        inner.pending.assigned.extend(pending.assigned);
        inner.pending.burned.extend(pending.burned);
    }

    /// Pages whose free slots may have been handed out; the others are released.
    pub(crate) fn settle_reserved(&self) -> (Vec<u64>, u64) {
        let mut inner = self.inner.lock();
        let mut keep: BTreeSet<u64> = inner.open.values().map(|open| open.page).collect();
        keep.extend(inner.fresh.iter());
        keep.extend(inner.outstanding.keys());
        keep.extend(&inner.reserving);
        keep.extend(inner.pending.burned.iter().map(|id| page_of(id.slot())));
        // Every page that is reopened needs a reservation that this snapshot does not count.
        inner.reserved.clear();
        (keep.into_iter().collect(), inner.page_end)
    }

    /// Like `settle_reserved`, at close: from now on no ID is handed out. So if none is outstanding nothing is
    /// reserved, and pages that were reserved and never used are free for the next time.
    pub(crate) fn settle_for_close(&self) -> (Vec<u64>, u64) {
        self.inner.lock().closed = true;
        let (reserved, page_end) = self.settle_reserved();
        let inner = self.inner.lock();
        if !inner.outstanding.is_empty() || !inner.pending.is_empty() {
            return (reserved, page_end);
        }
        let page_end = match inner.fresh.first() {
            Some(first) if inner.fresh.len() == to_usize(inner.page_end - first) => *first,
            _ => inner.page_end,
        };
        (Vec::new(), page_end)
    }

    /// Pages below this one are not handed out, except those that a set already has.
    pub(crate) fn begin_behind(&self, page_end: u64) {
        let mut inner = self.inner.lock();
        inner.page_end = inner.page_end.max(page_end);
    }

    /// Slots handed out that no commit mentions, and one more than the last opened page. The caller excludes commits.
    pub(crate) fn given(&self) -> (BTreeSet<u64>, u64) {
        let inner = self.inner.lock();
        let mut slots: BTreeSet<u64> = inner.pending.burned.iter().map(|id| id.slot()).collect();
        for (page, taken) in &inner.outstanding {
            let first = page * to_u64(ENTRIES_PER_PAGE);
            let mut next = taken.first_from(0);
            while let Some(index) = next {
                slots.insert(first + to_u64(index));
                next = taken.first_from(index + 1);
            }
        }
        let page_end = match inner.fresh.first() {
            Some(first) if inner.fresh.len() == to_usize(inner.page_end - first) => *first,
            _ => inner.page_end,
        };
        (slots, page_end)
    }

    /// Pages that are reserved and were never assigned to a set.
    pub(crate) fn has_outstanding(&self) -> bool {
        let inner = self.inner.lock();
        !inner.outstanding.is_empty() || !inner.pending.is_empty()
    }
}

/// The slots of records, gathered by page.
pub(crate) fn by_page(ids: impl Iterator<Item = RecordId>) -> Vec<(u64, PageBits)> {
    let mut pages: Vec<(u64, PageBits)> = Vec::new();
    let mut slots = slots_of(ids);
    while let Some((page, indexes)) = next_of_page(&mut slots) {
        let mut bits = PageBits::default();
        indexes.for_each(|index| bits.set(index, true));
        pages.push((page, bits));
    }
    pages
}

fn slots_of(ids: impl Iterator<Item = RecordId>) -> Peekable<impl Iterator<Item = u64>> {
    ids.map(RecordId::slot).peekable()
}

/// The page of the next slot, and the indexes of all following slots of the same page; the remaining ones are then
/// next.
fn next_of_page<I: Iterator<Item = u64>>(
    slots: &mut Peekable<I>,
) -> Option<(u64, impl Iterator<Item = usize> + use<'_, I>)> {
    let page = page_of(*slots.peek()?);
    Some((page, std::iter::from_fn(move || slots.next_if(|slot| page_of(*slot) == page)).map(index_of)))
}

#[inline]
fn note_outstanding(inner: &mut Inner, id: RecordId) {
    inner.outstanding.entry(page_of(id.slot())).or_default().set(index_of(id.slot()), true);
}

/// These slots, all of one page, are no longer outstanding.
fn forget_outstanding(inner: &mut Inner, page: u64, indexes: impl Iterator<Item = usize>) {
    let Some(slots) = inner.outstanding.get_mut(&page) else { return indexes.for_each(drop) };
    indexes.for_each(|index| slots.set(index, false));
    if slots.is_empty() {
        inner.outstanding.remove(&page);
    }
}

fn note_free(inner: &mut Inner, page: u64, set: SetNumber, free: u16) {
    if free < FREE_SLOTS_MIN {
        return;
    }
    inner.with_free.entry(set).or_default().insert(page);
}

#[inline]
fn take_open(inner: &mut Inner, set: SetNumber) -> Option<RecordId> {
    let id = inner.open.get_mut(&set)?.take();
    if id.is_none() {
        inner.open.remove(&set);
    }
    id
}

/// A reserved page with free slots for the set.
fn next_page(inner: &mut Inner, set: SetNumber, durable: &dyn Fn() -> Seq) -> Option<u64> {
    if let Some(pages) = inner.with_free.get_mut(&set).filter(|pages| !pages.is_empty()) {
        let durable = durable();
        let settled = |page: &u64| inner.freed_by.get(page).is_none_or(|seq| *seq <= durable);
        let known = pages.iter().copied().find(|page| inner.reserved.contains(page) && settled(page));
        if let Some(page) = known {
            pages.remove(&page);
            inner.reserved.remove(&page);
            inner.freed_by.remove(&page);
            return Some(page);
        }
        if pages.iter().any(settled) {
            return None;
        }
    }
    let page = inner.fresh.pop_first()?;
    inner.pending.assigned.push((page, set));
    Some(page)
}

/// Pages of the set with free slots, otherwise pages that were never used.
fn pages_to_reserve(inner: &mut Inner, set: SetNumber, durable: Seq, root_end: u64) -> Result<Vec<u64>> {
    let count = inner.reserve_next.max(1);
    let reused: Vec<u64> = inner
        .with_free
        .get(&set)
        .map(|pages| {
            let settled = |page: &u64| inner.freed_by.get(page).is_none_or(|seq| *seq <= durable);
            pages.iter().copied().filter(settled).take(to_usize(count)).collect()
        })
        .unwrap_or_default();
    if !reused.is_empty() {
        return Ok(reused);
    }
    // The last ones have few free slots.
    let limit = (root_end.max(inner.raised_end) + PAGES_AHEAD_MAX).min(PAGES_END);
    let end = (inner.page_end + count).min(limit);
    if end <= inner.page_end {
        return Err(Error::Exhausted { what: "slot", limit: limit * to_u64(ENTRIES_PER_PAGE) });
    }
    Ok((inner.page_end..end).collect())
}

fn open_page(inner: &Inner, page: u64, root: &Root) -> Result<OpenPage> {
    let mut open = OpenPage { page, free: PageBits::default(), from: 0, counts: Vec::new() };
    match root.cell(page) {
        None => open.free = PageBits::all(),
        Some(cell) => {
            for (index, entry) in cell.entries()?.into_iter().enumerate() {
                match entry.state() {
                    State::Free { next_count: 1 } => open.free.set(index, true),
                    State::Free { next_count } => open.give_back(index, next_count),
                    State::Live(_) | State::Retired => {}
                }
            }
        }
    }
    if let Some(taken) = inner.outstanding.get(&page) {
        open.free.clear_all(taken);
    }
    for id in inner.pending.burned.iter().filter(|id| page_of(id.slot()) == page) {
        open.free.set(index_of(id.slot()), false);
    }
    open.from = 0;
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::HashSet;
    use std::sync::Arc;

    #[test]
    fn no_slot_is_handed_out_twice_or_before_its_page_is_reserved() {
        let slots = Slots::load(&Root::default(), 0, 0, |_| true);
        let root = Arc::new(Root::default());
        let reserved: RefCell<BTreeSet<u64>> = RefCell::default();
        let mut seen = HashSet::new();
        for turn in 0..3000_u32 {
            let set = SetNumber(16 + turn % 3);
            let reserve = |pages: &[u64]| {
                reserved.borrow_mut().extend(pages.iter().copied());
                Ok(())
            };
            let id = slots.take(set, &|| Arc::clone(&root), &reserve, &Seq::default).expect("a slot");
            assert!(reserved.borrow().contains(&page_of(id.slot())), "page of {id} is not reserved");
            assert!(seen.insert(id), "{id} twice");
        }
        assert!(slots.has_outstanding());
        slots.committed(seen.into_iter());
        slots.take_pending();
        assert!(!slots.has_outstanding());
    }
}
