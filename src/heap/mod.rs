//! The heap: records in segments, found through the record index.
//!
//! Owns: the only door through which an entry changes (`apply`), the state that readers see, the segment table, live
//! bytes, and the meaning of each effect of a frame. Run time and replay use the same door. Never: appends, syncs, or
//! validates a transaction.
//! Invariants: 1. An entry points at a record whose header names the same ID.
//! 2. A state that a view holds never changes.
//! 3. A segment's live bytes are the bytes of the entries that point into it.

mod ahead;
mod asking;
mod before;
mod effects;
mod found;
mod indexes;
mod kept;
mod loading;
mod places;
mod relocate;
mod several;
mod sums;
mod table;
mod trees;
mod undo;
mod views;

pub(crate) use ahead::Ahead;
pub(crate) use asking::Walk;
pub(crate) use before::is_large;
pub(crate) use effects::{Effect, add_effects, put_assigned, put_consumer, put_frees, put_prewritten};
pub(crate) use indexes::{FrozenIndex, Indexes, Refreshed, ToProbe, apply as apply_changes};
pub(crate) use table::SegmentTable;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::shared::Map;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::catalogue::Catalogue;
use crate::error::{Error, Result};
use crate::format::descriptor::PageRef;
use crate::format::entry::{ENTRIES_PER_PAGE, Entry, Location, State as EntryState};
use crate::format::item::RECORD_HEADER_BYTES;
use crate::format::moves::Move;
use crate::heap::before::Before;
use crate::heap::sums::{Notes, Sums};
use crate::heap::undo::{UNDO_KEPT_MAX, Undo};
use crate::heap::views::Views;
use crate::id::{IndexNumber, RecordId, SegmentSeq, Seq, to_u64};
use crate::key_index::KeyRoot;
use crate::log::Segment;
use crate::pins::{Current, Held};
use crate::record_index::{Root, Tree};

/// A coherent state of the store. There are no copies of one: the writer would not know of them, and change their pages.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) root: Arc<Root>,
    pub(crate) table: Arc<SegmentTable>,
    pub(crate) catalogue: Arc<Catalogue>,
    /// Key indexes, in immutable states; empty in the newest state for one-shot reads.
    pub(crate) indexes: Map<IndexNumber, KeyRoot>,
    pub(crate) seq: Seq,
    /// Whether there are records that cannot be found because their set was dropped.
    pub(crate) has_dropped: bool,
}

/// Where the bytes of a found record are.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// Mapped: place, offset of the payload, length.
    Mapped(u32, u64, usize),
    /// Copied.
    Copied(Arc<[u8]>),
}

/// A record found by a lookup.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) id: RecordId,
    pub(crate) seq: Seq,
    pub(crate) is_head: bool,
    pub(crate) place: Place,
}

/// The answer to a lookup.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Live(Found),
    Deleted,
    NeverAllocated,
}

impl State {
    /// A state for the payloads of places already found. Its entries may change.
    pub(crate) fn for_payloads(&self) -> Self {
        let (root, table, catalogue) = (Arc::clone(&self.root), Arc::clone(&self.table), Arc::clone(&self.catalogue));
        let (seq, has_dropped) = (self.seq, self.has_dropped);
        Self { root, table, catalogue, indexes: Map::default(), seq, has_dropped }
    }

    /// Looks a record up in the usual case: it is live and small, in a mapped segment, and was read before. After
    /// `None` nothing is known, and `lookup` must be called.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a third faster: the misses of several reads overlap; see docs/decisions")]
    pub(crate) fn lookup_plain(&self, id: RecordId) -> Option<(Found, &[u8])> {
        if self.has_dropped {
            return None;
        }
        let entry = self.root.entry(id.slot()).ok()?;
        let EntryState::Live(location) = entry.state() else { return None };
        self.read_plain(location).filter(|(found, _)| found.id == id)
    }

    /// The record at a location, in the same case.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as above")]
    pub(crate) fn read_plain(&self, location: Location) -> Option<(Found, &[u8])> {
        let item = self.table.get(location.place)?.checked_record(location)?;
        let id = RecordId::from_u64(item.raw_id).filter(|id| id.reuse_count() & 0xf == location.reuse_low)?;
        let offset = location.offset() + RECORD_HEADER_BYTES as u64;
        let place = Place::Mapped(location.place, offset, item.payload.len());
        Some((Found { id, seq: item.seq, is_head: false, place }, item.payload))
    }

