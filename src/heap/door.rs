//! The door through which the heap changes: under the writer's lock, and then published.
//!
//! Owns: when readers see a change, and dropping what it has replaced outside the lock. Never: knows what a change means.
//! Invariants: 1. Readers find a segment before an entry points into it.
//! 2. Who reads the number of a commit finds everything that it stands for.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::catalogue::Catalogue;
use crate::error::Result;
use crate::format::moves::Move;
use crate::heap::{Applied, Effect, Heap, State, Writer, is_large};
use crate::id::{SegmentSeq, Seq};
use crate::log::Segment;
use crate::pins::Current;
use crate::record_index::Tree;

impl Heap {
    /// Applies the effects of a frame whose item offsets count from `base` of `segment`. Later views see all of them at
    /// once.
    pub(crate) fn apply(&self, segment: &Arc<Segment>, base: u64, seq: Seq, effects: &[Effect]) -> Result<()> {
        if is_large(effects) {
            self.keep_before();
        }
        let applied = self.change_beside(|writer, publish| {
            let place = writer.place_of(segment)?;
            publish.table_first(writer);
            let applied = writer.apply_frame(&Applied { segment, place, base, seq }, effects);
            drop(writer.note_damaged());
            Ok(applied)
        });
        applied?.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Like `change`, after which views no longer get the state that was kept before.
    pub(super) fn change_beside<T>(
        &self,
        change: impl FnOnce(&mut Writer, &mut Publish<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut before = None;
        let result = self.change(|writer, publish| {
            let result = change(writer, publish);
            before = self.before.take();
            result
        });
        // Outside of the lock: it may hold much.
        drop(before);
        result
    }

    /// Changes something under the writer's lock and publishes a changed shape. Replaced parts are dropped outside the
    /// lock, because there may be many.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Writer, &mut Publish<'_>) -> Result<T>) -> Result<T> {
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

    pub(super) fn note_dirty(&self, writer: &Writer) {
        self.places_left.store(writer.places_left(), Ordering::Relaxed);
        self.dirty_bytes.store(writer.dirty_bytes(), Ordering::Relaxed);
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
}

/// Publishes states, and gathers those that they replaced.
pub(super) struct Publish<'h> {
    pub(super) current: &'h Current<State>,
    pub(super) freed: Vec<Arc<State>>,
}

impl Publish<'_> {
    pub(super) fn state(&mut self, writer: &Writer) {
        if writer.is_loading {
            return;
        }
        self.freed.extend(self.current.store(Arc::new(writer.state())));
    }

    /// Readers must find a segment before an entry points into it.
    pub(super) fn table_first(&mut self, writer: &mut Writer) {
        if std::mem::take(&mut writer.table_changed) {
            self.state(writer);
        }
    }
}
