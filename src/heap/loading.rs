//! The heap while a store is being opened and has no readers yet.
//!
//! Owns: withholding states until there can be readers, so that shared parts need not be copied for each replayed
//! frame; applying many commits at once. Never: changes an entry by itself.

use std::panic::resume_unwind;
use std::sync::Arc;

use crate::error::Result;
use crate::heap::{Applied, Effect, Heap, Publish, signed};
use crate::id::Seq;
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

    /// Replaces a known segment with a newly opened one. Only while the store is being opened.
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