    /// Prefetches the beginnings of records that will be looked up: all entries first, then all records, so that the
    /// processor waits for many of them at once.
    pub(crate) fn look_ahead(&self, slots: impl Iterator<Item = u64>) {
        let mut locations: SmallVec<[Location; 32]> = SmallVec::new();
        for slot in slots {
            let entry = self.root.entry(slot).map(Entry::state);
            if let Ok(EntryState::Live(location)) = entry {
                locations.push(location);
            }
        }
        self.ask_if_short(&locations);
        let near = |location: &Location| self.table.get(location.place).map_or(0, |segment| segment.glance(*location));
        black_box(locations.iter().fold(0, |sum, location| sum ^ near(location)));
    }

    /// Looks a record up and checks its bytes.
    pub(crate) fn lookup(&self, id: RecordId) -> Result<Answer> {
        if let Some((found, _)) = self.lookup_plain(id) {
            return Ok(Answer::Live(found));
        }
        self.lookup_any(id)
    }

    fn lookup_any(&self, id: RecordId) -> Result<Answer> {
        self.lookup_with(id, None)
    }

    /// The same, with the bytes of the record if they were read.
    fn lookup_with(&self, id: RecordId, bytes: Option<Vec<u8>>) -> Result<Answer> {
        let entry = self.root.entry(id.slot())?;
        let location = match entry.state() {
            EntryState::Live(location) => location,
            EntryState::Free { next_count } if id.reuse_count() < next_count => return Ok(Answer::Deleted),
            EntryState::Free { .. } => return Ok(Answer::NeverAllocated),
            EntryState::Retired => return Ok(Answer::Deleted),
        };
        let found = self.read_with(id.slot(), location, bytes)?;
        Ok(match id.reuse_count().cmp(&found.id.reuse_count()) {
            std::cmp::Ordering::Equal if self.is_of_dropped_set(id.slot()) => Answer::Deleted,
            std::cmp::Ordering::Equal => Answer::Live(found),
            std::cmp::Ordering::Less => Answer::Deleted,
            std::cmp::Ordering::Greater => Answer::NeverAllocated,
        })
    }

    /// Whether the set that a slot's records belong to was dropped.
    fn is_of_dropped_set(&self, slot: u64) -> bool {
        self.has_dropped && self.catalogue.is_dropped(self.root.set_of_slot(slot))
    }

    /// The payload of a record that this state found.
    #[inline]
    pub(crate) fn payload<'a>(&'a self, place: &'a Place) -> &'a [u8] {
        match place {
            Place::Mapped(place, offset, len) => {
                self.table.get(*place).and_then(|segment| segment.mapped(*offset, *len)).unwrap_or_default()
            }
            Place::Copied(bytes) => bytes,
        }
    }
}

#[derive(Debug)]
struct Writer {
    tree: Tree,
    table: Arc<SegmentTable>,
    by_number: BTreeMap<SegmentSeq, u32>,
    catalogue: Arc<Catalogue>,
    indexes: Indexes,
    seq: Seq,
    pinned: Option<Arc<State>>,
    views: Views,
    table_changed: bool,
    /// A set, or all of its records, was dropped: lookups of single records must know.
    is_reshaped: bool,
    /// There are no readers yet: states are not published, and so shared parts need not be copied.
    is_loading: bool,
    /// Places whose segments are gone.
    free_places: Vec<u32>,
    /// The changes made by the frame that is being applied.
    undo: Vec<Undo>,
}

/// The heap.
#[derive(Debug)]
pub(crate) struct Heap {
    current: Current<State>,
    writer: Mutex<Writer>,
    before: Before,
    /// Bytes of changed pages on the heap, including those of a save.
    dirty_bytes: AtomicU64,
    /// The writer's `seq`, readable without its lock.
    seq: AtomicU64,
    /// Places without a segment.
    places_left: AtomicU64,
}

impl Heap {
    /// A heap over a loaded root, the segments of a snapshot, and its catalogue.
    pub(crate) fn new(
        root: Root,
        segments: Vec<(u32, Arc<Segment>)>,
        catalogue: Catalogue,
        indexes: Indexes,
        seq: Seq,
    ) -> Self {
        let mut table = SegmentTable::default();
        let mut by_number = BTreeMap::new();
        for (place, segment) in segments {
            by_number.insert(segment.number(), place);
            table.set(place, Some(&segment));
        }
        let (tree, table, catalogue) = (Tree::new(root), Arc::new(table), Arc::new(catalogue));
        let root = Arc::clone(tree.root());
        let has_dropped = catalogue.has_dropped();
        let (of_state, indexes_of_state) = (Arc::clone(&catalogue), Map::default());
        let state =
            State { root, table: Arc::clone(&table), catalogue: of_state, indexes: indexes_of_state, seq, has_dropped };
        let free_places = table.unused().collect();
        let writer = Writer {
            tree,
            table,
            by_number,
            catalogue,
            indexes,
            seq,
            pinned: None,
            views: Views::default(),
            table_changed: false,
            is_reshaped: false,
            is_loading: false,
            free_places,
            undo: Vec::new(),
        };
        let (dirty_bytes, places_left) = (AtomicU64::new(writer.dirty_bytes()), AtomicU64::new(writer.places_left()));
        let current = Current::new(Arc::new(state));
        Self {
            current,
            writer: Mutex::new(writer),
            before: Before::default(),
            dirty_bytes,
            seq: AtomicU64::new(seq.0),
            places_left,
        }
    }

