//! The heap while a store is being opened and has no readers yet.
//!
//! Owns: withholding states until there can be readers, so that shared parts need not be copied for each replayed
//! frame; applying many commits at once. Never: changes an entry by itself.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::Result;
use crate::heap::views::Handed;
use crate::heap::{Applied, Effect, Heap, Publish, signed};
use crate::id::{SegmentSeq, Seq};
use crate::log::Segment;

impl Heap {
    /// Until `end_loading` nothing is published, since there are no readers. `pin` shows the current state.
    pub(crate) fn begin_loading(&self) {
        self.writer.lock().is_loading = true;
    }

    /// From now on there may be readers.
    pub(crate) fn end_loading(&self) {
        let mut publish = Publish { current: &self.current, freed: Vec::new() };
        let mut writer = self.writer.lock();
        writer.is_loading = false;
        publish.state(&writer);
        drop(writer);
    }

    /// Applies commits that follow each other in a segment, with offsets in it.
    pub(crate) fn replay<'e>(
        &self,
        segment: &Arc<Segment>,
        commits: impl Iterator<Item = (Seq, &'e [Effect])>,
    ) -> Result<()> {
        self.change(|writer, publish| {
            let place = writer.place_of(segment)?;
            publish.table_first(writer);
            for (seq, effects) in commits {
                let applied = writer.apply_frame(&Applied { segment, place, base: 0, seq }, effects);
                applied.unwrap_or_else(|panic| resume_unwind(panic))?;
            }
            drop(writer.note_damaged());
            Ok(())
        })
    }

    /// Goes on with the state of a new opening. Views keep what they have.
    pub(crate) fn take_over(&self, next: Self) {
        let mut publish = Publish { current: &self.current, freed: Vec::new() };
        let mut next = next.writer.into_inner();
        next.pinned = Handed::new(&self.pins);
        let mut writer = self.writer.lock();
        // What views hold is of the tree before: in this one they keep nothing.
        let pinned = writer.pinned.take();
        let before = std::mem::replace(&mut *writer, next);
        publish.state(&writer);
        self.seq.store(writer.seq.0, Ordering::Release);
        self.note_dirty(&writer);
        drop(writer);
        drop((pinned, before, publish));
    }

    /// Beside readers: a segment may have been known when it was shorter.
    pub(crate) fn follow_growth(&self, segment: &Arc<Segment>) -> Result<()> {
        match self.segment(segment.number()) {
            Some(known) if known.is_absent() || known.len()? < segment.len()? => self.replace(segment),
            _ => {}
        }
        Ok(())
    }

    /// Lets go of segments without live bytes before this one: nothing will be appended to the log in them, and what is moved into
    /// them makes them known again.
    pub(crate) fn let_go_of_emptied(&self, before: SegmentSeq) {
        let table = self.segments();
        let emptied = table.iter().map(|(_, segment)| segment).filter(|segment| segment.live_bytes() == 0);
        let numbers: Vec<SegmentSeq> =
            emptied.map(|segment| segment.number()).filter(|number| *number != before).collect();
        drop(table);
        if !numbers.is_empty() {
            drop(self.retire(&numbers));
        }
    }

    /// Replaces a known segment with a newly opened one.
    pub(crate) fn replace(&self, segment: &Arc<Segment>) {
        let mut publish = Publish { current: &self.current, freed: Vec::new() };
        let mut writer = self.writer.lock();
        let place = writer.by_number.get(&segment.number()).copied();
        if let Some(place) = place {
            let known = writer.table.get(place).map_or(0, |known| known.live_bytes());
            segment.add_live(signed(known));
            Arc::make_mut(&mut writer.table).set(place, Some(segment));
        }
        let pinned = writer.pinned.take();
        publish.state(&writer);
        drop(writer);
        drop((pinned, publish));
    }
}
