//! The end of a handle after a failed write or sync.
//!
//! Owns: the first failure. Never: forgets it; only opening the store again helps.

use std::sync::OnceLock;

use crate::error::Error;
use crate::error::Result;

/// Set once, by the first failure that leaves the medium in doubt.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    reason: OnceLock<String>,
}

impl Poison {
    /// An error when the handle is dead.
    pub(crate) fn check(&self) -> Result<()> {
        match self.reason.get() {
            None => Ok(()),
            Some(reason) => Err(Error::Poisoned { reason: reason.clone() }),
        }
    }

    /// Ends the handle. The first reason stays.
    pub(crate) fn set(&self, reason: &Error) {
        self.reason.get_or_init(|| reason.to_string());
    }
}