    /// The state for a one-shot read. Its entries may still change; its catalogue and `seq` may lag behind.
    #[inline]
    pub(crate) fn current(&self) -> Held<'_, State> {
        self.current.load()
    }

    /// The newest state, immutable. Briefly excludes `apply`, unless that applies a large commit: then it is the state before
    /// that.
    pub(crate) fn pin(&self) -> Arc<State> {
        let mut writer = match self.before.or_lock(&self.writer) {
            Ok(writer) => writer,
            Err(before) => return before,
        };
        writer.pin()
    }

    /// Like `State::look_ahead`, for the newest state.
    pub(crate) fn look_ahead(&self, slots: impl Iterator<Item = u64>) {
        self.current.load().look_ahead(slots);
    }

    /// Looks a record up in the newest state, outside any view.
    pub(crate) fn lookup_now(&self, id: RecordId) -> Result<(Held<'_, State>, Answer)> {
        let mut state = self.current.load();
        if let Some(found) = state.lookup_plain(id).map(|(found, _)| found) {
            return Ok((state, Answer::Live(found)));
        }
        loop {
            match state.lookup_any(id) {
                Ok(answer) => return Ok((state, answer)),
                Err(error) if error.is_corruption() => {
                    // The entry may be newer than the table read here. Then a newer table was published before it.
                    let now = self.current.load();
                    if std::ptr::eq(&raw const *state, &raw const *now) {
                        return Err(error);
                    }
                    state = now;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Applies the effects of a frame whose item offsets count from `base` of `segment`. Later views see all of them at
    /// once.
    pub(crate) fn apply(&self, segment: &Arc<Segment>, base: u64, seq: Seq, effects: &[Effect]) -> Result<()> {
        let (is_large, mut before) = (self.begin_large(effects), None);
        let applied = self.change(|writer, publish| {
            let place = writer.place_of(segment)?;
            publish.table_first(writer);
            let applied = writer.apply_frame(&Applied { segment, place, base, seq }, effects);
            drop(writer.note_damaged());
            if is_large {
                before = self.before.take();
            }
            applied.unwrap_or_else(|panic| resume_unwind(panic))
        });
        drop(before.or_else(|| self.before.take().filter(|_| is_large)));
        applied
    }

    /// Changes something under the writer's lock and publishes a changed shape. Replaced parts are dropped outside the
    /// lock, because there may be many.
    fn change<T>(&self, change: impl FnOnce(&mut Writer, &mut Publish<'_>) -> Result<T>) -> Result<T> {
        let mut publish = Publish { current: &self.current, freed: Vec::new() };
        let mut writer = self.writer.lock();
        let pinned = writer.let_go_of_views();
        let result = change(&mut writer, &mut publish);
        if writer.tree.take_restructured() | std::mem::take(&mut writer.is_reshaped) {
            publish.state(&writer);
        }
        // After the state: a reader of this number then finds everything that it stands for.
        self.seq.store(writer.seq.0, Ordering::Release);
        self.note_dirty(&writer);
        drop(writer);
        drop((pinned, publish));
        result
    }

    fn note_dirty(&self, writer: &Writer) {
        self.places_left.store(writer.places_left(), Ordering::Relaxed);
        self.dirty_bytes.store(writer.dirty_bytes(), Ordering::Relaxed);
    }

    /// Bytes of changed pages of all indexes on the heap, including those of a save. What only views hold does not
    /// count.
    pub(crate) fn dirty_bytes(&self) -> u64 {
        self.dirty_bytes.load(Ordering::Relaxed)
    }

    /// Pages of all indexes that no snapshot has.
    pub(crate) fn dirty_pages(&self) -> u64 {
        let writer = self.writer.lock();
        writer.tree.dirty() + writer.indexes.dirty()
    }

    /// The current state for a save: the trees, pages of dropped key indexes, and everything else. The caller excludes
    /// commits. `end_saving` ends it.
    pub(crate) fn freeze(&self) -> (Vec<FrozenIndex>, Vec<PageRef>, Arc<State>) {
        let state = self.pin();
        let mut writer = self.writer.lock();
        writer.tree.begin_saving();
        let (indexes, released) = writer.indexes.freeze();
        self.note_dirty(&writer);
        (indexes, released, state)
    }

    /// The save has ended and has released its pages.
    pub(crate) fn end_saving(&self) {
        let mut writer = self.writer.lock();
        writer.tree.end_saving();
        writer.indexes.end_saving();
        self.note_dirty(&writer);
    }

    /// Points entries at copies of their records. An entry that points elsewhere by now stays as it is, so that no copy
    /// restores what was replaced or deleted. Returns the bytes of the copies that count.
    pub(crate) fn relocate(&self, from: &Arc<Segment>, to: &Arc<Segment>, moves: &[Move]) -> Result<u64> {
        self.change(|writer, publish| {
            writer.place_of(to)?;
            publish.table_first(writer);
            writer.relocate(from.number(), to.number(), moves)
        })
    }

    /// Registers a segment before entries point into it.
    pub(crate) fn adopt(&self, segment: &Arc<Segment>) -> Result<()> {
        self.change(|writer, publish| {
            writer.place_of(segment)?;
            publish.table_first(writer);
            Ok(())
        })
    }

    /// A segment that is in the table, by number.
    pub(crate) fn segment(&self, number: SegmentSeq) -> Option<Arc<Segment>> {
        let writer = self.writer.lock();
        writer.by_number.get(&number).and_then(|place| writer.table.get(*place)).map(Arc::clone)
    }

    /// The current segments.
    pub(crate) fn segments(&self) -> Arc<SegmentTable> {
        Arc::clone(&self.writer.lock().table)
    }

    /// Removes segments without live bytes from the table. Later states do not have them; existing ones do. Returns
    /// their places, which are reused only after `release_places`.
    pub(crate) fn retire(&self, numbers: &[SegmentSeq]) -> Vec<(u32, Arc<Segment>)> {
        let mut publish = Publish { current: &self.current, freed: Vec::new() };
        let mut writer = self.writer.lock();
        let mut retired = Vec::new();
        for number in numbers {
            let Some(place) = writer.by_number.get(number).copied() else { continue };
            if writer.table.get(place).is_none_or(|segment| segment.live_bytes() > 0) {
                continue;
            }
            if let Some(segment) = Arc::make_mut(&mut writer.table).set(place, None) {
                writer.by_number.remove(number);
                retired.push((place, segment));
            }
        }
        let mut pinned = None;
        if !retired.is_empty() {
            pinned = writer.pinned.take();
            publish.state(&writer);
        }
        drop(writer);
        drop((pinned, publish));
        retired
    }

    /// No state is held any more in which these places meant retired segments.
    pub(crate) fn release_places(&self, places: impl Iterator<Item = u32>) {
        let mut writer = self.writer.lock();
        writer.free_places.extend(places);
        self.note_dirty(&writer);
    }

    /// Changes the tree without changing its contents: after a snapshot was saved, pages are clean.
    pub(crate) fn with_tree<T>(&self, change: impl FnOnce(&mut Tree) -> T) -> T {
        let mut publish = Publish { current: &self.current, freed: Vec::new() };
        let mut writer = self.writer.lock();
        let result = change(&mut writer.tree);
        let mut pinned = None;
        if writer.tree.take_restructured() {
            pinned = writer.pinned.take();
            publish.state(&writer);
        }
        self.note_dirty(&writer);
        drop(writer);
        drop((pinned, publish));
        result
    }

    /// Changes the catalogue without a commit, before the store is used.
    pub(crate) fn with_catalogue(&self, change: impl FnOnce(&mut Catalogue)) {
        let mut writer = self.writer.lock();
        change(Arc::make_mut(&mut writer.catalogue));
        let pinned = writer.pinned.take();
        drop(writer);
        drop(pinned);
    }

    /// The current catalogue.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.writer.lock().catalogue)
    }

    /// Forgets the state that views share, so that its last view drops it, and not the next commit.
    pub(crate) fn forget_pinned(&self) {
        let pinned = self.writer.lock().pinned.take();
        drop(pinned);
    }

    /// Releases older states without readers.
    pub(crate) fn reclaim(&self) {
        self.current.reclaim();
    }

    /// The last commit applied. What is read afterwards is no older.
    pub(crate) fn seq(&self) -> Seq {
        Seq(self.seq.load(Ordering::Acquire))
    }
}

/// The frame being applied: its segment and the place of that, the base of its offsets, its commit.
#[derive(Debug)]
struct Applied<'f> {
    segment: &'f Segment,
    place: u32,
    base: u64,
    seq: Seq,
}

/// Publishes states, and gathers those that they replaced.
struct Publish<'h> {
    current: &'h Current<State>,
    freed: Vec<Arc<State>>,
}

impl Publish<'_> {
    fn state(&mut self, writer: &Writer) {
        if writer.is_loading {
            return;
        }
        self.freed.extend(self.current.store(Arc::new(writer.state())));
    }

    /// Readers must find a segment before an entry points into it.
    fn table_first(&mut self, writer: &mut Writer) {
        if std::mem::take(&mut writer.table_changed) {
            self.state(writer);
        }
    }
}

