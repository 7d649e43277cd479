//! The heap: records in segments, found through the record index.
//!
//! Owns: the only door through which an entry changes, for run time and replay alike, and the states that readers see. Never:
//! appends, syncs, or validates a transaction.
//!
//! ```text
//! state     what readers see: finding records and their bytes; found, several, asking, kept: parts of that
//! writer    what the writer has under its lock, and what each effect of a frame means for it
//! door      changing that, and publishing what readers then see
//! effects   effects of a frame as items; sums: their counts; undo: taking them back
//! written_again  which of several writes of a record is applied
//! ahead     a large commit that is applied before its turn; before: the state that views get meanwhile
//! loading   the heap before there are readers, and beside a writer
//! table     segments by place; places: how many are left; relocate: entries follow copied records
//! indexes   the trees of key indexes; trees: keeping the catalogue up to date with them
//! views     which states are held, and so what may be changed in place
//! ```

mod ahead;
mod asking;
mod before;
mod door;
mod effects;
mod found;
mod indexes;
mod kept;
mod loading;
mod places;
mod relocate;
mod several;
mod state;
mod sums;
mod table;
mod trees;
mod undo;
mod views;
mod writer;
mod written_again;

pub(crate) use ahead::{Ahead, takes_ahead};
pub(crate) use asking::Walk;
pub(crate) use before::is_large;
pub(crate) use effects::{Effect, add_effects, put_assigned, put_consumer, put_frees, put_prewritten};
pub(crate) use indexes::{FrozenIndex, Indexes, Refreshed, ToProbe, apply as apply_changes};
pub(crate) use state::{Answer, Found, Place, State};
pub(crate) use table::SegmentTable;
pub(crate) use written_again::keep_last;

use door::Publish;
use writer::{Applied, Writer, entry_if_known, freed, page_of, signed};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::catalogue::Catalogue;
use crate::error::Result;
use crate::format::descriptor::PageRef;
use crate::heap::before::Before;
use crate::id::{RecordId, SegmentSeq, Seq};
use crate::log::Segment;
use crate::pins::{Current, Held, Pin, Pins};
use crate::record_index::Root;

/// The heap.
#[derive(Debug)]
pub(crate) struct Heap {
    current: Current<State>,
    writer: Mutex<Writer>,
    before: Before,
    /// The views of users.
    pins: Arc<Pins<State>>,
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
        let pins = Arc::default();
        let writer = Writer::new(root, segments, catalogue, indexes, seq, &pins);
        let (dirty_bytes, places_left) = (AtomicU64::new(writer.dirty_bytes()), AtomicU64::new(writer.places_left()));
        let current = Current::new(Arc::new(writer.state()));
        Self {
            current,
            writer: Mutex::new(writer),
            before: Before::default(),
            pins,
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

    /// The same for a view of a user, which is registered.
    pub(crate) fn view(&self) -> Arc<Pin<State>> {
        self.pins.pin(|| match self.before.or_lock(&self.writer) {
            Ok(mut writer) => writer.pin_for_view(),
            Err(before) => before,
        })
    }

    /// The views of users, oldest first: what they see, and how long they have existed.
    pub(crate) fn views(&self) -> Vec<(Arc<State>, Duration)> {
        self.pins.list()
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

    /// A segment that is in the table, by number.
    pub(crate) fn segment(&self, number: SegmentSeq) -> Option<Arc<Segment>> {
        let writer = self.writer.lock();
        writer.by_number.get(&number).and_then(|place| writer.table.get(*place)).map(Arc::clone)
    }

    /// The current segments.
    pub(crate) fn segments(&self) -> Arc<SegmentTable> {
        Arc::clone(&self.writer.lock().table)
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
