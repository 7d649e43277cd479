//! A large commit is applied ahead of its turn, to second trees; in its turn these replace the first ones.
//!
//! Owns: the second trees, which of their parts may be taken over, what is applied once more because others have changed it
//! meanwhile. Never: shows anything of the commit before its turn, or assumes that it will come.
//! Invariants: 1. A page of the record index is taken over only if no commit has changed it meanwhile; otherwise the effects that
//! concern it are applied to what is there. 2. A key index is taken over with the changes of all commits since.
//! 3. No save falls into the time between: the caller excludes them. 4. If it is dropped, nothing of it stays.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::format::entry::{Entry, State as EntryState};
use crate::heap::before::has_changes;
use crate::heap::sums::Sums;
use crate::heap::undo::UNDO_KEPT_MAX;
use crate::heap::{Applied, Effect, Heap, State, Writer, entry_if_known, freed, indexes, page_of, signed};
use crate::id::{IndexNumber, Seq, SetNumber};
use crate::key_index::{KeyRoot, KeyTree};
use crate::log::Segment;
use crate::planted;
use crate::planted::Fault;
use crate::record_index::Tree;

/// Changes from which on a second tree pays.
const AHEAD_MIN: u64 = 1 << 12;
/// How often the changes of others are repeated before the turn comes, and how few bytes of them are left to it.
const ROUNDS: u32 = 8;
const LEFT_BYTES_MAX: usize = 4_096;

/// A large commit that was applied ahead of its turn.
#[derive(Debug)]
pub(crate) struct Ahead<'h> {
    heap: &'h Heap,
    segment: Arc<Segment>,
    /// The base of its offsets.
    base: u64,
    place: u32,
    is_placed: bool,
    /// What it was applied to. As long as this is held, what it has is not changed in place.
    state: Arc<State>,
    tree: Tree,
    pages: Vec<Page>,
    /// Which effects concern which page, sorted.
    by_page: Vec<(u64, usize)>,
    /// Effects on key indexes, and the second trees of these.
    of_indexes: Vec<usize>,
    trees: BTreeMap<IndexNumber, KeyTree>,
    /// What was replaced, until no lock is held.
    replaced: Vec<KeyRoot>,
}

/// A page of the record index, and what its changes mean for counts.
#[derive(Debug)]
struct Page {
    number: u64,
    set: SetNumber,
    records: i64,
    bytes: i64,
    gained: i64,
    /// Bytes that are no longer live, by the place of their segment.
    lost: SmallVec<[(u32, i64); 2]>,
}

impl Page {
    fn new(number: u64) -> Self {
        Self { number, set: SetNumber(0), records: 0, bytes: 0, gained: 0, lost: SmallVec::new() }
    }

    fn count(&mut self, set: SetNumber, bytes: u64, old: Entry, was_live: bool) {
        let mut old_bytes = 0;
        if let EntryState::Live(location) = old.state() {
            old_bytes = signed(location.bytes());
            match self.lost.iter_mut().find(|(place, _)| *place == location.place) {
                Some((_, lost)) => *lost += old_bytes,
                None => self.lost.push((location.place, old_bytes)),
            }
        }
        self.set = set;
        self.gained += signed(bytes);
        self.bytes += signed(bytes) - old_bytes;
        self.records += i64::from(bytes > 0) - i64::from(was_live);
    }
}

/// Whether effects are applied ahead of their turn: there are many, all of a kind that second trees can take.
pub(crate) fn takes_ahead(effects: &[Effect]) -> bool {
    let is_taken = |effect: &Effect| matches!(effect, Effect::Put { .. } | Effect::Free(_) | Effect::Index(..));
    has_changes(effects, AHEAD_MIN) && effects.iter().all(is_taken)
}