impl Writer {
    fn pin(&mut self) -> Arc<State> {
        if let Some(pinned) = &self.pinned {
            return Arc::clone(pinned);
        }
        let epoch = self.tree.pin();
        let state = Arc::new(State { indexes: self.indexes.roots(), ..self.state() });
        self.views.note(epoch, &state);
        self.pinned = Some(Arc::clone(&state));
        state
    }

    fn state(&self) -> State {
        let (root, table) = (Arc::clone(self.tree.root()), Arc::clone(&self.table));
        let (catalogue, has_dropped) = (Arc::clone(&self.catalogue), self.catalogue.has_dropped());
        State { root, table, catalogue, indexes: Map::default(), seq: self.seq, has_dropped }
    }

    /// Called before a change: finds out what no view holds any more and may be changed in place. Returns the state that
    /// views have shared since the last change, if one still holds it.
    fn let_go_of_views(&mut self) -> Option<Arc<State>> {
        // It is the current state, so dropping it here frees nothing that the writer does not hold itself.
        let pinned = self.pinned.take().filter(|pinned| Arc::strong_count(pinned) > 1);
        let held = self.views.newest_held();
        self.tree.set_held(held);
        pinned
    }

    fn dirty_bytes(&self) -> u64 {
        self.tree.heap_bytes() + self.indexes.heap_bytes()
    }

