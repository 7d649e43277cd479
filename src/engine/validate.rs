//! Whether a commit still holds: asking its owner, and what must hold for every commit that makes the store larger.
//!
//! Owns: what is asked, in which order. Never: knows what must hold for the owner.

use crate::engine::effects::{added_by, is_more};
use crate::engine::{Engine, Need};
use crate::error::Result;
use crate::heap::Effect;

/// Segment places that commits leave free: the collector needs some to free others.
const PLACES_FREE_MIN: u64 = 1_024;

/// What must hold for a commit.
pub(crate) trait Validate {
    /// Fails if a commit contradicts it already. The caller holds no lock, and others have had time to commit since the last call.
    fn look_again(&mut self) -> Result<()> {
        Ok(())
    }

    /// Fails if a commit contradicts it. The caller excludes commits.
    fn check(&mut self) -> Result<()>;
}

impl<F: FnMut() -> Result<()>> Validate for F {
    fn check(&mut self) -> Result<()> {
        self()
    }
}

impl Engine {
    /// Fails if a commit may not be appended. The caller excludes commits.
    #[inline]
    pub(super) fn validate(&self, effects: &[Effect], need: Need, owner: &mut dyn Validate) -> Result<()> {
        if need == Need::Ordinary && self.reserve.is_short() {
            // Abandoned meanwhile.
            return Err(self.refused());
        }
        if effects.iter().any(is_more) {
            self.heap.check_places(PLACES_FREE_MIN)?;
            self.log.check_numbers()?;
        }
        owner.check()
    }

    /// Fails if a commit would make the catalogue too large for a snapshot.
    pub(super) fn check_catalogue(&self, effects: &[Effect]) -> Result<()> {
        let mut added = effects.iter().filter_map(added_by).peekable();
        if added.peek().is_none() { Ok(()) } else { self.heap.catalogue().check_room(added) }
    }
}