impl Heap {
    /// Applies the effects of a frame to second trees; they must be such as `takes_ahead` says. The frame will be at `base` of
    /// `segment`. The caller excludes saves until the result is dropped; it does not exclude commits. `None` if it fails: in its
    /// turn the frame fails with the error that belongs to it.
    pub(crate) fn apply_ahead(&self, segment: &Arc<Segment>, base: u64, effects: &[Effect]) -> Option<Ahead<'_>> {
        let (mut by_page, mut of_indexes, mut numbers) =
            (Vec::with_capacity(effects.len()), Vec::new(), BTreeSet::new());
        for (at, effect) in effects.iter().enumerate() {
            match effect {
                Effect::Put { id, .. } | Effect::Free(id) => by_page.push((page_of(id.slot()), at)),
                Effect::Index(number, _) => {
                    numbers.insert(*number);
                    of_indexes.push(at);
                }
                _ => {}
            }
        }
        by_page.sort_unstable();
        let mut ahead = {
            let mut writer = self.writer.lock();
            if writer.is_loading {
                return None;
            }
            let place = writer.take_place().ok()?;
            let state = writer.pin();
            let tree = writer.tree.fork();
            let trees = numbers.iter().filter_map(|number| Some((*number, writer.indexes.fork(*number)?))).collect();
            self.note_dirty(&writer);
            let (segment, pages, replaced) = (Arc::clone(segment), Vec::new(), Vec::new());
            let is_placed = false;
            Ahead {
                heap: self,
                segment,
                base,
                place,
                is_placed,
                state,
                tree,
                pages,
                by_page,
                of_indexes,
                trees,
                replaced,
            }
        };
        ahead.apply_to_pages(effects).ok()?;
        ahead.apply_to_trees(effects);
        Some(ahead)
    }

    /// Publishes what was applied ahead, as this commit. Views get the state before meanwhile. The caller excludes commits.
    pub(crate) fn publish_ahead(&self, ahead: &mut Ahead<'_>, seq: Seq, effects: &[Effect]) -> Result<()> {
        self.keep_before();
        let applied = self.change_beside(|writer, publish| {
            writer.put_at(ahead.place, &ahead.segment);
            ahead.is_placed = true;
            publish.table_first(writer);
            let applied = writer.take_over(ahead, seq, effects);
            drop(writer.note_damaged());
            Ok(applied)
        });
        applied?.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Ahead<'_> {
    fn apply_to_pages(&mut self, effects: &[Effect]) -> Result<()> {
        let tree = &mut self.tree;
        for (number, at) in &self.by_page {
            if self.pages.last().is_none_or(|page| page.number != *number) {
                self.pages.push(Page::new(*number));
            }
            let Some(page) = self.pages.last_mut() else { continue };
            match effects.get(*at) {
                Some(Effect::Put { id, set, offset, bytes }) => {
                    let entry = Entry::live(self.place, self.base + offset, *bytes, id.reuse_count());
                    // In its turn it fails with the error that belongs to it.
                    let entry = entry.ok_or(Error::Exhausted { what: "offset", limit: u64::MAX })?;
                    if tree.root().cell(*number).is_none_or(|cell| cell.descriptor.set == 0) {
                        // The page is assigned to it by a commit before this one.
                        tree.assign(*number, *set)?;
                    }
                    let old = tree.set(id.slot(), entry)?;
                    let was_live = old.is_live() || tree.had_record();
                    page.count(*set, *bytes, old, was_live);
                }
                Some(Effect::Free(id)) => {
                    let old = entry_if_known(tree.root(), id.slot())?;
                    if let Some(freed) = freed(tree.root(), *id, old) {
                        tree.set(id.slot(), freed)?;
                        let set = tree.root().set_of_slot(id.slot());
                        let was_live = old.is_live() || tree.had_record();
                        if was_live {
                            page.count(set, 0, old, was_live);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Applies the changes of key indexes to their second trees, and those of others as far as they are known.
    fn apply_to_trees(&mut self, effects: &[Effect]) {
        let mut failed = BTreeSet::new();
        for at in &self.of_indexes {
            let Some(Effect::Index(number, changes)) = effects.get(*at) else { continue };
            let applied = self.trees.get_mut(number).map(|tree| indexes::apply(tree, changes, self.segment.name()));
            if matches!(applied, Some(Err(_))) {
                failed.insert(*number);
            }
        }
        for number in failed {
            self.part(number);
        }
        for _ in 0..ROUNDS {
            let numbers: Vec<IndexNumber> = self.trees.keys().copied().collect();
            let mut bytes = 0;
            for number in numbers {
                let behind = self.heap.with_indexes(|indexes| indexes.take_behind(number));
                bytes += behind.iter().flatten().map(Vec::len).sum::<usize>();
                if self.catch_up(number, behind).is_none() {
                    self.part(number);
                }
            }
            if bytes <= LEFT_BYTES_MAX {
                break;
            }
        }
    }

    /// Repeats the changes of others on a second tree; `None` if that is of no use any more.
    fn catch_up(&mut self, number: IndexNumber, behind: Option<Vec<Vec<u8>>>) -> Option<()> {
        let tree = self.trees.get_mut(&number)?;
        // In its turn an error is noted for the index.
        behind?.iter().try_for_each(|changes| indexes::apply(tree, changes, "log").ok())
    }

    fn part(&mut self, number: IndexNumber) {
        self.trees.remove(&number);
        self.heap.with_indexes(|indexes| indexes.part(number));
    }

    fn effects_of<'e>(&self, page: u64, effects: &'e [Effect]) -> impl Iterator<Item = &'e Effect> {
        let begin = self.by_page.partition_point(|(other, _)| *other < page);
        let of_page = self.by_page.get(begin..).unwrap_or_default().iter().take_while(move |(other, _)| *other == page);
        of_page.filter_map(|(_, at)| effects.get(*at))
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        let mut writer = self.heap.writer.lock();
        for number in self.trees.keys() {
            writer.indexes.part(*number);
        }
        if !self.is_placed {
            writer.free_places.push(self.place);
        }
        self.heap.note_dirty(&writer);
    }
}

impl Writer {
    /// Applies the effects of a frame by taking over what was applied ahead, or none of them.
    fn take_over(&mut self, ahead: &mut Ahead<'_>, seq: Seq, effects: &[Effect]) -> std::thread::Result<Result<()>> {
        let segment = Arc::clone(&ahead.segment);
        let frame = Applied { segment: &segment, place: ahead.place, base: ahead.base, seq };
        let (mut sums, mut taken) = (Sums::default(), 0);
        self.undo.clear();
        self.undo.shrink_to(UNDO_KEPT_MAX);
        let applied = catch_unwind(AssertUnwindSafe(|| {
            self.take_trees(ahead, &frame, &mut sums, effects)?;
            self.take_pages(ahead, &frame, &mut sums, effects, &mut taken)
        }));
        if matches!(applied, Ok(Ok(()))) {
            self.seq = self.seq.max(seq);
            self.count_taken(ahead, seq);
        } else {
            for page in ahead.pages.iter().take(taken) {
                // Its directory page is there, so nothing can fail.
                drop(self.tree.take_over(page.number, &ahead.state.root));
            }
            self.take_back(&frame, &mut sums, effects);
        }
        sums.settle(&mut self.notes(&frame));
        applied
    }

    fn take_trees(
        &mut self,
        ahead: &mut Ahead<'_>,
        frame: &Applied<'_>,
        sums: &mut Sums,
        effects: &[Effect],
    ) -> Result<()> {
        let numbers: Vec<IndexNumber> = ahead.trees.keys().copied().collect();
        let mut done = BTreeSet::new();
        for number in numbers {
            let behind = self.indexes.take_behind(number);
            let is_whole = ahead.catch_up(number, behind).is_some();
            let Some(tree) = ahead.trees.remove(&number) else { continue };
            if is_whole && let Some(replaced) = self.indexes.join(number, tree) {
                ahead.replaced.push(replaced);
                done.insert(number);
            } else {
                self.indexes.part(number);
            }
        }
        for at in &ahead.of_indexes {
            match effects.get(*at) {
                Some(effect @ Effect::Index(number, _)) if !done.contains(number) => {
                    self.apply_each(frame, sums, std::slice::from_ref(effect))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes over the pages that nobody has changed, and applies the effects on the others. `ahead` keeps only the former.
    fn take_pages(
        &mut self,
        ahead: &mut Ahead<'_>,
        frame: &Applied<'_>,
        sums: &mut Sums,
        effects: &[Effect],
        taken: &mut usize,
    ) -> Result<()> {
        let (before, fork) = (&ahead.state.root, ahead.tree.root());
        let is_as_before = |page: &Page| {
            self.tree.is_as_before(page.number, before, fork) || planted::is(Fault::ChangedPagesAreReplaced)
        };
        let changed: Vec<u64> = ahead.pages.iter().filter(|page| !is_as_before(page)).map(|page| page.number).collect();
        for page in &changed {
            for effect in ahead.effects_of(*page, effects) {
                self.apply_each(frame, sums, std::slice::from_ref(effect))?;
            }
        }
        ahead.pages.retain(|page| changed.binary_search(&page.number).is_err());
        for page in &ahead.pages {
            if *taken >= ahead.pages.len() / 2 && planted::is(Fault::PublicationFails) {
                return Err(Error::Exhausted { what: "planted fault", limit: 0 });
            }
            assert!(*taken < ahead.pages.len() / 2 || !planted::is(Fault::PublicationPanics), "planted");
            self.tree.take_over(page.number, ahead.tree.root())?;
            *taken += 1;
        }
        Ok(())
    }

    fn count_taken(&mut self, ahead: &Ahead<'_>, seq: Seq) {
        let (mut gained, mut lost, mut sets) =
            (0, BTreeMap::<u32, i64>::new(), BTreeMap::<SetNumber, (i64, i64)>::new());
        for page in &ahead.pages {
            gained += page.gained;
            let of_set = sets.entry(page.set).or_default();
            (of_set.0, of_set.1) = (of_set.0 + page.records, of_set.1 + page.bytes);
            for (place, bytes) in &page.lost {
                *lost.entry(*place).or_default() += bytes;
            }
        }
        ahead.segment.add_live(gained);
        for (place, bytes) in lost {
            if let Some(segment) = self.table.get(place) {
                segment.add_live(-bytes);
            }
        }
        for (set, (records, bytes)) in sets {
            Arc::make_mut(&mut self.catalogue).count(set, records, bytes, seq);
        }
    }
}