    fn place_of(&mut self, segment: &Arc<Segment>) -> Result<u32> {
        if let Some(place) = self.by_number.get(&segment.number()) {
            return Ok(*place);
        }
        let place = self.take_place()?;
        self.put_at(place, segment);
        Ok(place)
    }

    fn notes<'w>(&'w mut self, frame: &Applied<'w>) -> Notes<'w> {
        Notes { catalogue: &mut self.catalogue, table: &self.table, segment: frame.segment, seq: frame.seq }
    }

    /// Applies the effects of a frame, or none of them.
    fn apply_frame(&mut self, frame: &Applied<'_>, effects: &[Effect]) -> std::thread::Result<Result<()>> {
        let mut sums = Sums::default();
        self.undo.clear();
        self.undo.shrink_to(UNDO_KEPT_MAX);
        let applied = catch_unwind(AssertUnwindSafe(|| {
            effects.iter().try_for_each(|effect| self.apply(frame, &mut sums, effect))
        }));
        if matches!(applied, Ok(Ok(()))) {
            self.seq = self.seq.max(frame.seq);
        } else {
            self.take_back(frame, &mut sums, effects);
        }
        sums.settle(&mut self.notes(frame));
        applied
    }

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
    fn forget(&self, old: Entry) -> u64 {
        let EntryState::Live(location) = old.state() else { return 0 };
        if let Some(segment) = self.table.get(location.place) {
            segment.add_live(-signed(location.bytes()));
        }
        location.bytes()
    }
}

/// The entry of a slot; as if never used if its page is damaged.
fn entry_if_known(root: &Root, slot: u64) -> Result<Entry> {
    match root.entry(slot) {
        Err(error) if error.is_corruption() => Ok(Entry::NEVER),
        other => other,
    }
}

/// What an entry becomes when an ID of its slot is freed; `None` if that is no news.
fn freed(root: &Root, id: RecordId, old: Entry) -> Option<Entry> {
    let stale = match old.state() {
        EntryState::Free { next_count } => next_count > id.reuse_count(),
        EntryState::Retired => true,
        EntryState::Live(_) => false,
    };
    let floor = root.floor(page_of(id.slot()));
    (!stale).then(|| Entry::freed_after(id.reuse_count().max(floor.saturating_sub(1))))
}

fn page_of(slot: u64) -> u64 {
    slot / to_u64(ENTRIES_PER_PAGE)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
