//! Large commits are written before the commit lock is taken; under it only a small frame is appended, which makes them count.
//!
//! Owns: which commits, and what is done if one was written for nothing. Never: changes what a commit means: it is
//! validated under the lock like any other.

use parking_lot::MutexGuard;

use crate::engine::ahead::Ahead;
use crate::engine::{Engine, FREES_PER_FRAME, Need, PLACES_OF_COLLECTOR, put_pending};
use crate::error::Result;
use crate::format::frame::FrameBuilder;
use crate::heap::{Effect, put_prewritten};
use crate::id::Seq;
use crate::log::Prewritten;

impl Engine {
    /// Whether a frame is to be written before its turn: one that needs a segment of its own.
    pub(super) fn is_early(&self, frame: &FrameBuilder, need: Need) -> bool {
        need == Need::Ordinary && self.log.is_for_its_own_segment(frame.bytes())
    }

    /// Writes it. The caller holds no lock.
    pub(super) fn prewrite(&self, frame: &mut FrameBuilder) -> Result<Option<Prewritten<'_>>> {
        let _panic = self.poison.ends_with_panic("while a large commit was written");
        self.log.prewrite(frame).inspect_err(|error| self.note_no_space(error))
    }

    /// The part of such a commit after its validation.
    pub(super) fn name_and_apply(
        &self,
        guard: &MutexGuard<'_, ()>,
        frame: &mut FrameBuilder,
        effects: &mut Vec<Effect>,
        mut prewritten: Prewritten<'_>,
        ahead: &mut Option<Ahead<'_>>,
    ) -> Result<Seq> {
        if ahead.is_none() {
            self.check_catalogue(effects)?;
        }
        let pending = self.append_burned(self.slots.take_pending(), Need::Ordinary)?;
        debug_assert!(pending.burned.len() <= FREES_PER_FRAME, "others had frames of their own");
        let (mut naming, mut of_naming) = (FrameBuilder::new(), Vec::new());
        put_pending(&pending, &mut naming, &mut of_naming);
        let (segment, seq) = prewritten.place();
        put_prewritten(&mut naming, segment, seq);
        let appended = {
            let _panic = self.poison.ends_with_panic("in the middle of a commit");
            let appended = self
                .heap
                .check_places(PLACES_OF_COLLECTOR)
                .and_then(|()| self.log.append_naming(&mut naming, &mut prewritten));
            appended.inspect_err(|error| self.note_no_space(error))
        };
        let (first, second) = match appended {
            Ok(Some(both)) => both,
            Ok(None) => {
                self.slots.put_back(pending);
                *ahead = None;
                drop(prewritten);
                frame.unseal();
                return self.append_and_apply(guard, frame, effects, Need::Ordinary);
            }
            Err(error) => {
                self.slots.put_back(pending);
                return Err(error);
            }
        };
        let _panic = self.poison.ends_with_panic("in the middle of a commit");
        self.apply_appended(&first, naming.bytes(), &of_naming)?;
        let seq = match ahead {
            Some(ahead) => self.publish_ahead(ahead, second.seq, frame.bytes(), effects)?,
            None => self.apply_appended(&second, frame.bytes(), effects)?,
        };
        self.history.note(seq, effects);
        Ok(seq)
    }
}
