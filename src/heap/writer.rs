//! What the writer has under its lock: the trees, the segment table, the catalogue; and the meaning of each effect for them.
//!
//! Owns: applying the effects of a frame, all or none; which parts views still hold. Never: publishes what it has changed.
//! Invariants: 1. An entry points at a record whose header names the same ID.
//! 2. A segment's live bytes are the bytes of the entries that point into it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::error::{Error, Result};
use crate::format::entry::{ENTRIES_PER_PAGE, Entry, State as EntryState};
use crate::heap::sums::{Notes, Sums};
use crate::heap::undo::{UNDO_KEPT_MAX, Undo};
use crate::heap::views::{Handed, Views};
use crate::heap::{Effect, Indexes, SegmentTable, State};
use crate::id::{RecordId, SegmentSeq, Seq, to_u64};
use crate::log::Segment;
use crate::pins::Pins;
use crate::record_index::{Root, Tree};
use crate::shared::Map;

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) tree: Tree,
    pub(super) table: Arc<SegmentTable>,
    pub(super) by_number: BTreeMap<SegmentSeq, u32>,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) indexes: Indexes,
    pub(super) seq: Seq,
    pub(super) pinned: Handed,
    pub(super) views: Views,
    pub(super) table_changed: bool,
    /// A set, or all of its records, was dropped: lookups of single records must know.
    pub(super) is_reshaped: bool,
    /// There are no readers yet: states are not published, and so shared parts need not be copied.
    pub(super) is_loading: bool,
    /// Places whose segments are gone.
    pub(super) free_places: Vec<u32>,
    /// The changes made by the frame that is being applied.
    pub(super) undo: Vec<Undo>,
}

/// The frame being applied: its segment and the place of that, the base of its offsets, its commit.
#[derive(Debug)]
pub(super) struct Applied<'f> {
    pub(super) segment: &'f Segment,
    pub(super) place: u32,
    pub(super) base: u64,
    pub(super) seq: Seq,
}

impl Writer {
    pub(super) fn new(
        root: Root,
        segments: Vec<(u32, Arc<Segment>)>,
        catalogue: Catalogue,
        indexes: Indexes,
        seq: Seq,
        pins: &Arc<Pins<State>>,
    ) -> Self {
        let mut table = SegmentTable::default();
        let mut by_number = BTreeMap::new();
        for (place, segment) in segments {
            by_number.insert(segment.number(), place);
            table.set(place, Some(&segment));
        }
        let free_places = table.unused().collect();
        Self {
            tree: Tree::new(root),
            table: Arc::new(table),
            by_number,
            catalogue: Arc::new(catalogue),
            indexes,
            seq,
            pinned: Handed::new(pins),
            views: Views::default(),
            table_changed: false,
            is_reshaped: false,
            is_loading: false,
            free_places,
            undo: Vec::new(),
        }
    }

    pub(super) fn pin(&mut self) -> Arc<State> {
        if let Some(pinned) = self.pinned.get() {
            return Arc::clone(pinned);
        }
        let epoch = self.tree.pin();
        let state = Arc::new(State { indexes: self.indexes.roots(), ..self.state() });
        self.views.note(epoch, &state);
        self.pinned.set(&state);
        state
    }

    /// The same, for a view. From the second view of a state on, the next ones get it without the writer's lock.
    pub(super) fn pin_for_view(&mut self) -> Arc<State> {
        if self.pinned.get().is_some() {
            self.pinned.share();
        }
        self.pin()
    }

    pub(super) fn state(&self) -> State {
        let (root, table) = (Arc::clone(self.tree.root()), Arc::clone(&self.table));
        let (catalogue, has_dropped) = (Arc::clone(&self.catalogue), self.catalogue.has_dropped());
        State { root, table, catalogue, indexes: Map::default(), seq: self.seq, has_dropped }
    }

    /// Called before a change: finds out what no view holds any more and may be changed in place. Returns the state that
    /// views have shared since the last change, if one still holds it.
    pub(super) fn let_go_of_views(&mut self) -> Option<Arc<State>> {
        // It is the current state, so dropping it here frees nothing that the writer does not hold itself.
        let pinned = self.pinned.take().filter(|pinned| Arc::strong_count(pinned) > 1);
        let held = self.views.newest_held();
        self.tree.set_held(held);
        pinned
    }

    pub(super) fn dirty_bytes(&self) -> u64 {
        self.tree.heap_bytes() + self.indexes.heap_bytes()
    }

    pub(super) fn place_of(&mut self, segment: &Arc<Segment>) -> Result<u32> {
        if let Some(place) = self.by_number.get(&segment.number()) {
            return Ok(*place);
        }
        let place = self.take_place()?;
        self.put_at(place, segment);
        Ok(place)
    }

    pub(super) fn notes<'w>(&'w mut self, frame: &Applied<'w>) -> Notes<'w> {
        Notes { catalogue: &mut self.catalogue, table: &self.table, segment: frame.segment, seq: frame.seq }
    }

