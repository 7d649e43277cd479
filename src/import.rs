//! Building a new store from records that already have IDs and commit numbers.
//!
//! Owns: where they are stored: in frames of survivors, in segments of the first generation above the log, which keep
//! the commit numbers of records. Never: assigns an ID, or logs a commit: the snapshot at the end makes everything
//! durable at once.
//! Invariants: 1. Until `finish` has returned, the file `unfinished` marks the directory as not a store.
//! 2. A slot next to an imported record is never assigned with a count that may have been seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backing::{Backing, UNFINISHED};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::descriptor::PageRef;
use crate::format::entry::{ENTRIES_PER_PAGE, Entry};
use crate::format::frame::{FrameBuilder, FrameKind, Stamp};
use crate::format::index::{IndexDefinition, IndexRow};
use crate::format::item::{Item, Kind};
use crate::format::manifest::{RaisedRow, SetRow, SnapshotKind};
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::heap::Effect;
use crate::id::{IndexNumber, RecordId, SLOT_END, Seq, SetNumber, reuse_max, to_u64};
use crate::log::{Segment, now_micros};
use crate::options::Options;
use crate::recovery::LOCK;
use crate::{recovery, snapshot};

/// Approximate bytes of records in one frame.
const FRAME_BYTES: u64 = 256 << 10;

/// The initial contents of the new store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Beginning {
    /// The last commit: the next one follows it.
    pub(crate) last_seq: Seq,
    /// Pages below this one are not assigned to a set, except those of imported records.
    pub(crate) page_end: u64,
    /// Whether each page comes with its floor.
    pub(crate) has_floors: bool,
    pub(crate) sets: BTreeMap<SetNumber, String>,
    /// Indexes that are built when a program with their extractors opens them.
    pub(crate) indexes: Vec<IndexDefinition>,
    pub(crate) next_index: IndexNumber,
    /// Set numbers below this one are not assigned, even if unused.
    pub(crate) next_set: SetNumber,
}

#[derive(Debug)]
struct Target {
    segment: Arc<Segment>,
    len: u64,
}

/// A store being written.
#[derive(Debug)]
pub(crate) struct Import {
    engine: Engine,
    last_seq: Seq,
    target: Option<Target>,
    frame: FrameBuilder,
    effects: Vec<Effect>,
    set: Option<SetNumber>,
    /// Pages with records, and which of their slots have one.
    pages: BTreeMap<u64, Box<[bool; ENTRIES_PER_PAGE]>>,
    batch: u64,
    /// The slot of the next chunk of a large value that is imported without slots.
    next_chunk: u64,
    saves_by_itself: bool,
}

impl Import {
    /// Starts a store in a backing that is empty, or holds only the file `unfinished`.
    pub(crate) fn begin(backing: &Arc<dyn Backing>, options: &Options, beginning: &Beginning) -> Result<Self> {
        let names = backing.list().map_err(|source| Error::io("list", backing.location(), source))?;
        if names.iter().any(|name| name != UNFINISHED && name != LOCK) {
            return Err(Error::Exists { path: backing.location() });
        }
        if !names.iter().any(|name| name == UNFINISHED) {
            backing.create(UNFINISHED).map_err(|source| Error::io("create", UNFINISHED, source))?;
        }
        let engine = recovery::make(backing, &options.settings(), |snapshot| {
            snapshot.seq = beginning.last_seq;
            snapshot.page_end = beginning.page_end;
            // Records that there were this many pages: otherwise the number would not be accepted for an index that
            // does not have them.
            snapshot.raised.extend(
                beginning
                    .page_end
                    .checked_sub(1)
                    .map(|page| RaisedRow { slot: page * to_u64(ENTRIES_PER_PAGE), next_count: reuse_max() + 1 }),
            );
            for (number, name) in beginning.sets.iter().filter(|(number, _)| **number >= SetNumber::FIRST_USER) {
                let (number, name, changed) = (*number, name.clone(), beginning.last_seq);
                snapshot.sets.push(SetRow { number, name, records: 0, bytes: 0, changed });
                snapshot.next_set = snapshot.next_set.max(number.0.saturating_add(1));
            }
            snapshot.next_set = snapshot.next_set.max(beginning.next_set.0);
            for definition in &beginning.indexes {
                let definition = definition.clone();
                snapshot.indexes.push(IndexRow { definition, ready: false, root: PageRef::default(), entries: 0 });
            }
            snapshot.next_index = snapshot.next_index.max(beginning.next_index.0);
        })?;
        let import = Self::over(engine, beginning.page_end);
        // The last page may be imported with a floor of its own.
        if let Some(page) = beginning.page_end.checked_sub(1).filter(|_| beginning.has_floors) {
            import.engine.heap.with_tree(|tree| tree.set_floor(page, 0))?;
        }
        Ok(import)
    }

