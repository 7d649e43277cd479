//! Asking the owner of a commit whether it still holds.
//!
//! Owns: when it is asked. Never: knows what must hold.

use crate::error::Result;

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