    /// Applies the effects of a frame, or none of them.
    pub(super) fn apply_frame(&mut self, frame: &Applied<'_>, effects: &[Effect]) -> std::thread::Result<Result<()>> {
        let mut sums = Sums::default();
        self.undo.clear();
        self.undo.shrink_to(UNDO_KEPT_MAX);
        let applied = catch_unwind(AssertUnwindSafe(|| self.apply_each(frame, &mut sums, effects)));
        if matches!(applied, Ok(Ok(()))) {
            self.seq = self.seq.max(frame.seq);
        } else {
            self.take_back(frame, &mut sums, effects);
        }
        sums.settle(&mut self.notes(frame));
        applied
    }

    /// Applies effects up to the first that fails. Nothing else calls `apply`, so that it is part of this loop.
    #[inline(never)]
    pub(super) fn apply_each(&mut self, frame: &Applied<'_>, sums: &mut Sums, effects: &[Effect]) -> Result<()> {
        effects.iter().try_for_each(|effect| self.apply(frame, sums, effect))
    }

    #[inline]
    fn apply(&mut self, frame: &Applied<'_>, sums: &mut Sums, effect: &Effect) -> Result<()> {
        let seq = frame.seq;
        match effect {
            Effect::Put { id, set, offset, bytes } => {
                let offset = frame.base + offset;
                let Some(entry) = Entry::live(frame.place, offset, *bytes, id.reuse_count()) else {
                    let got = format!("{bytes} bytes");
                    let expected = "one that fits an entry";
                    return Err(Error::corrupt(frame.segment.name(), offset, "record", expected, got));
                };
                let old = self.tree.set(id.slot(), entry)?;
                let was_live = old.is_live() || self.tree.had_record();
                self.undo.push(Undo { slot: id.slot(), old, was_live, counted: Some((*set, *bytes)) });
                sums.put(&mut self.notes(frame), *set, *bytes, old, was_live);
            }
            Effect::Free(id) => {
                let old = entry_if_known(self.tree.root(), id.slot())?;
                if let Some(freed) = freed(self.tree.root(), *id, old) {
                    self.tree.set(id.slot(), freed)?;
                    let set = self.tree.root().set_of_slot(id.slot());
                    let was_live = old.is_live() || self.tree.had_record();
                    self.undo.push(Undo { slot: id.slot(), old, was_live, counted: Some((set, 0)) });
                    sums.free(&mut self.notes(frame), set, old, was_live);
                }
            }
            Effect::Assign(page, set) => self.tree.assign(*page, *set)?,
            Effect::CreateSet(number, name) => Arc::make_mut(&mut self.catalogue).create(*number, name),
            Effect::RenameSet(number, name) => Arc::make_mut(&mut self.catalogue).rename_set(*number, name),
            Effect::DropSet(number) => {
                Arc::make_mut(&mut self.catalogue).drop_set(*number);
                self.is_reshaped = true;
            }
            Effect::EndSet(number) => {
                Arc::make_mut(&mut self.catalogue).end_set(*number);
                self.is_reshaped = true;
            }
            Effect::CreateIndex(definition, is_complete) => {
                Arc::make_mut(&mut self.catalogue).create_index(definition, *is_complete);
                if *is_complete {
                    self.indexes.create(definition.number)?;
                }
            }
            Effect::DropIndex(number) => {
                Arc::make_mut(&mut self.catalogue).drop_index(*number);
                self.indexes.drop_index(*number);
            }
            Effect::PublishIndex(number) => self.publish_successor(*number),
            Effect::Index(number, changes) => self.indexes.apply(*number, changes, frame.segment.name())?,
            Effect::Moves(from, to, moves) => drop(self.relocate(*from, *to, moves)?),
            Effect::Mark(name) => Arc::make_mut(&mut self.catalogue).mark(name, seq),
            Effect::DropMark(name) => Arc::make_mut(&mut self.catalogue).drop_mark(name),
            Effect::Consumer(name, consumer) => Arc::make_mut(&mut self.catalogue).set_consumer(name, *consumer),
            Effect::Stream(stream, chunk) => Arc::make_mut(&mut self.catalogue).stream(*stream, *chunk),
            Effect::StreamEnd(stream) => Arc::make_mut(&mut self.catalogue).end_stream(*stream),
            Effect::Prewritten(..) => {}
        }
        Ok(())
    }

    /// The bytes that an entry pointed at are no longer live.
    pub(super) fn forget(&self, old: Entry) -> u64 {
        let EntryState::Live(location) = old.state() else { return 0 };
        if let Some(segment) = self.table.get(location.place) {
            segment.add_live(-signed(location.bytes()));
        }
        location.bytes()
    }
}

/// The entry of a slot; as if never used if its page is damaged.
pub(super) fn entry_if_known(root: &Root, slot: u64) -> Result<Entry> {
    match root.entry(slot) {
        Err(error) if error.is_corruption() => Ok(Entry::NEVER),
        other => other,
    }
}

/// What an entry becomes when an ID of its slot is freed; `None` if that is no news.
pub(super) fn freed(root: &Root, id: RecordId, old: Entry) -> Option<Entry> {
    let stale = match old.state() {
        EntryState::Free { next_count } => next_count > id.reuse_count(),
        EntryState::Retired => true,
        EntryState::Live(_) => false,
    };
    let floor = root.floor(page_of(id.slot()));
    (!stale).then(|| Entry::freed_after(id.reuse_count().max(floor.saturating_sub(1))))
}

pub(super) fn page_of(slot: u64) -> u64 {
    slot / to_u64(ENTRIES_PER_PAGE)
}

pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