    /// Resumes a store started this way, from its last snapshot.
    pub(crate) fn resume(backing: &Arc<dyn Backing>, options: &Options, page_end_min: u64) -> Result<Self> {
        let (engine, _) = recovery::open_beside_a_writer(backing, &options.settings())?;
        // Pages of records that have not arrived yet must not be assigned either, although nothing mentions them so
        // far.
        let page_end = engine.slots.given().1.max(page_end_min);
        engine.slots.begin_behind(page_end);
        // The row with which `begin` records the number of pages; as a floor it would look like an imported page.
        if let Some(page) = page_end_min.checked_sub(1) {
            engine.heap.with_tree(|tree| match tree.root().cell(page) {
                Some(cell) if cell.descriptor.set == 0 && cell.descriptor.floor == reuse_max() + 1 => {
                    tree.set_floor(page, 0)
                }
                _ => Ok(()),
            })?;
        }
        Ok(Self::over(engine, page_end))
    }

    fn over(engine: Engine, page_end: u64) -> Self {
        Self {
            last_seq: engine.heap.seq(),
            engine,
            target: None,
            frame: FrameBuilder::new(),
            effects: Vec::new(),
            set: None,
            pages: BTreeMap::new(),
            batch: 0,
            next_chunk: page_end * to_u64(ENTRIES_PER_PAGE),
            saves_by_itself: true,
        }
    }

    /// From now on only the caller saves snapshots.
    pub(crate) fn leave_saving(&mut self) {
        self.saves_by_itself = false;
    }

    /// Whether changed pages take so much memory that they should be saved.
    pub(crate) fn is_full(&self) -> bool {
        self.engine.heap.dirty_bytes() > self.engine.dirty.bytes_max() / 2
    }

    /// Assigns a page to a set, with the state of its slots. Its records follow.
    pub(crate) fn open_page(&mut self, page: u64, set: SetNumber, floor: u32, entries: &[Entry]) -> Result<()> {
        self.engine.heap.with_tree(|tree| {
            if entries.iter().all(|entry| *entry == Entry::NEVER) && set.0 > 0 {
                tree.assign(page, set)?;
            } else {
                tree.replace_page(page, set, entries)?;
            }
            tree.set_floor(page, floor)
        })
    }

    /// Retires slots of a page whose records did not arrive.
    pub(crate) fn retire_slots(&mut self, slots: impl Iterator<Item = u64>) -> Result<()> {
        self.flush()?;
        self.engine.heap.with_tree(|tree| {
            for slot in slots {
                tree.set(slot, Entry::freed_after(reuse_max()))?;
            }
            Ok(())
        })
    }

    /// Imports a record of an opened page.
    pub(crate) fn bring(&mut self, id: RecordId, set: SetNumber, kind: Kind, seq: Seq, payload: &[u8]) -> Result<()> {
        self.begin_run(set);
        let (offset, bytes) = self.frame.record_of(kind, id, seq, payload);
        self.effects.push(Effect::Put { id, set, offset, bytes });
        if self.frame.bytes() < FRAME_BYTES { Ok(()) } else { self.flush() }
    }

    /// Imports a part of a large value, and returns its ID.
    pub(crate) fn bring_chunk(&mut self, payload: &[u8]) -> Result<RecordId> {
        let slot = self.next_chunk;
        let Some(id) = RecordId::from_parts(slot, 1) else {
            return Err(Error::Exhausted { what: "slot", limit: SLOT_END });
        };
        if slot.is_multiple_of(to_u64(ENTRIES_PER_PAGE)) {
            let page = slot / to_u64(ENTRIES_PER_PAGE);
            self.engine.slots.begin_behind(page + 1);
            self.effects.push(Effect::Assign(page, SetNumber::CHUNKS));
        }
        self.next_chunk += 1;
        self.bring(id, SetNumber::CHUNKS, Kind::Chunk, self.last_seq, payload)?;
        Ok(id)
    }

    /// Frees parts of an incomplete value.
    pub(crate) fn give_up_chunks(&mut self, ids: &[RecordId]) {
        self.effects.extend(ids.iter().map(|id| Effect::Free(*id)));
    }

