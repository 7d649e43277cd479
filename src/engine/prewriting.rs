//! Large commits are written before the commit lock is taken; under it only a small frame is appended, which makes them count.
//!
//! Owns: which commits, and what is done if one was written for nothing. Never: changes what a commit means: it is
//! validated under the lock like any other.

use parking_lot::MutexGuard;

use crate::engine::ahead::Ahead;
use crate::engine::ids::{FREES_PER_FRAME, put_pending};
use crate::engine::replaced::Places;
use crate::engine::{Engine, Need, PLACES_OF_COLLECTOR, Validate};
use crate::error::Result;
use crate::format::frame::FrameBuilder;
use crate::heap::{Effect, put_prewritten};
use crate::history::Noted;
use crate::id::Seq;
use crate::log::Prewritten;

/// What was done of a commit before its turn: nothing, unless it is large.
#[derive(Debug, Default)]
pub(super) struct Early<'e> {
    /// Its effects, applied.
    ahead: Option<Ahead<'e>>,
    /// Its frame, written.
    prewritten: Option<Prewritten<'e>>,
    /// The places in it of the versions that it replaces.
    places: Option<Places>,
    /// Its changes, sorted for those who have read.
    noted: Noted,
}

impl Early<'_> {
    /// Of a commit that is written in its turn.
    #[inline]
    pub(super) fn of_history(noted: Noted) -> Self {
        Self { ahead: None, prewritten: None, places: None, noted }
    }

    /// The frame must be written in its turn.
    fn is_for_nothing(&mut self, frame: &mut FrameBuilder) {
        self.ahead = None;
        self.prewritten = None;
        frame.unseal();
    }
}

impl Engine {
    /// Whether a frame is to be written before its turn: one that needs a segment of its own.
    pub(super) fn is_early(&self, frame: &FrameBuilder, need: Need) -> bool {
        need == Need::Ordinary && self.log.is_for_its_own_segment(frame.bytes())
    }

    /// Does before its turn what can be done then. The caller holds no lock.
    pub(super) fn do_early(
        &self,
        frame: &mut FrameBuilder,
        effects: &[Effect],
        records_old: bool,
        validate: &mut dyn Validate,
    ) -> Result<Early<'_>> {
        let places = if records_old { Some(self.put_replaced_early(frame, effects)?) } else { None };
        self.let_save_end(effects);
        let prewritten = self.prewrite(frame)?;
        let ahead = prewritten.as_ref().and_then(|prewritten| self.apply_ahead(prewritten, effects));
        let noted = self.history.prepare(effects);
        if prewritten.is_some() {
            validate.look_again()?;
        }
        Ok(Early { ahead, prewritten, places, noted })
    }

    /// Adds to a frame where the versions are that it replaces or deletes. If what was written of it says other places, it was
    /// written for nothing. The caller holds the commit lock.
    pub(super) fn record_old(&self, frame: &mut FrameBuilder, effects: &[Effect], early: &mut Early<'_>) -> Result<()> {
        let is_written = early.prewritten.is_some();
        if !self.put_replaced(frame, effects, early.places.take(), is_written)? && is_written {
            early.is_for_nothing(frame);
        }
        Ok(())
    }

    /// Appends and applies a validated commit, as far as that is still to be done.
    #[inline]
    pub(super) fn do_rest(
        &self,
        guard: &MutexGuard<'_, ()>,
        frame: &mut FrameBuilder,
        effects: &mut Vec<Effect>,
        need: Need,
        early: &mut Early<'_>,
    ) -> Result<Seq> {
        let noted = std::mem::take(&mut early.noted);
        match early.prewritten.take() {
            Some(prewritten) => self.name_and_apply(guard, frame, effects, prewritten, &mut early.ahead, noted),
            None => self.append_apply_and_note(guard, frame, effects, need, noted),
        }
    }

    /// Writes the frame. The caller holds no lock.
    fn prewrite(&self, frame: &mut FrameBuilder) -> Result<Option<Prewritten<'_>>> {
        let _panic = self.poison.ends_with_panic("while a large commit was written");
        self.log.prewrite(frame).inspect_err(|error| self.reserve.note_no_space(error))
    }

    /// The part after its validation of a commit that was written.
    fn name_and_apply(
        &self,
        guard: &MutexGuard<'_, ()>,
        frame: &mut FrameBuilder,
        effects: &mut Vec<Effect>,
        mut prewritten: Prewritten<'_>,
        ahead: &mut Option<Ahead<'_>>,
        noted: Noted,
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
            appended.inspect_err(|error| self.reserve.note_no_space(error))
        };
        let (first, second) = match appended {
            Ok(Some(both)) => both,
            Ok(None) => {
                self.slots.put_back(pending);
                *ahead = None;
                drop(prewritten);
                frame.unseal();
                return self.append_apply_and_note(guard, frame, effects, Need::Ordinary, noted);
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
        self.history.note(seq, effects, noted);
        Ok(seq)
    }
}