    fn begin_run(&mut self, set: SetNumber) {
        if self.set != Some(set) {
            self.frame.control(Kind::Run, &set.0.to_le_bytes());
            self.set = Some(set);
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Imports a record from a frame of another store: its ID, kind, commit number and payload stay.
    pub(crate) fn put(&mut self, id: RecordId, set: SetNumber, item: &Item<'_>) -> Result<()> {
        let (page, index) = (id.slot() / to_u64(ENTRIES_PER_PAGE), id.slot() % to_u64(ENTRIES_PER_PAGE));
        let taken = self.pages.entry(page).or_insert_with(|| {
            self.effects.push(Effect::Assign(page, set));
            Box::new([false; ENTRIES_PER_PAGE])
        });
        if let Some(taken) = taken.get_mut(crate::id::to_usize(index)) {
            *taken = true;
        }
        self.begin_run(set);
        let (offset, bytes) = self.frame.copy(item);
        self.effects.push(Effect::Put { id, set, offset, bytes });
        if self.frame.bytes() < FRAME_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        if self.frame.is_empty() && self.effects.is_empty() {
            return Ok(());
        }
        self.batch += 1;
        let stamp = Stamp {
            kind: FrameKind::Survivors,
            seq: self.last_seq,
            durable: self.last_seq,
            timeline: self.engine.log.timeline(),
            time_micros: now_micros(),
            move_number: self.batch,
        };
        let bytes = self.frame.bytes();
        if self.target.as_ref().is_some_and(|target| target.len + bytes > target.segment.capacity()) {
            self.end_target()?;
        }
        let target = match self.target.take() {
            Some(target) => target,
            None => self.new_target(bytes)?,
        };
        let (segment, base) = (Arc::clone(&target.segment), target.len);
        let sealed = self.frame.seal(&stamp, segment.seed(), base);
        segment.append(sealed).map_err(|source| Error::io("append to", segment.name(), source))?;
        self.target = Some(Target { len: base + bytes, ..target });
        self.engine.heap.apply(&segment, base, self.last_seq, &self.effects)?;
        self.frame.clear();
        self.effects.clear();
        self.set = None;
        if self.saves_by_itself && self.engine.heap.dirty_bytes() > self.engine.dirty.bytes_max() {
            self.save_some()?;
        }
        Ok(())
    }

    fn new_target(&self, bytes: u64) -> Result<Target> {
        let (log, len) = (&self.engine.log, to_u64(SEGMENT_HEADER_BYTES));
        let capacity = log.source().segment_bytes.max(len + bytes);
        let segment = log.source().create_older(1, log.take_segment_number()?, log.timeline(), capacity)?;
        Ok(Target { segment: Arc::new(segment), len })
    }

    fn end_target(&mut self) -> Result<()> {
        let Some(target) = self.target.take() else { return Ok(()) };
        target.segment.sync().map_err(|source| Error::io("sync", target.segment.name(), source))?;
        target.segment.close_file();
        Ok(())
    }

    /// Writes pages out of memory.
    fn save_some(&mut self) -> Result<()> {
        self.end_target()?;
        snapshot::save(&self.engine, SnapshotKind::Automatic, "").map(drop)
    }

    /// Sets the remaining slots of pages with records: `entry` returns those that are known. All others are never
    /// assigned, because it is unknown which of their IDs have been seen.
    pub(crate) fn close_slots(&mut self, entry: &dyn Fn(u64) -> Option<Entry>) -> Result<()> {
        self.flush()?;
        for (page, taken) in std::mem::take(&mut self.pages) {
            let first = page * to_u64(ENTRIES_PER_PAGE);
            let free = (first..).zip(taken.iter()).filter(|(_, taken)| !**taken).map(|(slot, _)| slot);
            self.engine.heap.with_tree(|tree| {
                for slot in free {
                    let known = entry(slot).filter(|entry| !entry.is_live());
                    tree.set(slot, known.unwrap_or_else(|| Entry::freed_after(reuse_max())))?;
                }
                Ok::<(), Error>(())
            })?;
            if self.engine.heap.dirty_bytes() > self.engine.dirty.bytes_max() {
                self.save_some()?;
            }
        }
        Ok(())
    }

    /// Makes everything durable. From now on indexes can be built.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.flush()?;
        self.save_some()
    }

    /// Completes and closes the store.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.end_target()?;
        snapshot::save(&self.engine, SnapshotKind::Close, "")?;
        let backing = Arc::clone(&self.engine.backing);
        drop(self);
        backing.delete(UNFINISHED).map_err(|source| Error::io("delete", UNFINISHED, source))
    }
}
